"""`llmtask run` on what people really give it: one clear sentence, an exit code, and nothing lost."""

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import RESUME, Command, Outcome, Process, WriteFiles

PROMPT = """\
description: A resume, judged.
variables:
  resume: {description: The resume, input: true}
system: Judge the resume.
user: "{{ resume | document('resume') }}"
"""


def refused(outcome: Outcome, code: ExitCode, *pieces: str) -> None:
    """It ended with that code and one sentence that holds the pieces; stdout and the log are empty."""
    assert (outcome.code, outcome.stdout) == (code, "")
    assert outcome.stderr.startswith("llmtask: ")
    assert outcome.stderr.count("\n") == 1
    for piece in pieces:
        assert piece in outcome.stderr
    assert outcome.rows == []


# documents


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.md", b"", "is empty; give the text of 'resume'"),
        ("blank.md", b" \n\t\r\n", "is empty"),
        ("bom.md", b"\xef\xbb\xbf", "is empty"),
        ("resume.pdf", b"%PDF-1.7\n\xe2\xe3", "is a PDF; turn it into text first"),
        ("resume.docx", b"PK\x03\x04\x14\x00", "is a Word file or another archive; save it as text"),
        ("resume.doc", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Word file"),
        ("resume.rtf", rb"{\rtf1 resume}", "is an RTF file"),
        ("resume.bin", b"resume\x00\x01\x02\xff", "is binary, not text"),
        ("half.md", b"\xff\xfea", "begins as utf-16 and is not"),
    ],
)
def test_a_document_that_no_model_reads_is_refused(
    command: Command, files: WriteFiles, name: str, content: bytes, problem: str
) -> None:
    files({name: content})
    refused(command("run", "job_match", "--input", name, "--model", "offline"), ExitCode.USAGE, repr(name), problem)


def test_a_missing_file_is_named_with_the_folder_it_is_missing_from(command: Command, work: Path) -> None:
    outcome = command("run", "job_match", "--input", "resumee.md", "--model", "offline")
    refused(outcome, ExitCode.USAGE, "no file 'resumee.md'", str(work))


def test_a_folder_is_refused(command: Command, files: WriteFiles) -> None:
    files({"resumes/a.md": RESUME})
    outcome = command("run", "job_match", "--input", "resumes", "--model", "offline")
    refused(outcome, ExitCode.USAGE, "'resumes' is a folder; name a file in it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(run: Command, resume: str, work: Path) -> None:
    (work / resume).chmod(0)
    refused(run(), ExitCode.USAGE, "cannot be read (Permission denied)")


@pytest.mark.parametrize("path", ["a\x00b", "x" * 5000, "resume.md/inside"])
def test_a_path_that_no_file_can_have_is_refused(run: Command, path: str) -> None:
    refused(run("--input", f"job={path}"), ExitCode.USAGE, "cannot be read")


def test_empty_standard_input_is_refused(command: Command) -> None:
    outcome = command("run", "job_match", "--model", "offline", stdin="")
    refused(outcome, ExitCode.USAGE, "standard input is empty; give the text of 'resume'")


def test_a_file_larger_than_every_context_is_refused(command: Command, work: Path) -> None:
    with (work / "huge.md").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    outcome = command("run", "job_match", "--input", "huge.md", "--model", "offline")
    refused(outcome, ExitCode.USAGE, "'huge.md' is larger than 64 MiB")


def test_an_input_beyond_the_models_context_is_refused_before_the_key_is_asked_for(
    command: Command, files: WriteFiles
) -> None:
    files({"huge.md": "履历" * 200_000})
    outcome = command("run", "job_match", "--input", "huge.md", "--free")
    refused(outcome, ExitCode.USAGE, "too long for glm-4.5-flash", "200,000", "choose a --model with a larger context")


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("gb18030", "gb18030"), ("gb2312", "gb18030"), ("utf-16", "utf-16"), ("utf-16-be-bom", "utf-16")],
)
def test_a_resume_in_another_encoding_is_read_and_the_encoding_said(
    command: Command, files: WriteFiles, encoding: str, said: str
) -> None:
    data = b"\xfe\xff" + RESUME.encode("utf-16-be") if encoding == "utf-16-be-bom" else RESUME.encode(encoding)
    files({"resume.md": data})
    outcome = command("run", "job_match", "--input", "resume.md", "--model", "offline")
    assert outcome.code == ExitCode.DONE
    assert outcome.stderr.splitlines()[0] == f"resume was read as {said}"
    assert json.loads(outcome.stdout)["overall_assessment"] == RESUME.splitlines()[1]


def test_a_gb18030_resume_may_be_piped(command: Command) -> None:
    outcome = command("run", "job_match", "--input", "-", "--model", "offline", stdin=RESUME.encode("gb18030"))
    assert "resume was read as gb18030" in outcome.stderr
    assert "八年后端开发经验" in outcome.stdout


def test_a_byte_order_mark_is_no_part_of_the_text(command: Command, files: WriteFiles) -> None:
    files({"resume.md": RESUME.encode("utf-8-sig")})
    outcome = command("run", "job_match", "--input", "resume.md", "--dry-run")
    assert "\ufeff" not in outcome.stdout
    assert "陈远" in outcome.stdout
    assert "was read as" not in outcome.stderr


# names


@pytest.mark.parametrize(
    ("argv", "pieces"),
    [
        (["run", "job_mach"], ["unknown task 'job_mach'", "did you mean 'job_match'?"]),
        (["run", "translate"], ["unknown task 'translate'", "known: detailed_resume_summary, interview_prep"]),
        (["run", "resume_detailed_sumary"], ["unknown task 'resume_detailed_sumary'", "resume_summary"]),
        (["run", "job_match", "--locale", "en_US"], ["unknown locale 'en_US'", "en, zh"]),
        (["run", "job_match", "--locale", "../zh"], ["unknown locale '../zh'"]),
        (["run", "job_match", "--model", "deepseek-chatt"], ["unknown model", "did you mean 'deepseek-chat'?"]),
        (["run", "job_match", "--model", "olama/qwen3"], ["unknown provider", "did you mean 'ollama'?"]),
        (["run", "job_match", "--model", "offline/x"], ["'offline' serves listed models only"]),
        (["run", "job_match", "--input", "resum=resume.md"], ["no variable 'resum'", "did you mean 'resume'?"]),
        (["run", "job_match", "--var", "jobb=x", "--input", "resume.md"], ["'jobb'", "did you mean 'job'?"]),
        (["run", "job_match", "--var", "resume="], ["needs 'resume'", "--input resume=FILE or --var resume=TEXT"]),
        (["run", "job_match", "--input", "job=resume.md", "--var", "resume= "], ["needs 'resume'"]),
        (["run", "job_match", "--project", "nowhere"], ["no config.yaml in", "`llmtask init"]),
    ],
)
@pytest.mark.usefixtures("resume")
def test_a_name_that_is_wrong_is_answered_with_the_right_one(
    command: Command, argv: list[str], pieces: list[str]
) -> None:
    model = [] if "--model" in argv else ["--model", "offline"]
    refused(command(*argv, *model, stdin=RESUME), ExitCode.USAGE, *pieces)


# project files


@pytest.mark.parametrize(
    ("path", "text", "pieces"),
    [
        ("config.yaml", "defaults: {locale: zh\nroutes: {}\n", ["config.yaml:2: is not valid YAML"]),
        ("config.yaml", "defaults:\n  local: zh\n", ["config.yaml:2: unknown key 'local'", "did you mean 'locale'?"]),
        (
            "config.yaml",
            "routes:\n  job_match:\n    paid: {model: deepseek-chatt}\n",
            [
                "config.yaml:3: unknown model 'deepseek-chatt' in routes.job_match.paid",
                "did you mean 'deepseek-chat'?",
            ],
        ),
        ("config.yaml", "a list of\n- things\n", ["config.yaml:"]),
        ("config.yaml", b"defaults: {locale: \xff\xfe}\n", ["config.yaml", "UTF-8"]),
        ("prompts/zh/job_match.yaml", "description: [\n", ["prompts/zh/job_match.yaml:", "is not valid YAML"]),
        ("prompts/zh/job_match.yaml", PROMPT + "sistem: x\n", ["job_match.yaml:6: unknown key 'sistem'", "'system'"]),
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace("Judge the resume.", "'Judge {{ resum }}.'"),
            ["job_match.yaml:4: system: 'resum' is undefined"],
        ),
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace("Judge the resume.", "'Judge {% if %}.'"),
            ["job_match.yaml:4: system: "],
        ),
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace("Judge the resume.", "'{{ resume.__class__.__mro__ }}'"),
            ["job_match.yaml:4: system: "],
        ),
        ("schemas/job_match.py", "import os\nimport not_there\n", ["job_match.py:2: fails to import", "not_there"]),
        ("schemas/job_match.py", "class JobMatch(:\n", ["job_match.py:1: fails to import (SyntaxError"]),
        ("schemas/job_match.py", "JobMatch = 7\n", ["has no pydantic class 'JobMatch'"]),
    ],
)
def test_a_project_file_that_is_wrong_is_named_with_its_line(
    run: Command, files: WriteFiles, path: str, text: str | bytes, pieces: list[str]
) -> None:
    files({"config.yaml": "defaults: {}\n"})
    files({path: text})
    refused(run(), ExitCode.PROJECT, *pieces)


# the usage log: whatever is wrong with it, the run goes on


def warned(outcome: "subprocess.CompletedProcess[str]", *pieces: str) -> None:
    """The run succeeded, and a warning that holds the pieces is on stderr."""
    assert outcome.returncode == ExitCode.DONE, outcome.stderr
    assert outcome.stdout == "50\n"
    warning = outcome.stderr.splitlines()[0]
    assert warning.startswith("warning: this call's row waits in ")
    assert ".spool" in warning or "/llmtask/spool/" in warning
    for piece in pieces:
        assert piece in warning
    assert "Traceback" not in outcome.stderr


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A log that another program has locked for itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("CREATE TABLE held (x)")
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


RUN = ("run", "job_match", "--input", "resume.md", "--model", "offline", "--select", "match_score")


@pytest.mark.usefixtures("resume")
def test_a_run_goes_on_without_a_log_that_another_program_holds(process: Process, work: Path) -> None:
    with held(work / "held.db"):
        warned(process(*RUN, "--db", "held.db"), "held.db: database is locked", "another program holds it")


@pytest.mark.usefixtures("resume")
def test_a_run_goes_on_where_the_log_is_no_database(process: Process, files: WriteFiles, work: Path) -> None:
    files({"notes.db": "these are my notes, and no database at all\n"})
    warned(process(*RUN, "--db", "notes.db"), "file is not a database", "--db or LLMTASK_DB")
    assert (work / "notes.db").read_text(encoding="utf-8") == "these are my notes, and no database at all\n"


@pytest.mark.usefixtures("resume")
@pytest.mark.parametrize("path", [".", "resume.md/usage.db", "/dev/null/usage.db"])
def test_a_run_goes_on_where_no_log_can_be(process: Process, path: str) -> None:
    warned(process(*RUN, "--db", path), "name another log with --db or LLMTASK_DB")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
@pytest.mark.usefixtures("resume")
def test_a_run_goes_on_where_the_log_is_read_only(process: Process, work: Path) -> None:
    assert process(*RUN, "--db", "log/usage.db").returncode == ExitCode.DONE
    for path in (*(work / "log").iterdir(), work / "log"):
        path.chmod(path.stat().st_mode & 0o555)
    warned(process(*RUN, "--db", "log/usage.db"), "Permission denied")


@pytest.mark.usefixtures("resume")
def test_a_log_that_cannot_be_written_fails_no_run_even_where_warnings_are_errors(process: Process) -> None:
    warned(process(*RUN, "--db", ".", env={"PYTHONWARNINGS": "error"}))


@pytest.mark.usefixtures("resume")
def test_a_doubtful_log_does_not_hide_that_the_key_is_missing(process: Process) -> None:
    outcome = process("run", "job_match", "--input", "resume.md", "--db", ".")
    assert outcome.returncode == ExitCode.KEY
    assert "set DEEPSEEK_API_KEY" in outcome.stderr


# what a terminal would obey

HOSTILE = (
    "\x1b]0;owned\x07\x1b[31mA resume with a long enough line\x1b[0m\n"
    "\x9b2J\x90 another line that is long enough \x08\x7f\n"
    "\x1b]8;;http://evil.example\x1b\\click this line of text\x1b]8;;\x1b\\\rover it\n"
)
ALIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--format", "json"],
        ["--format", "text"],
        ["--format", "events"],
        ["--select", "overall_assessment"],
        ["--select", "strengths"],
        ["--no-stream"],
        ["--dry-run"],
    ],
)
def test_no_control_character_of_the_input_comes_out_alive(command: Command, argv: list[str]) -> None:
    outcome = command("run", "job_match", "--model", "offline", *argv, stdin=HOSTILE)
    assert outcome.code == ExitCode.DONE
    assert "A resume with a long enough line" in outcome.stdout
    assert not ALIVE.search(outcome.stdout)
    assert not ALIVE.search(outcome.stderr)


def test_an_output_file_that_is_shown_later_is_harmless_too(command: Command, work: Path) -> None:
    for number, argv in enumerate((["--format", "text"], ["--select", "overall_assessment"], [])):
        command("run", "job_match", "--model", "offline", "--output", f"{number}", *argv, stdin=HOSTILE)
        text = (work / f"{number}").read_text(encoding="utf-8")
        assert "A resume with a long enough line" in text
        assert not ALIVE.search(text)


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "\x1b[2Jjob"],
        ["run", "job_match", "--input", "\x1b]0;x\x07.md"],
        ["run", "job_match", "--input", "job=\x1b]0;x\x07.md", "--input", "resume.md"],
        ["run", "job_match", "--model", "\x1b[31m/\x9bx"],
        ["run", "job_match", "--locale", "\x1b[31m"],
        ["run", "job_match", "--var", "\x1b[31m=x", "--input", "resume.md"],
        ["run", "job_match", "--output", "\x1b[31m/x"],
        ["run", "job_match", "--select", "\x1b[31m["],
        ["run", "job_match", "--project", "\x1b[31m"],
        ["schema", "--file", "\x1b[31m"],
        ["usage", "report", "--since", "\x1b[31m"],
    ],
)
@pytest.mark.usefixtures("resume")
def test_no_control_character_of_an_argument_comes_out_alive(command: Command, argv: list[str]) -> None:
    outcome = command(*argv)
    assert outcome.code == ExitCode.USAGE
    assert "\\x1b" in outcome.stderr
    assert not ALIVE.search(outcome.stderr)


def test_no_control_character_of_a_user_comes_out_of_the_log_alive(command: Command, run: Command) -> None:
    run("--user", "\x1b[31mmallory")
    for argv in (["report", "--by", "user"], ["report", "--by", "user", "--format", "json"], ["list", "--json"]):
        shown = command("usage", *argv).stdout
        assert "mallory" in shown
        assert not ALIVE.search(shown)
