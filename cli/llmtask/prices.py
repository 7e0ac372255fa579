"""What a call costs, by the prices in config.yaml at the time of the call."""

import warnings
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

from llmtask.money import NANOS, Cost, Currency
from llmtask.project import Price, PriceList, Project, Schedule, load_project
from llmtask.tokens import Tokens


class HolidayUnknownWarning(UserWarning):
    """The holiday calendar does not know the year; its weekdays count as working days."""


def get_provider(model_id: str, *, project: Project | None = None) -> str:
    """The id of the provider that serves a model.

    Raises:
        UsageError: There is no such model.
    """
    return (project or load_project()).model(model_id).provider


def get_cost(
    model_id: str, tokens: Tokens, *, at: datetime | None = None, project: Project | None = None
) -> Cost | None:
    """What a call costs.

    Args:
        model_id: A model id.
        tokens: What the call used.
        at: When the call began; now where it is left out. Peak hours go by it.
        project: The project whose prices hold; the nearest where it is left out.

    Returns:
        The cost in the currency of the provider's account, or None for a model without a price: unpriced, never 0.

    Raises:
        UsageError: There is no such model.
    """
    project = project or load_project()
    model = project.model(model_id)
    currency = project.config.providers[model.provider].currency
    if model.price is None or currency is None:
        return None
    prices = _price_list(project, model.price, currency, at or datetime.now(UTC))
    if prices is None:
        return None
    exact = (
        prices.cache_hit * tokens.cached
        + prices.cache_miss * (tokens.input - tokens.cached)
        + prices.output * tokens.output
    )
    per_unit = Decimal(NANOS) / 1_000_000
    return Cost(int((exact * per_unit).quantize(Decimal(1), ROUND_HALF_EVEN)), currency)


def _price_list(project: Project, name: str, currency: Currency, at: datetime) -> PriceList | None:
    """The list that holds at an instant; None where no price is in force yet or it has no list in that currency."""
    schedules = project.config.schedules

    def begun(price: Price) -> bool:
        zone: tzinfo = ZoneInfo(schedules[price.peak].timezone) if price.peak else UTC
        return price.effective_from <= at.astimezone(zone).date()

    in_force = [price for price in project.config.prices[name] if begun(price)]
    if not in_force:
        return None
    price = max(in_force, key=lambda one: one.effective_from)
    if price.peak and is_within(schedules[price.peak], at):
        return price.peak_lists.get(currency, price.lists.get(currency))
    return price.lists.get(currency)


def is_within(schedule: Schedule, at: datetime) -> bool:
    """Whether an instant lies in a schedule's hours: begin included, end not, holidays excepted."""
    local = at.astimezone(ZoneInfo(schedule.timezone))
    if local.isoweekday() not in schedule.weekdays or not _in_hours(schedule, f"{local:%H:%M}"):
        return False
    return schedule.except_holidays is None or not _is_holiday(local.date())


def _in_hours(schedule: Schedule, clock: str) -> bool:
    spans = (span.split("-") for span in schedule.hours)
    return any(begin <= clock < end for begin, end in spans)  # all are HH:MM, which sort as times do


def _is_holiday(day: date) -> bool:
    """Whether a weekday is a public holiday in China."""
    import chinese_calendar  # only for a call in what would be peak hours

    try:
        return bool(chinese_calendar.is_holiday(day))
    except NotImplementedError:
        message = (
            f"the Chinese public holidays of {day.year} are not known yet, so each weekday counts as peak; "
            "`pip install -U chinesecalendar` may know them"
        )
        warnings.warn(message, HolidayUnknownWarning, stacklevel=2)
        return False
