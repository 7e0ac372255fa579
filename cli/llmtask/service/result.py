"""What a run gives: its events while it goes on, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

from pydantic import BaseModel
from typing_extensions import TypeVar

from llmtask.answer import Level
from llmtask.errors import Failure
from llmtask.money import Cost
from llmtask.router import Route
from llmtask.tokens import Tokens

Schema_co = TypeVar("Schema_co", bound=BaseModel, default=BaseModel, covariant=True)


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[Schema_co]):
    """A valid answer, and what it took."""

    data: Schema_co
    """The validated object."""
    task: str
    locale: str
    route: Route
    """Of the model that gave the answer: a fallback's where one took over."""
    run_id: str
    """Groups the usage rows of this run."""
    upstream_model: str | None
    """The model's name, as the response carried it."""
    tokens: Tokens
    """All calls of the run together."""
    costs: tuple[Cost, ...]
    """All calls of the run together, an amount per currency: a fallback may be priced in another one."""
    unpriced_calls: int
    """Calls of a model without a price; they are in no amount."""
    latency_ms: int
    """From the first call's begin to the last one's end."""
    first_token_ms: int | None
    """From the run's begin to its first text, reasoning included."""
    attempts: int
    """Model calls made, failed ones included; 1 where the first answer was valid."""
    repair_level: Level
    """How much the answer had to be helped; strict where it was the bare object."""
    is_sample: bool
    """Whether no language model wrote it (driver offline)."""

    @property
    def cost(self) -> Cost | None:
        """All calls of the run together; None where one has no price, or they are priced in several currencies."""
        return self.costs[0] if len(self.costs) == 1 and not self.unpriced_calls else None

    def to_json(self) -> dict[str, Any]:
        """The object as JSON values; every field of the schema is there, null where the answer does not have it."""
        return self.data.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A piece of the answer, tool-call arguments included."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEvent:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class PartialEvent:
    """The object so far: for display, not validated."""

    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RetryEvent:
    """A call failed and the same model is asked again; what came so far is void."""

    attempt: int
    """The number of the call that begins now, from 2."""
    reason: str
    model_id: str
    wait_s: float = 0
    """Seconds until it begins."""
    failure: Failure = Failure.BUG
    """How the call failed."""


@dataclass(frozen=True, slots=True)
class FallbackEvent:
    """A model failed and another takes over; what came so far is void."""

    attempt: int
    """The number of the call that begins now, from 2."""
    reason: str
    failed_model_id: str
    model_id: str
    """The model that is asked now."""


@dataclass(frozen=True, slots=True)
class ResultEvent(Generic[Schema_co]):
    """The end of a run that succeeded."""

    result: TaskResult[Schema_co]


Event: TypeAlias = TextEvent | ReasoningEvent | PartialEvent | RetryEvent | FallbackEvent | ResultEvent[Schema_co]
