"""Exact amounts of money."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, cast, get_args

Currency = Literal["CNY", "USD", "EUR"]

NANOS = 1_000_000_000
"""Nano-units in a unit of currency. Prices of three decimals for a million tokens are whole numbers of them a token."""

MOST_UNITS = 1_000_000_000
"""The most of a currency that anybody may set or add; what it comes to in nano-units fits 64 bits nine times."""

_SYMBOLS = {"CNY": "¥", "USD": "$", "EUR": "€"}
_CURRENCIES = {"¥": "CNY", "￥": "CNY", "$": "USD", "€": "EUR"}
_AMOUNT = re.compile(r"([¥￥$€])?\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]{3})?")


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


def read_amount(text: str) -> tuple[int, Currency | None]:
    """An amount that somebody wrote, in nano-units, and its currency where it says one.

    Args:
        text: `2.00`, `2.00CNY`, `2 CNY`, `¥2` or `$0.30`.

    Raises:
        ValueError: It is none; says why, as the end of a sentence.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if not found or (found[1] and found[3]):
        message = "is no amount; give 2.00, 2.00CNY or 0.30USD"
        raise ValueError(message)
    named = _CURRENCIES.get(found[1] or "") or (found[3] or "").upper() or None
    if named is not None and named not in get_args(Currency):
        message = f"is in an unknown currency; say {', '.join(get_args(Currency))}"
        raise ValueError(message)
    nanos = Decimal(found[2]) * NANOS
    if nanos != int(nanos):
        message = "has more than nine decimals"
        raise ValueError(message)
    if nanos > MOST_UNITS * NANOS:
        message = f"is more than {MOST_UNITS:,}"
        raise ValueError(message)
    return int(nanos), cast("Currency | None", named)
