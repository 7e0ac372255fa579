"""Places in lanes and room in their minutes, as the broker counts them over all workers.

llmtask:lane:NAME          hash     by worker, `held wanted when lease`: calls under way, calls that wait, at which time
                                    (ms) it last said so, for how long that holds. #heard: when anybody did; #grace:
                                    until when nobody is given any more; #last: who was given one last
llmtask:lane:NAME:minute   hash     by second, requests and tokens: `1764000000:r`, `1764000000:t`
llmtask:lane:NAME:pause    string   why nobody calls, until it expires
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmtask.batch.remote import scripts
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.sending import Sending
from llmtask.errors import BrokerError

_ASKED_AGAIN_S = 0.05  # how soon a worker asks again that has calls waiting
_GATHERING_S = 0.001  # for which calls that end and calls that begin gather
_BACK_S = 2.0  # within which each worker says so to a broker that is back
_MINUTE_KEPT_S = 120
_YOUNG_S = 3.0  # for which a broker may not know who calls: those who do tell it within that
_LOOKED_S = 1.0  # and at the latest: a pause that another worker was asked for is known here by then


class Places:
    """What a worker has of the lanes that all workers share."""

    def __init__(self, link: Link, owner: str, lease_s: float, at_once: int | None) -> None:
        """Take the connection.

        Args:
            link: To the broker.
            owner: The worker's name, which no other has.
            lease_s: Seconds after which its places are others', if it says nothing.
            at_once: The most calls of a lane in this worker, in all batches; None for what the lane takes.
        """
        self._link, self._owner, self._lease_s, self.at_once = link, owner, lease_s, at_once
        self._agents: dict[str, _Agent] = {}
        self._quiet_until = 0.0

    async def open(self) -> None:
        """Ask for nothing of a broker that has just started, perhaps without what it knew.

        Raises:
            BrokerError: It cannot be used.
        """
        self._quiet_until = time.monotonic() + _YOUNG_S - await self._link.uptime_s()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is asked for: others may be calling without the broker's knowing."""
        return time.monotonic() < self._quiet_until

    def agent(self, name: str, most: int) -> "_Agent":
        """Who asks for the places of a lane, for all batches alike."""
        if name not in self._agents:
            at_once, lease_ms = min(self.at_once or most, most), round(self._lease_s * 1000)
            terms = _Terms(self._owner, most, at_once, lease_ms, lambda: self.is_quiet)
            self._agents[name] = _Agent(self._link, name, terms)
        return self._agents[name]

    async def aclose(self) -> None:
        """Give everything up."""
        for agent in self._agents.values():
            await agent.aclose()


@dataclass(frozen=True, slots=True)
class _Terms:
    """What an agent asks for."""

    owner: str
    most: int
    """Calls at once of all workers."""
    at_once: int
    """And of this one."""
    lease_ms: int
    is_quiet: Callable[[], bool]
    """Whether to ask for nothing, for now."""


class _Share:
    """What one batch has of a lane in this worker, and wants."""

    def __init__(self, limit: Callable[[], int], changed: Callable[["_Share"], None]) -> None:
        self.held = 0
        self._limit, self._changed = limit, changed
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def wanted(self) -> int:
        """Places that it could use now: a vendor that refused gets fewer calls than were under way."""
        return max(min(len(self._waiting), self._limit() - self.held), 0)

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing, and wants nothing."""
        return not (self.held or self._waiting)

    def ask(self) -> "asyncio.Future[None]":
        """Want a place; it is there when what this returns is done."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._changed(self)
        return waiting

    def forget(self, waiting: "asyncio.Future[None]") -> None:
        """Want it no more; one that was given meanwhile is given up."""
        if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
            self.leave()
            return
        waiting.cancel()
        with suppress(ValueError):
            self._waiting.remove(waiting)
        self._changed(self)

    def leave(self) -> None:
        """Give a place up."""
        self.held -= 1
        self._changed(self)

    def take(self) -> bool:
        """Have a place, for the first that waits; whether one does."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self.held += 1
                waiting.set_result(None)
                return True
        return False

    def fail(self, error: Exception) -> None:
        """Tell all that wait."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(error)


class _Agent:
    """Asks for places in a lane: how many this worker holds and wants, in one message, however many calls that is."""

    def __init__(self, link: Link, lane: str, terms: _Terms) -> None:
        self._link, self._name, self._terms = link, _name(lane), terms
        self._shares: list[_Share] = []
        """Of batches that have or want some; who was given one last comes last."""
        self._paused_until = 0.0
        self._changed = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._sending = Sending()

    @property
    def paused_s(self) -> float:
        """Seconds for which nobody calls, as the broker last said; below 0 when that is over."""
        return self._paused_until - time.monotonic()

    def share(self, limit: Callable[[], int]) -> _Share:
        """A share for one batch, which has no more than so many calls at once."""
        return _Share(limit, self._touch)

    async def minute(self, requests: int, tokens: int, more: int) -> tuple[int, int]:
        """Count a call, if the minute has room.

        Args:
            requests: The most calls of a minute; 0 for any number.
            tokens: The most tokens of one; 0 for any number.
            more: What the call uses of them.

        Returns:
            Seconds until there may be room and no pause is on, 0 where it was counted; the second in which that was.
        """
        names = [f"{self._name}:minute", f"{self._name}:pause"]
        wait_s, second = await self._link.run(scripts.MINUTE, names, lambda: [requests, tokens, more])
        return int(wait_s), int(second)

    def used(self, second: int, more: int) -> None:
        """Count tokens that a call used more than was thought, or fewer."""
        name = f"{self._name}:minute"

        async def count(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                pipe.hincrby(name, f"{second}:t", more)
                pipe.expire(name, _MINUTE_KEPT_S)
                await pipe.execute()

        self._sending.send(self._link.do(count))

    def pause(self, seconds: float, why: str) -> None:
        """Let nobody call for a while; a longer while that is on stays."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
        said = why, max(round(seconds * 1000), 1)
        self._sending.send(self._link.run(scripts.PAUSE, [f"{self._name}:pause"], lambda: said))

    async def aclose(self) -> None:
        """Give everything up, as far as the broker is there."""
        await self._sending.aclose()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        with suppress(BrokerError):
            await self._link.do(lambda redis: redis.hdel(self._name, self._terms.owner), patience_s=0)

    def _touch(self, share: _Share) -> None:
        if share not in self._shares:
            self._shares.append(share)
        self._changed.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        """Say how many places are held and wanted: at each change, while some are wanted, and as a sign of life."""
        while True:
            await asyncio.sleep(_GATHERING_S)
            self._changed.clear()
            wait_s = 0.0
            try:
                wait_s = await self._say()
            except BrokerError as error:  # it may do better the next time; those that call are at it still
                for share in self._shares:
                    share.fail(error)
            self._shares = [share for share in self._shares if not share.is_empty]
            if not self._shares and not self._changed.is_set():
                return
            again_s = min(self._terms.lease_ms / 4000, _LOOKED_S)
            if any(share.wanted for share in self._shares):
                again_s = min(max(wait_s, _ASKED_AGAIN_S), again_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._changed.wait()

    async def _say(self) -> float:
        """Say it, and hand on what was given; seconds until there may be more."""
        given, wait_ms, paused_ms = await self._link.run(
            scripts.PLACES, [self._name, f"{self._name}:pause"], self._said
        )
        self._paused_until = max(self._paused_until, time.monotonic() + float(paused_ms) / 1000)
        for _ in range(given):
            share = next((one for one in self._shares if one.wanted and one.take()), None)
            if share is None:  # whoever wanted it has gone
                self._changed.set()
            else:
                self._shares.remove(share)
                self._shares.append(share)
        return float(wait_ms) / 1000

    @property
    def _held(self) -> int:
        return sum(share.held for share in self._shares)

    def _said(self) -> list[str | int]:
        """What the broker is told; nothing is wanted of one that is just back: it may have forgotten who calls."""
        terms, held = self._terms, self._held
        back_s = time.monotonic() - self._link.steady_since
        is_back = terms.is_quiet() or (self._link.was_away and back_s < terms.lease_ms / 2000 + _BACK_S)
        wanted = sum(share.wanted for share in self._shares)
        wanted = 0 if is_back else max(min(wanted, terms.at_once - held), 0)
        return [terms.owner, held, wanted, terms.most, terms.lease_ms]


@dataclass(frozen=True, slots=True)
class LaneStanding:
    """How a lane stands, over all workers."""

    running: int
    paused_s: float
    """Seconds for which nobody calls; 0 while they do."""
    why: str | None
    """Why not."""


async def standing(link: Link, lane: str) -> LaneStanding:
    """How a lane stands.

    Raises:
        BrokerError: The broker cannot be used.
    """
    name = _name(lane)

    async def ask(redis: Any) -> LaneStanding:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(name)
            pipe.pttl(f"{name}:pause")
            pipe.get(f"{name}:pause")
            found, left_ms, why = await pipe.execute()
        running = sum(int(value.split()[0]) for worker, value in found.items() if not worker.startswith(b"#"))
        return LaneStanding(running, max(left_ms, 0) / 1000, why.decode() if why else None)

    return await link.do(ask)


def _name(lane: str) -> str:
    return f"llmtask:lane:{lane}"
