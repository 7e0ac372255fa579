"""What a model is asked, and the pieces in which it answers: the same for every driver."""

import math
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llmtask.documents import Image
from llmtask.project import Model, Provider, Timeouts, TokenEstimate
from llmtask.tokens import Tokens

TOOL_NAME = "output_formatter"
"""The tool whose arguments are the answer; the seed's name for it."""


_SHORTEST_WAIT_S = 0.001


class Patience:
    """How long a run still waits: for each call's first byte, between its signs of life, and as a whole.

    Its clock starts with the run; a run's models share it.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        """Take how long to wait."""
        self.timeouts = timeouts
        self._end = math.inf
        self._first_byte_end = math.inf
        self._has_begun = False

    def start_run(self) -> None:
        """The run begins."""
        self._end = time.monotonic() + self.timeouts.total_s

    def start_call(self) -> None:
        """A call of the run begins."""
        self._has_begun = False
        self._first_byte_end = time.monotonic() + self.timeouts.first_byte_s

    def begin_answer(self) -> None:
        """The call's answer begins: from here on only silence counts."""
        self._has_begun = True

    @property
    def left_s(self) -> float:
        """Until the whole run must be over; below 0 when it is."""
        return self._end - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the run's time is up."""
        return self.left_s <= 0

    @property
    def is_late(self) -> bool:
        """Whether the call's answer should have begun by now."""
        return not self._has_begun and time.monotonic() >= self._first_byte_end

    @property
    def complaint(self) -> str:
        """What is said of a call that was waited for in vain."""
        if self._has_begun:
            return f"nothing came for {self.timeouts.idle_s:g} s"
        return f"no answer began within {self.timeouts.first_byte_s:g} s"

    def limit(self, seconds: float | None) -> float:
        """How long to wait for the next bytes, where somebody would wait so many seconds (None: for ever).

        Never 0, which would mean not to wait at all but to fail where nothing is there yet.
        """
        if self._has_begun:
            silence = self.timeouts.idle_s
        else:
            silence = min(self._first_byte_end - time.monotonic(), self.timeouts.first_byte_s)
        return max(min(math.inf if seconds is None else seconds, silence, self.left_s), _SHORTEST_WAIT_S)


_kept: ContextVar[Patience] = ContextVar("llmtask_patience")


@contextmanager
def keeping(patience: Patience) -> Iterator[None]:
    """Whatever a model does inside is waited for with this patience: runs share connections, not a clock."""
    token = _kept.set(patience)
    try:
        yield
    finally:
        _kept.reset(token)


def kept_patience(otherwise: Patience) -> Patience:
    """The patience of the run that is being waited for, or the other one where it is none."""
    return _kept.get(otherwise)


@dataclass(frozen=True, slots=True)
class Line:
    """What a driver needs to build a model."""

    model: Model
    provider: Provider
    key: str = field(repr=False)
    patience: Patience
    """For calls outside any run."""
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
    def texts(self) -> tuple[str, ...]:
        """All that the model reads."""
        return self.system, self.user, *(turn.text for turn in self.turns)


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


class Asked(Protocol):
    """A model that can be asked: a chat, or what stands in for one."""

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:
        """The answer, piece by piece, or whole where it is not asked for live.

        Raises:
            CallError: The call failed.
        """
        ...

    def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:
        """As `ask`, in the caller's event loop."""
        ...

    def close(self) -> None:
        """Close the connections of `ask`."""
        ...

    async def aclose(self) -> None:
        """Close the connections of `aask`."""
        ...
