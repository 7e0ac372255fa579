"""Limits that hold over all workers: how many calls of a queue or model at once, how many and how large a minute.

docket limits how many of its tasks run at once. A task here is a job, whose calls may go to another queue (a
fallback's, or one for images) and to a model with limits of its own; it is calls that vendors count.

llmtask:lane:NAME          hash     by worker, `held wanted when lease`: calls under way, calls that wait, at which time
                                    (ms) it last said so, for how long that holds. #heard: when anybody did; #grace:
                                    until when nobody is given any more; #last: who was given one last
llmtask:lane:NAME:minute   hash     by second, requests and tokens: `1764000000:r`, `1764000000:t`
llmtask:lane:NAME:pause    string   why nobody calls, until it expires
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmtask.batch.remote.link import Link
from llmtask.errors import BrokerError, Failure
from llmtask.service import Lane, StoppedError
from llmtask.service.lanes import Alert

_ASKED_AGAIN_S = 0.05  # how soon a worker asks again that has calls waiting
_GATHERING_S = 0.001  # for which calls that end and calls that begin gather
_BACK_S = 2.0  # within which each worker says so to a broker that is back
_LOOKED_S = 1.0  # and at the latest, while a pause is on
_PLACES = """
local name, pause = KEYS[1], KEYS[2]
local me, held, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local found, workers, said = redis.call('HGETALL', name), {}, {}
for i = 1, #found, 2 do
  if string.sub(found[i], 1, 1) == '#' then said[found[i]] = found[i + 1]
  elseif found[i] ~= me then workers[found[i]] = found[i + 1] end
end

-- Nobody was heard for long, and some were calling: the broker was away, and they may be still. Each tries again within
-- two seconds.
local grace = tonumber(said['#grace'] or 0)
if next(workers) and now - tonumber(said['#heard'] or now) > lease / 2 then
  grace = now + lease / 2 + 2000
  redis.call('HSET', name, '#grace', grace)
end

local theirs, count, waiting = 0, 1, {}
for worker, value in pairs(workers) do
  local h, w, at, theirs_lease = string.match(value, '(%d+) (%d+) (%d+) (%d+)')
  if now - at > tonumber(theirs_lease) and now >= grace then
    redis.call('HDEL', name, worker)
  else
    theirs, count = theirs + h, count + 1
    if tonumber(w) > 0 then waiting[#waiting + 1] = {tonumber(h), tonumber(w)} end
  end
end

-- Each has its share first; what is left over goes to whoever was not the last to be given one.
local given, wait = 0, redis.call('PTTL', pause)
if now < grace then wait = math.max(wait, grace - now) end
if wait <= 0 then
  local free, share, kept = most - theirs - held, math.floor(most / count), 0
  for _, one in ipairs(waiting) do kept = kept + math.max(0, math.min(one[2], share - one[1])) end
  if #waiting == 0 then
    given = math.min(wanted, free)
  else
    given = math.max(math.min(wanted, free, share - held), 0)
    if said['#last'] ~= me then given = math.max(given, math.min(given + 1, wanted, free - kept)) end
  end
  given = math.max(given, 0)
end

held, wanted = held + given, wanted - given
if held + wanted > 0 then redis.call('HSET', name, me, held .. ' ' .. wanted .. ' ' .. now .. ' ' .. lease)
else redis.call('HDEL', name, me) end
redis.call('HSET', name, '#heard', now)
if given > 0 then redis.call('HSET', name, '#last', me) end
if redis.call('PTTL', name) < lease * 20 then redis.call('PEXPIRE', name, lease * 20) end
return {given, math.max(wait, 0)}
"""
_MINUTE = """
local name, requests, tokens, more = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
local found, r, t, seconds = redis.call('HGETALL', name), 0, 0, {}
local rs, ts = {}, {}
for i = 1, #found, 2 do
  local second, what = string.match(found[i], '(%d+):(%a)')
  second = tonumber(second)
  if second <= now - 61 then redis.call('HDEL', name, found[i])
  else
    local value = tonumber(found[i + 1])
    if what == 'r' then r, rs[second] = r + value, value else t, ts[second] = t + value, value end
    seconds[second] = true
  end
end
local order = {}
for second in pairs(seconds) do order[#order + 1] = second end
table.sort(order)
local wait = 0
for _, second in ipairs(order) do
  if (requests == 0 or r + 1 <= requests) and (tokens == 0 or t + more <= tokens) then break end
  r, t, wait = r - (rs[second] or 0), t - (ts[second] or 0), second + 61 - now
end
if wait > 0 then return {wait, now} end
redis.call('HINCRBY', name, now .. ':r', 1)
if more > 0 then redis.call('HINCRBY', name, now .. ':t', more) end
redis.call('EXPIRE', name, 120)
return {0, now}
"""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the lanes of a batch in this worker have in common with those of others."""

    places: "Places"
    stopped: Callable[[str, str, Failure], None]
    """Tells the others that a lane takes no more: its name, why, and the failure."""


class SharedLane(Lane):
    """A lane whose places and minutes are those of all workers together; refusals slow each worker by itself."""

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
        self._most_requests, self._most_tokens = requests_per_minute or 0, tokens_per_minute or 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._turn = asyncio.Lock()

    async def enter(self) -> None:
        """Wait for a place in this worker, and for one of all workers'."""
        await super().enter()
        waiting = self._agent.ask()
        self._waiting.add(waiting)
        try:
            await waiting
        except BaseException:
            self._agent.forget(waiting)
            super().leave()
            raise
        finally:
            self._waiting.discard(waiting)

    def leave(self) -> None:
        """Give both places up."""
        self._agent.leave()
        super().leave()

    async def pace(self, count: Callable[[], int]) -> list[float]:
        """Wait until a call fits into the minute of all workers, and until no pause is on."""
        entry = await super().pace(count)
        if not (self._most_requests or self._most_tokens):
            return entry
        tokens = min(count(), self._most_tokens)
        async with self._turn:  # the first one asks for all that wait
            while True:
                wait_s, second = await self._agent.minute(self._most_requests, self._most_tokens, tokens)
                if self.stopped:
                    raise StoppedError(self.stopped)
                if wait_s <= 0:
                    return [second, tokens]
                await asyncio.sleep(min(wait_s, 1))  # a stop is noticed within a second

    def settle(self, entry: list[float], tokens: int) -> None:
        """Count the tokens that a call really used."""
        if self._most_tokens:
            self._agent.used(int(entry[0]), tokens - int(entry[1]))

    def refused(self, retry_after_s: float | None = None, begun: float | None = None) -> None:
        """A call was one too many: fewer at once here, and none anywhere before the time that the vendor names."""
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


class Places:
    """What a worker has of the lanes that all workers share."""

    def __init__(self, link: Link, owner: str, lease_s: float, at_once: int | None) -> None:
        """Take the connection.

        Args:
            link: To the broker.
            owner: The worker's name, which no other has.
            lease_s: Seconds after which its places are others', if it says nothing.
            at_once: The most calls of a lane in this worker; None for what the lane takes.
        """
        self._link, self._owner, self._lease_s, self.at_once = link, owner, lease_s, at_once
        self._agents: dict[str, _Agent] = {}

    def agent(self, name: str, most: int) -> "_Agent":
        """Who asks for the places of a lane, for all batches alike."""
        if name not in self._agents:
            self._agents[name] = _Agent(self._link, name, (self._owner, most, round(self._lease_s * 1000)))
        return self._agents[name]

    async def aclose(self) -> None:
        """Give everything up."""
        for agent in self._agents.values():
            await agent.aclose()


class _Agent:
    """Asks for places in a lane: how many this worker holds and wants, in one message, however many calls that is."""

    def __init__(self, link: Link, lane: str, terms: tuple[str, int, int]) -> None:
        self._link, self._name = link, _name(lane)
        self._owner, self._most, self._lease_ms = terms
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[Any]] = set()

    def ask(self) -> "asyncio.Future[None]":
        """Want a place; it is there when what this returns is done."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._touch()
        return waiting

    def forget(self, waiting: "asyncio.Future[None]") -> None:
        """Want it no more; one that was given meanwhile is given up."""
        if waiting.cancel() or waiting.cancelled() or waiting.exception() is not None:
            self._touch()
        else:
            self.leave()

    def leave(self) -> None:
        """Give a place up."""
        self._held -= 1
        self._touch()

    async def minute(self, requests: int, tokens: int, more: int) -> tuple[int, int]:
        """Count a call, if the minute has room.

        Args:
            requests: The most calls of a minute; 0 for any number.
            tokens: The most tokens of one; 0 for any number.
            more: What the call uses of them.

        Returns:
            Seconds until there may be room, 0 where it was counted; the second in which that was.
        """
        wait_s, second = await self._link.run(_MINUTE, [f"{self._name}:minute"], lambda: [requests, tokens, more])
        return int(wait_s), int(second)

    def used(self, second: int, more: int) -> None:
        """Count tokens that a call used more than was thought, or fewer."""
        self._send(lambda redis: redis.hincrby(f"{self._name}:minute", f"{second}:t", more))

    def pause(self, seconds: float, why: str) -> None:
        """Let nobody call for a while."""
        self._send(lambda redis: redis.set(f"{self._name}:pause", why, px=max(round(seconds * 1000), 1)))

    async def aclose(self) -> None:
        """Give everything up, as far as the broker is there."""
        tasks = [*self._sending, *([self._asking] if self._asking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(BrokerError):
            await self._link.do(lambda redis: redis.hdel(self._name, self._owner), patience_s=0)

    def _send(self, work: Callable[[Any], Awaitable[Any]]) -> None:
        task = asyncio.create_task(self._sent(work))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _sent(self, work: Callable[[Any], Awaitable[Any]]) -> None:
        with suppress(BrokerError):
            await self._link.do(work)

    def _touch(self) -> None:
        self._changed.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        """Say how many places are held and wanted: at each change, while some are wanted, and as a sign of life."""
        while True:
            await asyncio.sleep(_GATHERING_S)
            self._changed.clear()
            try:
                wait_s = await self._say()
            except BrokerError as error:
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_exception(error)
                return
            if not (self._held or self._waiting or self._changed.is_set()):
                return
            again_s = self._lease_ms / 4000
            if self._waiting:
                again_s = min(max(wait_s, _ASKED_AGAIN_S), _LOOKED_S, again_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._changed.wait()

    async def _say(self) -> float:
        """Say it, and hand on what was given; seconds until there may be more."""
        self._waiting = deque(one for one in self._waiting if not one.done())
        given, wait_ms = await self._link.run(_PLACES, [self._name, f"{self._name}:pause"], self._said)
        self._held += given
        for _ in range(given):
            while self._waiting and self._waiting[0].done():
                self._waiting.popleft()
            if self._waiting:
                self._waiting.popleft().set_result(None)
            else:  # whoever wanted it has gone
                self.leave()
        return float(wait_ms) / 1000

    def _said(self) -> list[str | int]:
        """What the broker is told; nothing is wanted of one that is just back: it may have forgotten who calls."""
        back_s = time.monotonic() - self._link.steady_since
        is_back = self._link.was_away and back_s < self._lease_ms / 2000 + _BACK_S
        return [self._owner, self._held, 0 if is_back else len(self._waiting), self._most, self._lease_ms]


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
