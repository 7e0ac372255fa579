"""`llmtask run` where the usage log cannot be written: the answer is delivered, and the row is logged later, once."""

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.usage import UsageLog, UsageLogWarning
from llmtask.usage.spool import Spool, read
from tests.commands.conftest import Command, environment

RUN = ("run", "job_match", "--input", "resume.md", "--model", "offline", "--select", "match_score")

Obstacle = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def another_writer(path: Path) -> Iterator[None]:
    UsageLog(path).check()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def an_exclusive_lock(path: Path) -> Iterator[None]:
    with closing(UsageLog(path)) as log:
        log.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def no_database(path: Path) -> Iterator[None]:
    path.write_text("these are my notes, and no database at all\n" * 500, encoding="utf-8")
    yield
    path.unlink()


@contextmanager
def half_a_database(path: Path) -> Iterator[None]:
    with closing(UsageLog(path)) as log:
        log.check()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    yield
    path.write_bytes(whole)


@contextmanager
def a_newer_release(path: Path) -> Iterator[None]:
    with closing(UsageLog(path)) as log:
        log.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('llmtask', '9999_x', '')"
        )
        yield
        other.execute("DELETE FROM _sqlite_migrations WHERE name = '9999_x'")


@contextmanager
def something_else(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE orders (id)")
    yield
    path.unlink()


@contextmanager
def a_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def no_folder(path: Path) -> Iterator[None]:
    path.parent.rmdir()
    path.parent.touch()
    yield
    path.parent.unlink()


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (another_writer, "database is locked"),
        (an_exclusive_lock, "database is locked"),
        (no_database, "file is not a database"),
        (half_a_database, "database disk image is malformed"),
        (a_newer_release, "was written by a newer llmtask"),
        (something_else, "is a database of something else"),
        (a_folder, "Is a directory"),
        (no_folder, "Not a directory"),
    ],
)
@pytest.mark.usefixtures("resume")
def test_the_answer_comes_and_the_row_is_logged_once_the_obstacle_is_gone(
    command: Command, tmp_path: Path, obstacle: Obstacle, reason: str
) -> None:
    path = tmp_path / "log" / "usage.db"
    path.parent.mkdir()
    with obstacle(path):
        with pytest.warns(UsageLogWarning, match=rf"this call's row waits in .*: usage log .*{reason}"):
            outcome = command(*RUN, "--db", str(path))
        assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "50\n")
        [waiting] = [read(file) for file in Spool(path).files()]
        assert (waiting.model_id, waiting.is_success) == ("offline", True)
    assert command(*RUN, "--db", str(path)).stderr.startswith("valid ✓")
    rows = UsageLog(path).latest(10)
    assert len(rows) == 2
    assert waiting in rows
    spool = Spool(path)
    assert not spool.beside.exists()
    assert not spool.elsewhere.exists()


@pytest.mark.usefixtures("resume")
def test_a_disk_without_room_for_the_log_is_no_hindrance(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "usage.db"

    def leave_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # bytes of a file: a row, and no database

    result = subprocess.run(
        [sys.executable, "-m", "llmtask", *RUN],
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        encoding="utf-8",
        preexec_fn=leave_little_room,  # this test has one thread
        check=False,
    )
    assert (result.returncode, result.stdout) == (ExitCode.DONE, "50\n"), result.stderr
    assert result.stderr.startswith(f"warning: this call's row waits in {path}.spool: usage log {path}: disk I/O error")
    [waiting] = [read(file) for file in Spool(path).files()]
    assert command(*RUN).code == ExitCode.DONE
    assert sorted(one.id for one in UsageLog(path).latest(10))[0] == waiting.id
    assert len(UsageLog(path).latest(10)) == 2
    assert not Spool(path).beside.exists()


@pytest.mark.parametrize("argv", [("report",), ("list",)])
@pytest.mark.usefixtures("resume")
def test_a_look_at_the_log_brings_the_waiting_rows_in(command: Command, tmp_path: Path, argv: tuple[str, ...]) -> None:
    path = tmp_path / "usage.db"
    with a_folder(path), pytest.warns(UsageLogWarning):
        command(*RUN)
    outcome = command("usage", *argv)
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert "offline" in outcome.stdout
    assert Spool(path).files() == []


@pytest.mark.usefixtures("resume")
def test_a_look_at_a_log_that_cannot_be_written_says_how_many_rows_wait(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    with closing(UsageLog(path)) as log:
        log.check()
    with another_writer(path):
        with pytest.warns(UsageLogWarning):
            command(*RUN)
        with pytest.warns(UsageLogWarning, match=rf"1 row waits in {path}.spool: usage log {path}: database is locked"):
            assert command("usage", "report", "--format", "json").code == ExitCode.DONE
        with pytest.warns(UsageLogWarning, match="1 row waits in"):
            assert command("usage", "list").code == ExitCode.DONE
    assert command("usage", "report").stderr == ""


def test_no_log_opens_no_row_and_no_spool(command: Command, resume: str, tmp_path: Path) -> None:
    with a_folder(tmp_path / "usage.db"):
        outcome = command("run", "job_match", "--input", resume, "--model", "offline", "--no-log")
    assert outcome.code == ExitCode.DONE
    assert Spool(tmp_path / "usage.db").files() == []
