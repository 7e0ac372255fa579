"""Exact amounts of money."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Currency = Literal["CNY", "USD", "EUR"]

NANOS = 1_000_000_000
"""Nano-units in a unit of currency. Prices of three decimals for a million tokens are whole numbers of them a token."""

_SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€"}


@dataclass(frozen=True, slots=True)
class Cost:
    """An exact amount of money."""

    nanos: int
    """Billionths of the currency's unit."""
    currency: Currency

    @property
    def amount(self) -> Decimal:
        """In the currency's unit, exact."""
        return Decimal(self.nanos) / NANOS


def sums(costs: Iterable[Cost | None]) -> tuple[Cost, ...]:
    """Costs added up per currency, in the order in which the currencies come; None is left out."""
    nanos: dict[Currency, int] = {}
    for cost in costs:
        if cost is not None:
            nanos[cost.currency] = nanos.get(cost.currency, 0) + cost.nanos
    return tuple(Cost(amount, currency) for currency, amount in nanos.items())


def symbol(currency: str) -> str:
    """What stands before an amount, such as ¥; the code and a space where a currency has no symbol here."""
    return _SYMBOLS.get(currency, f"{currency} ")


def amount_text(amount: Decimal, currency: str) -> str:
    """An amount for people, rounded to a millionth, such as ¥0.002831."""
    places = amount.normalize().as_tuple().exponent
    digits = 2 if not isinstance(places, int) else min(max(2, -places), 6)
    return f"{symbol(currency)}{amount:,.{digits}f}"
