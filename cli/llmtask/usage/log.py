"""The usage log: the data access layer. One row per model call; never any content."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmtask.errors import Failure, UsageLogError
from llmtask.interrupts import held
from llmtask.usage.address import is_address
from llmtask.usage.database import Connection, Database, RowRefusedError
from llmtask.usage.rollup import Writer
from llmtask.usage.row import COLUMNS, UsageRow
from llmtask.usage.spool import NewerRowError, Spool, read, set_aside, text
from llmtask.usage.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from llmtask.project import Project
    from llmtask.tokens import Tokens  # brings the project's models, which a report of the log does without

DB_VARIABLE = "LLMTASK_DB"

_BUSY_S = 5.0  # how long a command about the log waits for another writer
_PATIENCE_S = 1.0  # how long a call's row waits for one, before the call and after it
_IMPATIENCE_S = 0.05  # how long it waits in a process that has waited in vain
_AT_ONCE = 500  # rows of the spool that are brought in by one transaction

_Found = TypeVar("_Found")


class UsageLogWarning(UserWarning):
    """A row could not be written to the log; the run went on."""


_NAMES = ", ".join(COLUMNS)
_INSERT = f"INSERT INTO llm_usage_logs ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"
# What is finished stays as it is: a begin that comes late opens nothing again, an end that comes twice changes nothing.
WRITE = f"""
    {_INSERT} ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])}
    WHERE llm_usage_logs.error_class = '{Failure.UNFINISHED.value}'
"""


def default_path() -> Path | str:
    """Where the log is: `LLMTASK_DB`, a file or a database's URL, else usage.db in the user's data folder."""
    named = os.environ.get(DB_VARIABLE)
    if named:
        return named if is_address(named) else Path(named).expanduser()
    return data_folder() / "usage.db"


def place_of(project: "Project") -> str | None:
    """Where a project's config says that the log is; None where it says nothing, or LLMTASK_DB goes before it.

    Raises:
        UntrustedError: The project is not trusted with it.
        ProjectError: It names an environment variable that is not set.
    """
    if os.environ.get(DB_VARIABLE):
        return None
    from llmtask.project import database_of  # 100 ms that commands without a project save

    return database_of(project)


def data_folder() -> Path:
    """The user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("llmtask", appauthor=False)


class Ledger(Protocol):
    """Where the rows of calls go: the usage log, or what hands them on to it."""

    def begin(self, row: UsageRow, most: "Tokens | None" = None) -> None:
        """Take the row of a call that is about to begin.

        Args:
            row: The row.
            most: The most tokens that the call can use; a budget reserves what they cost.

        Raises:
            CappedError: A budget has no room for the call, which must not be made: it has no row, and no `finish`.
        """
        ...

    def finish(self, row: UsageRow) -> None:
        """Take the row of a call that has ended."""
        ...


class UsageLog:
    """A usage log that is opened when it is first needed. Safe to share between threads."""

    path: Path | None
    """Its file; None where it is a database on a server."""

    def __init__(self, path: Path | str | None = None) -> None:
        """Name the file, or the database by its URL; the default one where it is left out.

        Raises:
            UsageLogError: It begins as the URL of a database does, and is none.
        """
        named = path or default_path()
        self._database: Database
        if isinstance(named, str) and is_address(named):
            from llmtask.usage.postgres import PostgresDatabase  # 2 ms that a file saves

            self.path = None
            self._database = PostgresDatabase(named)
        else:
            self.path = Path(named)
            self._database = SqliteDatabase(self.path)
        self.spool = Spool(self.path or self._database.place)
        """The rows that wait for it."""
        self._patience_s = _PATIENCE_S

    @property
    def place(self) -> str:
        """Where it is, for people: its file, or the URL of its database without the password."""
        return self._database.place

    @property
    def folder(self) -> Path:
        """Where files about its calls belong: beside it, or in the user's data folder."""
        return self.path.parent if self.path else data_folder()

    @property
    def sql(self) -> Writer:
        """Writes SQL as its database takes it."""
        return self._database.sql

    def begin(self, row: UsageRow, most: "Tokens | None" = None) -> None:  # noqa: ARG002  # budgets alone look at it
        """Write the row of a call that is about to begin, as unfinished: it is there whatever ends the process.

        Where the log cannot be written, the row goes to the spool; `finish` says so.
        """
        self._keep([row.opened()])

    def finish(self, row: UsageRow) -> None:
        """Close the row of a call that has ended, and take in what waits in the spool.

        Where the log cannot be written, the row goes to the spool and a UsageLogWarning says where that is; where that
        cannot be written either, the warning holds the row.
        """
        problems = self._keep([row])
        if problems:
            warnings.warn(problems[0], UsageLogWarning, stacklevel=2)
        else:
            self.drain()

    def keep(self, rows: Sequence[UsageRow]) -> None:
        """Write rows as they stand, of calls that begin or have ended, in one transaction; on disk when this returns.

        Where the log cannot be written, they go to the spool, as `begin` and `finish` have it.
        """
        problems = self._keep(rows)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            warnings.warn(problems[0] + more, UsageLogWarning, stacklevel=2)
        else:
            self.drain()

    def record(self, row: UsageRow) -> None:
        """Add the row of a call that has ended; it is on disk when this returns.

        Raises:
            UsageLogError: It cannot be written.
        """
        self.run(lambda connection: connection.execute(_INSERT, _bound(row)))

    def write(self, connection: Connection, row: UsageRow) -> None:
        """Write the row of a call that begins or has ended, in a transaction of the caller's."""
        connection.execute(WRITE, _bound(row))

    def drain(self) -> None:
        """Take in the rows that wait in the spool; a UsageLogWarning says why one has to wait on."""
        files = self.spool.files()
        complaints: list[str] = []
        while files and not complaints:
            some, files = files[:_AT_ONCE], files[_AT_ONCE:]
            try:
                problems = self._drained(some)
            except UsageLogError as error:
                waiting = [*some, *files]
                count = len({file.name.partition(".")[0] for file in waiting})
                complaints.append(f"{count} {'row waits' if count == 1 else 'rows wait'} in {some[0].parent}: {error}")
            else:
                self.spool.remove(file for file, problem in problems.items() if not problem)
                complaints += filter(None, problems.values())
        if complaints:
            more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
            warnings.warn(complaints[0] + more, UsageLogWarning, stacklevel=2)

    def _drained(self, files: Sequence[Path]) -> dict[Path, str]:
        """Bring the rows of files into the log, in one transaction or, where a row is refused, in one for each.

        Returns:
            What is wrong with each; empty for one that is in the log.

        Raises:
            UsageLogError: The log cannot be written.
        """
        problems: dict[Path, str] = {}
        rows: dict[Path, tuple[Any, ...]] = {}
        for file in files:
            found = _waiting(file)
            if isinstance(found, str):
                problems[file] = found
            else:
                rows[file] = _bound(found)
        try:
            if rows:
                self._database.atomic(lambda connection: connection.executemany(WRITE, rows.values()), _PATIENCE_S)
        except RowRefusedError as error:
            if len(rows) > 1:
                for file in rows:
                    problems |= self._drained([file])
            else:
                reason = "holds no row of a usage log; it is kept for you to look at"
                problems |= {file: f"{set_aside(file)} {reason}: {error}" for file in rows}
        else:
            problems |= dict.fromkeys(rows, "")
        return problems

    def latest(self, count: int) -> list[UsageRow]:
        """The last calls, the newest first; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        return self.rows("1 = 1", (), count)

    def rows(self, condition: str, values: Sequence[Any], count: int) -> list[UsageRow]:
        """The last calls under a condition in SQL, the newest first; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        rows = self.query(
            f"SELECT {_NAMES} FROM llm_usage_logs WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT ?",
            (*values, count),
        )
        return [
            UsageRow(**{name: _read(name, value) for name, value in zip(COLUMNS, row, strict=True)}) for row in rows
        ]

    def query(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT; empty where there is no log yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        if not self._database.exists:
            return []
        return self.run(lambda connection: connection.execute(sql, parameters).fetchall())

    def run(self, work: Callable[[Connection], _Found]) -> _Found:
        """Do something with the database; made where there is none.

        Raises:
            UsageLogError: It cannot be done.
        """
        return self._database.run(work, _BUSY_S)

    def atomic(self, work: Callable[[Connection], _Found], patience_s: float = _BUSY_S) -> _Found:
        """As `run`, in one transaction that keeps other writers out: all of it is done, or nothing.

        Raises:
            UsageLogError: It cannot be done.
        """
        return self._database.atomic(work, patience_s)

    def check(self) -> None:
        """Open it, and make its tables where they are missing.

        Raises:
            UsageLogError: It cannot be written.
        """
        self.atomic(lambda _: None)

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self._database.exists

    @property
    def files(self) -> Sequence[Path]:
        """The files that hold it, its spool's not among them; empty where they are somewhere else."""
        return self._database.files

    def compact(self) -> bool:
        """Give the room of what was deleted back, so that nothing of it stays anywhere; others wait meanwhile.

        Returns:
            False where another program still reads what was there before.

        Raises:
            UsageLogError: It cannot be done.
        """
        return self._database.compact(_BUSY_S)

    def identity(self) -> str:
        """Tells it from a log that was made anew in its place; empty where there is none yet.

        Raises:
            UsageLogError: The log cannot be read.
        """
        found = self.query(self._database.identity)
        return str(found[0][0]) if found else ""

    def close(self) -> None:
        """Close it; the next use opens it again."""
        self._database.close()

    def _keep(self, rows: Sequence[UsageRow]) -> list[str]:
        """Write rows to the log, or else each to the spool.

        Returns:
            Where each is instead, and why; empty where they are in the log.
        """
        try:
            with held():
                self._write(rows)
        except UsageLogError as error:
            return [self._spooled(row, error) for row in rows]
        return []

    def _spooled(self, row: UsageRow, error: UsageLogError) -> str:
        try:
            return f"this call's row waits in {self.spool.put(row)}: {error}"
        except OSError as spool_error:
            reason = spool_error.strerror or type(spool_error).__name__
            return f"this call was not logged, and its row can wait nowhere ({reason}): {text(row)}; {error}"

    def _write(self, rows: Sequence[UsageRow]) -> None:
        work = partial(_write_all, [_bound(row) for row in rows])
        try:  # one statement is a transaction of its own
            write = self._database.run if len(rows) == 1 else self._database.atomic
            write(work, self._patience_s)
        except UsageLogError:
            self._patience_s = _IMPATIENCE_S
            self.close()  # what is wrong with the file may have been put right by the next time
            raise
        self._patience_s = _PATIENCE_S


def _write_all(values: Sequence[tuple[Any, ...]], connection: Connection) -> None:
    for one in values:
        connection.execute(WRITE, one)


_values = attrgetter(*COLUMNS)  # astuple copies each value


def _bound(row: UsageRow) -> tuple[Any, ...]:
    """A row's values as the log holds them."""
    return tuple(stored(value) if isinstance(value, str) else value for value in _values(row))


def stored(text: str) -> str:
    """A text as the log holds it: SQLite takes no lone surrogates, and arguments that are no UTF-8 bring some."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _waiting(file: Path) -> UsageRow | str:
    """The row that waits in a file, or why there is none to be written; empty where it is in the log already."""
    try:
        return read(file)
    except FileNotFoundError:  # another process brought it in
        return ""
    except OSError as error:
        return f"{file} cannot be read ({error.strerror}); its row waits on"
    except NewerRowError:
        return f"{file} is the row of a newer llmtask; it waits until this one is upgraded"
    except ValueError:
        return f"{set_aside(file)} holds no row of a usage log; it is kept for you to look at"


def _read(column: str, value: Any) -> Any:
    """A value as `UsageRow` has it: SQLite knows no booleans."""
    return bool(value) if column.startswith("is_") else value
