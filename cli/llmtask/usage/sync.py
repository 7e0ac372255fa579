"""Pushes a log in a file to another one, such as a team's: each row exactly once, from where the last push ended.

What was pushed is noted in the local log after the other one has it. Whoever is killed in between, or pushes at the
same time as another, finds the same rows there already, by their ids, and that changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmtask.errors import Failure, UsageError
from llmtask.usage.database import Connection, RowRefusedError
from llmtask.usage.log import WRITE, UsageLog
from llmtask.usage.rollup import ROWS
from llmtask.usage.row import COLUMNS, timestamp

_AT_ONCE = 250  # rows of a transaction, which keeps others from writing meanwhile
_PATIENCE_S = 30.0

_ID, _CLASS = COLUMNS.index("id"), COLUMNS.index("error_class")
_SELECT = f"SELECT rowid, {', '.join(COLUMNS)} FROM {ROWS}"

_Row = tuple[Any, ...]


@dataclass(slots=True)
class Synced:
    """What came of a push, so far."""

    sent: int = 0
    """Rows that the other log has now and had not, or had without an end."""
    unfinished: int = 0
    """Calls without an end among them: they are sent again when they have one."""
    known: int = 0
    """Rows that were looked at and that it had."""
    refused: int = 0
    """Rows that it does not take; `refusal` is why, of one of them. They are tried again next time."""
    refusal: str = ""


class Push:
    """A push of a local log to another one."""

    def __init__(self, local: UsageLog, target: UsageLog, *, is_dry: bool = False) -> None:
        """Name both.

        Args:
            local: A log in a file.
            target: Any other.
            is_dry: Whether to look only, and to send nothing.

        Raises:
            UsageError: They are the same, or the local one is in no file.
        """
        if local.path is None:
            message = f"{local.place} is in no file; name the log to push with --db"
            raise UsageError(message)
        if local.place == target.place or target.path == local.path:
            message = f"{local.place} cannot be pushed to itself"
            raise UsageError(message)
        self.local, self.target, self._is_dry = local, target, is_dry
        self.done = Synced()

    def run(self, since: datetime | None = None, told: Callable[[Synced], None] = lambda _: None) -> Synced:
        """Push what has to be.

        Args:
            since: Look at every call from then on, in place of those after the last push: the other log may have lost
                some.
            told: Called after each transaction.

        Raises:
            UsageLogError: One of the logs cannot be reached; `done` is what came of it before.
        """
        if not self._is_dry:
            self.target.check()  # it has no identity before it has tables
        target = f"{self.target.place} {self.target.identity()}"
        for rows in self._again(target):
            self._send(target, rows, None)
            told(self.done)
        position = 0 if since else self._position(target)
        where, values = (" AND created_at >= ?", [timestamp(since)]) if since else ("", [])
        sql = f"{_SELECT} WHERE rowid > ?{where} ORDER BY rowid LIMIT ?"
        while rows := self.local.query(sql, (position, *values, _AT_ONCE)):
            position = rows[-1][0]
            self._send(target, [row[1:] for row in rows], None if since else position)
            told(self.done)
        return self.done

    def _position(self, target: str) -> int:
        """Up to where all rows were pushed; 0 where that is not known, or the table numbers its rows anew."""
        sql = f"SELECT s.position FROM usage_sync s JOIN {ROWS} r ON r.rowid = s.position AND r.id = s.row_id"
        found = self.local.query(f"{sql} WHERE s.target = ?", (target,))
        return int(found[0][0]) if found else 0

    def _again(self, target: str) -> Iterator[list[_Row]]:
        """The rows that have to be pushed again, as far as they have an end by now."""
        ids = self.local.query("SELECT row_id FROM usage_sync_again WHERE target = ?", (target,))
        for start in range(0, len(ids), _AT_ONCE):
            some = [row_id for (row_id,) in ids[start : start + _AT_ONCE]]
            found = self.local.query(f"{_SELECT} WHERE id IN ({_marks(some)})", some)
            if ended := [row[1:] for row in found if not _is_unfinished(row[1:])]:
                yield ended

    def _send(self, target: str, rows: list[_Row], position: int | None) -> None:
        """Send rows, and note what was sent; where one is refused, each by itself."""
        try:
            sent = self._taken(rows)
        except RowRefusedError as error:
            if len(rows) > 1:
                for row in rows:
                    self._send(target, [row], position if row is rows[-1] else None)
                return
            self.done.refused, self.done.refusal = self.done.refused + 1, str(error)
            self._note(target, rows, position, again={rows[0][_ID]})
            return
        self.done.sent += len(sent)
        self.done.unfinished += sum(map(_is_unfinished, sent))
        self.done.known += len(rows) - len(sent)
        self._note(target, rows, position, again={row[_ID] for row in rows if _is_unfinished(row)})

    def _taken(self, rows: list[_Row]) -> list[_Row]:
        """Those of the rows that the other log has not, or has without their end; it has them when this returns."""
        ids = [row[_ID] for row in rows]
        known = f"SELECT id, error_class FROM {ROWS} WHERE id IN ({_marks(ids)})"
        if self._is_dry:
            return _wanted(rows, self.target.query(known, ids))

        def push(connection: Connection) -> list[_Row]:
            wanted = _wanted(rows, connection.execute(known, ids).fetchall())
            if wanted:
                connection.executemany(WRITE, wanted)
            return wanted

        return self.target.atomic(push, _PATIENCE_S)

    def _note(self, target: str, rows: list[_Row], position: int | None, again: set[str]) -> None:
        """Note in the local log which rows the other one has, and which have to be sent again."""
        if self._is_dry:
            return

        def note(connection: Connection) -> None:
            if position is not None:
                sql = "INSERT OR REPLACE INTO usage_sync (target, position, row_id) VALUES (?, ?, ?)"
                connection.execute(sql, (target, position, rows[-1][_ID]))
            done = [(target, row[_ID]) for row in rows if row[_ID] not in again]
            connection.executemany("DELETE FROM usage_sync_again WHERE target = ? AND row_id = ?", done)
            sql = "INSERT OR IGNORE INTO usage_sync_again (target, row_id) VALUES (?, ?)"
            connection.executemany(sql, [(target, row_id) for row_id in again])

        self.local.atomic(note)


def _is_unfinished(row: _Row) -> bool:
    return bool(row[_CLASS] == Failure.UNFINISHED)


def _wanted(rows: list[_Row], found: Sequence[_Row]) -> list[_Row]:
    """Those of the rows that a log takes.

    Args:
        rows: The rows.
        found: The ids that it has, each with its class of failure.
    """
    known = {row[0]: row[1] for row in found}
    return [
        row
        for row in rows
        if row[_ID] not in known or (known[row[_ID]] == Failure.UNFINISHED and not _is_unfinished(row))
    ]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
