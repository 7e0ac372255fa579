"""What a model is asked, and the pieces in which it answers: the same for every driver."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmtask.documents import Image
from llmtask.project import Model, Provider, Timeouts, TokenEstimate
from llmtask.tokens import Tokens

TOOL_NAME = "output_formatter"
"""The tool whose arguments are the answer; the seed's name for it."""


class Deadline:
    """When a whole run must be over. Its clock starts with the first call."""

    def __init__(self, total_s: float) -> None:
        """Take how long a run may take, in seconds."""
        self.total_s = total_s
        self._end: float | None = None

    def start(self) -> None:
        """Start the clock, where it does not run yet."""
        if self._end is None:
            self._end = time.monotonic() + self.total_s

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() > self._end


@dataclass(frozen=True, slots=True)
class Line:
    """What a driver needs to build a model."""

    model: Model
    provider: Provider
    key: str = field(repr=False)
    timeouts: Timeouts
    deadline: Deadline
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
