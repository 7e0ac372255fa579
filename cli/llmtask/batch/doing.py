"""Does a job until it is over: a place in a queue, a run, another try where what failed was not the job's own."""

import asyncio
from contextlib import suppress
from functools import partial

from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.lanes import Lanes
from llmtask.batch.work import Done, Place, Work
from llmtask.errors import BrokerError, Failure
from llmtask.project import TokenEstimate
from llmtask.service import Lane, StoppedError
from llmtask.service.lanes import BROKEN, FINAL
from llmtask.tokens import estimate

_TRIES = 8  # runs of a job that fails for a reason that is not its own
_AGAIN_S = 1.0  # before the second try; doubled with each
_LONGEST_AGAIN_S = 30.0
_TRIED_AGAIN = BROKEN | FINAL | {Failure.RATE_LIMITED}


class Doing:
    """Does the jobs of a batch, each in its place."""

    def __init__(self, work: Work, lanes: Lanes, token_estimate: TokenEstimate) -> None:
        """Take what does them.

        Args:
            work: Does one once.
            lanes: Where they wait.
            token_estimate: As config has it.
        """
        self._work, self._lanes, self._token_estimate = work, lanes, token_estimate
        self._held: dict[str, Lane] = {}
        """Where jobs have a place."""
        self._stopped = asyncio.Event()
        self.stopping: str | None = None
        """Why no more is begun."""

    def stop(self, why: str) -> None:
        """Begin no more: jobs that wait or rest come back pending."""
        if self.stopping is None:
            self.stopping = why
            self._lanes.stop(why)
            self._stopped.set()

    async def enter(self, job: Job) -> Place | None:
        """Wait for a place in the job's queue or, where that was stopped, in a fallback's; None where there is none.

        It is the job's until `leave`.
        """
        lane: Lane | None = self._lanes.queue(job.queue_id)
        while lane is not None and not self._stopped.is_set():
            try:
                await lane.enter()
            except StoppedError:
                lane = self._work.other_lane(job)
                continue
            self._held[job.key] = lane
            with suppress(StoppedError):
                taken = await lane.pace(partial(estimate, job.inputs, self._token_estimate))
                if not self._stopped.is_set():
                    return Place(lane, taken)
            self.leave(job.key)
        return None

    def leave(self, key: str) -> None:
        """Give up the place of a job, where it has one."""
        lane = self._held.pop(key, None)
        if lane is not None:
            lane.leave()

    async def do(self, job: Job, place: Place) -> Outcome:
        """Do a job that has a place; it has one until `leave`, wherever that is by then."""
        tries, before = 0, None
        while True:
            done = await self._once(job, place)
            before = done.outcome.after(before)
            if before.state is not State.FAILED or before.failure not in _TRIED_AGAIN:
                return before
            if self._is_stopped(job):
                return self.undone(job).after(before)
            tries += done.retry_after_s is None  # where the vendor says when, it is no try
            if tries >= _TRIES:
                return before
            self.leave(job.key)
            await self._rest(max(min(_AGAIN_S * 2 ** max(tries - 1, 0), _LONGEST_AGAIN_S), done.retry_after_s or 0))
            found = await self.enter(job)
            if found is None:
                return self.undone(job).after(before)
            place = found

    def undone(self, job: Job) -> Outcome:
        """A job that comes back because its queue, or all of it, was stopped."""
        lane = self._lanes.queue(job.queue_id)
        return Outcome(job.key, State.PENDING, failure=lane.stopped_by, reason=self.stopping or lane.stopped)

    def _is_stopped(self, job: Job) -> bool:
        lane = self._lanes.queue(job.queue_id)
        return bool(self.stopping) or (bool(lane.stopped) and self._work.other_lane(job) is None)

    async def _once(self, job: Job, place: Place) -> Done:
        try:
            return await self._work.do(job, place)
        except BrokerError:  # it is for whoever carries the job
            raise
        except Exception as error:  # noqa: BLE001  # one job's bug is not the others'
            reason = f"a bug: {type(error).__name__}: {error}"
            return Done(Outcome(job.key, State.FAILED, failure=Failure.BUG, reason=reason))

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
