"""`usage prune`: old rows go, and what they came to stays in the rollup."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from llmtask.errors import Failure
from llmtask.usage.database import Connection
from llmtask.usage.gaps import prune_before, remove
from llmtask.usage.log import UsageLog
from llmtask.usage.pace import batches
from llmtask.usage.rollup import ROWS, finished
from llmtask.usage.row import COLUMNS, timestamp

_SAMPLE = 500  # rows that are measured to tell about all of them
_OVERHEAD = 60  # bytes of a row beside its values: its header, its place on the page, its ids in the indexes
_OLD = f"created_at < ? AND {finished()}"


@dataclass(frozen=True, slots=True)
class Old:
    """The rows that a pruning takes."""

    until: datetime
    """The first instant that stays: the begin of a day in UTC, so that hours and days go whole or not at all."""
    rows: int
    first: str | None
    """When the first of their calls began, as the log has it."""
    last: str | None
    """When the last of them began."""
    size: int
    """About how many bytes they take."""
    unfinished: int
    """Calls without an end before that instant: the rollup has none of them, so their rows stay."""


def old(log: UsageLog, before: datetime) -> Old:
    """What a pruning would take.

    Args:
        log: The usage log.
        before: Rows before the day in UTC on which this lies are old.

    Raises:
        UsageLogError: The log cannot be read.
    """
    until = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    bound = (timestamp(until),)
    found = log.query(f"SELECT count(*), min(created_at), max(created_at) FROM {ROWS} WHERE {_OLD}", bound)
    count, first, last = found[0] if found else (0, None, None)
    unfinished = f"SELECT count(*) FROM {ROWS} WHERE created_at < ? AND error_class = '{Failure.UNFINISHED.value}'"
    [(open_rows,)] = log.query(unfinished, bound) or [(0,)]
    length = " + ".join(f"coalesce(length(CAST({name} AS TEXT)), 0)" for name in COLUMNS)
    sample = f"SELECT {length} AS bytes FROM {ROWS} WHERE {_OLD} ORDER BY created_at LIMIT {_SAMPLE}"
    [(mean,)] = log.query(f"SELECT avg(s.bytes) FROM ({sample}) s", bound) or [(None,)]
    return Old(until, count, first, last, round(count * (float(mean) + _OVERHEAD)) if mean else 0, open_rows)


def prune(log: UsageLog, until: datetime) -> Iterator[int]:
    """Delete the finished calls before an instant, and keep them in the rollup: reports of whole hours say the same.

    Others write meanwhile. What was deleted when it is killed stays deleted, and the next one goes on.

    Args:
        log: The usage log.
        until: As `Old.until`.

    Yields:
        How many rows each transaction took.

    Raises:
        UsageLogError: It cannot be done.
    """
    bound = timestamp(until)

    def some(connection: Connection, size: int) -> int:
        chosen = f"id IN (SELECT id FROM {ROWS} WHERE {_OLD} ORDER BY created_at LIMIT {size})"
        done = remove(connection, log.sql, chosen, (bound,))
        if done:
            prune_before(connection, until)
        return done

    yield from batches(log, some)
