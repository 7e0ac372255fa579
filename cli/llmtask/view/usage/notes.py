"""What a report has to say besides its numbers."""

from collections.abc import Iterator
from datetime import datetime

from llmtask.usage import Query, Statement


def notes(stated: Statement, *, is_of_cost: bool = False) -> Iterator[str]:
    """A sentence each.

    Args:
        stated: The report.
        is_of_cost: Whether there are curves of the cost.
    """
    sums = stated.total.sums
    if sums.unfinished:
        yield unfinished(sums.unfinished)
    if stated.previous:
        yield f"compared with {span_text(stated.previous)}"
    if rates := rates_text(stated):
        yield rates
    if is_of_cost and len(stated.total.costs) > 1:
        yield "what cost in several currencies has no curve; --currency makes them one"
    if "user" in stated.query.by and "user" not in stated.query.where and sums.ended:
        yield "latencies and errors are known by user only of users that --user names"


def unfinished(count: int) -> str:
    """How many calls have no end, and what that means."""
    calls = "1 call has" if count == 1 else f"{count:,} calls have"
    return f"{calls} no end: killed, or still going on; what was sent may have been billed"


def rates_text(stated: Statement) -> str:
    """By which rates amounts were converted; empty where none were."""
    parts = []
    if stated.rate_dates:
        first, last = stated.rate_dates
        days = f"of {first}" if first == last else f"of each day, {first} to {last}"
        parts.append(f"the ECB's reference rates {days}")
    if stated.is_pinned:
        parts.append("the rates that config.yaml pins")
    return f"≈ converted by {' and '.join(parts)}" if parts else ""


def span_text(query: Query) -> str:
    """A span of time by the clock of its zone: `2026-11-01 00:00 to 2026-11-25 14:03`."""
    return f"{_instant(query.since, query)} to {_instant(query.until, query)}"


def _instant(at: datetime | None, query: Query) -> str:
    return f"{at.astimezone(query.zone):%Y-%m-%d %H:%M}" if at else "now"
