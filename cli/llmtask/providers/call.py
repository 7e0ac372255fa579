"""What a model is asked, and the pieces in which it answers: the same for every driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmtask.documents import Image
from llmtask.project import Model, Provider, Timeouts, TokenEstimate
from llmtask.tokens import Tokens

TOOL_NAME = "output_formatter"
"""The tool whose arguments are the answer; the seed's name for it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a driver needs to build a model."""

    model: Model
    provider: Provider
    key: str = field(repr=False)
    timeouts: Timeouts
    token_estimate: TokenEstimate


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier answer of the model's, or a further message to it."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """One call: the messages, and the schema that the answer must fit."""

    system: str
    user: str
    schema: Mapping[str, Any]
    """JSON Schema of the answer."""
    images: tuple[Image, ...] = ()
    turns: tuple[Turn, ...] = ()
    """What was said after the user message, for a re-ask."""
    documents: Mapping[str, str] = field(default_factory=dict)
    """The user's own input; only the offline driver reads it."""

    @property
    def text(self) -> str:
        """All that the model reads, as one text."""
        return "\n".join([self.system, self.user, *(turn.text for turn in self.turns)])


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. Every field may be empty."""

    text: str = ""
    reasoning: str = ""
    tool_arguments: str = ""
    tokens: Tokens | None = None
    """The counts so far; the last one stands."""
    finish_reason: str | None = None
    model: str | None = None
    """The model's name, as the response carries it."""
