"""What every model costs at an instant, and what is wrong with a project's prices."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from llmtask.money import Currency
from llmtask.prices.hours import is_holiday
from llmtask.prices.tariffs import Tariff, price_name, tariff_at, tariffs
from llmtask.project import PriceList, Project

_SOON = timedelta(days=31)  # how long before a year begins its holidays are missed


@dataclass(frozen=True, slots=True)
class Standing:
    """What a model costs at an instant."""

    model_id: str
    provider_id: str
    currency: Currency | None
    """What its provider bills in."""
    price: str | None
    """The key of `prices` that it is priced by."""
    tariff: Tariff | None
    """What holds; None where nothing does yet."""
    prices: PriceList | None
    """The list in force; None for an unpriced model."""
    is_peak: bool | None
    """Whether it is the list of peak hours; None where there are none."""
    next_change: datetime | None
    """When another list comes into force, in UTC; None where that is not known."""
    why_unpriced: str
    """Why there is no list, and the way out; empty where there is one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a project's prices that its user should know."""

    is_problem: bool
    """Whether costs are wrong or missing by it; else it is worth a look."""
    subject: str
    """What it is about: a model, a price, a provider or a schedule."""
    text: str


def standings(project: Project, at: datetime) -> tuple[Standing, ...]:
    """What each model costs at an instant: those that are listed, and others that a price is named after."""
    return tuple(_standing(project, model_id, at) for model_id in _model_ids(project))


def _model_ids(project: Project) -> Iterator[str]:
    config = project.config
    yield from config.models
    listed = {f"{model.provider}/{model.name}" for model in config.models.values()}
    for name in config.prices:
        provider = config.providers.get(name.partition("/")[0])
        if "/" in name and name not in listed and provider and provider.unlisted:
            yield name


def _standing(project: Project, model_id: str, at: datetime) -> Standing:
    model = project.model(model_id)
    currency, name = project.config.providers[model.provider].currency, price_name(project, model)
    tariff = tariff_at(project, model_id, at)
    prices = tariff.list_at(at) if tariff else None
    return Standing(
        model_id,
        model.provider,
        currency,
        name,
        tariff,
        prices,
        tariff.is_peak(at) if tariff and tariff.hours else None,
        _next_change(project, model_id, tariff, at),
        "" if prices else _why_unpriced(project, model_id, tariff),
    )


def _next_change(project: Project, model_id: str, tariff: Tariff | None, at: datetime) -> datetime | None:
    coming = [one.begin for one in tariffs(project, model_id) if one.begin > at]
    turn = tariff.hours.next_change(at) if tariff and tariff.hours else None
    return min((*coming, *([turn.astimezone(UTC)] if turn else ())), default=None)


def _why_unpriced(project: Project, model_id: str, tariff: Tariff | None) -> str:
    model = project.model(model_id)
    currency, name = project.config.providers[model.provider].currency, price_name(project, model)
    if name is None:
        return f"it has no price; add one named '{model.provider}/{model.name}' under `prices:`, of 0 where it is free"
    if currency is None:
        return f"its provider states no currency; add `currency: USD` (or CNY, EUR) to providers.{model.provider}"
    if tariff is None:
        first = min((price.effective_from for price in project.config.prices[name]), default=None)
        return f"its price {name!r} {f'holds only from {first} on' if first else 'has no lists'}"
    return f"its price {name!r} has no {currency} list of {tariff.price.effective_from}, and its provider bills in that"


def check_prices(project: Project, at: datetime, older_than_days: int) -> tuple[Finding, ...]:
    """What is wrong with a project's prices, and what is worth a look.

    Args:
        project: The project.
        at: The instant that they are looked at.
        older_than_days: Prices that hold for longer than that are worth a look.
    """
    found = standings(project, at)
    return (
        *(finding for one in found for finding in _of_model(one)),
        *_of_age(project, found, at, older_than_days),
        *_of_lists(project, at),
        *_of_names(project, found),
        *_of_providers(project),
        *holiday_findings(project, found, at),
    )


def _of_model(one: Standing) -> Iterator[Finding]:
    if one.why_unpriced:
        yield Finding(True, one.model_id, f"unpriced: {one.why_unpriced}")
    elif one.tariff and one.tariff.hours and one.currency not in one.tariff.price.peak_lists:
        yield Finding(
            True,
            one.model_id,
            f"peak hours cost as the others: `peak_lists` of {one.price!r} has no {one.currency} list",
        )


def _of_age(project: Project, found: tuple[Standing, ...], at: datetime, days: int) -> Iterator[Finding]:
    begins = {
        one.price: one.tariff.price
        for one in found
        if one.tariff and one.price and project.config.providers[one.provider_id].driver != "offline"
    }
    for name, price in begins.items():
        age = (at.date() - price.effective_from).days
        if age > days:
            where = f" at {price.source}" if price.source else ""
            yield Finding(False, str(name), f"holds since {price.effective_from}, {age:,} days: look it up{where}")


def _of_lists(project: Project, at: datetime) -> Iterator[Finding]:
    for name, prices in project.config.prices.items():
        days = Counter(price.effective_from for price in prices)
        for day, count in days.items():
            if count > 1:
                yield Finding(True, name, f"has {count} lists of {day}: the first one holds, the others never do")
        begun = sorted(day for day in days if day <= at.date())
        if len(begun) > 1:
            older = f"{len(begun) - 1} older list{'s' if len(begun) > 2 else ''}"
            yield Finding(False, name, f"{older}, superseded on {begun[-1]}: kept for calls of their time")
        for day in sorted(day for day in days if day > at.date()):
            yield Finding(False, name, f"changes on {day}")


def _of_names(project: Project, found: tuple[Standing, ...]) -> Iterator[Finding]:
    used = {one.price for one in found}
    for name in project.config.prices:
        if name not in used:
            yield Finding(False, name, "no model has this price")


def _of_providers(project: Project) -> Iterator[Finding]:
    with_models = {model.provider for model in project.config.models.values()}
    for name, provider in project.config.providers.items():
        if provider.currency is None and name not in with_models:
            yield Finding(False, name, "the provider states no currency: whatever is asked of it is unpriced")


def holiday_findings(project: Project, found: tuple[Standing, ...], at: datetime) -> Iterator[Finding]:
    """Years around an instant whose holidays would decide about peak hours and are not known."""
    used = {one.tariff.price.peak for one in found if one.tariff}
    years = sorted({at.year, (at + _SOON).year})
    for name, schedule in project.config.schedules.items():
        for year in years:
            if name in used and schedule.except_holidays and is_holiday(date(year, 1, 1)) is None:
                text = f"the Chinese public holidays of {year} are not known yet: its weekdays all count as peak; "
                yield Finding(year == at.year, name, f"{text}`pip install -U chinesecalendar` may know them")
