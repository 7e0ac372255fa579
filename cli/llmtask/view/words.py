"""Numbers and amounts in words, the same everywhere."""

from decimal import Decimal
from typing import TYPE_CHECKING

from llmtask.money import Cost, amount_text

if TYPE_CHECKING:
    from llmtask.tokens import Tokens  # brings the project's models, which a report of the log does without


def cost(value: Cost | None) -> str:
    """A cost, or that there is no price for it."""
    return amount_text(value.amount, value.currency) if value else "unpriced"


def costs(amounts: dict[str, Decimal], unpriced: int, unfinished: int) -> str:
    """The costs of a group: one amount per currency, and how many calls are in none of them."""
    parts = [amount_text(amount, currency) for currency, amount in amounts.items()]
    if unpriced:
        parts.append(f"{unpriced:,} unpriced")
    if unfinished:
        parts.append(f"{unfinished:,} unfinished")
    return " + ".join(parts) or "-"


def tokens(value: "Tokens") -> str:
    """Token counts, such as 2,762 in (1,024 cached) + 397 out."""
    about = "~" if value.is_estimate else ""
    cached = f" ({value.cached:,} cached)" if value.cached else ""
    reasoning = f" ({value.reasoning:,} reasoning)" if value.reasoning else ""
    return f"{about}{value.input:,} in{cached} + {about}{value.output:,} out{reasoning} tokens"


def seconds(milliseconds: int) -> str:
    """A duration, such as 0.42 s or 12.4 s."""
    value = milliseconds / 1000
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
