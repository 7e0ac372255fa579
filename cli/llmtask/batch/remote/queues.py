"""The queues of a batch as docket has them, on the side of whoever puts jobs into them."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from docket import Docket
from docket.execution import Disposition, TaskCall

from llmtask.batch.job import Job
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.payload import Origin, Payload
from llmtask.batch.remote.store import docket_name
from llmtask.batch.remote.url import roomy

KEPT = timedelta(minutes=1)
"""How long docket remembers a job that is over, its input included."""

WAITING = frozenset({b"queued", b"scheduled"})
RUNNING = b"running"

_CONNECTIONS = 100


class Queues:
    """Puts jobs into queues, and tells how they stand; everything raises BrokerError."""

    def __init__(self, link: Link) -> None:
        """Take the connection."""
        self._link = link
        self._dockets: dict[str, Docket] = {}
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()

    @property
    def ids(self) -> list[str]:
        """Queues that were put into."""
        return list(self._dockets)

    async def add(self, queue_id: str, origin: Origin, jobs: Sequence[Job]) -> None:
        """Put jobs into a queue; docket takes none twice that waits or is being done."""
        docket = await self._docket(queue_id)
        calls = [
            docket.call(queue_id, key=_name(origin.run_id, job.key))(Payload(origin, job).to_json()) for job in jobs
        ]
        await self._link.do(lambda _: _added(docket, calls))

    async def states(self, queue_id: str, run_id: str, keys: Sequence[str]) -> list[bytes | None]:
        """How jobs stand: `queued`, `scheduled`, `running` or over; None for one that docket does not know."""
        docket = await self._docket(queue_id)
        names = [docket.runs_key(_name(run_id, key)) for key in keys]

        async def ask(redis: Any) -> list[bytes | None]:
            async with redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hget(name, "state")
                found: list[bytes | None] = await pipe.execute()
                return found

        return await self._link.do(ask)

    async def workers(self, queue_id: str) -> int:
        """How many workers serve a queue."""
        docket = await self._docket(queue_id)
        return len(await self._link.do(lambda _: docket.workers()))

    async def aclose(self) -> None:
        """Hang up."""
        await self._stack.aclose()

    async def _docket(self, queue_id: str) -> Docket:
        async with self._opening:
            if queue_id not in self._dockets:
                url = roomy(self._link.url, _CONNECTIONS)
                docket = Docket(docket_name(queue_id), url, execution_ttl=KEPT)
                docket.register(_done_elsewhere, names=[queue_id])
                self._dockets[queue_id] = await self._link.do(lambda _: self._stack.enter_async_context(docket))
            return self._dockets[queue_id]


def _name(run_id: str, key: str) -> str:
    return f"{run_id}:{key}"


async def _done_elsewhere(payload: str) -> None:
    """Stands for the function that workers have under the same name."""


async def _added(docket: Docket, calls: Sequence[TaskCall]) -> None:
    for execution in await docket.add_many(calls):
        if execution.disposition is Disposition.FAILED and execution.schedule_exception is not None:
            raise execution.schedule_exception
