"""Carries jobs to workers on many machines, and their outcomes back: the side of whoever began the batch."""

import asyncio
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from llmtask.batch.broker import Reports, Terms
from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.lanes import most_of
from llmtask.batch.remote.former import Former
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.payload import Origin
from llmtask.batch.remote.places import LaneStanding, standing
from llmtask.batch.remote.queues import RUNNING, WAITING, Queues
from llmtask.batch.remote.store import Entry, Kind, Store
from llmtask.errors import BrokerError
from llmtask.project import Project
from llmtask.service import QueueState
from llmtask.service.lanes import DEFAULT_CONCURRENCY
from llmtask.usage import UsageRow
from llmtask.usage.spool import NewerRowError

_READ_S = 1.0  # how long one look at the out stream waits
_GATHERING_S = 0.1  # for which more of them gather: each look costs as much as a call of its own
_LOOK_S = 1.0
_ALONE_S = 60.0  # without a worker, after which a stop gives back what one was at
_LOST_S = 5.0  # how often jobs are looked at; one that looks lost twice is put again
_GOODBYE_S = 1.0
_KEEP_S = 3600.0  # how often the broker is told to go on keeping the batch
_REMEMBERED = 20_000  # jobs whose outcome may be told again: the last ones, for a batch may have millions


@dataclass
class _Put:
    """A job that workers have."""

    job: Job
    lost_since: float | None = None
    """Since when it looks as if nobody would do it any more."""


class RemoteBroker:
    """Hands jobs to workers by way of Redis; see `Broker`.

    Rows of calls are in the usage log before the outcome of their job is given, those of a worker that was killed too.
    """

    def __init__(self, project: Project, reports: Reports, link: Link, origin: Origin, terms: Terms) -> None:
        """Take the connection, which is not used yet.

        Args:
            project: Its config says how many calls of a queue there may be at once.
            reports: Where rows and alerts go.
            link: To the broker; closed with this one.
            origin: The batch; workers to whom it is another one give its jobs back.
            terms: How it is done.
        """
        self._project, self._reports, self._link = project, reports, link
        self._origin, self._run_id = origin, origin.run_id
        self._terms = terms
        self._is_opening = True
        self._store = Store(self._link, origin.run_id)
        self._queues = Queues(link)
        self._put: dict[str, _Put] = {}
        self._entries: dict[str, list[str]] = {}
        self._settled: dict[str, None] = {}
        self._former = Former(self._store, reports.known)
        self._cursor = "0"
        self._outcomes: asyncio.Queue[Outcome | Exception] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping: str | None = None
        self._workers: dict[str, int] = {}
        self._alone_since: dict[str, float] = {}
        self._looked: dict[str, float] = defaultdict(time.monotonic)
        self._lanes: dict[str, LaneStanding] = {}
        self.refusals: Mapping[str, str] = {}
        """Why workers give jobs of the batch back, by worker, as of the last minute."""

    async def open(self) -> None:
        """Connect, and take in what came while nobody was there.

        Raises:
            BrokerError: The broker cannot be used.
        """
        await self._link.check()
        self._origin = replace(self._origin, session=await self._store.open(self._terms.most))
        while entries := await self._store.read(self._cursor, 0):
            await self._take_in(entries)
        await self._lower()
        self._is_opening = False
        self._tasks = [asyncio.create_task(work) for work in (self._collect(), self._watch(), self._keep())]

    async def _lower(self) -> None:
        """Take what came while nobody was there off the amount that may be spent."""
        most = self._terms.most
        if most is not None:
            spent = sum(cost.nanos for cost in self._former.costs if cost.currency == most.currency)
            left = replace(most, nanos=max(most.nanos - spent, 0))
            self._terms = replace(self._terms, most=left)
            await self._store.lower(left)

    def room(self, queue_id: str) -> int:
        """As many as may run may wait; where fewer may run than the queue lets, none waits. Not one by one."""
        if self._stopping:
            return 0
        most = self._most(queue_id)
        window = min(2 * most, self._terms.concurrency or 2 * most)
        held = sum(one.job.queue_id == queue_id for one in self._put.values())
        room = window - held
        return room if room >= window // 4 or not held else 0

    def _most(self, queue_id: str) -> int:
        return most_of(self._project, queue_id) or DEFAULT_CONCURRENCY

    async def put(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to workers.

        Raises:
            BrokerError: The broker cannot be used; none of them is held.
        """
        known = self._put, self._entries, self._settled
        new = [job for job in jobs if not any(job.key in one for one in known)]
        if self._stopping:
            self._give_back(new)
            return
        if not new:
            return
        self._put.update((job.key, _Put(job)) for job in new)
        try:
            await self._add(new)
        except BaseException:
            for job in new:
                self._put.pop(job.key, None)
            raise

    async def _add(self, jobs: Sequence[Job]) -> None:
        await self._store.restore(self._origin.session, self._stopping, self._terms.most)
        for queue_id in dict.fromkeys(job.queue_id for job in jobs):
            await self._queues.add(queue_id, self._origin, [job for job in jobs if job.queue_id == queue_id])

    async def take(self) -> Sequence[Outcome]:
        """The next outcomes, at least one.

        Raises:
            BrokerError: The broker went away, and did not come back.
        """
        found = [await self._outcomes.get()]
        while not self._outcomes.empty():
            found.append(self._outcomes.get_nowait())
        outcomes = [one for one in found if isinstance(one, Outcome)]
        errors = [one for one in found if isinstance(one, Exception)]
        if errors:
            self._outcomes.put_nowait(errors[0])
        if not outcomes:
            raise errors[0]
        return outcomes

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Give up outcomes: the journal has them."""
        over = [outcome.key for outcome in outcomes if outcome.state is not State.PENDING]
        ids = [one for outcome in outcomes for one in self._entries.get(outcome.key, ())]
        self._settled.update(dict.fromkeys(over))
        for key in list(islice(self._settled, max(len(self._settled) - _REMEMBERED, 0))):
            del self._settled[key]
        await self._store.settle(ids, over, self._origin.session)
        for outcome in outcomes:
            self._put.pop(outcome.key, None)
            late = self._entries.pop(outcome.key, [])
            await self._store.drop([one for one in late if one not in ids])

    async def stop(self, why: str) -> None:
        """Let workers begin no more, and give back what waits."""
        if not self._stopping:
            self._stopping = why
            await self._store.stop(why)

    def queues(self) -> Sequence[QueueState]:
        """How its queues stand."""
        return [self._state(queue_id) for queue_id in self._queues.ids]

    def _state(self, queue_id: str) -> QueueState:
        is_held = any(one.job.queue_id == queue_id for one in self._put.values())
        most, lane = self._most(queue_id), self._lanes.get(queue_id)
        is_paused = lane is not None and lane.paused_s > 0
        away = f"the broker does not answer ({self._link.away}); it is waited for" if self._link.away else None
        why = self._stopping or away or (lane.why if lane is not None and is_paused else None)
        running = lane.running if lane is not None else 0
        why = why or (None if running or not is_held else self._waits_for(queue_id))
        until = time.time() + lane.paused_s if lane is not None and is_paused else None
        return QueueState(
            queue_id,
            running,
            most,
            most,
            most,
            until,
            why,
            is_stopped=self._stopping is not None,
        )

    def _waits_for(self, queue_id: str) -> str | None:
        """Why nothing of a queue is being done; None where it may begin at any moment."""
        if self._workers.get(queue_id) == 0:
            return "no worker serves it; `llmtask worker` with the same --broker starts one"
        if self.refusals:
            worker, why = next(iter(self.refusals.items()))
            return f"worker {worker} gives its jobs back: {why}"
        return None

    async def aclose(self) -> None:
        """Hang up. What is being done comes to its end, and is there when the batch is gone on with; nothing begins."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            with suppress(BrokerError):
                is_begun = self._put or (self._is_opening and self._origin.session)
                if is_begun and not self._stopping:
                    await self._store.stop("whoever began the batch has gone", patience_s=_GOODBYE_S)
                elif self._tasks and not self._put and not self._stopping:
                    await self._store.keep(is_over=True)
        finally:
            await self._queues.aclose()
            await self._link.aclose()

    async def _collect(self) -> None:
        """Take in what workers publish, as long as the broker is there."""
        try:
            while True:
                await self._take_in(await self._store.read(self._cursor, _READ_S))
                await asyncio.sleep(_GATHERING_S)
        except Exception as error:  # noqa: BLE001  # told to whoever takes
            self._outcomes.put_nowait(error)

    async def _keep(self) -> None:
        """Have the broker keep the batch as long as somebody is there."""
        while True:
            await asyncio.sleep(_KEEP_S)
            with suppress(BrokerError):  # others tell
                await self._store.keep()

    async def _take_in(self, entries: Sequence[Entry]) -> None:
        """Write rows down, and then give outcomes."""
        if not entries:
            return
        if self._reports.log is not None:
            rows = list(_rows(entries))
            if rows:
                await asyncio.to_thread(self._reports.log.keep, rows)
        for entry in entries:
            if entry.kind is Kind.ALERT:
                said = json.loads(entry.document)
                self._reports.alert(said["event"], said["text"])
        await self._store.drop([entry.id for entry in entries if entry.kind in {Kind.ROWS, Kind.ALERT}])
        for entry in entries:
            if entry.kind not in {Kind.ROWS, Kind.ALERT}:
                await self._give(entry)
        self._cursor = entries[-1].id

    async def _give(self, entry: Entry) -> None:
        """Give an outcome, once however often it came."""
        try:
            outcome = entry.outcome
        except ValueError as error:
            warnings.warn(f"entry {entry.id} of batch {self._run_id} {error}; it is dropped", stacklevel=2)
            await self._store.drop([entry.id])
            return
        key = outcome.key
        if self._is_opening and self._terms.retry and outcome.state is State.FAILED:  # it is to be done again
            await self._former.reopen(entry.id, outcome, self._origin.session)
        elif key in self._settled:
            await self._store.drop([entry.id])
        elif key in self._entries:
            self._entries[key].append(entry.id)
        elif self._is_stale(entry, key):
            await self._former.note(entry.id, outcome)
        else:
            if self._is_opening:
                await self._former.count(entry.id, outcome, self._origin.session)
            self._hand_out(outcome, [entry.id])

    def _is_stale(self, entry: Entry, key: str) -> bool:
        """Whether a job came back undone for a stop that is over, or that it was given back for already."""
        return entry.kind is Kind.RETURNED and (entry.session != self._origin.session or key not in self._put)

    def _hand_out(self, outcome: Outcome, ids: list[str]) -> None:
        """Give an outcome to whoever takes, with what was used before."""
        outcome, self._entries[outcome.key] = self._former.added(outcome, ids)
        self._outcomes.put_nowait(outcome)

    async def _watch(self) -> None:
        """Look at the queues, and at times at the jobs in them."""
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                for queue_id in self._queues.ids:
                    self._lanes[queue_id] = await standing(self._link, queue_id)
                    self._workers[queue_id] = await self._queues.workers(queue_id)
                    if self._stopping is not None or time.monotonic() - self._looked[queue_id] > _LOST_S:
                        await self._look(queue_id)
                        self._looked[queue_id] = time.monotonic()
                self.refusals = await self._store.refusals()
        except Exception as error:  # noqa: BLE001  # told to whoever takes
            self._outcomes.put_nowait(error)

    async def _look(self, queue_id: str) -> None:
        """Look at the jobs of a queue: put lost ones again, and give back what waits after a stop."""
        held = [one for one in self._put.values() if one.job.queue_id == queue_id and one.job.key not in self._entries]
        is_stopping = self._stopping is not None  # before the look: what waits after the stop is never begun
        states = await self._queues.states(queue_id, self._run_id, [one.job.key for one in held])
        now = time.monotonic()
        lost = []
        for one, state in zip(held, states, strict=True):
            is_known = state in WAITING or state == RUNNING
            one.lost_since = None if is_known else one.lost_since or now
            if one.lost_since is not None and now - one.lost_since > _LOST_S / 2:
                lost.append(one)
            elif is_stopping and (state in WAITING or self._is_alone(queue_id)):
                self._give_back([one.job])
        if is_stopping:
            self._give_back(one.job for one in lost)
            return
        await self._add([one.job for one in lost])
        for one in lost:
            one.lost_since = None

    def _is_alone(self, queue_id: str) -> bool:
        """Whether no worker has served a queue for long; one that ends is none already, and at its calls still."""
        if self._workers[queue_id]:
            self._alone_since.pop(queue_id, None)
            return False
        return time.monotonic() - self._alone_since.setdefault(queue_id, time.monotonic()) > _ALONE_S

    def _give_back(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            if job.key not in self._entries:
                self._hand_out(Outcome(job.key, State.PENDING, reason=self._stopping), [])


def _rows(entries: Sequence[Entry]) -> Iterable[UsageRow]:
    """The rows in entries.

    Raises:
        BrokerError: A newer release wrote them; they stay with the broker.
    """
    for entry in entries:
        if entry.kind is Kind.ROWS:
            try:
                yield from entry.rows
            except NewerRowError as error:
                message = "a worker has a newer llmtask, and its rows do not fit this one's log; upgrade, then go on"
                raise BrokerError(message) from error
