"""One batch from its input to its output: the journal in the middle, whoever carries the jobs at its side."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from llmtask.apart import apart
from llmtask.batch.blocks import Blocks
from llmtask.batch.broker import Broker
from llmtask.batch.job import Job, Outcome, Record, State, job_key, refused_key
from llmtask.batch.journal import Added, Journal
from llmtask.batch.spec import Plans
from llmtask.errors import CallError, ExitCode, UsageError
from llmtask.money import Cost, sums
from llmtask.service.lanes import QueueState

_BLOCK = 500  # records that are written down, or written out, together
_GATHERING_S = 0.2  # for which answers gather until they are written out: a sync of the disk for each would cost more
_RECENT_S = 30.0

Told: TypeAlias = list[tuple[str, Outcome]]
"""The ids of records, with what came of them."""


@dataclass
class Progress:
    """How far a batch is."""

    records: int | None = None
    """In the whole input; None where nobody knows."""
    read: int = 0
    """Of the input, so far."""
    done: int = 0
    failed: int = 0
    """Jobs, those of earlier tries included."""
    jobs: int = 0
    """Different ones that were read so far."""
    calls: int = 0
    tokens: int = 0
    spent: tuple[Cost, ...] = ()
    unpriced_calls: int = 0
    begun: float = field(default_factory=time.monotonic)
    _ends: list[tuple[float, int]] = field(default_factory=list)

    def take(self, outcomes: list[Outcome]) -> None:
        """Count outcomes."""
        for outcome in outcomes:
            self.done += outcome.state is State.DONE
            self.failed += outcome.state is State.FAILED
            self.calls += outcome.calls
            self.tokens += outcome.tokens.total
            self.unpriced_calls += outcome.unpriced_calls
        self.spent = sums((*self.spent, *(cost for outcome in outcomes for cost in outcome.costs)))
        now = time.monotonic()
        self._ends.append((now, sum(outcome.state is not State.PENDING for outcome in outcomes)))
        while self._ends[0][0] < now - _RECENT_S:
            self._ends.pop(0)

    @property
    def per_second(self) -> float:
        """Jobs that ended per second, over the last half minute."""
        now = time.monotonic()
        recent = [(at, count) for at, count in self._ends if at > now - _RECENT_S]
        span_s = max(now - max(self.begun, now - _RECENT_S), 0.001)
        return sum(count for _, count in recent) / span_s

    @property
    def total(self) -> int | None:
        """Jobs in the whole input, as far as can be told: duplicates are known when they are read."""
        if self.records is None:
            return None
        return max(self.records - self.read, 0) + self.jobs

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this speed; None where that cannot be told."""
        if self.total is None or not self.per_second:
            return None
        return max(self.total - self.done - self.failed, 0) / self.per_second

    @property
    def expected(self) -> tuple[Cost, ...]:
        """What the whole batch will have cost, if the rest costs what the first part did; empty where nobody knows."""
        over = self.done + self.failed
        if self.total is None or not over:
            return ()
        return tuple(Cost(cost.nanos * self.total // over, cost.currency) for cost in self.spent)


class Batch:
    """A batch that is being done."""

    def __init__(
        self,
        journal: Journal,
        broker: Broker,
        plans: Plans,
        *,
        max_cost: Cost | None = None,
        records: int | None = None,
    ) -> None:
        """Take the parts.

        Args:
            journal: Owned by this process.
            broker: Not open yet.
            plans: Decides the runs.
            max_cost: Begin no more once so much is spent.
            records: How many the input has, where that is known.
        """
        self.journal, self.broker = journal, broker
        self._plans, self._digest = plans, plans.digest
        self._max_cost = max_cost
        standing = journal.standing()
        self.progress = Progress(
            records=standing.records if standing.is_read else records,
            read=standing.records,
            done=standing.done,
            failed=standing.failed,
            jobs=standing.jobs,
            calls=standing.calls,
            tokens=standing.tokens,
            spent=standing.spent,
            unpriced_calls=standing.unpriced_calls,
        )
        self.note: str | None = None
        """Why it ended before all was done."""
        self.code: int = ExitCode.DONE
        """What that means for the exit code."""
        self._is_read = standing.is_read
        self._outstanding: dict[str, str] = {}
        self._early: set[str] = set()
        """Jobs whose outcomes came before they were handed over: from a broker that had them since before a kill."""
        self._left: dict[str, Outcome] = {}
        """Queues that were stopped, and a job that came back from each."""
        self._cursors: dict[str, int] = dict.fromkeys(journal.queues(), 0)
        self._more = asyncio.Event()
        self._finished: asyncio.Event = asyncio.Event()
        self._is_over = False
        self._stop_reading = False
        self._taking: Future[None] | None = None

    @property
    def queues(self) -> list[QueueState]:
        """How its queues stand."""
        return list(self.broker.queues())

    def stop(self, why: str, code: int) -> None:
        """Begin no more; what is in flight comes to its end."""
        if self.note is None:
            self.note, self.code = why, code
            self._stop_reading = True
            self._stopping = asyncio.ensure_future(self.broker.stop(why))
            self._more.set()

    async def run(
        self,
        records: Iterator[Record],
        *,
        ordered: Callable[[Told], None] | None = None,
        tell: Callable[[Told], Awaitable[None]] | None = None,
    ) -> None:
        """Do everything that is to be done.

        Args:
            records: The input, from its beginning; what the journal has is skipped.
            ordered: Is given all records in the order of the input, some at a time, in a thread.
            tell: Is awaited with records whose jobs are over from now on, in no order; the next jobs wait for it.

        Raises:
            LlmtaskError: It cannot go on; what came until then is in the journal.
        """
        try:
            await self.broker.open()
            async with asyncio.TaskGroup() as group:
                collecting = group.create_task(self._collect(tell))
                if ordered is not None:
                    group.create_task(self._order(ordered))
                loop = asyncio.get_running_loop()
                await self._feed(group.create_task(apart(lambda: self._read(records, loop, tell))))
                self._is_over = True
                collecting.cancel()
                self._finished.set()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            self._stop_reading = True
            if self._taking is not None:
                self._taking.cancel()
            await self.broker.aclose()
        if self.note is None and self._left:
            reasons = [outcome.reason or "its queue was stopped" for outcome in self._left.values()]
            self.note = "; ".join(dict.fromkeys(reasons))
            first = next(iter(self._left.values())).failure
            self.code = CallError(self.note, first).exit_code if first else ExitCode.PROVIDER
        await asyncio.to_thread(self.journal.end, self.note)

    def _read(
        self,
        records: Iterator[Record],
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[Told], Awaitable[None]] | None,
    ) -> None:
        """In a thread: write the input down, and the jobs in it."""
        if self._is_read:
            return
        for block in Blocks(self._unread(records), _BLOCK, _GATHERING_S):
            if self._stop_reading:
                return
            jobs = [self._job(record) for _, record in block]
            rows = [(position, record, job) for (position, record), job in zip(block, jobs, strict=True)]
            added = self.journal.add(rows, digest=self._digest)
            queues = {job.queue_id for job in jobs if job is not None}
            self._taking = asyncio.run_coroutine_threadsafe(self._take(block[-1][0], added, queues, tell), loop)
            self._taking.result()
        if not self._stop_reading:
            self.journal.end_reading()
            self._is_read = True

    def _unread(self, records: Iterator[Record]) -> Iterator[tuple[int, Record]]:
        """The records that the journal does not have, each with its position."""
        begin = self.journal.last_position()
        numbered = islice(enumerate(records, start=1), max(begin - 1, 0), None)
        if begin:
            self._require_same(begin, next(numbered, (begin, None))[1])
        yield from numbered

    def _require_same(self, position: int, record: Record | None) -> None:
        """Refuse to go on behind the last record that was read, where that is another one now.

        Raises:
            UsageError: The input has changed.
        """
        job = self._job(record) if record is not None else None
        key = job.key if job is not None else refused_key(self._digest, position)
        if record is None or self.journal.record_at(position) != (record.id, key):
            message = (
                f"the input has changed since it was read up to record {position}, which is another one now; "
                "put it back as it was (more may follow), or begin a new batch"
            )
            raise UsageError(message)

    def _job(self, record: Record) -> Job | None:
        if record.problem is not None:
            return None
        inputs = record.inputs.to_json()
        return Job(job_key(self._digest, inputs), self._plans.queue_of(record.inputs), inputs)

    async def _take(
        self, position: int, added: Added, queues: set[str], tell: Callable[[Told], Awaitable[None]] | None
    ) -> None:
        """Take note of records that were read."""
        self.progress.read = position
        self.progress.jobs += added.jobs
        self.progress.failed += added.failed
        for queue_id in queues:
            self._cursors.setdefault(queue_id, 0)
        self._more.set()
        self._finished.set()
        if tell is not None and added.over:
            await tell(added.over)

    async def _feed(self, reading: "asyncio.Task[None]") -> None:
        """Hand jobs over as the broker has room for them, until all are over."""
        reading.add_done_callback(lambda _: self._more.set())
        while True:
            self._more.clear()
            is_read = reading.done() or self.note is not None  # who stops does not wait for more input
            if reading.done():  # now it is known exactly, where it is known at all
                self.progress.records = self.progress.read
            fed = 0
            for queue_id in list(self._cursors):
                fed += await self._feed_queue(queue_id)
            if fed:
                continue
            if not self._outstanding and is_read:
                reading.cancel()
                return
            await self._more.wait()

    async def _feed_queue(self, queue_id: str) -> int:
        room = min(self.broker.room(queue_id), _BLOCK)
        if room <= 0 or queue_id in self._left or self.note is not None:
            return 0
        found = await asyncio.to_thread(self.journal.pending, queue_id, self._cursors[queue_id], room)
        if not found:
            return 0
        self._cursors[queue_id] = found[-1][0]
        jobs = [job for _, job in found if job.key not in self._early]
        self._outstanding.update((job.key, queue_id) for job in jobs)
        await self.broker.put(jobs)
        return len(found)

    async def _collect(self, tell: Callable[[Told], Awaitable[None]] | None) -> None:
        """Write down what comes back, and only then let go of it."""
        while True:
            outcomes = list(await self.broker.take())
            settled = await asyncio.to_thread(self.journal.settle, outcomes)
            self.progress.take(settled.outcomes)
            self._check_cost()
            if tell is not None and settled.over:
                await tell(settled.over)
            await self.broker.settle(outcomes)
            for outcome in outcomes:
                queue_id = self._outstanding.pop(outcome.key, None)
                is_pending = outcome.state is State.PENDING
                if queue_id is None and not is_pending:
                    self._early.add(outcome.key)
                elif queue_id is not None and is_pending:
                    self._left[queue_id] = outcome
            self._more.set()
            self._finished.set()

    def _check_cost(self) -> None:
        most = self._max_cost
        if most is None:
            return
        spent = sum(cost.nanos for cost in self.progress.spent if cost.currency == most.currency)
        if spent >= most.nanos:
            self.stop("the amount of --max-cost is spent", ExitCode.CAPPED)

    async def _order(self, tell: Callable[[Told], None]) -> None:
        """Give out records in the order of the input, as far as they are over."""
        position = 0
        while True:
            is_over = self._is_over
            self._finished.clear()
            found = await asyncio.to_thread(self.journal.finished, position, _BLOCK)
            if found:
                await asyncio.to_thread(tell, [(name, outcome) for _, name, outcome in found])
                position = found[-1][0]
            elif is_over:
                return
            else:
                await self._finished.wait()
            if len(found) < _BLOCK and not self._is_over:
                await asyncio.sleep(_GATHERING_S)


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The first error of those that ended a batch together."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
