"""Carries jobs within this process: asyncio, a lane per queue, nothing to install."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.limits import BROKEN, Alert, Lane, QueueState, StoppedError
from llmtask.batch.rows import Rows, SyncRows
from llmtask.batch.spec import Plans
from llmtask.batch.work import Done, Work
from llmtask.budgets import budgeted
from llmtask.errors import Failure
from llmtask.money import sums
from llmtask.tokens import estimate
from llmtask.usage import UsageLog

_DEFAULT_CONCURRENCY = 8  # calls at once of a queue that config does not name
_TRIES = 8  # runs of a job that fails for a reason that is not its own
_AGAIN_S = 1.0  # before the second try; doubled with each
_LONGEST_AGAIN_S = 30.0
_TRIED_AGAIN = BROKEN | {Failure.RATE_LIMITED}


class EmbeddedBroker:
    """Does jobs itself; see `Broker`.

    A job keeps its place in its queue until its outcome is settled: what a kill costs is never more than was in flight.
    """

    def __init__(
        self, plans: Plans, log: UsageLog | None, *, concurrency: int | None = None, alert: Alert = lambda _, __: None
    ) -> None:
        """Take what decides the runs, and the usage log; None for none.

        Args:
            plans: Decides the runs.
            log: The usage log; None for none.
            concurrency: The most calls of a queue at once; the queue's own where that is less.
            alert: Is told of stops and circuits.
        """
        self._project, self._plans = plans.project, plans
        self._concurrency, self._alert = concurrency, alert
        self._lanes: dict[str, Lane] = {}
        self._waiting: dict[str, deque[Job]] = {}
        self._some: dict[str, asyncio.Event] = {}
        self._held: dict[str, Lane | None] = {}
        self._tries: dict[str, int] = {}
        self._before: dict[str, Outcome] = {}
        self._dispatchers: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self._stopping: str | None = None
        self._budgets = bool(self._project.config.budgets)
        self._rows = SyncRows(budgeted(self._project, log)) if log is None or self._budgets else Rows(log)
        self._work = Work(plans, self._rows, self.lane, {})

    async def open(self) -> None:
        """Begin: the model of the route is opened, which takes a second.

        Raises:
            KeyMissingError, UntrustedError, ProjectError: It cannot be asked.
        """
        self._rows.open()
        await self._work.opened(self._project.model(self._plans.planner.route.model_id))

    def lane(self, queue_id: str) -> Lane:
        """The lane of a queue."""
        if queue_id not in self._lanes:
            queue = self._project.config.queues.get(queue_id)
            most = queue.concurrency if queue else self._concurrency or _DEFAULT_CONCURRENCY
            self._lanes[queue_id] = Lane(
                queue_id,
                min(most, self._concurrency or most),
                requests_per_minute=queue.requests_per_minute if queue else None,
                tokens_per_minute=queue.tokens_per_minute if queue else None,
                alert=self._alert,
            )
        return self._lanes[queue_id]

    def room(self, queue_id: str) -> int:
        """As many as are in flight may wait."""
        return 0 if self._stopping else 2 * self.lane(queue_id).most - len(self._waiting.get(queue_id, ()))

    async def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs."""
        for job in jobs:
            if job.key not in self._held:
                self._held[job.key] = None
                self._wait(job)

    def _wait(self, job: Job) -> None:
        if self._stopping:
            self._give_back(job, self._stopping)
            return
        queue_id = job.queue_id
        self._waiting.setdefault(queue_id, deque()).append(job)
        self._some.setdefault(queue_id, asyncio.Event()).set()
        if queue_id not in self._dispatchers:
            self._dispatchers[queue_id] = asyncio.create_task(self._dispatch(queue_id))

    def _give_back(self, job: Job, why: str) -> None:
        outcome = self._with_before(Outcome(job.key, State.PENDING, reason=why))
        self._outcomes.put_nowait(outcome)

    async def take(self) -> Sequence[Outcome]:
        """The next outcomes, at least one."""
        found = [await self._outcomes.get()]
        while not self._outcomes.empty():
            found.append(self._outcomes.get_nowait())
        return found

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Give up outcomes, and the places of their jobs."""
        for outcome in outcomes:
            lane = self._held.pop(outcome.key, None)
            if lane is not None:
                lane.leave()

    async def stop(self, why: str) -> None:
        """Begin no more."""
        if self._stopping:
            return
        self._stopping = why
        for lane in self._lanes.values():
            lane.stop(why)
        for timer in self._timers:
            timer.cancel()
        held = {task.get_name() for task in self._running}
        for key in [key for key in self._held if key not in held and self._held[key] is None]:
            if not any(job.key == key for waiting in self._waiting.values() for job in waiting):
                self._outcomes.put_nowait(self._with_before(Outcome(key, State.PENDING, reason=why)))
        for queue_id, waiting in self._waiting.items():
            while waiting:
                self._give_back(waiting.popleft(), why)
            self._some[queue_id].set()

    def queues(self) -> Sequence[QueueState]:
        """How its queues stand."""
        return [lane.state for lane in self._lanes.values()]

    async def aclose(self) -> None:
        """Stop at once."""
        for task in [*self._dispatchers.values(), *self._running]:
            task.cancel()
        await asyncio.gather(*self._dispatchers.values(), *self._running, return_exceptions=True)
        for timer in self._timers:
            timer.cancel()
        await self._rows.aclose()
        await self._work.aclose()

    async def _dispatch(self, queue_id: str) -> None:
        """Begin the jobs of a queue, each when it has a place and the minute has room."""
        lane, waiting, some = self.lane(queue_id), self._waiting[queue_id], self._some[queue_id]
        while True:
            while not waiting:
                some.clear()
                await some.wait()
            has_place = await _has_entered(lane)
            if not waiting:  # they were given back meanwhile
                if has_place:
                    lane.leave()
                continue
            job = waiting.popleft()
            self._held[job.key] = lane if has_place else None
            taken = await self._paced(lane, job) if has_place else None
            if self._stopping:
                self._give_back(job, self._stopping)
                continue
            task = asyncio.create_task(self._do(job, taken), name=job.key)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _paced(self, lane: Lane, job: Job) -> tuple[Lane, list[float]] | None:
        """What a job's first call has of the minute; None where the lane was stopped meanwhile."""
        try:
            return lane, await lane.pace(estimate(job.inputs, self._project.config.defaults.token_estimate))
        except StoppedError:
            return None

    async def _do(self, job: Job, taken: tuple[Lane, list[float]] | None) -> None:
        try:
            done = await self._work.do(job, taken)
        except Exception as error:  # noqa: BLE001  # one job's bug is not the others'
            reason = f"a bug: {type(error).__name__}: {error}"
            done = Done(Outcome(job.key, State.FAILED, failure=Failure.BUG, reason=reason))
        if done.is_capped:
            self.lane(job.queue_id).stop(str(done.outcome.reason))
        self._end(job, done)

    def _end(self, job: Job, done: Done) -> None:
        """Hand the outcome on, or try the job again."""
        tries = self._tries[job.key] = self._tries.get(job.key, 0) + 1
        lane = self.lane(job.queue_id)
        if done.failure in _TRIED_AGAIN and tries < _TRIES and not (self._stopping or lane.stopped):
            if done.failure is Failure.RATE_LIMITED and done.retry_after_s:
                self._tries[job.key] -= 1  # the vendor says when: that is no failure of the job's
            self._before[job.key] = self._with_before(done.outcome)
            held, self._held[job.key] = self._held[job.key], None
            if held is not None:
                held.leave()
            self._later(job, max(min(_AGAIN_S * 2 ** (tries - 1), _LONGEST_AGAIN_S), done.retry_after_s or 0))
            return
        is_unasked = done.failure in _TRIED_AGAIN or (done.failure is not None and lane.stopped is not None)
        outcome = done.outcome
        if is_unasked and (self._stopping or lane.stopped):
            outcome = replace(outcome, state=State.PENDING, reason=self._stopping or lane.stopped)
        self._tries.pop(job.key, None)
        self._outcomes.put_nowait(self._with_before(outcome))

    def _later(self, job: Job, seconds: float) -> None:
        def again() -> None:
            self._timers.discard(timer)
            self._wait(job)

        timer = asyncio.get_running_loop().call_later(seconds, again)
        self._timers.add(timer)

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


async def _has_entered(lane: Lane) -> bool:
    """Wait for a place; False where the lane takes no more."""
    try:
        await lane.enter()
    except StoppedError:
        return False
    return True
