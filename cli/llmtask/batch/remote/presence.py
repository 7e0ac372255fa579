"""Whether a worker is there: docket's leases lapse while the broker is away, and calls go on."""

import asyncio
import time
from contextlib import suppress

from llmtask.batch.remote.link import Link
from llmtask.errors import BrokerError


class Presence:
    """Shows the other workers that this one is there, as long as it is: llmtask:worker:OWNER, a string."""

    def __init__(self, link: Link, owner: str, lease_s: float) -> None:
        """Take the worker's name, which is this process's alone, and the seconds after which it is taken for dead."""
        self._link, self.owner, self.lease_s = link, owner, lease_s

    async def keep(self) -> None:
        """Show it until cancelled."""
        lease_ms = round(self.lease_s * 1000)
        while True:
            with suppress(BrokerError):  # it may do better the next time
                await self._link.do(lambda redis: redis.set(_name(self.owner), 1, px=lease_ms))
            await asyncio.sleep(self.lease_s / 4)

    async def end(self) -> None:
        """Let others take what is left at once."""
        with suppress(BrokerError):
            await self._link.do(lambda redis: redis.delete(_name(self.owner)), patience_s=0)

    async def may_hold(self, owner: str) -> bool:
        """Whether another worker may be at its jobs still.

        After the broker was away nobody can tell until all had the time to show themselves.
        """
        if time.monotonic() - self._link.steady_since < self.lease_s:
            return True
        return bool(await self._link.do(lambda redis: redis.exists(_name(owner))))


def _name(owner: str) -> str:
    return f"llmtask:worker:{owner}"
