"""What some calls have used together, by their rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmtask.money import Cost, sums
from llmtask.tokens import Tokens
from llmtask.usage import UsageRow


@dataclass(frozen=True, slots=True)
class Used:
    """What calls have used."""

    tokens: Tokens
    costs: tuple[Cost, ...]
    """An amount per currency."""
    unpriced_calls: int
    calls: int
    latency_ms: int


def used(rows: Sequence[UsageRow]) -> Used:
    """What the calls of rows have used, those that failed included."""
    tokens = Tokens()
    for row in rows:
        tokens += tokens_of(row)
    return Used(
        tokens=tokens,
        costs=sums(row.price for row in rows),
        unpriced_calls=sum(row.price is None and row.total_tokens > 0 for row in rows),
        calls=len(rows),
        latency_ms=sum(row.latency_ms for row in rows),
    )


def tokens_of(row: UsageRow) -> Tokens:
    """The tokens of a call."""
    counted = (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens)
    return Tokens(*counted, row.is_estimate)
