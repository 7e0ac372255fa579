"""The usage log: the data access layer over one SQLite file. One row per model call; never any content."""

import errno
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from llmtask.errors import Failure, UsageLogError
from llmtask.interrupts import held
from llmtask.usage.migrations import NAMES, SET, migrate
from llmtask.usage.row import COLUMNS, UsageRow
from llmtask.usage.spool import NewerRowError, Spool, read, set_aside, text

DB_VARIABLE = "LLMTASK_DB"

_BUSY_S = 5.0  # how long a command about the log waits for another writer
_PATIENCE_S = 1.0  # how long a call's row waits for one, before the call and after it
_IMPATIENCE_S = 0.05  # how long it waits in a process that has waited in vain
# Between two tries. SQLite's own pauses grow to 0.1 s, so that of many writers some wait for seconds, and some of its
# statements don't wait at all.
_PAUSE_S = 0.003

_Found = TypeVar("_Found")


class UsageLogWarning(UserWarning):
    """A row could not be written to the log; the run went on."""


_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO llm_usage_logs ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608  # our names
# What is finished stays as it is: a begin that comes late opens nothing again, an end that comes twice changes nothing.
_WRITE = f"""
    {_INSERT} ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
    WHERE llm_usage_logs.error_class = '{Failure.UNFINISHED.value}'
"""


def default_path() -> Path:
    """Where the log is: `LLMTASK_DB`, else usage.db in the user's data folder."""
    named = os.environ.get(DB_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("llmtask", appauthor=False) / "usage.db"


class Ledger(Protocol):
    """Where the rows of calls go: the usage log, or what hands them on to it."""

    def begin(self, row: UsageRow) -> None:
        """Take the row of a call that is about to begin."""
        ...

    def finish(self, row: UsageRow) -> None:
        """Take the row of a call that has ended."""
        ...


class UsageLog:
    """A usage log that is opened when it is first needed. Safe to share between threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Name the file; the default path where it is left out."""
        self.path = path or default_path()
        self._spool = Spool(self.path)
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._patience_s = _PATIENCE_S

    def begin(self, row: UsageRow) -> None:
        """Write the row of a call that is about to begin, as unfinished: it is there whatever ends the process.

        Where the log cannot be written, the row goes to the spool; `finish` says so.
        """
        self._keep(row.opened())

    def finish(self, row: UsageRow) -> None:
        """Close the row of a call that has ended, and take in what waits in the spool.

        Where the log cannot be written, the row goes to the spool and a UsageLogWarning says where that is; where that
        cannot be written either, the warning holds the row.
        """
        problem = self._keep(row)
        if problem:
            warnings.warn(problem, UsageLogWarning, stacklevel=2)
        else:
            self.drain()

    def record(self, row: UsageRow) -> None:
        """Add the row of a call that has ended; it is on disk when this returns.

        Raises:
            UsageLogError: It cannot be written.
        """
        self._patiently(lambda connection: connection.execute(_INSERT, _bound(row)))

    def drain(self) -> None:
        """Take in the rows that wait in the spool; a UsageLogWarning says why one has to wait on."""
        files = self._spool.files()
        if not files:
            return
        try:
            problems = self._patiently(lambda connection: self._drained(connection, files), _PATIENCE_S)
        except UsageLogError as error:
            count = len({file.name.partition(".")[0] for file in files})
            problems = [f"{count} {'row waits' if count == 1 else 'rows wait'} in {files[0].parent}: {error}"]
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            warnings.warn(problems[0] + more, UsageLogWarning, stacklevel=2)

    def latest(self, count: int) -> list[UsageRow]:
        """The last calls, the newest first; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        rows = self.query(f"SELECT {_NAMES} FROM llm_usage_logs ORDER BY created_at DESC, id DESC LIMIT ?", (count,))  # noqa: S608
        return [
            UsageRow(**{name: _read(name, value) for name, value in zip(COLUMNS, row, strict=True)}) for row in rows
        ]

    def query(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        if self._connection is None and not self.path.exists():
            return []
        return self._patiently(lambda connection: connection.execute(sql, parameters).fetchall())

    def check(self) -> None:
        """Open it, and make its tables where they are missing.

        Raises:
            UsageLogError: It cannot be written.
        """
        self._patiently(lambda connection: connection.executescript("BEGIN IMMEDIATE; ROLLBACK"))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _keep(self, row: UsageRow) -> str:
        """Write a row to the log, or else to the spool.

        Returns:
            Where it is instead, and why; empty where it is in the log.
        """
        try:
            with held():
                self._write(row)
        except UsageLogError as error:
            try:
                return f"this call's row waits in {self._spool.put(row)}: {error}"
            except OSError as spool_error:
                reason = spool_error.strerror or type(spool_error).__name__
                return f"this call was not logged, and its row can wait nowhere ({reason}): {text(row)}; {error}"
        return ""

    def _write(self, row: UsageRow) -> None:
        try:
            self._patiently(lambda connection: connection.execute(_WRITE, _bound(row)), self._patience_s)
        except UsageLogError:
            self._patience_s = _IMPATIENCE_S
            self.close()  # what is wrong with the file may have been put right by the next time
            raise
        self._patience_s = _PATIENCE_S

    def _drained(self, connection: sqlite3.Connection, files: Iterable[Path]) -> list[str]:
        """Bring the rows of files into the log.

        Returns:
            What is wrong with those that could not be brought in.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            problems = {file: _problem(connection, file) for file in files}
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self._spool.remove(file for file, problem in problems.items() if not problem)
        return [problem for problem in problems.values() if problem]

    def _patiently(self, work: Callable[[sqlite3.Connection], _Found], patience_s: float = _BUSY_S) -> _Found:
        """Do something with the open log, trying again for so long while another program holds it.

        Raises:
            UsageLogError: It cannot be done.
        """
        until = time.monotonic() + patience_s
        with self._lock, _errors_named(self.path):
            while True:
                try:
                    return work(self._opened())
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                time.sleep(_PAUSE_S)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            _make_private(self.path)
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                _ready(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


_values = attrgetter(*COLUMNS)  # astuple copies each value


def _bound(row: UsageRow) -> tuple[Any, ...]:
    """A row's values for SQLite, which takes no lone surrogates; arguments that are no UTF-8 bring some."""
    return tuple(
        value if not isinstance(value, str) or value.isascii() else value.encode(errors="backslashreplace").decode()
        for value in _values(row)
    )


def _problem(connection: sqlite3.Connection, file: Path) -> str:
    """Write the row that waits in a file.

    Returns:
        Why it cannot be written; empty where it is in the log.
    """
    try:
        connection.execute(_WRITE, _bound(read(file)))
    except FileNotFoundError:  # another process brought it in
        return ""
    except OSError as error:
        return f"{file} cannot be read ({error.strerror}); its row waits on"
    except NewerRowError:
        return f"{file} is the row of a newer llmtask; it waits until this one is upgraded"
    except (ValueError, OverflowError):
        return f"{set_aside(file)} holds no row of a usage log; it is kept for you to look at"
    return ""


def _read(column: str, value: Any) -> Any:
    """A value as `UsageRow` has it: SQLite knows no booleans."""
    return bool(value) if column.startswith("is_") else value


def _make_private(path: Path) -> None:
    """An empty file that its owner alone can read, where there is none.

    One that is there is not opened: closing it again would drop the locks of every connection that this process has.

    Raises:
        OSError: It cannot be made, or is there and cannot be written.
    """
    with suppress(FileExistsError):  # a file where the folder should be: opening says it better
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        problem = errno.EISDIR if path.is_dir() else 0 if _may_write(path) else errno.EACCES
        if problem:
            raise OSError(problem, os.strerror(problem)) from None


def _may_write(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _ready(connection: sqlite3.Connection) -> None:
    """WAL mode and this release's tables.

    Raises:
        UsageLogError: It is no usage log, or a newer release made it.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "llm_usage_logs" not in tables:
        message = "is a database of something else; name the usage log with --db or LLMTASK_DB"
        raise UsageLogError(message)
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    applied = _applied(connection)
    if not set(applied) <= set(NAMES):
        message = "was written by a newer llmtask; upgrade this one, or name another log with --db or LLMTASK_DB"
        raise UsageLogError(message)
    if len(applied) < len(NAMES):
        migrate(connection)


def _applied(connection: sqlite3.Connection) -> list[str]:
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    if not exists:
        return []
    return [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (SET,))]


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as UsageLogError, with the way out."""
    way_out = "name another log with --db or LLMTASK_DB"
    try:
        yield
    except UsageLogError as error:
        message = f"usage log {path}: {error}"
        raise UsageLogError(message) from error
    except sqlite3.OperationalError as error:
        busy = "locked" in str(error) or "busy" in str(error)
        hint = "another program holds it; try again" if busy else way_out
        message = f"usage log {path}: {error}; {hint}"
        raise UsageLogError(message) from error
    except (sqlite3.Error, OverflowError) as error:  # a vendor may count more than SQLite holds
        message = f"usage log {path}: {error}; {way_out}"
        raise UsageLogError(message) from error
    except OSError as error:
        message = f"usage log {path}: {error.strerror}; {way_out}"
        raise UsageLogError(message) from error
