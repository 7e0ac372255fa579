"""Recurring hours, such as a vendor's peak hours, in a form that is quick to ask."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from llmtask.project import Schedule

_LOOK_AHEAD_DAYS = 31  # longer than any row of holidays and weekends


class Hours:
    """A schedule, its spans as minutes of the day."""

    def __init__(self, schedule: Schedule) -> None:
        """Take a schedule of a config."""
        self.zone = ZoneInfo(schedule.timezone)
        self._weekdays = frozenset(schedule.weekdays)
        self._spans = tuple(_minutes(span) for span in schedule.hours)
        self._except_holidays = schedule.except_holidays is not None

    def would_hold(self, at: datetime) -> date | None:
        """The local day, where an instant lies in the hours: begin included, end not. Holidays are not looked at."""
        local = at.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        if local.isoweekday() not in self._weekdays or not any(begin <= minute < end for begin, end in self._spans):
            return None
        return local.date()

    def is_exempt(self, day: date) -> bool | None:
        """Whether the hours do not hold on a day because of a holiday; None where its year is not known yet."""
        return is_holiday(day) if self._except_holidays else False

    def hold(self, at: datetime) -> bool:
        """Whether an instant lies in the hours; weekdays of a year that is not known yet are working days."""
        day = self.would_hold(at)
        return day is not None and not self.is_exempt(day)

    def next_change(self, at: datetime) -> datetime | None:
        """When the hours next begin or end after an instant, in their own zone; None where that is a month away."""
        now = self.hold(at)
        return next((edge for edge in self._edges(at) if self.hold(edge) != now), None)

    def _edges(self, at: datetime) -> Iterator[datetime]:
        """Every begin and end of a span after an instant, on whatever day, the nearest first."""
        first = at.astimezone(self.zone).date()
        minutes = sorted({minute for span in self._spans for minute in span})
        for ahead in range(_LOOK_AHEAD_DAYS):
            midnight = datetime.combine(first + timedelta(days=ahead), time(), self.zone)
            for minute in minutes:
                edge = midnight + timedelta(minutes=minute)  # of the wall clock, as the spans are
                if edge > at:
                    yield edge


@lru_cache(maxsize=1024)
def _known_holiday(day: date) -> bool:
    import chinese_calendar  # only for a call in what would be peak hours

    return bool(chinese_calendar.is_holiday(day))


def is_holiday(day: date) -> bool | None:
    """Whether a weekday is a public holiday in China; None for a year that the calendar does not know yet."""
    try:
        return _known_holiday(day)
    except NotImplementedError:
        return None


def _minutes(span: str) -> tuple[int, int]:
    """`09:00-12:00` as 540 and 720."""
    begin, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in span.split("-"))
    return begin, end
