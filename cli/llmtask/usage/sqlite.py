"""The usage log's SQLite file: opened in WAL mode, private to its owner, waited for where another program holds it."""

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from llmtask.errors import UsageLogError
from llmtask.usage.database import Connection, RowRefusedError
from llmtask.usage.migrations import NAMES, SET, migrate
from llmtask.usage.rollup import SQLITE

# Between two tries. SQLite's own pauses grow to 0.1 s, so that of many writers some wait for seconds, and some of its
# statements don't wait at all.
_PAUSE_S = 0.003
_LONG_PAUSE_S = 0.02  # while another process makes the tables: many that ask often would keep it from doing so

_Found = TypeVar("_Found")


class SqliteDatabase:
    """A usage log's file."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self.path = path
        self.place = str(path)
        self.sql = SQLITE
        self.identity = f"SELECT applied_at FROM _sqlite_migrations WHERE migration_set = '{SET}' ORDER BY id LIMIT 1"
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._connection is not None or self.path.exists()

    def run(self, work: Callable[[Connection], _Found], patience_s: float) -> _Found:
        """Do something with the open file, trying again for so long while another program holds it.

        Raises:
            UsageLogError: It cannot be done.
        """
        until = time.monotonic() + patience_s
        with self._lock, _errors_named(self.path):
            while True:
                try:
                    return work(self._opened(until))
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                time.sleep(_PAUSE_S)

    def atomic(self, work: Callable[[Connection], _Found], patience_s: float) -> _Found:
        """As `run`, in one transaction that keeps other writers out.

        Raises:
            UsageLogError: It cannot be done.
        """

        def together(connection: Connection) -> _Found:
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            return found

        return self.run(together, patience_s)

    @property
    def files(self) -> list[Path]:
        """The file and those beside it that SQLite keeps for it, as far as there are any."""
        real = os.path.realpath(self.path)  # SQLite names them after it
        names = (Path(real + end) for end in ("", "-wal", "-shm", "-journal"))
        return [name for name in names if name.exists()]

    def compact(self, patience_s: float) -> bool:
        """Write the file anew, without what was deleted, and empty the write-ahead log.

        Returns:
            False where another program still reads what was there before, so that the write-ahead log keeps it.

        Raises:
            UsageLogError: It cannot be done: there is no room for a second file, for instance.
        """
        self.run(lambda connection: connection.execute("VACUUM"), patience_s)
        until = time.monotonic() + patience_s
        while True:
            is_busy = self.run(
                lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], patience_s
            )
            if not is_busy or time.monotonic() > until:
                return not is_busy
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self, until: float) -> sqlite3.Connection:
        if self._connection is None:
            _make_private(self.path)
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                _ready(connection, until)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


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


def _ready(connection: sqlite3.Connection, until: float) -> None:
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
    while not _is_up_to_date(connection):
        try:
            migrate(connection, _is_up_to_date)
        except sqlite3.OperationalError as error:  # somebody else does it, or holds the file
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_LONG_PAUSE_S)


def _is_up_to_date(connection: sqlite3.Connection) -> bool:
    """Whether it has this release's tables.

    Raises:
        UsageLogError: A newer release made it.
    """
    applied = _applied(connection)
    if not set(applied) <= set(NAMES):
        message = "was written by a newer llmtask; upgrade this one, or name another log with --db or LLMTASK_DB"
        raise UsageLogError(message)
    return len(applied) == len(NAMES)


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
    except (sqlite3.DataError, sqlite3.IntegrityError, OverflowError) as error:  # a vendor may count more than it holds
        message = f"usage log {path}: {error}; {way_out}"
        raise RowRefusedError(message) from error
    except sqlite3.Error as error:
        message = f"usage log {path}: {error}; {way_out}"
        raise UsageLogError(message) from error
    except OSError as error:
        message = f"usage log {path}: {error.strerror}; {way_out}"
        raise UsageLogError(message) from error
