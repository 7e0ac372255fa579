"""Amounts in whole nano-units of another currency, for what is held and taken before anybody sees it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_CEILING
from functools import cached_property
from typing import cast

from llmtask.money import NANOS, Cost, Currency
from llmtask.project import Project
from llmtask.rates import Rates, load_rates


class Exchange:
    """Turns amounts into another currency by today's rate, rounded up. Reads no rates before one is needed."""

    def __init__(self, project: Project) -> None:
        """Take the project whose rates hold."""
        self._project = project

    def nanos(self, cost: Cost, currency: Currency) -> int:
        """An amount in another currency.

        Raises:
            NoRateError: There is no rate of the day.
            UntrustedError: They would be fetched from a source that nobody trusted.
        """
        if cost.currency == currency or not cost.nanos:
            return cost.nanos
        converted = self._rates.convert(cost, currency, datetime.now(UTC).date())
        return int((converted.amount * NANOS).to_integral_value(ROUND_CEILING))

    def total(self, nanos: Mapping[str, int], currency: Currency) -> int:
        """Amounts per currency in one of them.

        Raises:
            NoRateError, UntrustedError: As `nanos`.
        """
        return sum(self.nanos(Cost(one, cast("Currency", of)), currency) for of, one in nanos.items())

    @cached_property
    def _rates(self) -> Rates:
        return load_rates(self._project)
