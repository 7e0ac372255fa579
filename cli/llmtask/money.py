"""Exact amounts of money."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Currency = Literal["CNY", "USD", "EUR"]

NANOS = 1_000_000_000
"""Nano-units in a unit of currency. Prices of three decimals for a million tokens are whole numbers of them a token."""


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
