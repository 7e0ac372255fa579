"""A report as people ask for it: beside the span before, in one currency, with what came of each day."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from llmtask.errors import UsageError
from llmtask.money import NANOS, Cost, Currency
from llmtask.usage.report import Query, Report, Time, report
from llmtask.usage.summary import Summary

if TYPE_CHECKING:
    from llmtask.rates import Converted  # brings the project's models, which most reports do without
    from llmtask.usage.log import UsageLog

_FEW_DAYS = 14  # of more, a curve has several in a block, and days of UTC, which take fewer rows, are as good

Convert = Callable[[Cost, date], "Converted"]
"""Turns what was spent on a day into another currency."""


@dataclass(slots=True)
class Day:
    """What came of a group on a day."""

    calls: int = 0
    cost_nanos: dict[str, int] = field(default_factory=dict)
    """Billionths of a unit, per currency."""
    saved_nanos: dict[str, int] = field(default_factory=dict)
    converted: Decimal | None = None
    """What it cost in the currency that was asked for."""

    @property
    def costs(self) -> dict[str, Decimal]:
        """What it cost, per currency, exact."""
        return {currency: Decimal(nanos) / NANOS for currency, nanos in self.cost_nanos.items()}

    def add(self, sums: Summary) -> None:
        """Take more calls in."""
        self.calls += sums.calls
        for own, more in ((self.cost_nanos, sums.cost_nanos), (self.saved_nanos, sums.saved_nanos)):
            for currency, nanos in more.items():
                own[currency] = own.get(currency, 0) + nanos


@dataclass(slots=True)
class Line:
    """A group of calls."""

    sums: Summary
    costs: dict[str, Decimal]
    """What it cost, per currency: the exact sums, or all in the currency that was asked for."""
    savings: dict[str, Decimal]
    """What the vendors' prompt caches saved, likewise."""
    days: dict[date, Day] = field(default_factory=dict)
    """What came of each day that had calls, where that was asked for."""
    before: "Line | None" = None
    """The group in the span before, where that was asked for; empty where it had no calls."""


@dataclass(slots=True)
class Statement:
    """The calls of a span by group, as they were asked for."""

    query: Query
    lines: list[Line]
    total: Line
    previous: Query | None = None
    """The span that it is compared with."""
    rate_dates: list[date] = field(default_factory=list)
    """The bank's days whose rates were used, the first and the last."""
    is_pinned: bool = False
    """Whether pinned rates were used."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for besides a report's query."""

    compare: bool = False
    """Whether the span before is put beside it."""
    days: bool = False
    """Whether each group is told by day, too."""
    currency: Currency | None = None
    """What to convert all amounts to."""
    convert: Convert | None = None
    """How."""


def statement(log: "UsageLog", query: Query, asked: Asked | None = None) -> Statement:
    """Sum the log up.

    Raises:
        UsageLogError: The log cannot be read.
        UsageError: There is no span before, or a rate is missing.
    """
    asked = asked or Asked()
    now = _stated(log, query, asked)
    if asked.compare:
        now.previous = query.previous
        if now.previous is None:
            message = "there is no span before to compare with; say where this one begins, such as --since 7d"
            raise UsageError(message)
        then = _stated(log, now.previous, replace(asked, days=False))
        _put_beside(now, then)
    return now


def _stated(log: "UsageLog", query: Query, asked: Asked) -> Statement:
    found = report(log, query)
    lines = [Line(one, one.costs, one.savings) for one in found.groups]
    total = Line(found.total, found.total.costs, found.total.savings)
    stated = Statement(query, lines, total)
    if asked.days or asked.convert:
        _tell_days(stated, _by_day(log, query, found, exact=asked.convert is not None))
    if asked.convert:
        for line in (*lines, total):
            _convert(line, asked, stated)
        stated.rate_dates = [min(stated.rate_dates), max(stated.rate_dates)] if stated.rate_dates else []
    return stated


def _by_day(log: "UsageLog", query: Query, found: Report, exact: bool) -> tuple[Query, Report]:
    """The same report by day: by days of UTC where those here take many rows to know, unless it must be exact."""
    if query.time in ("hour", "day"):
        return query, found
    until = query.until or datetime.now(UTC)
    is_long = query.since is None or until - query.since > timedelta(days=_FEW_DAYS)
    is_dear = is_long or "user" in query.words or "user" in query.where
    by = tuple("day" if one == query.time else one for one in query.by) + (() if query.time else ("day",))
    daily = replace(query, by=by, marks=False, zone=UTC if is_dear and not exact and not query.time else query.zone)
    return daily, report(log, daily)


def _tell_days(stated: Statement, daily: tuple[Query, Report]) -> None:
    """Give each line what came of each day."""
    query, found = daily
    place = query.by.index(cast("Time", query.time))
    lines = {line.sums.keys: line for line in stated.lines}
    for one in found.groups:
        day = date.fromisoformat(one.keys[place][:10])
        keys = list(one.keys)
        if stated.query.time is None:
            del keys[place]
        else:
            keys[place] = one.keys[place] if stated.query.time == query.time else _label(day, stated.query.time)
        for line in (lines.get(tuple(keys)), stated.total):
            if line is not None:
                line.days.setdefault(day, Day()).add(one)


def _convert(line: Line, asked: Asked, stated: Statement) -> None:
    """Turn a line's amounts into the currency that was asked for, day by day."""
    line.costs, line.savings = {}, {}
    for day, one in line.days.items():
        for own, nanos in ((line.costs, one.cost_nanos), (line.savings, one.saved_nanos)):
            if nanos and asked.currency:
                amount = _converted(nanos, day, asked, stated)
                own[asked.currency] = own.get(asked.currency, Decimal(0)) + amount
                one.converted = amount if own is line.costs else one.converted


def _converted(nanos: dict[str, int], day: date, asked: Asked, stated: Statement) -> Decimal:
    """A day's amounts of all currencies in the one that was asked for."""
    amount = Decimal(0)
    for currency, value in nanos.items():
        if value == 0 or currency == asked.currency or asked.convert is None:
            amount += Decimal(value) / NANOS
            continue
        found = asked.convert(Cost(value, cast("Currency", currency)), day)
        amount += found.amount
        stated.is_pinned = stated.is_pinned or found.is_pinned
        if found.rate_date:
            stated.rate_dates.append(found.rate_date)
    return amount


def _put_beside(now: Statement, then: Statement) -> None:
    """Give each line its group in the span before; a group that is only there has a line of no calls."""
    earlier = {_moved(line.sums.keys, then.query, now.query): line for line in then.lines}
    for line in now.lines:
        line.before = earlier.pop(line.sums.keys, None) or Line(Summary(line.sums.keys), {}, {})
    for keys, line in earlier.items():
        if keys is not None:
            now.lines.append(Line(Summary(keys), {}, {}, before=line))
    now.lines.sort(key=lambda line: _order(now.query, line.sums))
    now.total.before = then.total
    now.rate_dates = _bounds([*now.rate_dates, *then.rate_dates])
    now.is_pinned = now.is_pinned or then.is_pinned


def _bounds(dates: list[date]) -> list[date]:
    return [min(dates), max(dates)] if dates else []


def _order(query: Query, sums: Summary) -> tuple[object, ...]:
    time = (sums.keys[query.by.index(query.time)],) if query.time else ()
    return (*time, -sums.calls, sums.keys)


def _moved(keys: tuple[str, ...], then: Query, now: Query) -> tuple[str, ...] | None:
    """A group's keys in the span after its own, whose third day is the third of the other; None where there is none."""
    if now.time is None or now.since is None or then.since is None:
        return keys
    place = now.by.index(now.time)
    label = keys[place]
    begins = [at.astimezone(now.zone).replace(tzinfo=None) for at in (then.since, now.since)]
    moved = _label(_counted_on(label, now.time, *begins), now.time)
    if now.until is not None and _begin(moved, now.time) >= now.until.astimezone(now.zone).replace(tzinfo=None):
        return None
    return (*keys[:place], moved, *keys[place + 1 :])


def _counted_on(label: str, time: Time, then: datetime, now: datetime) -> datetime | date:
    """As far after `now` as a label is after `then`."""
    begin = _begin(label, time)
    if time == "month":
        number = begin.year * 12 + begin.month - (then.year * 12 + then.month) + now.year * 12 + now.month - 1
        return date(number // 12, number % 12 + 1, 1)
    unit = {"hour": "hour", "day": "day", "week": "week"}[time]
    return _floor(now, unit) + (begin - _floor(then, unit))


def _floor(at: datetime, unit: str) -> datetime:
    if unit == "hour":
        return at.replace(minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday()) if unit == "week" else day


def _begin(label: str, time: Time) -> datetime:
    """When what a label names begins, by the clock there."""
    if time == "hour":
        return datetime.strptime(label, "%Y-%m-%d %H:%M")  # noqa: DTZ007  # the clock of the query's zone
    if time == "week":
        year, week = label.split("-W")
        return datetime.combine(date.fromisocalendar(int(year), int(week), 1), datetime.min.time())
    return datetime.fromisoformat(f"{label}-01" if time == "month" else label)


def _label(at: date, time: Time) -> str:
    """What a time is called in a report."""
    if time == "hour":
        return f"{at:%Y-%m-%d %H}:00"
    if time == "week":
        year, week, _ = at.isocalendar()
        return f"{year}-W{week:02}"
    return f"{at:%Y-%m}" if time == "month" else f"{at:%Y-%m-%d}"


def days_of(stated: Statement) -> Iterator[date]:
    """Every day of the span, those without calls included; from the first call's to the last one's where it is open."""
    seen = sorted(stated.total.days)
    if not seen:
        return
    query = stated.query
    day = min(seen[0], query.since.astimezone(query.zone).date()) if query.since else seen[0]
    last = seen[-1]
    if query.until:
        last = max(last, (query.until.astimezone(query.zone) - timedelta(microseconds=1)).date())
    while day <= last:
        yield day
        day += timedelta(days=1)
