"""A project's price lists as they are asked for: per model, in its provider's currency, the newest first."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

from llmtask.money import NANOS, Currency
from llmtask.prices.hours import Hours
from llmtask.project import Model, Price, PriceList, Project

_MILLION = 1_000_000
_MEMO = "prices"


@dataclass(frozen=True, slots=True)
class Rates:
    """A price list as whole numbers: what a token and a piece cost, in `1 / scale` nano-units."""

    cache_hit: int
    cache_miss: int
    output: int
    image: int
    search: int
    scale: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a model costs from a day on, in one currency."""

    price: Price
    """The entry of `prices` that it comes from."""
    currency: Currency
    begin: datetime
    """The first instant at which it holds."""
    base: PriceList | None
    """The list outside peak hours; None where the entry has none in this currency."""
    peak: PriceList | None
    """The list in peak hours; None where the entry has none in this currency."""
    hours: Hours | None
    """The peak hours."""
    base_rates: Rates | None
    peak_rates: Rates | None

    def list_at(self, at: datetime) -> PriceList | None:
        """The list that holds at an instant; weekdays of a year whose holidays are not known count as working days."""
        return self.peak if self.is_peak(at) else self.base

    def is_peak(self, at: datetime) -> bool:
        """Whether peak hours hold at an instant."""
        return self.hours is not None and self.hours.hold(at)


def price_name(project: Project, model: Model) -> str | None:
    """The key of `prices` that a model is priced by: its own `price`, else `provider/name`; None where neither is."""
    if model.price is not None:
        return model.price
    name = f"{model.provider}/{model.name}"
    return name if name in project.config.prices else None


def tariffs(project: Project, model_id: str) -> tuple[Tariff, ...]:
    """Everything that a model cost, costs and will cost, the newest first; empty for an unpriced one.

    Raises:
        UsageError: There is no such model.
    """
    known: dict[str, tuple[Tariff, ...]] = project.memo.setdefault(_MEMO, {})
    if model_id not in known:
        known[model_id] = _tariffs(project, project.model(model_id))
    return known[model_id]


def tariff_at(project: Project, model_id: str, at: datetime) -> Tariff | None:
    """What holds for a model at an instant; None where nothing does.

    Raises:
        UsageError: There is no such model.
    """
    return next((tariff for tariff in tariffs(project, model_id) if tariff.begin <= at), None)


def _tariffs(project: Project, model: Model) -> tuple[Tariff, ...]:
    currency, name = project.config.providers[model.provider].currency, price_name(project, model)
    if currency is None or name is None:
        return ()
    newest_first = sorted(project.config.prices[name], key=lambda price: price.effective_from, reverse=True)
    return tuple(_tariff(project, price, currency) for price in newest_first)


def _tariff(project: Project, price: Price, currency: Currency) -> Tariff:
    hours = Hours(project.config.schedules[price.peak]) if price.peak else None
    base = price.lists.get(currency)
    peak = price.peak_lists.get(currency, base) if hours else None
    begin = _midnight(price.effective_from, hours.zone if hours else UTC)
    return Tariff(price, currency, begin, base, peak, hours, _rates(base), _rates(peak))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _rates(prices: PriceList | None) -> Rates | None:
    """The list in whole numbers: a cost is then a sum of products of integers, exact and quick."""
    if prices is None:
        return None
    per_token = [_ratio(price, NANOS // _MILLION) for price in (prices.cache_hit, prices.cache_miss, prices.output)]
    per_piece = [_ratio(fee or Decimal(0), NANOS) for fee in (prices.image, prices.search)]
    ratios = [*per_token, *per_piece]
    scale = math.lcm(*(denominator for _, denominator in ratios))
    hit, miss, output, image, search = (numerator * (scale // denominator) for numerator, denominator in ratios)
    return Rates(hit, miss, output, image, search, scale)


def _ratio(amount: Decimal, times: int) -> tuple[int, int]:
    numerator, denominator = amount.as_integer_ratio()
    return numerator * times, denominator
