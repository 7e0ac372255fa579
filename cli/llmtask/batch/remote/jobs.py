"""What a worker does with a job that docket gives it: takes it, has it done, and publishes what came of it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Protocol, TypeAlias

from docket import Execution
from docket.dependencies import AdmissionBlocked

from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.remote.ledger import RunLedger
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.news import News
from llmtask.batch.remote.payload import ForeignError, Origin, Payload
from llmtask.batch.remote.places import Places
from llmtask.batch.remote.presence import Presence
from llmtask.batch.remote.store import Beginning, Kind, Status, Store
from llmtask.errors import BrokerError, Failure, LlmtaskError

_AGAIN_S = 2.0  # before a job that was given back is given to a worker again
_STARTS = 5  # of a job without an end, after which it is not begun again: it takes its workers with it
_LOOKED_S = 1.0  # how often a batch is asked whether it was stopped
_IDLE_S = 600.0  # after which what is known of a batch is let go
_FAREWELL_S = 2.0  # for which a broker is tried by a worker that ends


class Hand(Protocol):
    """Does the jobs of one session of a batch."""

    async def do(self, job: Job) -> Outcome:
        """Do a job; a pending outcome is one that was stopped. It has its place until `leave`."""
        ...

    def leave(self, key: str) -> None:
        """Give up the place of a job."""
        ...

    def stop(self, why: str) -> None:
        """Begin no more: what waits comes back pending."""
        ...

    def stop_queue(self, queue_id: str, why: str, failure: Failure | None) -> None:
        """Begin no more of a queue."""
        ...

    async def aclose(self) -> None:
        """There is nothing more to do."""
        ...


Hire: TypeAlias = Callable[[Origin, RunLedger, Places, News], Hand]
"""Makes a hand, in a thread. Raises LlmtaskError where this worker is not the one to do the batch's jobs."""


@dataclass(frozen=True, kw_only=True)
class Duty:
    """What a worker does."""

    hire: Hire
    tell: Callable[[str], None] = lambda _: None
    """Is told what happens, a sentence for people."""
    lease_s: float = 30.0
    """Seconds after which the jobs of a worker that was killed are given to another."""


@dataclass
class _Run:
    """A batch in this worker."""

    store: Store
    ledger: RunLedger
    make: Callable[[int], Hand]
    """Makes the hand of a session."""
    hand: Hand | None = None
    session: int = 0
    problem: LlmtaskError | None = None
    """Why its jobs are not for this worker."""
    former: list[Hand] = field(default_factory=list)
    """Of sessions before, whose jobs come to their end."""
    jobs: int = 0
    """That are being done."""
    watching: asyncio.Task[None] | None = None
    _hiring: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def hired(self, session: int) -> Hand:
        """The hand of a session, or of a later one.

        Raises:
            LlmtaskError: Its jobs are not for this worker.
        """
        async with self._hiring:
            if self.problem is not None:
                raise self.problem
            if self.hand is None or session > self.session:
                try:
                    hand = await asyncio.to_thread(self.make, session)
                except LlmtaskError as error:
                    self.problem = error
                    raise
                self.former += [self.hand] if self.hand is not None else []
                self.hand, self.session = hand, session
            return self.hand

    @property
    def hands(self) -> list[Hand]:
        """All of them."""
        return [*self.former, *([self.hand] if self.hand is not None else [])]

    async def watch(self) -> None:
        """Notice that it was stopped; return when there was nothing to do for long."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _IDLE_S:
            await asyncio.sleep(_LOOKED_S)
            if not self.jobs:
                continue
            idle_since = time.monotonic()
            with suppress(BrokerError):  # it may do better the next time
                session, why = await self.store.stopped()
                if why is not None and session >= self.session:
                    for hand in self.hands:
                        hand.stop(why)

    async def aclose(self) -> None:
        """Publish what rows are left, and let go of it."""
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self.ledger.written()
        for hand in self.hands:
            await hand.aclose()


class Jobs:
    """Does jobs, whichever batch and queue they come from."""

    def __init__(self, link: Link, name: str, duty: Duty, presence: Presence, places: Places) -> None:
        """Take the connection, the worker's name for people, what it does, and what it shares with others."""
        self._link, self._name, self._duty, self._presence, self._places = link, name, duty, presence, places
        self._runs: dict[str, _Run] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._ending: str | None = None

    def drain(self, why: str) -> None:
        """Begin no more calls; jobs that wait for one go to other workers."""
        self._ending = why
        for run in self._runs.values():
            for hand in run.hands:
                hand.stop(why)

    def break_off(self) -> None:
        """Break off what is being done; another worker is given it."""
        for task in self._running.values():
            task.cancel()

    async def aclose(self) -> None:
        """Let go of everything."""
        watching = [run.watching for run in self._runs.values() if run.watching is not None]
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        for run in self._runs.values():
            await run.aclose()

    async def do(self, text: str, execution: Execution) -> None:
        """Do a job, unless it was done.

        Raises:
            AdmissionBlocked: It is for another worker; docket gives it out again.
        """
        try:
            payload = Payload.from_json(text)
        except ForeignError as error:
            await Store(self._link, error.run_id).refuse(self._name, str(error))
            raise _later(execution, "another release") from error
        run = self._run(payload.origin)
        try:
            await run.hired(payload.origin.session)
        except LlmtaskError as error:
            await run.store.refuse(self._name, str(error))
            raise _later(execution, "another project") from error
        name = (payload.origin.run_id, payload.job.key)
        if self._ending or name in self._running:
            raise _later(execution, "another worker")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine that runs is in one
        self._running[name] = task
        run.jobs += 1
        try:
            await self._take(payload, run, execution)
        finally:
            run.jobs -= 1
            del self._running[name]

    def _run(self, origin: Origin) -> _Run:
        if origin.run_id not in self._runs:
            store = Store(self._link, origin.run_id)
            ledger = RunLedger(store)

            def make(session: int) -> Hand:
                news = News(store, session)
                return self._duty.hire(replace(origin, session=session), ledger, self._places, news)

            run = _Run(store, ledger, make)
            run.watching = asyncio.create_task(self._watch(origin.run_id, run))
            self._runs[origin.run_id] = run
        return self._runs[origin.run_id]

    async def _watch(self, run_id: str, run: _Run) -> None:
        await run.watch()
        del self._runs[run_id]
        await run.aclose()

    async def _take(self, payload: Payload, run: _Run, execution: Execution) -> None:
        job, owner = payload.job, self._presence.owner
        session = payload.origin.session
        beginning = await run.store.begin(job.key, job.queue_id, session, owner)
        if beginning.status is Status.HELD and not await self._presence.may_hold(beginning.said):
            beginning = await run.store.begin(job.key, job.queue_id, session, owner, beginning.said)
        match beginning.status:
            case Status.HELD:
                raise _later(execution, "another worker, which began it")
            case Status.OVER:
                if beginning.said:  # the journal has it not yet
                    await run.store.say(Kind.OUTCOME, beginning.said)
            case Status.STOPPED:
                undone = Outcome(job.key, State.PENDING, reason=beginning.said).after(beginning.used)
                await run.store.give_up(undone, owner, beginning.session, was_begun=False)
            case Status.FORGOTTEN:
                pass
            case Status.BEGUN:
                await self._finish(job, run, beginning, execution)

    async def _finish(self, job: Job, run: _Run, beginning: Beginning, execution: Execution) -> None:
        """Do a job, and publish what came of it before docket is told that it is over."""
        hand: Hand | None = None
        try:
            hand = await run.hired(beginning.session)
            if self._ending:  # meanwhile
                hand.stop(self._ending)
            outcome = (await self._outcome(job, hand, beginning)).after(beginning.used)
            if outcome.state is State.PENDING:
                await self._undone(run, outcome, beginning.session, execution)
            else:
                run.ledger.end(_writable(outcome))
                await run.ledger.written()
        except BrokerError:
            raise
        except LlmtaskError as error:  # such as a key that others have
            await run.store.give_back(job.key, self._presence.owner, beginning.used)
            await run.store.refuse(self._name, str(error))
            raise _later(execution, "another worker, which can do it") from error
        finally:
            if hand is not None:
                hand.leave(job.key)

    async def _undone(self, run: _Run, outcome: Outcome, session: int, execution: Execution) -> None:
        """Publish a job that comes back, or hand it on."""
        await run.ledger.written()
        if self._ending:
            await run.store.give_back(outcome.key, self._presence.owner, outcome)
            raise _later(execution, "another worker: this one ends")
        await run.store.give_up(outcome, self._presence.owner, session, was_begun=True)

    async def _outcome(self, job: Job, hand: Hand, beginning: Beginning) -> Outcome:
        if beginning.starts > _STARTS:
            reason = f"{_STARTS} workers ended while they did it; `batch retry` tries again"
            return Outcome(job.key, State.FAILED, failure=Failure.INTERRUPTED, reason=reason)
        if beginning.queue_stop is not None:
            hand.stop_queue(job.queue_id, *beginning.queue_stop)
        try:
            return await hand.do(job)
        except LlmtaskError:
            raise
        except Exception as error:  # noqa: BLE001  # one job's bug is not the others'
            reason = f"a bug: {type(error).__name__}: {error}"
            return Outcome(job.key, State.FAILED, failure=Failure.BUG, reason=reason)


def _writable(outcome: Outcome) -> Outcome:
    """An outcome that can be written; one that cannot is a bug of its own job, and no other's."""
    try:
        outcome.to_json()
    except ValueError as error:
        reason = f"a bug: what came of it cannot be written: {type(error).__name__}"
        return replace(outcome, state=State.FAILED, answer=None, failure=Failure.BUG, reason=reason)
    return outcome


def _later(execution: Execution, whose: str) -> AdmissionBlocked:
    """Has docket give a job out again, perhaps to another worker."""
    return AdmissionBlocked(execution, whose, retry_delay=timedelta(seconds=_AGAIN_S))
