"""What a call is charged: its cost, and what the vendor's prompt cache saved of it. One rule for all who ask."""

from dataclasses import dataclass
from datetime import datetime

from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.project import Project
from llmtask.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call is charged."""

    cost: Cost | None
    """None for a model without a price: unpriced, never 0."""
    saved_nanos: int | None
    """What it would have cost more without cache hits; None where it is unpriced."""


def charge(project: Project, model_id: str, tokens: Tokens, at: datetime, images: int = 0) -> Charge:
    """What a call is charged by a project's prices of the instant at which it began.

    Args:
        project: The project.
        model_id: A model id.
        tokens: What the call used; one that used none, because it was refused, pays for no images either.
        at: When the call began.
        images: How many images it sent.

    Raises:
        UsageError: There is no such model.
    """
    images = images if tokens.total else 0
    cost = get_cost(model_id, tokens, at=at, project=project, images=images)
    if cost is None or not tokens.cached:
        return Charge(cost, None if cost is None else 0)
    uncached = get_cost(model_id, Tokens(tokens.input, tokens.output), at=at, project=project, images=images)
    return Charge(cost, None if uncached is None else uncached.nanos - cost.nanos)
