"""Local time over the log: what the clock said, in stretches in which it was ahead of UTC by the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Literal

from llmtask.usage.periods import begin_of
from llmtask.usage.rollup import HOUR, ROWS

if TYPE_CHECKING:
    from llmtask.usage.log import UsageLog

_DAY = timedelta(days=1)
_EPOCH_DAY = date(1970, 1, 1)
_MONDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the clocks were not changed."""

    since: datetime
    until: datetime
    offset_s: int
    """How far the local clock was ahead of UTC."""


class Clock:
    """The hours, days, weeks or months of a time zone."""

    def __init__(self, zone: tzinfo | None, unit: Literal["hour", "day", "week", "month"]) -> None:
        """Take the zone, None for the local one, and what is told of its times."""
        self._zone, self._unit = zone, unit

    def segments(self, since: datetime | None, until: datetime | None, log: "UsageLog") -> Iterator[Segment]:
        """The span, as far as the log has calls in it."""
        begin, end = _bounds(log)
        since, until = max(since or begin, begin), min(until or end, end)
        while since < until:
            offset_s = self._offset_s(since)
            step = since
            while step < until and self._offset_s(min(step + _DAY, until)) == offset_s:
                step += _DAY
            change = self._change(step, offset_s) if step < until else until
            yield Segment(since, min(change, until), offset_s)
            since = change

    def number(self, value: str, hour: int) -> str:
        """SQL: the number of the hour, day or week in local time; of a month, of its days.

        Args:
            value: SQL: local time since 1970.
            hour: What an hour is of it.
        """
        if self._unit == "hour":
            return f"{value} / {hour}"
        days = f"{value} / {24 * hour}"
        return f"({days} + {_MONDAY}) / 7" if self._unit == "week" else days

    def label(self, number: int) -> str:
        """What people call it: 2026-11-25 13:00, 2026-11-25, 2026-W48, 2026-11."""
        if self._unit == "hour":
            return f"{_EPOCH_DAY + timedelta(days=number // 24)} {number % 24:02}:00"
        if self._unit == "week":
            year, week, _ = (_EPOCH_DAY + timedelta(days=number * 7 - _MONDAY)).isocalendar()
            return f"{year}-W{week:02}"
        day = _EPOCH_DAY + timedelta(days=number)
        return f"{day:%Y-%m}" if self._unit == "month" else day.isoformat()

    def _offset_s(self, at: datetime) -> int:
        offset = at.astimezone(self._zone).utcoffset()
        return round(offset.total_seconds()) if offset else 0

    def _change(self, since: datetime, offset_s: int) -> datetime:
        """When within the next day the clocks were changed, to the minute: zones change on whole ones."""
        first, last = 0, 24 * 60
        while first < last:
            middle = (first + last) // 2
            if self._offset_s(since + timedelta(minutes=middle)) == offset_s:
                first = middle + 1
            else:
                last = middle
        return (
            since + timedelta(minutes=first)
            if since.second == since.microsecond == 0
            else _minute(since + timedelta(minutes=first))
        )


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _bounds(log: "UsageLog") -> tuple[datetime, datetime]:
    """From the first hour of the log's calls to the end of the last one's, those without an end included."""
    ends = []
    for aggregate in ("min", "max"):  # each by itself is found in an index
        for sql, parameters in (
            (f"SELECT {aggregate}(period) FROM usage_sums WHERE level = ?", (HOUR,)),
            (f"SELECT {aggregate}(created_at) FROM {ROWS}", ()),
        ):
            for (found,) in log.query(sql, parameters):
                if found is not None:
                    ends.append(begin_of(found, HOUR) if parameters else datetime.fromisoformat(found).astimezone(UTC))
    if not ends:
        return datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    begin = min(ends)
    return begin.replace(minute=0, second=0, microsecond=0), max(ends) + 2 * timedelta(hours=1)
