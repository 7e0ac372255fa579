"""Days, weeks and months of local time: the terms after which budgets and free runs are new."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

Per = Literal["day", "week", "month"]


@dataclass(frozen=True, slots=True)
class Term:
    """A day, a week or a month."""

    name: str
    """As people write it: 2026-11-25, 2026-W48, 2026-11."""
    begin: datetime
    """Its first instant, in UTC."""
    end: datetime
    """The first instant after it, in UTC."""


def term_of(at: datetime, per: Per, zone: tzinfo | None = None) -> Term:
    """The term in which an instant lies.

    Args:
        at: The instant.
        per: How long terms are.
        zone: Whose clock they go by; the local one where it is left out.
    """
    today = at.astimezone(zone).date()
    if per == "day":
        return _term(today.isoformat(), today, today + timedelta(days=1), zone)
    if per == "week":
        monday = today - timedelta(days=today.weekday())
        year, week, _ = monday.isocalendar()
        return _term(f"{year}-W{week:02}", monday, monday + timedelta(days=7), zone)
    first = today.replace(day=1)
    return _term(f"{first:%Y-%m}", first, (first + timedelta(days=31)).replace(day=1), zone)


def _term(name: str, first: date, following: date, zone: tzinfo | None) -> Term:
    return Term(name, _midnight(first, zone), _midnight(following, zone))


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    """When a day begins: one whose midnight the clocks skip, or show twice, begins when they have been changed."""
    shown = datetime.combine(day, time())
    readings = (shown.replace(fold=fold, tzinfo=zone) for fold in (0, 1))  # naive is local
    return max(reading.astimezone(UTC) for reading in readings)


def when(at: datetime, zone: tzinfo | None = None) -> str:
    """An instant for people, such as 2026-11-26 00:00 CST.

    Args:
        at: The instant.
        zone: Whose clock shows it; the local one where it is left out.
    """
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")
