"""`usage purge`: everything about one user goes, and a search of the files' bytes says whether it has."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtask.errors import UsageLogError
from llmtask.usage.database import Connection
from llmtask.usage.gaps import note_hours, remove
from llmtask.usage.log import UsageLog, stored
from llmtask.usage.pace import Pace, batches
from llmtask.usage.rollup import ROWS, SUMS, WORDS
from llmtask.usage.traces import look

_USERS = "usage_users"
_COLUMN = "user_id"
_OTHER_NAMES = {  # columns that hold names of other things: that a user is called like a model is no trace of the user
    *((table, column) for table in (ROWS, "usage_groups") for column in WORDS),
    (ROWS, "worker"),
    (ROWS, "error_class"),
    (ROWS, "finish_reason"),
    (ROWS, "repair_level"),
    (ROWS, "upstream_model"),
    ("usage_errors", "error_class"),
    ("_sqlite_migrations", "migration_set"),
    ("_sqlite_migrations", "name"),
    ("sqlite_master", "type"),
    ("sqlite_master", "name"),
    ("sqlite_master", "tbl_name"),
}


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a log holds of a user."""

    user: str
    """The user's id as the log holds it."""
    tables: dict[str, int]
    """How many rows of each table."""
    waiting: int
    """Files in the spool that name the user."""

    @property
    def rows(self) -> int:
        """All of them together."""
        return sum(self.tables.values()) + self.waiting


@dataclass(frozen=True, slots=True)
class Search:
    """What a search of the log's files says about a user."""

    files: list[Path]
    """What was searched; empty for a log whose files are somewhere else."""
    found: list[str] = field(default_factory=list)
    """Where the user's id still is, as a value of its own."""
    parts: int = 0
    """How often it is a part of something longer."""
    longer: list[str] = field(default_factory=list)
    """The first of what is longer."""
    other: list[str] = field(default_factory=list)
    """Columns in which the same text is the name of something else: a model, a task."""
    was_busy: bool = False
    """Whether another program still reads what was there before."""


def belongings(log: UsageLog, user: str) -> Belongings:
    """What a log holds of a user, the rows in its spool included.

    Raises:
        UsageLogError: The log cannot be read.
    """
    user = stored(user)
    if not log.exists:
        return Belongings(user, {}, len(_waiting(log, user)))
    counts = {table: _count(log, table, user) for table in _tables(log)}
    return Belongings(user, {table: count for table, count in counts.items() if count}, len(_waiting(log, user)))


def purge(log: UsageLog, user: str) -> Iterator[int]:
    """Delete everything about a user, but for the sums: what the calls came to counts on, as nobody's.

    Others write meanwhile. Killed in between, it goes on the next time. `search` says whether all is gone.

    Args:
        log: The usage log.
        user: The user's id.

    Yields:
        How many rows each transaction took.

    Raises:
        UsageLogError: It cannot be done.
    """
    user = stored(user)
    if log.exists:
        log.run(lambda connection: connection.execute(log.sql.overwriting))

        def some(connection: Connection, size: int) -> int:
            chosen = f"id IN (SELECT id FROM {ROWS} WHERE {_COLUMN} = ? LIMIT {size})"
            note_hours(connection, log.sql, chosen, (user,))
            return remove(connection, log.sql, chosen, (user,))

        yield from batches(log, some)
        for table in _tables(log):
            if table == _USERS:
                yield from _made_nobodys(log, user)
            elif table != ROWS:
                sql = f'DELETE FROM "{table}" WHERE {_COLUMN} = ?'
                yield log.atomic(lambda connection, sql=sql: connection.execute(sql, (user,)).rowcount)  # type: ignore[misc]
    for file in _waiting(log, user):
        file.unlink(missing_ok=True)
        with suppress(OSError):
            file.parent.rmdir()


def search(log: UsageLog, user: str) -> Search:
    """Write the log anew without what was deleted, and look for a user's id in every byte of it.

    Raises:
        UsageLogError: The log cannot be written anew, or its files cannot be read.
    """
    user = stored(user)
    was_busy = log.exists and not log.compact()
    mine: list[str] = []
    other: list[str] = []
    for table, columns in _text_columns(log).items():
        for column, count in _counts(log, table, columns, user).items():
            if count:
                (other if (table, column) in _OTHER_NAMES else mine).append(f"{table}.{column}")
    spool = log.spool.all_files()
    try:
        traces = look(list(log.files), spool, user)
    except OSError as error:
        message = f"usage log {log.place}: its files cannot be searched ({error.strerror})"
        raise UsageLogError(message) from error
    found = [*mine, *traces.places]
    if traces.cells and not (mine or other):
        found.append(f"{log.place}, in {traces.cells} values that no table shows")
    if was_busy:
        found.append("what another program still reads of the log as it was before")
    return Search([*log.files, *spool], found, traces.parts, traces.longer, other, was_busy)


def _tables(log: UsageLog) -> list[str]:
    """The tables that say whose their rows are."""
    return [table for table, columns in _text_columns(log).items() if _COLUMN in columns]


def _text_columns(log: UsageLog) -> dict[str, list[str]]:
    """The columns of text of each table."""
    found: dict[str, list[str]] = {}
    for table, column in log.query(log.sql.text_columns):
        found.setdefault(table, []).append(column)
    return found


def _count(log: UsageLog, table: str, user: str) -> int:
    """How many rows are a user's."""
    [(count,)] = log.query(f'SELECT count(*) FROM "{table}" WHERE {_COLUMN} = ?', (user,))
    return int(count)


def _counts(log: UsageLog, table: str, columns: list[str], value: str) -> dict[str, int]:
    """How often each column of a table has a value, in one look at it."""
    sums = ", ".join(f'sum(CASE WHEN "{column}" = ? THEN 1 ELSE 0 END)' for column in columns)
    [found] = log.query(f'SELECT {sums} FROM "{table}"', [value] * len(columns))
    return {column: int(count or 0) for column, count in zip(columns, found, strict=True)}


def _made_nobodys(log: UsageLog, user: str) -> Iterator[int]:
    """Add a user's sums to those of calls on nobody's behalf; how many each transaction took."""
    left = log.query(f"SELECT period, group_id FROM {_USERS} WHERE {_COLUMN} = ?", (user,))
    pace = Pace()
    while left:
        some, left = left[: pace.size], left[pace.size :]
        yield pace.atomic(log, lambda connection, some=some: _moved(connection, user, some))  # type: ignore[misc]


def _moved(connection: Connection, user: str, places: list[tuple[Any, ...]]) -> int:
    names = ", ".join(SUMS)
    more = ", ".join(f"{name} = {_USERS}.{name} + excluded.{name}" for name in SUMS)
    which = f"period = ? AND {_COLUMN} = ? AND group_id = ?"
    for period, group in places:
        connection.execute(
            f"INSERT INTO {_USERS} (period, {_COLUMN}, group_id, {names}) "
            f"SELECT period, '', group_id, {names} FROM {_USERS} WHERE {which} "
            f"ON CONFLICT (period, {_COLUMN}, group_id) DO UPDATE SET {more}",
            (period, user, group),
        )
        connection.execute(f"DELETE FROM {_USERS} WHERE {which}", (period, user, group))
    return len(places)


def _waiting(log: UsageLog, user: str) -> list[Path]:
    """The files of the spool that name a user."""
    files = log.spool.all_files()
    return [file for file in files if look([], [file], user).places]
