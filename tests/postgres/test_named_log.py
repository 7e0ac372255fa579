"""Where the log is: what `--db`, LLMTASK_DB and a project's config say, and who may say it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres.server import Server
from tests.postgres.test_team_log import RUN, SECRET, llmtask


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is a project, with nothing in the environment that names a log."""
    monkeypatch.delenv("LLMTASK_DB")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def configure(work: Path, database: str) -> None:
    (work / "config.yaml").write_text(f"usage: {{database: {json.dumps(database)}}}\n", encoding="utf-8")


def place(*argv: str, **env: str) -> str:
    return llmtask("usage", "path", *argv, **env).stdout.strip()


def test_the_option_goes_before_the_variable_and_that_before_the_config(work: Path) -> None:
    configure(work, "own.db")
    assert place() == str(work / "own.db")
    assert place(LLMTASK_DB="postgresql://ann:pw@host/db") == "postgresql://ann@host/db"
    assert place("--db", "other.db", LLMTASK_DB="postgresql://ann:pw@host/db") == "other.db"
    assert place("--db", "postgresql://ann:pw@host/db", LLMTASK_DB="mine.db") == "postgresql://ann@host/db"


def test_runs_of_a_project_are_in_the_log_that_its_config_names(work: Path, server: Server) -> None:
    url = server.database()
    configure(work, url)
    assert llmtask(*RUN).returncode == 0
    library = "import llmtask; llmtask.run_structured_task('job_match', {'resume': 'x'}, model_id='offline')"
    subprocess.run([sys.executable, "-c", library], check=True, env=os.environ)
    assert len(json.loads(llmtask("usage", "list", "--json", "--db", url).stdout)) == 2
    assert (
        llmtask("usage", "report", "--format", "json").stdout
        == llmtask("usage", "report", "--format", "json", "--db", url).stdout
    )
    assert f"usage log {url} can be written" in llmtask("doctor", "--offline").stdout


def test_a_variable_in_the_config_is_the_environments_and_encoded(work: Path, server: Server) -> None:
    url = server.database()
    server.sql(f"CREATE ROLE variable LOGIN PASSWORD '{SECRET}'", "template1")
    configure(work, url.replace("team@", "variable:${LOG_PASSWORD}@"))
    said = llmtask("usage", "list", LOG_PASSWORD=SECRET)
    assert (said.returncode, "no calls yet in postgresql://variable@" in said.stderr) == (0, True)
    unset = llmtask("usage", "list")
    assert unset.returncode == 3
    assert "usage.database in config.yaml names ${LOG_PASSWORD}, which is not set" in unset.stderr


@pytest.mark.parametrize("argv", [RUN, ("usage", "list"), ("usage", "sync")])
def test_an_untrusted_project_sends_no_row_to_its_database(argv: tuple[str, ...], work: Path, server: Server) -> None:
    url = server.database()
    configure(work, url)
    found = llmtask(*argv, LLMTASK_TRUST="0")
    assert (found.returncode, found.stdout) == (3, "")
    assert "is not trusted: the usage log is kept in postgresql://team@/" in found.stderr
    assert llmtask("usage", "list", "--json", "--db", url).stdout == "[]\n"
    assert llmtask(*RUN, "--db", "mine.db", LLMTASK_TRUST="0").returncode == 0
    assert llmtask("trust").returncode == 0
    assert llmtask(*RUN, LLMTASK_TRUST="0").returncode == 0
    configure(work, url + "&connect_timeout=3")
    assert llmtask(*RUN, LLMTASK_TRUST="0").returncode == 3, "a change asks again"


def test_what_asks_for_trust_shows_no_password(work: Path) -> None:
    configure(work, "postgresql://ann:s3cr:t@x@host/db?password=s3cret")
    found = llmtask("trust", "--show", LLMTASK_TRUST="0")
    assert "the usage log is kept in postgresql://ann:***@host/db?password=***" in found.stdout + found.stderr
    assert "s3cr" not in found.stdout + found.stderr
