"""Carries jobs within this process: asyncio, a lane per queue, nothing to install."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.lanes import Lanes
from llmtask.batch.rows import Rows, SyncRows
from llmtask.batch.spec import Plans
from llmtask.batch.work import Done, Place, Work
from llmtask.budgets import budgeted
from llmtask.errors import Failure
from llmtask.money import sums
from llmtask.service import Lane, QueueState, StoppedError
from llmtask.service.lanes import BROKEN, FINAL, Alert
from llmtask.tokens import estimate
from llmtask.usage import UsageLog

_TRIES = 8  # runs of a job that fails for a reason that is not its own
_AGAIN_S = 1.0  # before the second try; doubled with each
_LONGEST_AGAIN_S = 30.0
_TRIED_AGAIN = BROKEN | FINAL | {Failure.RATE_LIMITED}


class EmbeddedBroker:
    """Does jobs itself; see `Broker`.

    A job keeps its place in its queue until its outcome is settled: what a kill costs is never more than was in flight.
    """

    def __init__(
        self, plans: Plans, log: UsageLog | None, *, service_id: str, concurrency: int | None, alert: Alert
    ) -> None:
        """Take what decides the runs.

        Args:
            plans: Decides the runs.
            log: The usage log; None for none.
            service_id: What the usage log calls the batch.
            concurrency: The most calls of a queue at once; the queue's own where that is less.
            alert: Is told of circuits.
        """
        self._plans, self._project = plans, plans.project
        self._lanes = Lanes(self._project, concurrency, alert)
        self._rows: Rows | SyncRows = SyncRows(budgeted(self._project, log))
        if log is not None and not self._project.config.budgets:  # nothing decides on a call but that it is written
            self._rows = Rows(log)
        self._work = Work(plans, self._rows, self._lanes, service_id)
        self._waiting: dict[str, deque[Job]] = {}
        self._some: dict[str, asyncio.Event] = {}
        self._dispatchers: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, Lane | None] = {}
        """The jobs that it has, and where each has a place."""
        self._running: set[asyncio.Task[None]] = set()
        self._resting: dict[str, tuple[Job, asyncio.TimerHandle]] = {}
        """Jobs that are tried again after a while."""
        self._tries: dict[str, int] = {}
        self._before: dict[str, Outcome] = {}
        """What earlier tries of jobs have used."""
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self._stopping: str | None = None

    async def open(self) -> None:
        """Begin: the model of the route is opened.

        Raises:
            KeyMissingError, UntrustedError, ProjectError: It cannot be asked.
        """
        self._rows.open()
        await self._work.open(self._project.model(self._plans.planner.route.model_id))

    def room(self, queue_id: str) -> int:
        """Twice as many may wait as can be in flight; more are taken when half of them are gone, not one by one."""
        most = self._lanes.queue(queue_id).most
        room = 2 * most - len(self._waiting.get(queue_id, ()))
        return room if room >= most and not self._stopping else 0

    async def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs."""
        for job in jobs:
            if job.key not in self._held:
                self._held[job.key] = None
                self._wait(job)

    async def take(self) -> Sequence[Outcome]:
        """The next outcomes, at least one."""
        found = [await self._outcomes.get()]
        while not self._outcomes.empty():
            found.append(self._outcomes.get_nowait())
        return found

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Give up outcomes, and the places of their jobs."""
        for outcome in outcomes:
            self._leave(outcome.key)
            self._held.pop(outcome.key, None)

    async def stop(self, why: str) -> None:
        """Begin no more."""
        self._stopping = self._stopping or why
        self._lanes.stop(why)
        for job, timer in list(self._resting.values()):
            timer.cancel()
            self._give_back(job)
        self._resting.clear()
        for waiting in self._waiting.values():
            while waiting:
                self._give_back(waiting.popleft())

    def queues(self) -> Sequence[QueueState]:
        """How its queues stand."""
        return self._lanes.states

    async def aclose(self) -> None:
        """Stop at once."""
        for _, timer in self._resting.values():
            timer.cancel()
        tasks = [*self._dispatchers.values(), *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._rows.aclose()
        await self._work.aclose()

    def _wait(self, job: Job) -> None:
        if self._stopping:
            self._give_back(job)
            return
        queue_id = job.queue_id
        if queue_id not in self._dispatchers:
            self._waiting[queue_id], self._some[queue_id] = deque(), asyncio.Event()
            self._dispatchers[queue_id] = asyncio.create_task(self._dispatch(queue_id))
        self._waiting[queue_id].append(job)
        self._some[queue_id].set()

    async def _dispatch(self, queue_id: str) -> None:
        """Begin the jobs of a queue, each when it has a place and the minute has room."""
        waiting, some = self._waiting[queue_id], self._some[queue_id]
        while True:
            while not waiting:
                some.clear()
                await some.wait()
            job = waiting.popleft()
            place = await self._place(job)
            if self._stopping or place is None:
                self._give_back(job)
                continue
            task = asyncio.create_task(self._do(job, place))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _place(self, job: Job) -> Place | None:
        """A place for a job, in its queue or, where that was stopped, in a fallback's; None where there is none."""
        lane: Lane | None = self._lanes.queue(job.queue_id)
        while lane is not None:
            try:
                await lane.enter()
            except StoppedError:
                lane = None if self._stopping else self._work.other_lane(job)
                continue
            self._held[job.key] = lane
            try:
                rate = self._project.config.defaults.token_estimate
                return Place(lane, await lane.pace(partial(estimate, job.inputs, rate)))
            except StoppedError:
                self._leave(job.key)
        return None

    def _leave(self, key: str) -> None:
        """Give up the place of a job."""
        lane = self._held.get(key)
        if lane is not None:
            self._held[key] = None
            lane.leave()

    async def _do(self, job: Job, place: Place) -> None:
        try:
            done = await self._work.do(job, place)
        except Exception as error:  # noqa: BLE001  # one job's bug is not the others'
            reason = f"a bug: {type(error).__name__}: {error}"
            done = Done(Outcome(job.key, State.FAILED, failure=Failure.BUG, reason=reason))
        self._end(job, done)

    def _end(self, job: Job, done: Done) -> None:
        """Hand the outcome on, or try the job again."""
        outcome = self._with_before(done.outcome)
        if outcome.state is not State.FAILED or outcome.failure not in _TRIED_AGAIN:
            self._tries.pop(job.key, None)
            self._outcomes.put_nowait(outcome)
            return
        lane = self._lanes.queue(job.queue_id)
        if self._stopping or (lane.stopped and self._work.other_lane(job) is None):
            reason = self._stopping or lane.stopped
            self._outcomes.put_nowait(replace(outcome, state=State.PENDING, failure=lane.stopped_by, reason=reason))
            return
        tries = self._tries.get(job.key, 0) + (done.retry_after_s is None)  # where the vendor says when, it is no try
        self._tries[job.key] = tries
        if tries >= _TRIES:
            self._outcomes.put_nowait(outcome)
            return
        self._before[job.key] = outcome
        self._leave(job.key)
        self._rest(job, max(min(_AGAIN_S * 2 ** max(tries - 1, 0), _LONGEST_AGAIN_S), done.retry_after_s or 0))

    def _rest(self, job: Job, seconds: float) -> None:
        def again() -> None:
            del self._resting[job.key]
            self._wait(job)

        self._resting[job.key] = job, asyncio.get_running_loop().call_later(seconds, again)

    def _give_back(self, job: Job) -> None:
        lane = self._lanes.queue(job.queue_id)
        reason = self._stopping or lane.stopped
        undone = Outcome(job.key, State.PENDING, failure=lane.stopped_by, reason=reason)
        self._outcomes.put_nowait(self._with_before(undone))

    def _with_before(self, outcome: Outcome) -> Outcome:
        """An outcome with what earlier tries of its job have used."""
        before = self._before.pop(outcome.key, None)
        if before is None:
            return outcome
        return replace(
            outcome,
            tokens=before.tokens + outcome.tokens,
            costs=sums((*before.costs, *outcome.costs)),
            unpriced_calls=before.unpriced_calls + outcome.unpriced_calls,
            calls=before.calls + outcome.calls,
            latency_ms=before.latency_ms + outcome.latency_ms,
        )
