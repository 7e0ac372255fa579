"""What models answered, kept at the line to the model: whatever plays it again, the answer is validated again.

A recording is found by what was asked: model, parameters, messages, schema and repeat. So it is never stale: where
any of them has changed, there is none.
"""

import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from llmtask import documents
from llmtask.errors import CallError, Failure, LlmtaskError
from llmtask.project import Model, Project
from llmtask.providers import Asked, Delta, Patience, Request
from llmtask.service import Asking, Opener, asking
from llmtask.service.used import tokens_of
from llmtask.tokens import Tokens
from llmtask.usage import Ledger, UsageRow, timestamp

BAD_ANSWERS = frozenset(
    {Failure.SCHEMA_INVALID, Failure.LENGTH, Failure.BLANK, Failure.REASONING_ONLY, Failure.FILTERED}
)
"""Failures that are an answer of the model's, and a bad one; all others are none."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One call that was answered, well or badly."""

    key: str
    """Of what was asked."""
    parts: Mapping[str, str]
    """Digests of the parts of what was asked: says what has changed where no key fits."""
    repeat: int
    at: str
    """When the call began: ISO 8601 in UTC."""
    latency_ms: int
    first_token_ms: int | None
    text: str = ""
    tool_arguments: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    model: str | None = None
    """The model's name, as the response carried it."""
    tokens: Tokens | None = None
    refusal: str | None = None
    """What was said instead of an answer, by the vendor's content filter."""

    def deltas(self) -> Generator[Delta]:
        """The answer again.

        Raises:
            CallError: It was a refusal.
        """
        if self.refusal is not None:
            raise CallError(self.refusal, Failure.FILTERED)
        yield Delta(
            text=self.text,
            reasoning=self.reasoning,
            tool_arguments=self.tool_arguments,
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            model=self.model,
        )


Find: TypeAlias = Callable[[str], Recording | None]
"""A recording by its key."""


class NotRecordedError(LlmtaskError):
    """Nothing was recorded for a call, and none may be made."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        """Take the digests of what would have been asked."""
        super().__init__("not recorded")
        self.parts = parts


def sound(value: Any) -> Any:
    """JSON values without what is no Unicode, such as half a surrogate pair: that stands there as an escape."""
    if isinstance(value, str):
        return documents.sound(value)
    if isinstance(value, dict):
        return {sound(key): sound(one) for key, one in value.items()}
    return [sound(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass
class Take:
    """The calls of one sample: what was played or recorded of them, in order."""

    repeat: int
    recordings: list[Recording] = field(default_factory=list)
    _asked: dict[Any, int] = field(default_factory=dict)

    def key(self, what: Asking) -> str:
        """The key of the next call that asks this."""
        return what.key(self.repeat, self._asked.get(_name(what), 0))

    def add(self, what: Asking, recording: Recording) -> None:
        """Take a call in."""
        self._asked[_name(what)] = self._asked.get(_name(what), 0) + 1
        self.recordings.append(recording)


def _name(what: Asking) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(what.parts.items()))


class Player:
    """Opens lines on which recordings are played, and nothing is asked."""

    def __init__(self, find: Find, repeat: int) -> None:
        """Take where recordings are found."""
        self.take = Take(repeat)
        self._find = find

    def open(self, project: Project, model: Model) -> Asked:  # noqa: ARG002  # as every opener
        """The line to a model."""
        return _Playing(self, model)

    def played(self, model: Model, request: Request) -> Recording:
        """What was recorded of a call.

        Raises:
            NotRecordedError: Nothing.
        """
        what = asking(model, request)
        found = self._find(self.take.key(what))
        if found is None:
            raise NotRecordedError(what.parts)
        self.take.add(what, found)
        return found


class _Playing:
    """A model of which a tape is played."""

    def __init__(self, player: Player, model: Model) -> None:
        self._player, self._model = player, model

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:  # noqa: ARG002  # as Asked
        yield from self._player.played(self._model, request).deltas()

    async def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:  # noqa: ARG002
        for delta in self._player.played(self._model, request).deltas():
            yield delta

    def close(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""


class Recorder:
    """Opens lines to models and keeps what they answer; and the sample's ledger, which knows when a call was answered.

    Each call's recording and row are handed on together, when the row is closed: either both are kept or none.
    """

    def __init__(
        self, chats: Opener, log: Ledger | None, keep: Callable[[Recording | None, UsageRow], None], repeat: int
    ) -> None:
        """Take where models are opened, the usage log, and who keeps."""
        self.take = Take(repeat)
        self.rows: list[UsageRow] = []
        self._chats, self._log, self._keep = chats, log, keep
        self._last: tuple[Asking, Recording] | None = None

    def open(self, project: Project, model: Model) -> Asked:
        """The line to a model."""
        return _Recording(self, self._chats.open(project, model), model)

    def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Hand the row of a call that begins on."""
        self._last = None
        if self._log is not None:
            self._log.begin(row, most)

    def finish(self, row: UsageRow) -> None:
        """Hand the row of a call that has ended on, with what was recorded of it."""
        self.rows.append(row)
        if self._log is not None:
            self._log.finish(row)
        is_answer = row.is_success or row.error_class in BAD_ANSWERS
        recording = None
        if self._last is not None and is_answer:
            what, heard = self._last
            recording = replace(heard, tokens=tokens_of(row))
            self.take.add(what, recording)
        self._keep(recording, row)

    def heard(self, what: Asking, recording: Recording) -> None:
        """Take the end of a call's answer."""
        self._last = what, replace(recording, key=self.take.key(what))


class _Recording:
    """A model whose answers are recorded."""

    def __init__(self, recorder: Recorder, inner: Asked, model: Model) -> None:
        self._recorder, self._inner, self._model = recorder, inner, model

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:
        hearing = _Hearing(self._recorder, self._model, request, live=live)
        with hearing:
            for delta in self._inner.ask(request, patience, live=live):
                hearing.take(delta)
                yield delta

    async def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:
        hearing = _Hearing(self._recorder, self._model, request, live=live)
        with hearing:
            async for delta in self._inner.aask(request, patience, live=live):
                hearing.take(delta)
                yield delta

    def close(self) -> None:
        """Whoever opened the line closes it."""

    async def aclose(self) -> None:
        """Whoever opened the line closes it."""


class _Hearing:
    """One call's answer while it comes; tells the recorder when it has come whole, or was refused."""

    def __init__(self, recorder: Recorder, model: Model, request: Request, *, live: bool) -> None:
        self._recorder = recorder
        self._live = live
        self._what = asking(model, request)
        self._at = datetime.now(UTC)
        self._begun = time.perf_counter()
        self._first_token_ms: int | None = None
        self._pieces: dict[str, list[str]] = {"text": [], "tool_arguments": [], "reasoning": []}
        self._last = Delta()

    def __enter__(self) -> "_Hearing":
        return self

    def take(self, delta: Delta) -> None:
        for name, pieces in self._pieces.items():
            if piece := getattr(delta, name):
                pieces.append(piece)
                if self._first_token_ms is None and self._live:  # a whole answer has no first token
                    self._first_token_ms = self._elapsed_ms
        self._last = Delta(
            tokens=delta.tokens or self._last.tokens,
            finish_reason=delta.finish_reason or self._last.finish_reason,
            model=delta.model or self._last.model,
        )

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        refusal = str(error) if isinstance(error, CallError) and error.failure is Failure.FILTERED else None
        if error is not None and refusal is None:
            return
        recording = Recording(
            key="",
            parts=self._what.parts,
            repeat=self._recorder.take.repeat,
            at=timestamp(self._at),
            latency_ms=self._elapsed_ms,
            first_token_ms=self._first_token_ms,
            finish_reason=self._last.finish_reason,
            model=self._last.model,
            tokens=self._last.tokens,
            refusal=refusal,
            **{name: sound("".join(pieces)) for name, pieces in self._pieces.items()},
        )
        self._recorder.heard(self._what, recording)

    @property
    def _elapsed_ms(self) -> int:
        return round((time.perf_counter() - self._begun) * 1000)
