"""Single calls of the log: the last ones, and those of a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from llmtask.errors import UsageError
from llmtask.usage.log import UsageLog
from llmtask.usage.report import Word, filtered
from llmtask.usage.rollup import ROWS
from llmtask.usage.row import UsageRow, storable, timestamp

LATEST = "latest"
_TIME_DIGITS = 12  # of an id: milliseconds since 1970
_CLOCK = timedelta(minutes=1)  # that a clock may have been set back between a run's begin and its first call
_LONGEST_RUN = timedelta(days=1)
_MOST_NAMED = 5  # runs that a message names
_MOST_CALLS = 10_000  # of a run


@dataclass(frozen=True, slots=True)
class Calls:
    """Which calls are asked for."""

    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[Word, Sequence[str]] = field(default_factory=dict)
    """As a report's query has it."""
    only_errors: bool = False
    """Only those without a valid answer; those without an end are among them."""
    after: str | None = None
    """The id of a call, or its beginning: only those that follow it in the list."""


def calls(log: UsageLog, asked: Calls, count: int) -> list[UsageRow]:
    """The last calls, the newest first.

    Raises:
        UsageLogError: The log cannot be read.
        UsageError: There is no call to go on after.
    """
    conditions, values = filtered(asked.where)
    bounds: tuple[tuple[str, datetime | None], ...] = (
        ("created_at >= ?", asked.since),
        ("created_at < ?", asked.until),
    )
    for condition, bound in bounds:
        if bound is not None:
            conditions.append(condition)
            values.append(timestamp(bound))
    if asked.only_errors:
        conditions.append("is_success = 0")
    if asked.after:
        conditions.append("(created_at, id) < (?, ?)")
        values += _place(log, asked.after)
    return log.rows(" AND ".join(conditions) or "1 = 1", values, count)


def run_of(log: UsageLog, name: str) -> list[UsageRow]:
    """The calls of one run, by attempt.

    Args:
        log: The usage log.
        name: The beginning of the run's id, or of a call's; `latest` is the run of the last call.

    Raises:
        UsageLogError: The log cannot be read.
        UsageError: No run is called so, or more than one.
    """
    found = _latest(log) if name == LATEST else _found(log, name.strip())
    if not found and name == LATEST:
        message = f"no calls yet in {log.place}"
        raise UsageError(message)
    if not found:
        message = (
            f"no id of a run or call in {log.place} begins with {name[:40]!r}; `llmtask usage list` shows the last"
        )
        raise UsageError(message)
    if len(found) > 1:
        named = ", ".join([*sorted(found)[:_MOST_NAMED], *(["…"] if len(found) > _MOST_NAMED else [])])
        message = f"{name[:40]!r} is the beginning of several runs: {named}; give more of it"
        raise UsageError(message)
    [(run, at)] = found.items()
    around = datetime.fromisoformat(at)
    condition = "run_id = ? AND created_at >= ? AND created_at < ?"
    values = (run, _bound(around, -_LONGEST_RUN), _bound(around, _LONGEST_RUN))
    return sorted(log.rows(condition, values, _MOST_CALLS), key=lambda row: (row.attempt, row.created_at, row.id))


def _latest(log: UsageLog) -> dict[str, str]:
    return {row.run_id: row.created_at for row in log.latest(1)}


def _found(log: UsageLog, name: str) -> dict[str, str]:
    """When a call of each run was whose id, or a call's id, begins so; enough of them to say that they are several."""
    if not name:
        return {}
    found: dict[str, str] = {}
    span = _span(name)
    if span:
        found.update(
            _runs(log, "created_at >= ? AND created_at < ? AND run_id >= ? AND run_id < ?", (*span, *_between(name)))
        )
    return found | _runs(log, "id >= ? AND id < ?", _between(name))


def _runs(log: UsageLog, condition: str, values: Sequence[Any]) -> dict[str, str]:
    some = f"SELECT run_id, created_at FROM {ROWS} WHERE {condition} LIMIT ?"
    sql = f"SELECT run_id, min(created_at) FROM ({some}) r GROUP BY run_id"
    return dict(log.query(sql, (*values, _MOST_CALLS)))


def _span(name: str) -> tuple[str, str] | None:
    """Between which instants the calls of runs are whose ids begin so: an id begins with the time."""
    digits = name[:_TIME_DIGITS]
    if not re.fullmatch(r"[0-9a-f]+", digits):
        return None
    first, last = (int(digits.ljust(_TIME_DIGITS, digit), 16) for digit in "0f")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        begin = epoch + timedelta(milliseconds=first)
    except OverflowError:
        return None
    try:
        end = epoch + timedelta(milliseconds=last)
    except OverflowError:
        end = datetime.max.replace(tzinfo=UTC)
    return _bound(begin, -_CLOCK), _bound(end, _LONGEST_RUN)


def _bound(at: datetime, away: timedelta) -> str:
    try:
        return timestamp(at + away)
    except OverflowError:
        return timestamp(at)


def _between(name: str) -> tuple[str, str]:
    """The first text that begins so, and the first after all that do."""
    return storable(name), storable(name) + "\U0010ffff"


def _place(log: UsageLog, name: str) -> tuple[str, str]:
    """Where in the list a call is.

    Raises:
        UsageError: There is no such call, or more than one.
    """
    found = log.query(f"SELECT created_at, id FROM {ROWS} WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", _between(name))
    if len(found) != 1:
        what = "several calls have ids that begin" if found else "no call has an id that begins"
        message = f"{what} with {name[:40]!r}; give the id of one, as `llmtask usage list --json` has it"
        raise UsageError(message)
    return found[0][0], found[0][1]
