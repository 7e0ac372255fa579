"""The page's axis of time: the hours, days, weeks or months of a span, those without calls too."""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from typing import Literal

from llmtask.usage import Query, Summary

Unit = Literal["hour", "day", "week", "month"]

_MOST_DAYS_BY_HOUR = 3
_MOST_PERIODS = 400
_DAY = timedelta(days=1)


def axes(found: Iterable[Summary], query: Query, now: datetime) -> dict[Unit, list[str]]:
    """The labels of every unit that suits the span, the coarsest first.

    Args:
        found: The log by day.
        query: Whose span it is; where it has no bounds, the log's first and last day bound it.
        now: No period after it is shown unless there are calls in it.
    """
    days = [date.fromisoformat(one.keys[0]) for one in found]
    first, last = _ends(days, query, now)
    made: dict[Unit, list[str]] = {unit: _labels(unit, first, last) for unit in ("month", "week", "day")}
    if (last - first).days < _MOST_DAYS_BY_HOUR:
        made["hour"] = _labels("hour", first, last)
    fitting = {unit: labels for unit, labels in made.items() if unit == "hour" or len(labels) <= _MOST_PERIODS}
    return fitting or {"month": sorted({f"{day:%Y-%m}" for day in days})}


def _ends(days: list[date], query: Query, now: datetime) -> tuple[date, date]:
    today = now.astimezone(query.zone).date()
    since = _day(query.since, query.zone) or min(days, default=today)
    until = _day(query.until and query.until - timedelta.resolution, query.zone)
    last = min(until, today) if until else today if query.since else max(days, default=today)
    return min([since, *days]), max([last, since, *days])


def _day(at: datetime | None, zone: tzinfo | None) -> date | None:
    return at.astimezone(zone).date() if at else None


def _labels(unit: Unit, first: date, last: date) -> list[str]:
    """As `Clock.label` names them."""
    return list(dict.fromkeys(label for day in _days(unit, first, last) for label in _named(unit, day)))


def _days(unit: Unit, first: date, last: date) -> Iterator[date]:
    """The days, or as many of them as it takes to meet every period."""
    day, step = first, timedelta(days={"week": 7, "month": 28}.get(unit, 1))
    while day < last:
        yield day
        day += min(step, last - day)
    yield last


def _named(unit: Unit, day: date) -> list[str]:
    if unit == "hour":
        return [f"{day} {hour:02}:00" for hour in range(24)]
    if unit == "week":
        year, week, _ = day.isocalendar()
        return [f"{year}-W{week:02}"]
    return [f"{day:%Y-%m}" if unit == "month" else day.isoformat()]
