"""The most that something may cost, as `--max-cost` says it."""

from collections.abc import Collection

from llmtask.errors import UsageError
from llmtask.money import Cost, read_amount
from llmtask.prices import get_cost
from llmtask.project import Project
from llmtask.tokens import Tokens


def read_most(text: str, project: Project, models: Collection[str]) -> Cost:
    """The amount that `--max-cost` names.

    Args:
        text: `2.00`, `2.00CNY`, `2 CNY`, `¥2` or `$0.30`.
        project: Where prices stand.
        models: The models that will be asked: an amount without a currency is in theirs.

    Raises:
        UsageError: It is no amount, or the models have no common currency.
    """
    try:
        nanos, currency = read_amount(text)
    except ValueError as error:
        message = f"--max-cost {text!r} {error}"
        raise UsageError(message) from error
    if currency is not None:
        return Cost(nanos, currency)
    prices = [price_of(model, project) for model in models]
    priced = {price.currency for price in prices if price}
    if len(priced) != 1:
        said = f"are priced in {' and '.join(sorted(priced))}" if priced else "have no price"
        message = f"--max-cost {text}: the models {said}; say the currency: {text}CNY"
        raise UsageError(message)
    return Cost(nanos, priced.pop())


def require_price(model_id: str, project: Project, most: Cost) -> None:
    """Stop where an amount cannot hold what a model's calls cost.

    Raises:
        UsageError: The model has no price, or one in another currency.
    """
    price = price_of(model_id, project)
    if price is None or price.currency != most.currency:
        priced = f"is priced in {price.currency}" if price else "has no price"
        message = f"--max-cost is in {most.currency}, and {model_id} {priced}; leave one of them out"
        raise UsageError(message)


def price_of(model_id: str, project: Project) -> Cost | None:
    """What two tokens cost, which tells the currency; None for a model without a price."""
    return get_cost(model_id, Tokens(1, 1), project=project)
