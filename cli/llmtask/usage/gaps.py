"""The hours of which the rollup knows more than the rows, because rows of theirs were removed and still count."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmtask.usage.database import Connection
from llmtask.usage.log import UsageLog
from llmtask.usage.periods import begin_of, period_of
from llmtask.usage.rollup import DAY, GAPS, HOUR, HOURS, ROWS, Writer, finished

_FIRST = -(2**31)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The hours of which rows were removed."""

    before: int
    """Of all hours before this one, by `prune`."""
    hours: frozenset[int]
    """Of these too, by `purge`."""

    @property
    def begin(self) -> datetime | None:
        """The first instant of which rows may be there; None where nothing was pruned."""
        return begin_of(self.before, HOUR) if self.before > _FIRST else None

    def has(self, hour: int) -> bool:
        """Whether rows of an hour were removed."""
        return hour < self.before or hour in self.hours

    def has_day(self, day: int) -> bool:
        """Whether rows of a day were removed."""
        return any(self.has(hour) for hour in range(day * HOURS[DAY], (day + 1) * HOURS[DAY]))


def gaps(log: UsageLog) -> Gaps:
    """The gaps of a log.

    Raises:
        UsageLogError: The log cannot be read.
    """
    found = log.query(f"SELECT first, last FROM {GAPS}")
    before = max((last + 1 for first, last in found if first == _FIRST), default=_FIRST)
    return Gaps(before, frozenset(_hours(found)))


def _hours(found: list[tuple[Any, ...]]) -> Iterator[int]:
    for first, last in found:
        if first != _FIRST:
            yield from range(first, last + 1)


def prune_before(connection: Connection, until: datetime) -> None:
    """Note that the rows before an instant, the begin of an hour, are being removed."""
    last = period_of(until, HOUR) - 1
    connection.execute(f"DELETE FROM {GAPS} WHERE last <= ?", (last,))
    connection.execute(
        f"INSERT INTO {GAPS} (first, last) SELECT {_FIRST}, ? "
        f"WHERE NOT EXISTS (SELECT 1 FROM {GAPS} WHERE first = {_FIRST})",
        (last,),
    )


def remove(connection: Connection, sql: Writer, condition: str, values: tuple[Any, ...]) -> int:
    """Delete rows that go on counting in the rollup, in a transaction of the caller's.

    Returns:
        How many.
    """
    stop, go_on = sql.uncounted()
    connection.execute(stop)
    done = connection.execute(f"DELETE FROM {ROWS} WHERE {condition}", values).rowcount
    connection.execute(go_on)
    return done


def note_hours(connection: Connection, sql: Writer, condition: str, values: tuple[Any, ...]) -> None:
    """Note the hours of finished calls that are about to be removed."""
    hour = sql.period("created_at", HOUR)
    connection.execute(
        f"INSERT INTO {GAPS} (first, last) SELECT DISTINCT h.hour, h.hour FROM "
        f"(SELECT {hour} AS hour FROM {ROWS} WHERE {finished()} AND {condition}) h "
        f"WHERE NOT EXISTS (SELECT 1 FROM {GAPS} x WHERE x.first <= h.hour AND x.last >= h.hour)",
        values,
    )
