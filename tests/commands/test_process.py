"""What only a process of its own shows: pipes, signals, terminals, encodings, and what is imported."""

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from llmtask import __version__
from llmtask.errors import ExitCode
from llmtask.usage import UsageLog, UsageRow
from tests.commands.conftest import MAIN, RESUME, Command, Process, environment

OFFLINE = ("run", "job_match", "--input", "resume.md", "--model", "offline")
LIGHT = [
    ["--help"],
    ["--version"],
    ["route", "job_match"],
    ["usage", "report"],
    ["usage", "report", "--format", "json"],
    ["usage", "list"],
    ["schema", "job_match"],
    ["schema", "--file", "config"],
    ["tasks", "list"],
    ["tasks", "show", "job_match"],
    ["doctor", "--offline"],
    ["trust", "--show"],
    ["models", "list"],
    ["prices", "list"],
    ["prices", "check"],
    ["prompts", "lint"],
    ["prompts", "show", "job_match"],
]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


def rows(tmp_path: Path) -> list[UsageRow]:
    return UsageLog(tmp_path / "usage.db").latest(10)


def ids(argv: list[str]) -> str:
    return " ".join(argv)


# Which modules come in with a command.

IMPORTED = """
import sys
sys.argv[0] = "llmtask"
from llmtask.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
heavy = ("langchain", "langchain_core", "langchain_openai", "langchain_community", "langsmith", "openai")
print("heavy:", *sorted({name.split(".")[0] for name in sys.modules} & set(heavy)), file=sys.stderr)
"""


def heavy_imports(*argv: str) -> str:
    """What a command imported of LangChain and openai."""
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, *argv],
        env=environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        check=True,
    )
    return result.stderr.splitlines()[-1].removeprefix("heavy:").strip()


@pytest.mark.parametrize("argv", LIGHT, ids=ids)
def test_a_command_that_asks_no_model_never_imports_langchain(run: Command, argv: list[str]) -> None:
    assert run().code == ExitCode.DONE  # so that there is something to report
    assert heavy_imports(*argv) == ""


@pytest.mark.usefixtures("resume")
def test_a_run_does_import_it() -> None:
    assert "langchain_core" in heavy_imports(*OFFLINE)


@pytest.mark.parametrize("argv", [*LIGHT, list(OFFLINE)], ids=ids)
@pytest.mark.usefixtures("resume")
def test_every_command_works_where_warnings_are_errors(process: Process, argv: list[str]) -> None:
    result = process(*argv, env={"PYTHONWARNINGS": "error"})
    assert result.returncode == ExitCode.DONE, result.stderr
    assert "Warning" not in result.stderr


def test_python_m_and_the_console_script_are_the_same_program(process: Process) -> None:
    assert process("--version").stdout == f"llmtask {__version__}\n"
    script = subprocess.run([sys.executable, *MAIN, "--version"], env=environment(), capture_output=True, check=True)
    assert script.stdout == f"llmtask {__version__}\n".encode()


# stdin, stdout, stderr


def shell(script: str, *argv: str) -> "subprocess.CompletedProcess[str]":
    """Runs `script` in sh, where "$@" is a command line of llmtask."""
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, *MAIN, *argv],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.usefixtures("resume")
def test_a_closed_stdin_is_no_hindrance_to_a_run_that_does_not_read_it() -> None:
    result = shell('"$@" <&-', *OFFLINE, "--select", "match_score")
    assert (result.returncode, result.stdout) == (ExitCode.DONE, "50\n")


@pytest.mark.parametrize(
    ("argv", "piece"),
    [(["--input", "-"], "standard input is closed; name a file with --input FILE"), ([], "needs 'resume'")],
)
def test_a_closed_stdin_that_is_wanted_is_one_clear_error(argv: list[str], piece: str) -> None:
    result = shell('"$@" <&-', "run", "job_match", "--model", "offline", *argv)
    assert (result.returncode, result.stdout) == (ExitCode.USAGE, "")
    assert piece in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("form", ["pretty", "json", "events"])
@pytest.mark.usefixtures("resume")
def test_a_reader_that_left_ends_the_run_with_141_and_its_row(tmp_path: Path, form: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, *MAIN, *OFFLINE, "--format", form],
            env=environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    finally:
        os.close(writer)
    assert result.returncode == ExitCode.PIPE_CLOSED
    assert result.stderr == ""
    assert [row.model_id for row in rows(tmp_path)] == ["offline"]


@pytest.mark.parametrize("argv", [["tasks", "list"], ["doctor", "--offline"], ["route", "job_match"]], ids=ids)
def test_a_reader_that_left_ends_any_command_with_141(argv: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, *MAIN, *argv], env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (ExitCode.PIPE_CLOSED, b"")


@pytest.mark.usefixtures("resume")
def test_head_gets_its_bytes_and_nobody_complains(tmp_path: Path) -> None:
    result = shell('"$@" | head -c 10', *OFFLINE, "--format", "events")
    assert result.stdout == '{"event": '
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr
    assert [row.model_id for row in rows(tmp_path)] == ["offline"]


@pytest.mark.usefixtures("resume")
def test_a_closed_stdout_is_refused_before_the_call(tmp_path: Path) -> None:
    result = shell('"$@" >&-', *OFFLINE)
    assert result.returncode == ExitCode.USAGE
    assert result.stderr == "llmtask: standard output is closed; send it somewhere\n"
    assert rows(tmp_path) == []


@pytest.mark.usefixtures("resume")
def test_a_closed_stdout_is_no_hindrance_to_a_run_with_an_output_file(work: Path) -> None:
    result = shell('"$@" >&-', *OFFLINE, "--output", "answer.json", "--select", "match_score")
    assert result.returncode == ExitCode.DONE
    assert (work / "answer.json").read_text(encoding="utf-8") == "50\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("argv", [["route", "job_match"], ["tasks", "list"], list(OFFLINE), ["--help"]], ids=ids)
@pytest.mark.usefixtures("resume")
def test_a_full_disk_is_no_bug_of_ours(argv: list[str]) -> None:
    result = shell('"$@" >/dev/full', *argv)
    assert result.returncode == ExitCode.USAGE
    assert result.stderr.endswith(
        "llmtask: standard output cannot be written (No space left on device); send it somewhere else\n"
    )


@pytest.mark.usefixtures("resume")
def test_a_closed_stderr_is_no_hindrance(tmp_path: Path) -> None:
    result = shell('"$@" 2>&-', *OFFLINE, "--select", "match_score")
    assert (result.returncode, result.stdout) == (ExitCode.DONE, "50\n")
    assert len(rows(tmp_path)) == 1


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "latin-1"])
@pytest.mark.usefixtures("resume")
def test_what_an_encoding_lacks_is_escaped_so_that_the_json_stays_what_it_was(encoding: str) -> None:
    result = subprocess.run(
        [sys.executable, *MAIN, "run", "job_match", "--model", "offline", "--var", "resume=ein Löwe 🦁 und ein 老虎"],
        env=environment(PYTHONIOENCODING=encoding),
        capture_output=True,
        check=False,
    )
    assert result.returncode == ExitCode.DONE, result.stderr
    assert json.loads(result.stdout.decode(encoding))["overall_assessment"] == "ein Löwe 🦁 und ein 老虎"


def test_a_table_with_a_check_mark_can_be_written_in_gbk() -> None:
    result = subprocess.run(
        [sys.executable, *MAIN, "doctor", "--offline"],
        env=environment(PYTHONIOENCODING="gbk"),
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (ExitCode.DONE, b"")


@pytest.mark.usefixtures("resume")
def test_the_log_is_its_owners_alone(process: Process, tmp_path: Path) -> None:
    assert process(*OFFLINE).returncode == ExitCode.DONE
    assert stat.S_IMODE((tmp_path / "usage.db").stat().st_mode) == 0o600


def test_a_bug_is_called_one_and_shows_no_traceback_unless_asked(process: Process, work: Path) -> None:
    (work / "config.yaml").write_text("defaults: {}\n", encoding="utf-8")
    (work / "schemas").mkdir()
    (work / "schemas" / "job_match.py").write_text(
        "from pydantic import BaseModel\n"
        "class JobMatch(BaseModel):\n"
        "    @classmethod\n"
        "    def model_json_schema(cls, *a, **k):\n"
        "        raise ZeroDivisionError('canary')\n",
        encoding="utf-8",
    )
    result = process("schema", "job_match")
    assert (result.returncode, result.stdout) == (ExitCode.BUG, "")
    assert result.stderr == (
        "llmtask: a bug: ZeroDivisionError: canary; LLMTASK_DEBUG=1 shows where. Please report it\n"
    )
    assert "Traceback" in process("schema", "job_match", env={"LLMTASK_DEBUG": "1"}).stderr


# Ctrl-C


def whole_request(connection: socket.socket) -> bytes:
    """A request to its last byte: whoever sent it has nothing left to do but wait."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, body = received.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]  # every request says it
    while len(body) < length:
        body += connection.recv(65536)
    return head


@pytest.mark.parametrize("argv", [[], ["--no-stream"]], ids=["stream", "no-stream"])
@pytest.mark.usefixtures("resume")
def test_ctrl_c_ends_a_call_with_130_one_sentence_and_its_row(
    silent_vendor: socket.socket, tmp_path: Path, argv: list[str]
) -> None:
    script = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {MAIN[1]}"
    running = subprocess.Popen(
        [sys.executable, "-c", script, "run", "job_match", "--input", "resume.md", *argv],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with running:
        connection, _ = silent_vendor.accept()
        with connection:
            connection.settimeout(60)
            assert whole_request(connection).startswith(b"POST /v1/chat/completions")
            running.send_signal(signal.SIGINT)
            stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stdout) == (ExitCode.INTERRUPTED, "")
    assert stderr == "llmtask: interrupted\n"
    [row] = rows(tmp_path)
    assert (row.error_class, row.is_success, row.model_id) == ("interrupted", 0, "deepseek-chat")


# a terminal


def on_a_terminal(*argv: str, columns: int = 80, **env: str) -> str:
    """All that a command shows on a terminal of that width."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, *MAIN, *argv],
        env=environment(COLUMNS=str(columns), LINES="20", **env),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as running:
        os.close(slave)
        shown = bytearray()
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        running.wait(timeout=60)
    os.close(master)
    return shown.decode("utf-8").replace("\r\n", "\n")


def test_a_terminal_gets_colours_and_no_color_takes_them_away() -> None:
    assert COLOUR.search(on_a_terminal("run", "nope"))
    plain = on_a_terminal("run", "nope", NO_COLOR="1")
    assert "unknown task 'nope'" in plain
    assert not COLOUR.search(plain)


@pytest.mark.usefixtures("resume")
def test_no_color_holds_for_the_answer_too() -> None:
    assert COLOUR.search(on_a_terminal(*OFFLINE).split("valid ✓")[0].rsplit("overall_assessment", 1)[1])
    assert not COLOUR.search(on_a_terminal(*OFFLINE, NO_COLOR="1"))


@pytest.mark.usefixtures("resume")
def test_a_pipe_gets_no_escape_sequence_at_all(process: Process) -> None:
    result = process(*OFFLINE)
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.usefixtures("resume")
def test_on_a_terminal_the_answer_is_previewed_and_the_closing_line_stands_last() -> None:
    shown = on_a_terminal(*OFFLINE, "--output", "answer.json", NO_COLOR="1")
    assert '"match_score"' in shown, "the preview is the only place where it can come from"
    assert "→ answer.json" in shown.split("valid ✓")[1]
    assert "\x1b[?25h" in shown, "the cursor is back"


def test_on_a_terminal_a_missing_input_is_asked_for_and_not_waited_for() -> None:
    shown = on_a_terminal("run", "job_match", "--model", "offline")
    assert "needs 'resume'" in shown


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.usefixtures("resume")
def test_a_small_terminal_cuts_no_number_and_no_name_and_names_what_has_no_room(run: Command, columns: int) -> None:
    run("--user", "a.very.long.name.of.a.user@example.com")
    shown = on_a_terminal("usage", "report", "--by", "user", columns=columns, NO_COLOR="1")
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in shown.splitlines()]
    assert all(len(line) <= columns for line in lines if "─" in line)
    head, tail = next((line, lines[index + 1]) for index, line in enumerate(lines) if line.startswith("a.very.long"))
    assert f"{head.split()[0]}{tail.split()[0] if columns < 80 else ''}" == "a.very.long.name.of.a.user@example.com"
    assert head.endswith("¥0"), "what it cost has room before all else"
    assert ("no room for: in, out" in shown) == (columns == 40)


# shell completion


def completed(*words: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, *MAIN],
        env=environment(_LLMTASK_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1)),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.stderr == ""
    return result.stdout.split()


def test_bash_completes_commands_tasks_models_and_locales() -> None:
    assert "route" in completed("llmtask", "ro")
    assert completed("llmtask", "run", "job") == ["job_summary", "job_match"]
    assert completed("llmtask", "route", "interv") == ["interview_prep"]
    assert completed("llmtask", "run", "job_match", "--model", "off") == ["offline"]
    assert completed("llmtask", "run", "job_match", "--locale", "e") == ["en"]


def test_completion_follows_the_project_and_keeps_quiet_where_it_is_wrong(work: Path) -> None:
    config = work / "config.yaml"
    config.write_text('tasks: {job_mine: {schema: "job_match:JobMatch"}}\n', encoding="utf-8")
    assert "job_mine" in completed("llmtask", "run", "job")
    config.write_text("tasks: {\n", encoding="utf-8")
    assert completed("llmtask", "run", "job") == []


def test_the_completion_script_is_there() -> None:
    result = subprocess.run(
        [sys.executable, *MAIN], env=environment(_LLMTASK_COMPLETE="source_bash"), capture_output=True, check=False
    )
    assert b"complete -o default -F _llmtask_completion llmtask" in result.stdout


@pytest.mark.usefixtures("resume")
def test_a_resume_may_be_piped_in_gb18030() -> None:
    result = subprocess.run(
        [sys.executable, *MAIN, "run", "job_match", "--model", "offline", "--select", "overall_assessment"],
        env=environment(),
        input=RESUME.encode("gb18030"),
        capture_output=True,
        check=False,
    )
    assert result.stdout.decode("utf-8") == f"{RESUME.splitlines()[1]}\n"
    assert b"resume was read as gb18030" in result.stderr
