"""What it all cost: the usage log, summed up by group."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Literal, get_args

from llmtask.errors import Failure, UsageError
from llmtask.money import NANOS
from llmtask.usage.log import UsageLog
from llmtask.usage.row import timestamp

GroupBy = Literal["model", "task", "provider", "day", "user", "tier"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)

_COLUMN: dict[GroupBy, str] = {
    "model": "model_id",
    "task": "task_template_id",
    "provider": "provider",
    "day": "date(created_at, 'localtime')",
    "user": "user_id",
    "tier": "tier",
}
_UNFINISHED = f"count(*) FILTER (WHERE error_class = '{Failure.UNFINISHED.value}')"  # no success, and no cost
_SPAN = re.compile(r"(\d+)\s*([hdwm])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "m": timedelta(days=30)}


@dataclass(slots=True)
class Summary:
    """The calls of one group, summed up."""

    group: str
    """The group's value; empty for calls that have none."""
    calls: int = 0
    failed: int = 0
    """Calls that gave no valid answer; they are among `calls`, and their cost is counted."""
    unfinished: int = 0
    """Calls without an end: killed, or still going on; they are among `calls`, and what they cost is not known."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: int = 0
    """Calls whose tokens are estimates."""
    unpriced: int = 0
    """Calls of a model without a price; they are in no cost."""
    cost_nanos: dict[str, int] = field(default_factory=dict)
    """Billionths of a unit, per currency."""
    latency_ms: int = 0
    """Sum over the calls; `mean_latency_ms` is the mean."""

    @property
    def costs(self) -> dict[str, Decimal]:
        """The exact cost per currency; currencies are never added up."""
        return {currency: Decimal(nanos) / NANOS for currency, nanos in sorted(self.cost_nanos.items())}

    @property
    def mean_latency_ms(self) -> int:
        """The mean latency of a call that has ended."""
        ended = self.calls - self.unfinished
        return round(self.latency_ms / ended) if ended else 0

    def add(self, other: "Summary") -> None:
        """Take another group's calls in."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for currency, nanos in other.cost_nanos.items():
            self.cost_nanos[currency] = self.cost_nanos.get(currency, 0) + nanos


_SUMS = (
    "calls",
    "failed",
    "unfinished",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated",
    "unpriced",
    "latency_ms",
)


@dataclass(frozen=True, slots=True)
class Report:
    """The calls of a span of time, by group."""

    by: GroupBy
    groups: list[Summary]
    """Sorted: days by date, all else by the number of calls."""
    total: Summary


def report(
    log: UsageLog, by: GroupBy = "model", since: datetime | None = None, until: datetime | None = None
) -> Report:
    """Sum the log up.

    Args:
        log: The usage log; one that does not exist yet is empty.
        by: What to group by. Days are days of the local time zone.
        since: The first instant that counts.
        until: The first instant that no longer counts.

    Raises:
        UsageLogError: The log cannot be read.
    """
    sql = f"""
        SELECT {_COLUMN[by]}, currency, count(*), count(*) - sum(is_success) - {_UNFINISHED}, {_UNFINISHED},
               sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens), sum(is_estimate),
               sum(cost_nanos IS NULL) - {_UNFINISHED}, sum(latency_ms), coalesce(sum(cost_nanos), 0)
        FROM llm_usage_logs WHERE created_at >= ? AND created_at < ? GROUP BY 1, 2
    """  # noqa: S608  # names and words of our own
    bounds = (timestamp(since) if since else "", timestamp(until) if until else "~")
    groups: dict[str, Summary] = {}
    total = Summary("total")
    for value, currency, *sums, nanos in log.query(sql, bounds):
        name = str(value) if value is not None else ""
        part = Summary(name, **dict(zip(_SUMS, sums, strict=True)), cost_nanos={currency: nanos} if currency else {})
        groups.setdefault(name, Summary(name)).add(part)
        total.add(part)
    return Report(
        by, sorted(groups.values(), key=lambda one: one.group if by == "day" else (-one.calls, one.group)), total
    )


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
