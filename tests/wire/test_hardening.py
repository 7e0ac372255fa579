"""What careful strangers broke once: each stays mended."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import llmtask
from llmtask.errors import ExitCode
from llmtask.main import app
from tests.wire.conftest import EXAMPLES, MATCH, Outcome
from tests.wire.vendor import Reply, VendorServer

Command = Callable[..., Outcome]
RESUME = str(EXAMPLES / "resume.zh.md")
ANSWER = json.dumps(MATCH, ensure_ascii=False)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A stranger's server, and the paths it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_GET = do_PATCH = do_POST  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", paths
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_keep_alives_do_not_outlive_the_timeout(stream: str, command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER, keep_alive=600, keep_alive_interval_s=0.05))
    outcome = command("run", "job_match", "-i", RESUME, stream, "--timeout", "0.5")
    assert (outcome.code, [row.error_class for row in outcome.rows]) == (ExitCode.PROVIDER, ["timeout"])
    assert outcome.rows[0].latency_ms < 20_000  # of the 30 s that the server would go on
    assert outcome.rows[0].input_tokens > 0, "what may have been billed is not logged as nothing"


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw_body=b"<html>captive portal</html>"),
        Reply(raw_body=b'{"choices": null}'),
        Reply(raw_body=b"[]"),
        Reply(raw_events=[b"data: [DONE]\n\n"]),
        Reply(raw_events=[b": keep-alive\n\n"]),
        Reply(raw_events=[b'data: {"id":data: {"x"\n\n']),
    ],
)
def test_what_is_no_completion_is_the_providers_failure(
    reply: Reply, stream: str, command: Command, deepseek: VendorServer
) -> None:
    deepseek.queue(reply)
    outcome = command("run", "job_match", "-i", RESUME, stream)
    assert (outcome.code, outcome.stdout) == (ExitCode.PROVIDER, "")
    assert {row.error_class for row in outcome.rows} <= {"cut_stream", "blank"}
    assert len(outcome.rows) == len(deepseek.requests)


def test_tracing_variables_send_nothing_anywhere(
    command: Command, deepseek: VendorServer, listener: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, paths = listener
    for prefix in ("LANGSMITH", "LANGCHAIN"):
        monkeypatch.setenv(f"{prefix}_TRACING_V2", "true")
        monkeypatch.setenv(f"{prefix}_ENDPOINT", url)
        monkeypatch.setenv(f"{prefix}_API_KEY", "lsv2_canary")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    deepseek.queue(Reply(ANSWER))
    assert command("run", "job_match", "-i", RESUME).code == ExitCode.DONE
    assert command("run", "job_match", "-i", RESUME, "-m", "offline", "--no-stream").code == ExitCode.DONE
    assert paths == []


def test_openais_proxy_variable_is_not_ours(
    command: Command, deepseek: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_PROXY", "http://127.0.0.1:9")
    deepseek.queue(Reply(ANSWER))
    assert command("run", "job_match", "-i", RESUME).code == ExitCode.DONE


def test_the_log_keeps_no_key_of_an_answers_own(
    vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    class Notes(BaseModel):
        by_name: dict[str, int]

    deepseek.queue(Reply('{"by_name": {"张三 138-0000-0000": "five"}}'))
    log = llmtask.UsageLog(tmp_path / "notes.db")
    with pytest.raises(llmtask.AnswerInvalidError):
        llmtask.run_structured_task("job_match", {"resume": "x"}, schema=Notes, project=vendors(), log=log)
    for row in log.latest(10):
        assert "138" not in str(row)
        assert "by_name.*: int_type" in str(row.error_message)


def test_a_check_of_a_model_is_logged_like_any_call(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply('{"ok": true}'))
    outcome = command("models", "check", "deepseek-chat")
    assert outcome.code == ExitCode.DONE
    [row] = outcome.rows
    assert (row.task_template_id, row.upstream_model, bool(row.is_success)) == ("models_check", "deepseek-flash", True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_leaves_the_calls_row(
    name: str, code: int, vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER, hang_after_chunks=2))
    db = tmp_path / "signal.db"
    argv = [sys.executable, "-m", "llmtask", "run", "job_match", "-i", RESUME, "--db", str(db), "--format", "events"]
    process = subprocess.Popen(
        [*argv, "--project", str(vendors().root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert b"text" in process.stdout.readline(), "the first piece is there; the client waits for the next"
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert b"Traceback" not in error
    [row] = llmtask.UsageLog(db).latest(10)
    assert row.error_class == "interrupted"
    assert row.input_tokens > 0


def killed(argv: list[str], project: llmtask.Project, db: Path, deepseek: VendorServer) -> None:
    """A run that is killed, so that it can say nothing any more, while the vendor still answers."""
    deepseek.queue(Reply(ANSWER, hang_after_chunks=2))
    run = [sys.executable, "-m", "llmtask", "run", "job_match", "-i", RESUME, "--db", str(db), *argv]
    with subprocess.Popen(
        [*run, "--project", str(project.root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not deepseek.in_flight:
            time.sleep(0.01)
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("is_locked", [False, True])
def test_a_killed_call_is_in_the_report_as_unfinished_and_never_as_free(
    is_locked: bool, vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    project, db = vendors(), tmp_path / "killed.db"
    with closing(llmtask.UsageLog(db)) as log:
        log.check()
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE" if is_locked else "BEGIN")
        killed(["--no-stream"], project, db, deepseek)
    usage = ["--db", str(db)]
    total = json.loads(CliRunner().invoke(app, ["usage", "report", "--format", "json", *usage]).stdout)["total"]
    assert (total["calls"], total["unfinished"], total["failed"], total["unpriced"]) == (1, 1, 0, 0)
    assert (total["cost"], total["mean_latency_ms"], total["estimated"]) == ({}, 0, 1)
    assert total["input_tokens"] > 0
    shown = CliRunner().invoke(app, ["usage", "report", *usage])
    assert "unfin-" in shown.stdout
    assert "¥" not in shown.stdout
    assert shown.stderr == "1 call has no end: killed, or still going on; what was sent may have been billed\n"
    listed = CliRunner().invoke(app, ["usage", "list", *usage])
    assert "unknown" in listed.stdout
    assert "unfinished" in listed.stdout


def test_a_call_is_in_the_log_while_it_goes_on(
    vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER))
    log = llmtask.UsageLog(tmp_path / "open.db")
    events = llmtask.run_streaming_task("job_match", {"resume": "x" * 100}, project=vendors(), log=log)
    next(iter(events))
    [begun] = log.latest(10)
    assert begun.error_class == "unfinished"
    list(events)
    [ended] = log.latest(10)
    assert (ended.id, ended.is_success, ended.created_at) == (begun.id, True, begun.created_at)
    assert ended.error_class is None


def test_what_is_refused_before_it_is_sent_leaves_no_row(
    vendors: Callable[..., llmtask.Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, log = vendors(), llmtask.UsageLog(tmp_path / "none.db")
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    with pytest.raises(llmtask.KeyMissingError):
        llmtask.run_structured_task("job_match", {"resume": "x" * 100}, project=project, log=log)
    assert not log.path.exists()


def test_a_row_says_how_much_its_answer_was_helped(
    vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    class Note(BaseModel):
        text: str

    log = llmtask.UsageLog(tmp_path / "notes.db")
    deepseek.queue(Reply('Here you are: {"text": "done"}'))
    result = llmtask.run_structured_task("job_match", {"resume": "x"}, schema=Note, project=vendors(), log=log)
    assert result.repair_level == "last_object"
    assert [row.repair_level for row in log.latest(10)] == ["last_object"]


def test_strict_asks_again_for_what_is_not_the_bare_object(
    vendors: Callable[..., llmtask.Project], deepseek: VendorServer, tmp_path: Path
) -> None:
    class Note(BaseModel):
        text: str

    log = llmtask.UsageLog(tmp_path / "notes.db")
    deepseek.queue(Reply('```json\n{"text": "done"}\n```'), Reply('{"text": "bare"}'))
    result = llmtask.run_structured_task(
        "job_match", {"resume": "x"}, schema=Note, project=vendors(), log=log, strict=True
    )
    assert (result.data.text, result.attempts, result.repair_level) == ("bare", 2, "strict")
