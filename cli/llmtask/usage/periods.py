"""Spans of time as the rollup has them: whole stretches of 512, 64 and 8 days, days, hours, and what is left over."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from llmtask.usage.rollup import DAYS_512, HOUR, HOURS

_HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -(2**31), 2**31
"""Before and after all periods."""


@dataclass(frozen=True, slots=True)
class Periods:
    """Whole periods of one level."""

    level: int
    first: int
    end: int
    """The first one that no longer counts."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of an hour."""

    since: datetime
    until: datetime


Part = Periods | Edge


def cover(
    since: datetime | None, until: datetime | None, *, finest: int = HOUR, coarsest: int = DAYS_512
) -> Iterator[Part]:
    """A span in as few parts as it takes.

    Args:
        since: Its first instant; None for no bound.
        until: The first instant after it; None for no bound.
        finest: The finest level that may be used: what is left at its edges is told as such.
        coarsest: The coarsest.
    """
    if since is not None and until is not None and since >= until:
        return
    lower = since.astimezone(UTC) if since else None
    upper = until.astimezone(UTC) if until else None
    if lower is not None:
        inner = _ceiled(lower, finest)
        if upper is not None and inner > _floored(upper, finest):
            yield Edge(lower, upper)
            return
        if lower < inner:
            yield Edge(lower, inner)
        lower = inner
    if upper is not None and (floor := _floored(upper, finest)) < upper:
        yield Edge(floor, upper)
        upper = floor
    yield from _whole(lower, upper, finest, coarsest)


def _whole(lower: datetime | None, upper: datetime | None, finest: int, coarsest: int) -> Iterator[Periods]:
    """A span between two bounds of the finest level, by coarser ones as far as they go."""
    if lower is not None and upper is not None and lower >= upper:
        return
    if finest == coarsest:
        yield _periods(finest, lower, upper)
        return
    inner = (_ceiled(lower, finest + 1) if lower else None, _floored(upper, finest + 1) if upper else None)
    if inner[0] is not None and inner[1] is not None and inner[0] >= inner[1]:
        yield _periods(finest, lower, upper)
        return
    if lower is not None and inner[0] is not None and lower < inner[0]:
        yield _periods(finest, lower, inner[0])
    if upper is not None and inner[1] is not None and inner[1] < upper:
        yield _periods(finest, inner[1], upper)
    yield from _whole(*inner, finest + 1, coarsest)


def _periods(level: int, lower: datetime | None, upper: datetime | None) -> Periods:
    return Periods(level, period_of(lower, level) if lower else _FIRST, period_of(upper, level) if upper else _LAST)


def period_of(at: datetime, level: int) -> int:
    """The number of the period in which an instant lies."""
    return (at.astimezone(UTC) - _EPOCH) // (HOURS[level] * _HOUR)


def begin_of(period: int, level: int) -> datetime:
    """When a period begins, in UTC."""
    return _EPOCH + period * HOURS[level] * _HOUR


def _floored(at: datetime, level: int) -> datetime:
    return begin_of(period_of(at, level), level)


def _ceiled(at: datetime, level: int) -> datetime:
    floor = _floored(at, level)
    return floor if floor == at else begin_of(period_of(at, level) + 1, level)
