"""Carries jobs within this process: asyncio, a lane per queue, nothing to install."""

import asyncio
from collections import deque
from collections.abc import Sequence

from llmtask.batch.broker import Reports
from llmtask.batch.doing import Doing
from llmtask.batch.job import Job, Outcome
from llmtask.batch.lanes import Lanes
from llmtask.batch.rows import Rows, SyncRows
from llmtask.batch.spec import Plans
from llmtask.batch.work import Place, Work
from llmtask.budgets import budgeted
from llmtask.service import QueueState


class EmbeddedBroker:
    """Does jobs itself; see `Broker`.

    A job keeps its place in its queue until its outcome is settled: what a kill costs is never more than was in flight.
    """

    def __init__(self, plans: Plans, reports: Reports, *, service_id: str, concurrency: int | None) -> None:
        """Take what decides the runs.

        Args:
            plans: Decides the runs.
            reports: Where rows and alerts go.
            service_id: What the usage log calls the batch.
            concurrency: The most calls of a queue at once; the queue's own where that is less.
        """
        self._plans, self._project, log = plans, plans.project, reports.log
        self._lanes = Lanes(self._project, concurrency, reports.alert)
        self._rows: Rows | SyncRows = SyncRows(budgeted(self._project, log))
        if log is not None and not self._project.config.budgets:  # nothing decides on a call but that it is written
            self._rows = Rows(log)
        self._work = Work(plans, self._rows, self._lanes, service_id)
        self._doing = Doing(self._work, self._lanes, self._project.config.defaults.token_estimate)
        self._waiting: dict[str, deque[Job]] = {}
        self._some: dict[str, asyncio.Event] = {}
        self._dispatchers: dict[str, asyncio.Task[None]] = {}
        self._held: set[str] = set()
        """The jobs that it has."""
        self._running: set[asyncio.Task[None]] = set()
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

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
        return room if room >= most and not self._doing.stopping else 0

    async def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs."""
        for job in jobs:
            if job.key not in self._held:
                self._held.add(job.key)
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
            self._doing.leave(outcome.key)
            self._held.discard(outcome.key)

    async def stop(self, why: str) -> None:
        """Begin no more."""
        self._doing.stop(why)
        for waiting in self._waiting.values():
            while waiting:
                self._give_back(waiting.popleft())

    def queues(self) -> Sequence[QueueState]:
        """How its queues stand."""
        return self._lanes.states

    async def aclose(self) -> None:
        """Stop at once."""
        tasks = [*self._dispatchers.values(), *self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._rows.aclose()
        await self._work.aclose()

    def _wait(self, job: Job) -> None:
        if self._doing.stopping:
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
            place = await self._doing.enter(job)
            if place is None:
                self._give_back(job)
                continue
            task = asyncio.create_task(self._do(job, place))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _do(self, job: Job, place: Place) -> None:
        self._outcomes.put_nowait(await self._doing.do(job, place))

    def _give_back(self, job: Job) -> None:
        self._outcomes.put_nowait(self._doing.undone(job))
