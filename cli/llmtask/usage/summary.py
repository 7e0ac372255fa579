"""The calls of one group, summed up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from llmtask.money import NANOS
from llmtask.usage.rollup import middle

COUNTS = (
    "calls",
    "failed",
    "repaired",
    "retries",
    "estimated",
    "unpriced",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "latency_ms",
)
"""What is summed up over a group's finished calls, in the rollup's order; amounts follow, per currency."""


@dataclass(slots=True)
class Summary:
    """The calls of one group, summed up."""

    keys: tuple[str, ...] = ()
    """The group's value of each thing that is grouped by; empty for calls that have none."""
    calls: int = 0
    failed: int = 0
    """Calls that gave no valid answer; they are among `calls`, and their cost is counted."""
    unfinished: int = 0
    """Calls without an end: killed, or still going on; they are among `calls`, and what they cost is not known."""
    repaired: int = 0
    """Calls whose answer had to be helped before it fitted."""
    retries: int = 0
    """Calls that were made because an earlier one of the same run had failed."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    estimated: int = 0
    """Calls whose tokens are estimates."""
    unpriced: int = 0
    """Calls of a model without a price; they are in no cost."""
    cost_nanos: dict[str, int] = field(default_factory=dict)
    """Billionths of a unit, per currency."""
    saved_nanos: dict[str, int] = field(default_factory=dict)
    """What the vendors' prompt caches saved, likewise."""
    latency_ms: int = 0
    """Sum over the calls; `mean_latency_ms` is the mean."""
    latencies: Counter[int] = field(default_factory=Counter)
    """How many calls took about so many milliseconds: rounded down to a mark of the rollup."""
    first_tokens: Counter[int] = field(default_factory=Counter)
    """How many answers began after about so many milliseconds, likewise; those that were not streamed are in none."""
    errors: Counter[str] = field(default_factory=Counter)
    """How many calls ended in each class of failure."""

    @property
    def group(self) -> str:
        """What the group is called."""
        return " / ".join(self.keys)

    @property
    def ended(self) -> int:
        """The calls that have an end."""
        return self.calls - self.unfinished

    @property
    def costs(self) -> dict[str, Decimal]:
        """The exact cost per currency; currencies are never added up."""
        return {currency: Decimal(nanos) / NANOS for currency, nanos in sorted(self.cost_nanos.items())}

    @property
    def savings(self) -> dict[str, Decimal]:
        """What the vendors' prompt caches saved, per currency."""
        return {currency: Decimal(nanos) / NANOS for currency, nanos in sorted(self.saved_nanos.items())}

    @property
    def success_rate(self) -> float | None:
        """Of the calls that have an end, how many gave a valid answer; None where there are none."""
        return (self.ended - self.failed) / self.ended if self.ended else None

    @property
    def repair_rate(self) -> float | None:
        """Of the valid answers, how many had to be helped; None where there are none."""
        valid = self.ended - self.failed
        return self.repaired / valid if valid else None

    @property
    def mean_latency_ms(self) -> int:
        """The mean latency of a call that has ended."""
        return round(self.latency_ms / self.ended) if self.ended else 0

    def latency(self, share: float) -> int | None:
        """A percentile of the latency in milliseconds, at most 1 % off; None where it is not known.

        Args:
            share: 0.5 is the median, 0.95 what 95 of 100 calls don't exceed.
        """
        return _percentile(self.latencies, share)

    def first_token(self, share: float) -> int | None:
        """A percentile of the time to the first token, likewise."""
        return _percentile(self.first_tokens, share)

    def add(self, other: "Summary") -> None:
        """Take another group's calls in."""
        for name in (*COUNTS, "unfinished"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for own, more in ((self.cost_nanos, other.cost_nanos), (self.saved_nanos, other.saved_nanos)):
            _add(own, more)
        for mine, theirs in (
            (self.latencies, other.latencies),
            (self.first_tokens, other.first_tokens),
        ):
            mine.update(theirs)
        self.errors.update(other.errors)

    def count(self, counts: Sequence[int], currency: str, cost_nanos: int, saved_nanos: int) -> None:
        """Take the sums of finished calls in, in the order of `COUNTS`."""
        for name, value in zip(COUNTS, counts, strict=True):
            setattr(self, name, getattr(self, name) + int(value))
        if currency:
            _add(self.cost_nanos, {currency: int(cost_nanos)})
            _add(self.saved_nanos, {currency: int(saved_nanos)})


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for currency, nanos in more.items():
        sums[currency] = sums.get(currency, 0) + nanos


def _percentile(marks: Counter[int], share: float) -> int | None:
    """The value that so large a share of what is counted does not exceed: the nearest rank."""
    total = sum(marks.values())
    if not total:
        return None
    rank = max(-(-int(share * total * 1_000_000) // 1_000_000), 1)
    for mark in sorted(marks):
        rank -= marks[mark]
        if rank <= 0:
            return middle(mark)
    return None
