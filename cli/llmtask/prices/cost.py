"""What a call costs, exact to the nano-unit."""

import warnings
from datetime import UTC, datetime

from llmtask.money import Cost
from llmtask.prices.tariffs import Rates, Tariff, tariff_at
from llmtask.project import Project, load_project
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
    model_id: str,
    tokens: Tokens,
    *,
    at: datetime | None = None,
    project: Project | None = None,
    images: int = 0,
    searches: int = 0,
) -> Cost | None:
    """What a call costs.

    Args:
        model_id: A model id.
        tokens: What the call used.
        at: When the call began; now where it is left out. Peak hours go by it.
        project: The project whose prices hold; the nearest where it is left out.
        images: How many images it sent: each costs the list's `image`, beside its tokens.
        searches: How often it called the vendor's own search: each costs the list's `search`.

    Returns:
        The cost in the currency of the provider's account, or None for a model without a price: unpriced, never 0.

    Raises:
        UsageError: There is no such model.
    """
    at = at or datetime.now(UTC)
    if at.tzinfo is None:
        at = at.astimezone()
    tariff = tariff_at(project or load_project(), model_id, at)
    rates = tariff and _rates_at(tariff, at)
    if not tariff or not rates:
        return None
    exact = (
        rates.cache_hit * tokens.cached
        + rates.cache_miss * max(tokens.input - tokens.cached, 0)  # a vendor that miscounts pays us nothing
        + rates.output * tokens.output
        + rates.image * images
        + rates.search * searches
    )
    return Cost(_halves_to_even(exact, rates.scale), tariff.currency)


def _rates_at(tariff: Tariff, at: datetime) -> Rates | None:
    """The rates that hold at an instant; warns where a holiday would decide and is not known."""
    day = tariff.hours.would_hold(at) if tariff.hours else None
    if not tariff.hours or day is None:
        return tariff.base_rates
    is_exempt = tariff.hours.is_exempt(day)
    if is_exempt is None:
        message = (
            f"the Chinese public holidays of {day.year} are not known yet, so each weekday counts as peak; "
            "`pip install -U chinesecalendar` may know them"
        )
        warnings.warn(message, HolidayUnknownWarning, stacklevel=3)
    return tariff.base_rates if is_exempt else tariff.peak_rates


def _halves_to_even(numerator: int, denominator: int) -> int:
    """The quotient, rounded to the nearest integer, and a half to the even one."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (rest * 2 > denominator or (rest * 2 == denominator and quotient % 2 == 1))
