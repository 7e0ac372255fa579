"""The usage log: the data access layer over one SQLite file. One row per model call; never any content."""

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args

from llmtask.errors import UsageLogError
from llmtask.money import Cost, Currency
from llmtask.usage.migrations import NAMES, SET, migrate

DB_VARIABLE = "LLMTASK_DB"

_LONGEST_MESSAGE = 500  # characters of an error message that are kept
_BUSY_S = 5.0  # how long to wait for another writer
_TRIES = 20  # of turning WAL on, which does not wait by itself


class UsageLogWarning(UserWarning):
    """A row could not be written; the run went on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One model call, as table `llm_usage_logs` holds it: a field per column, in the table's words."""

    id: str
    user_id: str | None = None
    service_id: str | None = None
    task_template_id: str
    provider: str
    model_id: str
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    latency_ms: int
    cost: float | None = None
    is_stream: bool = False
    is_success: bool = True
    error_message: str | None = None
    created_at: str
    cost_nanos: int | None = None
    currency: str | None = None
    upstream_model: str | None = None
    queue_id: str | None = None
    tier: str | None = None
    worker: str | None = None
    locale: str | None = None
    prompt_hash: str | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    first_token_ms: int | None = None
    attempt: int = 1
    run_id: str
    finish_reason: str | None = None
    error_class: str | None = None
    is_estimate: bool = False

    @property
    def price(self) -> Cost | None:
        """What the call cost; None where it is unpriced."""
        if self.cost_nanos is None or self.currency not in get_args(Currency):
            return None
        return Cost(self.cost_nanos, cast("Currency", self.currency))

    def __post_init__(self) -> None:
        """Keep the error message to its length."""
        if self.error_message:
            object.__setattr__(self, "error_message", self.error_message[:_LONGEST_MESSAGE])


COLUMNS = tuple(one.name for one in fields(UsageRow))
_INSERT = f"INSERT INTO llm_usage_logs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608  # our names


def new_id() -> str:
    """An id that no other has and that sorts by time: 12 hex digits of milliseconds, 20 at random."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def timestamp(at: datetime) -> str:
    """An instant as the log writes it, such as 2026-11-23T09:30:00.000Z."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def default_path() -> Path:
    """Where the log is: `LLMTASK_DB`, else usage.db in the user's data folder."""
    named = os.environ.get(DB_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("llmtask", appauthor=False) / "usage.db"


class UsageLog:
    """A usage log that is opened when it is first needed. Safe to share between threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Name the file; the default path where it is left out."""
        self.path = path or default_path()
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def record(self, row: UsageRow) -> None:
        """Add a row; it is on disk when this returns.

        Raises:
            UsageLogError: It cannot be written.
        """
        with self._lock, _errors_named(self.path):
            self._opened().execute(_INSERT, astuple(row))

    def latest(self, count: int) -> list[UsageRow]:
        """The last calls, the newest first; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        names = ", ".join(COLUMNS)
        rows = self.query(f"SELECT {names} FROM llm_usage_logs ORDER BY created_at DESC, id DESC LIMIT ?", (count,))  # noqa: S608
        return [
            UsageRow(**{name: _read(name, value) for name, value in zip(COLUMNS, row, strict=True)}) for row in rows
        ]

    def query(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        with self._lock, _errors_named(self.path):
            if self._connection is None and not self.path.exists():
                return []
            if self._connection is None:
                _check_is_ours(self.path)
            return self._opened().execute(sql, parameters).fetchall()

    def check(self) -> None:
        """Open it, and make its tables where they are missing.

        Raises:
            UsageLogError: It cannot be written.
        """
        with self._lock, _errors_named(self.path):
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            _make_private(self.path)
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _ready(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _read(column: str, value: Any) -> Any:
    """A value as `UsageRow` has it: SQLite knows no booleans."""
    return bool(value) if column.startswith("is_") else value


def _check_is_ours(path: Path) -> None:
    """Refuse to read, and so to add tables to, a database that is no usage log.

    Raises:
        UsageLogError: It has tables, and ours is not among them.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
    if tables and "llm_usage_logs" not in tables:
        message = "is a database of something else; name the usage log with --db or LLMTASK_DB"
        raise UsageLogError(message)


def _make_private(path: Path) -> None:
    """An empty file that its owner alone can read, where there is none."""
    with suppress(FileExistsError):  # a file where the folder should be: opening says it better
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _ready(connection: sqlite3.Connection) -> None:
    """WAL mode and this release's tables.

    Raises:
        UsageLogError: A newer release made the log.
    """
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _turn_wal_on(connection)
    applied = _applied(connection)
    if not set(applied) <= set(NAMES):
        message = "was written by a newer llmtask; upgrade this one, or name another log with --db or LLMTASK_DB"
        raise UsageLogError(message)
    if len(applied) < len(NAMES):
        migrate(connection)


def _turn_wal_on(connection: sqlite3.Connection) -> None:
    for attempt in range(_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.01 * (attempt + 1))
        else:
            return


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
    except sqlite3.DatabaseError as error:
        message = f"usage log {path}: {error}; {way_out}"
        raise UsageLogError(message) from error
    except OSError as error:
        message = f"usage log {path}: {error.strerror}; {way_out}"
        raise UsageLogError(message) from error
