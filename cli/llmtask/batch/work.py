"""Does one job: a run of its task, each call in its turn."""

import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from llmtask.batch.job import Inputs, Job, Outcome, State
from llmtask.batch.lanes import Lanes, queue_of
from llmtask.batch.spec import Plans
from llmtask.documents import sound
from llmtask.errors import CallError, CappedError, Failure, LlmtaskError, UsageError
from llmtask.project import Model, Project
from llmtask.providers import Asked, Chats, Delta, Patience, Request
from llmtask.service import Lane, Plan, ResultEvent, StoppedError, TaskResult, aexecute
from llmtask.service.lanes import BROKEN, FINAL
from llmtask.service.recovery import takes_over
from llmtask.service.used import used
from llmtask.tokens import Tokens, estimate_all
from llmtask.usage import UsageRow

Taken: TypeAlias = tuple[Lane, list[float]]
"""A lane, and what a call has of its minute."""


class DurableLedger(Protocol):
    """A ledger that tells when what it took is where no kill can reach it."""

    async def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Take the row of a call that is about to begin; it is there when this returns.

        Args:
            row: As the call begins.
            most: The most tokens that it can use; None where nobody knows.

        Raises:
            CappedError: There is no room for the call; the row is nowhere.
        """
        ...

    def finish(self, row: UsageRow) -> None:
        """Take the row of a call that has ended."""
        ...

    async def written(self) -> None:
        """Wait until all of it is there."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A job's place in a queue, held while it is done."""

    lane: Lane
    taken: list[float] | None = None
    """What its first call has of the lane's minute already."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one try of a job."""

    outcome: Outcome
    retry_after_s: float | None = None
    """When the vendor wants to be asked again."""


class Work:
    """Does the jobs of a batch."""

    def __init__(self, plans: Plans, ledger: DurableLedger, lanes: Lanes, service_id: str) -> None:
        """Take what decides their runs, where the rows of calls go, where calls wait, and what the rows call them."""
        self._plans, self._ledger, self._lanes, self._service_id = plans, ledger, lanes, service_id
        self._chats = Chats()

    async def open(self, model: Model) -> None:
        """Open the line to a model, which takes a second.

        Raises:
            KeyMissingError, UntrustedError, ProjectError: It cannot be asked.
        """
        await self._chats.aopen(self._plans.project, model)

    async def aclose(self) -> None:
        """Close the lines to models."""
        await self._chats.aclose()

    def other_lane(self, job: Job) -> Lane | None:
        """Where a job goes whose queue was stopped: to a fallback's, where config lets one take over."""
        try:
            left = self._left(job, self._plans.plan(Inputs.from_json(job.inputs)))
        except UsageError:
            return None
        return self._lanes.queue(queue_of(left.route)) if left else None

    async def do(self, job: Job, place: Place) -> Done:
        """Do a job."""
        try:
            planned = self._plans.plan(Inputs.from_json(job.inputs))
        except UsageError as error:
            return Done(Outcome(job.key, State.FAILED, reason=str(error)))
        left = self._left(job, planned)
        lane = self._lanes.queue(job.queue_id)
        if left is None:
            return Done(Outcome(job.key, State.PENDING, failure=lane.stopped_by, reason=lane.stopped))
        try:
            await self.open(left.model)
        except LlmtaskError as error:
            lane.stop(str(error))
            return Done(Outcome(job.key, State.PENDING, reason=str(error)))
        return await self._run(job, replace(left, service_id=self._service_id), place)

    def _left(self, job: Job, planned: Plan) -> Plan | None:
        """The run without the models of queues that were stopped; None where nothing may take over."""
        own = self._lanes.queue(job.queue_id)
        if not own.stopped:
            return planned
        first, *others = planned.candidates
        left = tuple(
            one
            for one in others
            if own.stopped_by
            and takes_over(planned, first, one, own.stopped_by)
            and not self._lanes.queue(queue_of(one.route)).stopped
        )
        return replace(planned, candidates=left) if left else None

    async def _run(self, job: Job, planned: Plan, place: Place) -> Done:
        calls = _Calls(self._ledger)
        lines = _Lines(self._chats, calls, self._lanes, place)
        result: TaskResult[Any] | None = None
        error: CallError | None = None
        try:
            live = planned.model.thinking == "enabled"
            async with aclosing(aexecute(planned, calls, live=live, chats=lines)) as events:
                async for event in events:
                    if isinstance(event, ResultEvent):
                        result = event.result
        except CallError as caught:
            error = caught
        await self._ledger.written()
        if isinstance(error, CappedError) and not isinstance(error, StoppedError):  # a budget has no room
            place.lane.stop(str(error), error.failure)
        return _done(job, calls.rows, result, error)


def _done(job: Job, rows: list[UsageRow], result: TaskResult[Any] | None, error: CallError | None) -> Done:
    whole = used(rows)
    outcome = Outcome(
        job.key,
        State.DONE,
        model_id=rows[-1].model_id if rows else None,
        tokens=whole.tokens,
        costs=whole.costs,
        unpriced_calls=whole.unpriced_calls,
        calls=whole.calls,
        latency_ms=whole.latency_ms,
    )
    if result is not None:
        return Done(replace(outcome, answer=result.data.model_dump_json(by_alias=True)))
    if error is None:  # a run ends with a result or an error
        error = CallError("the run ended without an answer", Failure.BUG)
    state = State.PENDING if isinstance(error, CappedError) else State.FAILED
    return Done(replace(outcome, state=state, failure=error.failure, reason=sound(str(error))), error.retry_after_s)


@dataclass
class _Calls:
    """The ledger of one job: opens a row when its call's turn has come, and hands rows on."""

    inner: DurableLedger
    rows: list[UsageRow] = field(default_factory=list)
    """Of calls that have ended."""
    waiting: UsageRow | None = None
    """Of the call that waits for its turn."""
    _most: Tokens | None = None
    _since: float = 0
    _waited_ms: int = 0

    def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Keep the row of a call that waits for its turn."""
        self.waiting, self._most, self._since = row, most, time.monotonic()

    async def open(self) -> None:
        """Open the row of the call whose turn it is; it is on disk when this returns.

        Raises:
            CappedError: There is no room for it.
        """
        row = self.waiting
        if row is None:
            return
        self._waited_ms = round((time.monotonic() - self._since) * 1000)
        self.waiting = None
        try:
            await self.inner.begin(row, self._most)
        except CappedError:
            self.waiting = row  # it is nowhere, and has no end
            raise

    def finish(self, row: UsageRow) -> None:
        """Hand on the row of a call that has ended; of one that never had its turn there is none."""
        if self.waiting is not None:
            self.waiting = None
            return
        row = replace(row, latency_ms=max(row.latency_ms - self._waited_ms, 0))
        self.rows.append(row)
        self.inner.finish(row)


@dataclass
class _Lines:
    """Opens the lines of one job's run: each call waits for its turn, and for its row to be on disk."""

    chats: Chats
    calls: _Calls
    lanes: Lanes
    place: Place

    def open(self, project: Project, model: Model) -> Asked:
        """The line to a model."""
        return _Line(self, self.chats.open(project, model), project)

    async def turn(self, stack: AsyncExitStack, count: Callable[[], int]) -> list[Taken]:
        """Wait for the turn of the call whose row waits.

        Args:
            stack: Gives up the places that it takes beside the job's own.
            count: About how many tokens go in.

        Raises:
            StoppedError: A lane takes no more.
            CappedError: A budget has no room.
        """
        row = self.calls.waiting
        own, taken = self.place.lane, self.place.taken
        queue = self.lanes.queue(row.queue_id or row.model_id) if row else own
        lanes = [queue, self.lanes.model(row.model_id) if row else None]
        found: list[Taken] = []
        for lane in filter(None, lanes):
            if lane is not own:
                await stack.enter_async_context(lane.place())
            if lane is own and taken is not None:
                self.place, entry = Place(own), taken
            else:
                entry = await lane.pace(count)
            found.append((lane, entry))
        await self.calls.open()
        return found


class _Line:
    """A model that is asked in its turn."""

    def __init__(self, lines: _Lines, inner: Asked, project: Project) -> None:
        self._lines, self._inner, self._project = lines, inner, project

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:
        return self._inner.ask(request, patience, live=live)

    async def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:
        count = partial(estimate_all, request.texts, self._project.config.defaults.token_estimate)
        async with AsyncExitStack() as stack:
            taken = await self._lines.turn(stack, count)
            begun = time.monotonic()
            counted: Tokens | None = None
            try:
                async with aclosing(self._inner.aask(request, patience, live=live)) as deltas:
                    async for delta in deltas:
                        counted = delta.tokens or counted
                        yield delta
            except CallError as error:
                for lane, _ in taken:
                    _fail(lane, error, begun)
                raise
            for lane, entry in taken:
                lane.answered()
                if counted is not None:
                    lane.settle(entry, counted.total)

    def close(self) -> None:
        """Whoever opened the line closes it."""

    async def aclose(self) -> None:
        """Whoever opened the line closes it."""


def _fail(lane: Lane, error: CallError, begun: float) -> None:
    """Tell a lane how a call of it failed."""
    if error.failure is Failure.RATE_LIMITED:
        lane.refused(error.retry_after_s, begun)
    elif error.failure in FINAL:
        lane.stop(str(error), error.failure)
    elif error.failure in BROKEN:
        lane.failed()
    else:
        lane.answered()
