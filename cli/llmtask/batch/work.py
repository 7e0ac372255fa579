"""Does one job: a run of its task, each call in its turn. The same in this process and in a worker far away."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from llmtask.batch.job import Inputs, Job, Outcome, State
from llmtask.batch.limits import BROKEN, Lane, StoppedError
from llmtask.batch.spec import Plans
from llmtask.errors import CallError, CappedError, Failure, LlmtaskError, UsageError
from llmtask.money import sums
from llmtask.project import Model, Project
from llmtask.providers import Asked, Chats, Delta, Patience, Request
from llmtask.service import Plan, ResultEvent, TaskResult, aexecute
from llmtask.service.recovery import takes_over
from llmtask.tokens import Tokens, estimate_all
from llmtask.usage import Ledger, UsageRow

FINAL = frozenset({Failure.REFUSED_KEY, Failure.NO_BALANCE})
"""Failures of a model: what it is asked next fails alike."""


Taken: TypeAlias = tuple[Lane, list[float]]
"""A lane, and what a call has of its minute."""


class DurableLedger(Ledger, Protocol):
    """A ledger that tells when what it took is on disk."""

    async def written(self) -> None:
        """Wait until it is."""
        ...


@dataclass
class Done:
    """What came of one try of a job."""

    outcome: Outcome
    failure: Failure | None = None
    """How it failed; None where it did not, or was not tried."""
    retry_after_s: float | None = None
    """When the vendor wants to be asked again."""
    is_capped: bool = False
    """Whether a budget had no room for it: nothing was asked."""


class Work:
    """Does the jobs of a batch."""

    def __init__(
        self, plans: Plans, ledger: DurableLedger, lanes: Callable[[str], Lane], model_lanes: Mapping[str, Lane]
    ) -> None:
        """Take what is shared.

        Args:
            plans: Decides their runs.
            ledger: Where the rows of calls go.
            lanes: The lane of a queue, by its id.
            model_lanes: The lanes of models that have limits of their own.
        """
        self._plans, self._ledger, self._lanes, self._model_lanes = plans, ledger, lanes, model_lanes
        self._chats = Chats()
        self._opening: dict[str, asyncio.Task[Any]] = {}

    async def aclose(self) -> None:
        """Close the lines to models."""
        await self._chats.aclose()

    async def opened(self, model: Model) -> None:
        """Open the line to a model once: it brings LangChain in, which takes seconds, and not in the loop.

        Raises:
            KeyMissingError, UntrustedError, ProjectError: It cannot be asked.
        """
        name = model.model_dump_json()
        if name not in self._opening:
            work = asyncio.to_thread(self._chats.open, self._plans.project, model)
            self._opening[name] = asyncio.create_task(work)
        await asyncio.shield(self._opening[name])

    async def do(self, job: Job, taken: Taken | None = None) -> Done:
        """Do a job, which has a place in its queue's lane already.

        Args:
            job: The job.
            taken: What its first call has of the lane's minute already.
        """
        try:
            planned = self._plans.plan(Inputs.from_json(job.inputs))
        except UsageError as error:
            return Done(Outcome(job.key, State.FAILED, reason=str(error)))
        lane = self._lanes(job.queue_id)
        if lane.stopped:
            following = self._following(planned, Failure.NO_BALANCE)
            if following is None:
                return Done(Outcome(job.key, State.PENDING, reason=lane.stopped))
            planned = following
        try:
            await self.opened(planned.model)
        except LlmtaskError as error:
            lane.stop(str(error))
            return Done(Outcome(job.key, State.PENDING, reason=str(error)))
        return await self._run(job, planned, taken)

    def _following(self, planned: Plan, failure: Failure) -> Plan | None:
        """The run without the model of a queue that was stopped; None where nothing may take over."""
        first, *others = planned.candidates
        left = [
            one
            for one in others
            if takes_over(planned, first, one, failure) and not self._lanes(_queue_of(one.model, one.route)).stopped
        ]
        return replace(planned, candidates=tuple(left)) if left else None

    async def _run(self, job: Job, planned: Plan, taken: Taken | None) -> Done:
        calls = _Calls(self._ledger)
        line = _Lines(self._chats, calls, lambda model: self._turn(model, job.queue_id), taken)
        result: TaskResult[Any] | None = None
        error: CallError | None = None
        try:
            live = planned.model.thinking == "enabled"
            async with aclosing(aexecute(planned, calls, live=live, chats=line)) as events:
                async for event in events:
                    if isinstance(event, ResultEvent):
                        result = event.result
        except CallError as caught:
            error = caught
        await self._ledger.written()
        return _done(job, calls, result, error)

    def _turn(self, model: Model, own_queue: str) -> "_Turn":
        """Which lanes a call of a model passes."""
        project = self._plans.project
        model_id = next((name for name, one in project.config.models.items() if one.name == model.name), "")
        queue = model.queue
        is_own = queue is None or queue == own_queue or own_queue == model_id
        queue_lane = self._lanes(own_queue if is_own else str(queue))
        return _Turn(queue_lane, self._model_lanes.get(model_id), holds_place=is_own)


def _queue_of(model: Model, route: Any) -> str:
    return str(route.queue_id or model.queue or route.model_id)


def _done(job: Job, calls: "_Calls", result: TaskResult[Any] | None, error: CallError | None) -> Done:
    if result is not None:
        answer = result.data.model_dump_json(by_alias=True)
        outcome = calls.outcome(job, State.DONE)
        return Done(replace(outcome, answer=answer, model_id=result.route.model_id))
    if error is None:  # a run ends with a result or an error
        error = CallError("the run ended without an answer", Failure.BUG)
    if isinstance(error, CappedError):
        pending = replace(calls.outcome(job, State.PENDING), reason=str(error))
        return Done(pending, is_capped=not isinstance(error, StoppedError))
    outcome = replace(calls.outcome(job, State.FAILED), failure=error.failure, reason=str(error))
    return Done(outcome, error.failure, error.retry_after_s)


@dataclass
class _Calls:
    """The ledger of one job: opens a row when its call's turn has come, hands rows on, and keeps their sums."""

    inner: DurableLedger
    rows: list[UsageRow] = field(default_factory=list)
    _waiting: tuple[UsageRow, Tokens | None, float] | None = None
    _waited_ms: int = 0

    def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Keep the row of a call that waits for its turn."""
        self._waiting = (row, most, time.monotonic())

    async def open(self) -> None:
        """Open the row of the call whose turn it is; it is on disk when this returns.

        Raises:
            CappedError: A budget has no room for it.
        """
        if self._waiting is not None:
            row, most, since = self._waiting
            self._waited_ms = round((time.monotonic() - since) * 1000)
            self.inner.begin(row, most)
            self._waiting = None
            await self.inner.written()

    def finish(self, row: UsageRow) -> None:
        """Hand on the row of a call that has ended; of one that never had its turn there is none."""
        if self._waiting is not None:
            self._waiting = None
            return
        row = replace(row, latency_ms=max(row.latency_ms - self._waited_ms, 0))
        self.rows.append(row)
        self.inner.finish(row)

    def outcome(self, job: Job, state: State) -> Outcome:
        """What the calls used, in a job's outcome."""
        tokens = Tokens()
        for row in self.rows:
            counted = (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens)
            tokens += Tokens(*counted, row.is_estimate)
        return Outcome(
            job.key,
            state,
            model_id=self.rows[-1].model_id if self.rows else None,
            tokens=tokens,
            costs=sums(row.price for row in self.rows),
            unpriced_calls=sum(row.price is None and row.total_tokens > 0 for row in self.rows),
            calls=len(self.rows),
            latency_ms=sum(row.latency_ms for row in self.rows),
        )


@dataclass
class _Turn:
    """The lanes that a call passes."""

    queue: Lane
    model: Lane | None
    holds_place: bool
    """Whether the job's place in the queue is this call's."""

    async def enter(self) -> None:
        """Wait for places.

        Raises:
            StoppedError: A lane takes no more.
        """
        if not self.holds_place:
            await self.queue.enter()
        if self.model is not None:
            try:
                await self.model.enter()
            except BaseException:
                self._leave_queue()
                raise

    def leave(self) -> None:
        """Give the places up."""
        if self.model is not None:
            self.model.leave()
        self._leave_queue()

    def _leave_queue(self) -> None:
        if not self.holds_place:
            self.queue.leave()

    @property
    def lanes(self) -> list[Lane]:
        return [lane for lane in (self.queue, self.model) if lane is not None]


class _Lines:
    """Opens the lines of one job's run: each call waits for its turn, and for its row to be on disk."""

    def __init__(self, chats: Chats, calls: _Calls, turn: Callable[[Model], _Turn], taken: Taken | None) -> None:
        self._chats, self.calls, self._turn, self.taken = chats, calls, turn, taken

    def open(self, project: Project, model: Model) -> Asked:
        """The line to a model."""
        rate = project.config.defaults.token_estimate
        asked = self._chats.open(project, model)
        return _Line(self, asked, self._turn(model), lambda request: estimate_all(request.texts, rate))


class _Line:
    """A model that is asked in its turn."""

    def __init__(self, lines: _Lines, inner: Asked, turn: _Turn, count: Callable[[Request], int]) -> None:
        self._lines, self._inner, self._turn, self._count = lines, inner, turn, count

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:
        return self._inner.ask(request, patience, live=live)

    async def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:
        turn = self._turn
        await turn.enter()
        try:
            taken = await self._taken(request)
            await self._lines.calls.open()
            begun = time.monotonic()
            used: Tokens | None = None
            try:
                async with aclosing(self._inner.aask(request, patience, live=live)) as deltas:
                    async for delta in deltas:
                        used = delta.tokens or used
                        yield delta
            except CallError as error:
                self._failed(error, begun)
                raise
            for lane, entry in taken:
                lane.answered()
                if used is not None:
                    lane.settle(entry, used.total)
        finally:
            turn.leave()

    async def _taken(self, request: Request) -> list[Taken]:
        """What the call has of its lanes' minutes."""
        before, self._lines.taken = self._lines.taken, None
        if before is not None and before[0] is not self._turn.queue:
            before = None
        tokens = self._count(request)
        return [
            before if before is not None and lane is before[0] else (lane, await lane.pace(tokens))
            for lane in self._turn.lanes
        ]

    def _failed(self, error: CallError, begun: float) -> None:
        for lane in self._turn.lanes:
            if error.failure is Failure.RATE_LIMITED:
                lane.refused(begun, error.retry_after_s)
            elif error.failure in FINAL:
                lane.stop(str(error))
            elif error.failure in BROKEN:
                lane.failed()
            else:
                lane.answered()

    def close(self) -> None:
        """Whoever opened the line closes it."""

    async def aclose(self) -> None:
        """Whoever opened the line closes it."""
