"""Limits that hold over all workers: how many calls of a queue or model at once, how many and how large a minute.

docket limits how many of its tasks run at once. A task here is a job, whose calls may go to another queue (a
fallback's, or one for images) and to a model with limits of its own; it is calls that vendors count.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from llmtask.batch.remote.places import Places
from llmtask.errors import Failure
from llmtask.service import Lane, StoppedError
from llmtask.service.lanes import Alert


@dataclass(frozen=True, slots=True)
class Shared:
    """What the lanes of a batch in this worker have in common with those of others."""

    places: Places
    stopped: Callable[[str, str, Failure], None]
    """Tells the others that a lane takes no more: its name, why, and the failure."""


class SharedLane(Lane):
    """A lane whose places and minutes are those of all workers together; a refusal slows the worker that got it."""

    def __init__(
        self,
        shared: Shared,
        name: str,
        most: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        alert: Alert = lambda _, __: None,
    ) -> None:
        """Take what workers share; the rest is as in `Lane`."""
        super().__init__(name, min(most, shared.places.at_once or most), alert=alert)
        self._agent, self._tell = shared.places.agent(name, most), shared.stopped
        self._share = self._agent.share(lambda: self.limit)
        self._most_requests, self._most_tokens = requests_per_minute or 0, tokens_per_minute or 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._turn = asyncio.Lock()

    async def enter(self) -> None:
        """Wait for a place in this worker, and for one of all workers'."""
        await super().enter()
        waiting = self._share.ask()
        self._waiting.add(waiting)
        try:
            await waiting
        except BaseException:
            self._share.forget(waiting)
            super().leave()
            raise
        finally:
            self._waiting.discard(waiting)

    def leave(self) -> None:
        """Give both places up."""
        self._share.leave()
        super().leave()

    async def pace(self, count: Callable[[], int]) -> list[float]:
        """Wait until a call fits into the minute of all workers, and until no pause is on, whoever was asked for it."""
        while (wait_s := self._agent.paused_s) > 0:
            await self._rest(wait_s)
        entry = await super().pace(count)
        if not (self._most_requests or self._most_tokens):
            return entry
        tokens = min(count(), self._most_tokens)
        async with self._turn:  # the first one asks for all that wait
            while True:
                self._require_open()
                minute_s, second = await self._agent.minute(self._most_requests, self._most_tokens, tokens)
                self._require_open()
                if minute_s <= 0:
                    return [second, tokens]
                await self._rest(minute_s)

    async def _rest(self, seconds: float) -> None:
        """Wait for so long, or until a stop, which is noticed within a second.

        Raises:
            StoppedError: It takes no more.
        """
        await asyncio.sleep(min(seconds, 1))
        self._require_open()

    def _require_open(self) -> None:
        if self.stopped:
            raise StoppedError(self.stopped)

    def settle(self, entry: list[float], tokens: int) -> None:
        """Count the tokens that a call really used."""
        if self._most_tokens:
            self._agent.used(int(entry[0]), tokens - int(entry[1]))

    def refused(self, retry_after_s: float | None = None, begun: float | None = None) -> None:
        """A call was one too many: fewer than are under way here, and none anywhere before the vendor's time."""
        if begun is None or begun > self._slowed_at:
            self._limit = min(self._limit, max(self._share.held, 1))
        super().refused(retry_after_s, begun)
        if retry_after_s:
            self._agent.pause(retry_after_s, f"the vendor asks to wait {retry_after_s:g} s")

    def stop(self, why: str, failure: Failure | None = None) -> None:
        """Take no more in this run; a failure stops it for all workers."""
        if self.stopped is None and failure is not None:
            self._tell(self.name, why, failure)
        super().stop(why, failure)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(StoppedError(why))
