"""`llmtask usage export|import|prune|purge|reprice|verify`: what is said, what is asked, what the exit code is."""

import csv
import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.usage import UsageLog, report
from tests.commands.conftest import Command, Process, WriteFiles, environment
from tests.commands.test_usage import row

DAYS = 100


def calls(path: Path) -> int:
    with closing(UsageLog(path)) as log:
        return report(log).total.calls


def rows(path: Path) -> int:
    with closing(UsageLog(path)) as log:
        return len(log.latest(1000))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A call a day for a hundred days, of ann and joanna by turns."""
    path = tmp_path / "usage.db"
    with closing(UsageLog(path)) as log:
        for number in range(DAYS):
            log.record(row(number, number, user_id="joanna" if number % 2 else "ann"))
    return path


# export


def test_an_export_to_stdout_is_a_line_of_json_per_call(command: Command, log: Path) -> None:
    outcome = command("usage", "export", "--user", "ann", "--since", "10d")
    found = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [one["user_id"] for one in found] == ["ann"] * 5
    assert outcome.stderr == "5 rows\n"
    assert calls(log) == DAYS


def test_an_export_to_a_file_is_csv_or_parquet_where_that_is_asked(command: Command, log: Path, work: Path) -> None:
    assert command("usage", "export", "calls.csv", "--format", "csv").stderr == "100 rows in calls.csv\n"
    found = list(csv.DictReader(io.StringIO((work / "calls.csv").read_bytes().decode(), newline="")))
    assert (len(found), {one["user_id"] for one in found}) == (DAYS, {"ann", "joanna"})
    parquet = pytest.importorskip("pyarrow.parquet")
    assert command("usage", "export", "calls.parquet", "-f", "parquet").code == ExitCode.DONE
    assert parquet.read_table(work / "calls.parquet").num_rows == DAYS
    assert log.exists()


@pytest.mark.usefixtures("log")
def test_parquet_needs_a_file_and_pyarrow(command: Command, process: Process, work: Path) -> None:
    outcome = command("usage", "export", "--format", "parquet")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "needs a FILE" in outcome.stderr
    (work / "pyarrow").mkdir()
    (work / "pyarrow/__init__.py").write_text("raise ImportError", encoding="utf-8")
    hidden = {"PYTHONPATH": f"{work}{os.pathsep}{environment()['PYTHONPATH']}"}
    ran = process("usage", "export", "x.parquet", "-f", "parquet", env=hidden)
    assert ran.returncode == ExitCode.USAGE
    assert "pip install 'llmtask[parquet]'" in ran.stderr
    assert not (work / "x.parquet").exists()


def test_an_export_of_no_log_is_empty_and_makes_none(command: Command) -> None:
    outcome = command("usage", "export")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (ExitCode.DONE, "", "0 rows\n")
    assert not outcome.log.exists()


@pytest.mark.usefixtures("log")
def test_a_reader_that_leaves_early_ends_an_export(process: Process, tmp_path: Path) -> None:
    assert tmp_path.exists()
    reader, writer = os.pipe()
    os.close(reader)
    ran = process("usage", "export", stdout=writer)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (ExitCode.PIPE_CLOSED, "")


# import


def test_an_import_says_what_is_new_known_finished_and_refused(command: Command, log: Path, work: Path) -> None:
    command("usage", "export", "all.jsonl")
    with closing(UsageLog(work / "mine.db")) as mine:
        mine.begin(row(0))
        mine.record(row(1))
    with (work / "all.jsonl").open("a", encoding="utf-8") as file:
        file.write("no row\n")
    outcome = command("usage", "import", "all.jsonl", str(log), "--db", "mine.db")
    assert outcome.stdout == "98 new, 101 known, 1 finished now, 1 refused\n"
    assert outcome.code == ExitCode.USAGE
    assert "all.jsonl:101: no row: the line is no JSON" in outcome.stderr
    assert calls(work / "mine.db") == DAYS
    again = command("usage", "import", str(log), "--db", "mine.db")
    assert (again.code, again.stdout) == (ExitCode.DONE, "0 new, 100 known, 0 finished now, 0 refused\n")


def test_an_import_of_what_is_no_log_is_refused(command: Command, work: Path) -> None:
    outcome = command("usage", "import", "none.jsonl", "--db", "mine.db")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "'none.jsonl' cannot be read (No such file or directory)" in outcome.stderr
    assert work.exists()


# prune


def test_pruning_says_what_goes_and_needs_a_yes(command: Command, log: Path) -> None:
    outcome = command("usage", "prune", "--older-than", "30d")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "69 rows of " in outcome.stderr
    assert "nobody is here to be asked; give --yes" in outcome.stderr
    assert rows(log) == DAYS
    outcome = command("usage", "prune", "--older-than", "30d", "--yes", "--vacuum")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "69 rows deleted\n")
    assert (rows(log), calls(log)) == (31, DAYS)
    again = command("usage", "prune", "--older-than", "30d")
    assert (again.code, again.stdout) == (ExitCode.DONE, "")
    assert "no rows before" in again.stderr


@pytest.mark.parametrize(("said", "left"), [("y\n", 31), ("n\n", DAYS), ("\n", DAYS)])
def test_who_sits_at_the_terminal_is_asked(log: Path, said: str, left: int) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "llmtask", "usage", "prune", "--older-than", "30d"]
    env = environment(LLMTASK_DB=str(log))
    with subprocess.Popen(argv, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, said.encode())
    os.close(ours)
    assert process.returncode == ExitCode.DONE
    assert (rows(log), calls(log)) == (left, DAYS)


def test_a_time_that_is_none_prunes_nothing(command: Command, log: Path) -> None:
    assert command("usage", "prune", "--older-than", "soon", "--yes").code == ExitCode.USAGE
    assert command("usage", "prune", "--yes").code == ExitCode.USAGE
    assert rows(log) == DAYS


# purge


def test_a_purge_takes_one_user_and_says_that_no_byte_is_left(command: Command, log: Path) -> None:
    outcome = command("usage", "purge", "--user", "ann", "--yes")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "'ann' is in no byte of it\n")
    assert "a part of something longer" in outcome.stderr
    assert (rows(log), calls(log)) == (50, DAYS)
    assert json.loads(command("usage", "report", "--by", "user", "--format", "json").stdout)


def test_a_purge_needs_a_yes_and_a_name(command: Command, log: Path) -> None:
    for argv in (["--user", "ann"], ["--user", "", "--yes"], ["--yes"]):
        assert command("usage", "purge", *argv).code == ExitCode.USAGE
    assert rows(log) == DAYS


def test_what_is_left_of_a_user_exits_with_3(command: Command, log: Path) -> None:
    with closing(sqlite3.connect(log)) as other, other:
        other.execute("CREATE TABLE notes (who TEXT)")
        other.execute("INSERT INTO notes VALUES ('ann')")
    outcome = command("usage", "purge", "--user", "ann", "--yes")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert "'ann' is still in notes.who" in outcome.stderr


@pytest.mark.parametrize("user", ["it's", "50%", "zeile\nzwei", "陈远", "-x", "--yes", "[bold]", "\x1b[31m"])
def test_users_of_any_name_can_be_purged(command: Command, tmp_path: Path, user: str) -> None:
    path = tmp_path / "usage.db"
    with closing(UsageLog(path)) as log:
        log.record(row(1, user_id=user))
        log.record(row(2, user_id="ann"))
    outcome = command("usage", "purge", f"--user={user}", "--yes")
    assert outcome.code == ExitCode.DONE
    assert "\x1b" not in outcome.stdout + outcome.stderr
    assert (rows(path), calls(path)) == (1, 2)


# reprice


PRICES = """
prices:
  deepseek-flash: [{effective_from: 2020-01-01, lists: {CNY: {cache_hit: 1, cache_miss: 2, output: 3}}}]
"""


@pytest.fixture
def wrong(tmp_path: Path, files: WriteFiles) -> Path:
    """Two calls of 1,000 in and 100 out: one for 0.0014, one unpriced; they come to 0.0023 each."""
    files({"config.yaml": PRICES})
    path = tmp_path / "usage.db"
    with closing(UsageLog(path)) as log:
        log.record(row(1))
        log.record(row(2, cost=None, cost_nanos=None, currency=None, saved_nanos=None))
        log.record(row(3, model_id="gone/model"))
    return path


def costs(path: Path) -> list[int | None]:
    with closing(UsageLog(path)) as log:
        return [one.cost_nanos for one in sorted(log.latest(9), key=lambda one: one.id)]


def test_repricing_shows_the_difference_first_and_needs_a_yes(command: Command, wrong: Path) -> None:
    shown = command("usage", "reprice", "--dry-run")
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines() if "deepseek-chat" in line]
    assert lines == [
        "deepseek-chat 1 - unpriced ¥0.0023 - -",
        "deepseek-chat 1 - ¥0.0014 ¥0.0023 +¥0.0009 -",
    ]
    assert "no such model in config.yaml now" in shown.stderr
    outcome = command("usage", "reprice")
    assert (outcome.code, "give --yes" in outcome.stderr) == (ExitCode.USAGE, True)
    assert costs(wrong) == [1_400_000, None, 1_400_000]
    outcome = command("usage", "reprice", "--yes")
    assert outcome.stdout.endswith("2 rows changed\n")
    assert costs(wrong) == [2_300_000, 2_300_000, 1_400_000]
    assert "nothing changes: 3 rows looked at" in command("usage", "reprice").stderr


def test_repricing_takes_the_calls_that_are_meant(command: Command, wrong: Path) -> None:
    command("usage", "reprice", "--yes", "--model", "glm-*")
    command("usage", "reprice", "--yes", "--until", "2020-01-01")
    assert costs(wrong) == [1_400_000, None, 1_400_000]


# verify


def test_a_sound_log_agrees(command: Command, log: Path) -> None:
    outcome = command("usage", "verify")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "the sums agree with the rows\n")
    assert outcome.stderr == "100 rows counted anew, all there are\n"
    assert log.exists()


def test_a_log_that_disagrees_exits_with_3_and_is_mended(command: Command, log: Path) -> None:
    with closing(sqlite3.connect(log)) as other, other:
        other.execute("INSERT OR REPLACE INTO llm_usage_logs SELECT * FROM llm_usage_logs LIMIT 3")
    outcome = command("usage", "verify")
    assert outcome.code == ExitCode.PROJECT
    assert "-1 calls" in outcome.stdout
    outcome = command("usage", "verify", "--mend")
    assert outcome.code == ExitCode.DONE
    assert outcome.stdout.endswith("the sums agree with the rows\n")
    assert calls(log) == DAYS


@pytest.mark.parametrize(
    "argv", [["prune", "--older-than", "30d", "--yes"], ["verify"], ["purge", "--user", "a", "--yes"]]
)
def test_upkeep_of_no_log_makes_none(command: Command, argv: list[str]) -> None:
    outcome = command("usage", *argv)
    assert outcome.code == ExitCode.DONE
    assert not outcome.log.exists()


def test_a_span_that_was_pruned_is_told_by_verify(command: Command, log: Path) -> None:
    command("usage", "prune", "--older-than", "30d", "--yes")
    day = (datetime.now(UTC) - timedelta(days=30)).date()
    assert f"31 rows counted anew, since {day} UTC, as older ones were pruned" in command("usage", "verify").stderr
    assert log.exists()
