"""The instants and spans that people name: 7d, yesterday, last month, 2026-11, 2026-11-01T08:00."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from llmtask.errors import UsageError

_SPAN = re.compile(r"(\d+)\s*([hdwm])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "m": timedelta(days=30)}
_NAMED = re.compile(r"(this|last) (week|month|year)|(\d{4})-(\d{2})|(\d{4})")


def span(since: str | None, until: str | None, now: datetime | None = None) -> tuple[datetime | None, datetime | None]:
    """The instants that `--since` and `--until` name, in the local time zone.

    `last month`, `this week`, `last year`, `2026-11` and `2026` are whole: they name their end too, where no other is
    named.

    Args:
        since: As `instant`, or one of those.
        until: Likewise; of a whole one, its begin.
        now: Now; for tests.

    Raises:
        UsageError: It is none of these.
    """
    begin, end = _named(since, now) if since else (None, None)
    if since and begin is None:
        begin = instant(since, now)
    if until:
        end = _named(until, now)[0] or instant(until, now)
    return begin, end


def span_before(
    since: datetime, until: datetime | None, zone: tzinfo | None = None, now: datetime | None = None
) -> tuple[datetime, datetime] | None:
    """The span that another one is compared with: as long, and just before it.

    A span of whole months has as many months before it, and one that begins at midnight moves by whole days, so that
    days are compared with days; of one that is not over yet, as much is compared as has passed. None where the calendar
    has nothing before it.

    Args:
        since: The begin of the span that is compared.
        until: Its end; None for now.
        zone: Whose midnights they are; the local time zone's where it is left out.
        now: Now; for tests.
    """
    now = now or datetime.now(UTC)
    end = until or max(now, since)
    try:
        begin, last = _clock(since, zone), _clock(end, zone)
        if begin.time() != time():
            return since - (end - since), since
        if begin.day == last.day == 1 and last.time() == time() and begin < last:
            months = (last.year - begin.year) * 12 + last.month - begin.month
            first = datetime.combine(_later(begin.date(), -months), time())
            if end <= now:
                return _there(first, zone), since
        else:
            first = begin - timedelta(days=max(-((begin - last) // timedelta(days=1)), 1))
        passed = (_clock(now, zone) if since < now < end else last) - begin
        return _there(first, zone), min(_there(first + passed, zone), since)
    except (OverflowError, ValueError):
        return None


def _clock(at: datetime, zone: tzinfo | None) -> datetime:
    """What the clock of a zone says."""
    return at.astimezone(zone).replace(tzinfo=None)


def _there(clock: datetime, zone: tzinfo | None) -> datetime:
    """When the clock of a zone says so."""
    return clock.replace(tzinfo=zone) if zone else clock.astimezone()


def _named(text: str, now: datetime | None) -> tuple[datetime | None, datetime | None]:
    """The begin and the end of what is whole."""
    found = _NAMED.fullmatch(" ".join(text.lower().split()))
    if not found:
        return None, None
    which, unit, year, month, only_year = found.groups()
    today = (now or datetime.now(UTC)).astimezone().date()
    try:
        if only_year:
            return _midnight(date(int(only_year), 1, 1)), _midnight(date(int(only_year) + 1, 1, 1))
        if year:
            first = date(int(year), int(month), 1)
            return _midnight(first), _midnight(_later(first, 1))
    except ValueError:
        return None, None
    back = 1 if which == "last" else 0
    if unit == "week":
        first = today - timedelta(days=today.weekday() + 7 * back)
        return _midnight(first), _midnight(first + timedelta(days=7))
    first = today.replace(day=1) if unit == "month" else today.replace(month=1, day=1)
    months = 1 if unit == "month" else 12
    first = _later(first, -months * back)
    return _midnight(first), _midnight(_later(first, months))


def _later(first: date, months: int) -> date:
    """The first day of a month so many months later."""
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def instant(text: str, now: datetime | None = None) -> datetime:
    """The instant that `--since` or `--until` names, in the local time zone.

    Args:
        text: `7d`, `12h`, `2w` or `3m` (that long ago; m is 30 days), `today`, `yesterday`, or an ISO date or time.
        now: Now; for tests.

    Raises:
        UsageError: It is none of these.
    """
    now = (now or datetime.now(UTC)).astimezone()
    if text in ("today", "yesterday"):
        return _midnight(now.date() - timedelta(days=text == "yesterday"))
    try:
        if span := _SPAN.fullmatch(text.strip().lower()):
            return now - int(span[1]) * _UNITS[span[2]]
        if len(text) == len("2026-11-01"):
            return _midnight(date.fromisoformat(text))
        return datetime.fromisoformat(text).astimezone()
    except OverflowError as error:
        message = f"{text!r} is further away than the calendar knows; give 7d, 12h, 2w, today or 2026-11-01"
        raise UsageError(message) from error
    except ValueError as error:
        message = f"{text!r} is no time; give 7d, 12h, 2w, today, 2026-11-01 or 2026-11-01T08:00"
        raise UsageError(message) from error


def _midnight(day: date) -> datetime:
    """When a day began here: a day on which the clocks change began by the old time."""
    return datetime.combine(day, time()).astimezone()
