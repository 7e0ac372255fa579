"""Does the jobs of batches that were begun elsewhere: docket gives them, and takes them back from whoever is killed."""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from docket import CurrentExecution, Docket, Execution, Worker

from llmtask.batch.lanes import most_of
from llmtask.batch.remote.jobs import Duty, Jobs
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.places import Places
from llmtask.batch.remote.presence import Presence
from llmtask.batch.remote.queues import KEPT
from llmtask.batch.remote.store import docket_name
from llmtask.batch.remote.url import roomy
from llmtask.project import Project
from llmtask.service.lanes import DEFAULT_CONCURRENCY

_CHECK_S = 0.25
_AHEAD = 2  # jobs that it has for each call at once: docket looks for more only so often, and the rest wait here
_RECONNECT_S = 1.0


class QueueWorker:
    """Does the jobs of queues in this process."""

    def __init__(
        self,
        project: Project,
        url: str,
        queues: Sequence[str],
        duty: Duty,
        *,
        concurrency: int | None = None,
        name: str | None = None,
    ) -> None:
        """Take what it does; nothing is connected yet.

        Args:
            project: Its config says how many calls of a queue there may be at once, over all workers.
            url: The broker's.
            queues: Whose jobs are done.
            duty: How one is done.
            concurrency: The most jobs of a queue at once in this worker; the queue's own where that is less.
            name: Of the worker; its host and process where it is left out.

        Raises:
            UsageError: It is not the URL of a broker.
        """
        self.name = name or f"{socket.gethostname()}#{os.getpid()}"
        self._project, self._queues, self._duty, self._concurrency = project, queues, duty, concurrency
        self._link = Link(url, patience_s=None, tell=duty.tell)
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._jobs: Jobs | None = None

    def on_signal(self, _number: int) -> bool:
        """The first signal drains, the second breaks off; more, and those before it runs, end the program."""
        self._signals += 1
        if self._loop is None or self._signals > 2:
            return False
        self._loop.call_soon_threadsafe(self._end if self._signals == 1 else self._break_off)
        return True

    @property
    def is_broken_off(self) -> bool:
        """Whether jobs were left that others do now."""
        return self._signals > 1

    async def run(self) -> None:
        """Do jobs until a signal comes.

        Raises:
            BrokerError: There is no broker; one that goes away later is waited for.
        """
        presence = Presence(self._link, f"{self.name}:{secrets.token_hex(4)}", self._duty.lease_s)
        places = Places(self._link, presence.owner, self._duty.lease_s, self._concurrency)
        self._jobs = jobs = Jobs(self._link, self.name, self._duty, presence, places)
        keeping: asyncio.Task[None] | None = None
        try:
            await self._link.check()
            await places.open()
            keeping = asyncio.create_task(presence.keep())
            async with AsyncExitStack() as stack:
                workers = [await self._worker(queue_id, jobs, stack) for queue_id in dict.fromkeys(self._queues)]
                self._loop = asyncio.get_running_loop()
                self._duty.tell(f"worker {self.name} at {self._link.place}: {', '.join(self._queues)}")
                await self._serve_all(workers)
        finally:
            self._loop = None
            await jobs.aclose()
            await places.aclose()
            if keeping is not None:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await presence.end()
            await self._link.aclose()

    async def _worker(self, queue_id: str, jobs: Jobs, stack: AsyncExitStack) -> Worker:
        most = most_of(self._project, queue_id) or DEFAULT_CONCURRENCY
        at_once = min(self._concurrency or most, most)
        docket = Docket(docket_name(queue_id), roomy(self._link.url, 4 * _AHEAD * at_once + 20), execution_ttl=KEPT)
        docket.register(_function(jobs), names=[queue_id])
        await self._link.do(lambda _: stack.enter_async_context(docket))
        return Worker(
            docket,
            name=self.name,
            concurrency=_AHEAD * at_once,
            redelivery_timeout=timedelta(seconds=self._duty.lease_s),
            reconnection_delay=timedelta(seconds=_RECONNECT_S),
            minimum_check_interval=timedelta(seconds=_CHECK_S),
            schedule_automatic_tasks=False,
        )

    async def _serve_all(self, workers: Sequence[Worker]) -> None:
        """Run workers until a signal comes, or one of them fails."""
        try:
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(self._serve(worker))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _serve(self, worker: Worker) -> None:
        """Run a worker; however it is left, the jobs that it has come to their end."""
        ending = asyncio.create_task(self._ending.wait())
        try:
            async with worker:
                running = asyncio.create_task(worker.run_forever())
                await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            await running
        finally:
            ending.cancel()

    def _end(self) -> None:
        if self._jobs is not None:
            self._duty.tell(f"worker {self.name} ends when its calls have come to their end; once more breaks them off")
            self._jobs.drain("the worker ends")
        self._ending.set()

    def _break_off(self) -> None:
        if self._jobs is not None:
            self._jobs.break_off()


def _function(jobs: Jobs) -> Callable[..., Awaitable[None]]:
    """The function of a queue, as docket takes one."""

    async def do(payload: str, execution: Execution = CurrentExecution()) -> None:  # noqa: B008  # docket's way to ask
        await jobs.do(payload, execution)

    return do
