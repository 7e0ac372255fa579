"""What the broker keeps of a batch, beside the jobs that wait: what came of them, until the journal has it.

llmtask:run:ID:out       stream   rows of calls, outcomes, alerts; each is deleted once the log or the journal has it
llmtask:run:ID:results   hash     outcome by job; once the journal has it, `#` and the session in which that was:
                                  whoever is given the job again publishes it in place of a call
llmtask:run:ID:starts    hash     by job, how often a worker began it without coming to an end
llmtask:run:ID:owners    hash     by job, the worker that began it last
llmtask:run:ID:session   hash     number: how often the batch was begun or gone on with; stop: why no more is to be
                                  begun; queue:QUEUE: why no more of that queue is, and the failure; spent:CURRENCY,
                                  currency, most: nanos that calls cost in this session, and that they may cost
llmtask:run:ID:refused   hash     by worker, why it gives the batch's jobs back
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmtask.batch.job import Outcome
from llmtask.batch.remote.link import Link
from llmtask.errors import Failure
from llmtask.money import Cost, sums
from llmtask.usage import UsageRow
from llmtask.usage.spool import from_json, text

_KEPT_S = 30 * 24 * 3600  # how long a batch that nobody goes on with is kept
_KEPT_WHEN_OVER_S = 24 * 3600  # and one of which the journal has everything
_REFUSED_S = 60.0  # how long a refusal is news
_AT_ONCE = 200  # entries that are read together
_BEGIN = """
local key, me, before, session, queue = unpack(ARGV)
local result = redis.call('HGET', KEYS[1], key)
if result then
  local settled = string.match(result, '^#(%d+)$')
  if not settled then return {'over', result} end
  if tonumber(settled) >= tonumber(session) then return {'over', ''} end
  redis.call('HDEL', KEYS[1], key)
  redis.call('HDEL', KEYS[3], key)
end
local owner = redis.call('HGET', KEYS[2], key)
if owner and owner ~= me and owner ~= before then return {'held', owner} end
local stop = redis.call('HGET', KEYS[4], 'stop')
if stop then return {'stopped', stop} end
redis.call('HSET', KEYS[2], key, me)
local starts = redis.call('HINCRBY', KEYS[3], key, 1)
local now = redis.call('HMGET', KEYS[4], 'number', 'queue:' .. queue)
return {'begun', '', starts, now[1] or '0', now[2] or ''}
"""
_PUBLISH = """
local out, results, starts, owners, session = unpack(KEYS)
local kept, spent, opening, ended, costs = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local most = redis.call('HMGET', session, 'currency', 'most')
for i = 6, 5 + 2 * costs, 2 do
  local sum = redis.call('HINCRBY', session, 'spent:' .. ARGV[i], ARGV[i + 1])
  if most[1] == ARGV[i] and sum >= tonumber(most[2]) then redis.call('HSETNX', session, 'stop', spent) end
end
if ended ~= '' then redis.call('XADD', out, '*', 'kind', 'rows', 'document', ended) end
for i = 6 + 2 * costs, #ARGV, 2 do
  local key, document = ARGV[i], ARGV[i + 1]
  redis.call('HDEL', starts, key)
  redis.call('HDEL', owners, key)
  redis.call('HSET', results, key, document)
  redis.call('XADD', out, '*', 'kind', 'outcome', 'document', document)
end
redis.call('EXPIRE', out, kept)
local stop = redis.call('HGET', session, 'stop')
if stop then return stop end
if opening ~= '' then redis.call('XADD', out, '*', 'kind', 'rows', 'document', opening) end
return ''
"""
_SPENT = "the amount of --max-cost is spent"


class Kind(StrEnum):
    """What an entry of the out stream holds."""

    ROWS = "rows"
    OUTCOME = "outcome"
    RETURNED = "returned"
    """An outcome, pending: the batch or the queue was stopped, and the job is still to be done."""
    ALERT = "alert"
    """What happened to a queue, and a sentence about it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the out stream."""

    id: str
    kind: Kind
    document: str
    session: int = 0
    """In which a job was returned."""

    @property
    def outcome(self) -> Outcome:
        """What it holds.

        Raises:
            ValueError: It holds something else.
        """
        return Outcome.from_json(self.document)

    @property
    def rows(self) -> list[UsageRow]:
        """What it holds.

        Raises:
            NewerRowError: A newer release wrote them.
            ValueError: It holds something else.
        """
        return [from_json(json.loads(one)) for one in json.loads(self.document)]


class Status(StrEnum):
    """Whether a job may begin."""

    BEGUN = "begun"
    """It is the worker's now."""
    OVER = "over"
    """There is an outcome, or the journal has one."""
    HELD = "held"
    """Another worker began it, and did not come to an end."""
    STOPPED = "stopped"
    """The batch takes no more."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What became of the wish to begin a job."""

    status: Status
    said: str = ""
    """The outcome, empty where the journal has it; the other worker; why the batch takes no more."""
    starts: int = 0
    """How often it was begun without an end, this time included."""
    session: int = 0
    """How often its batch was begun or gone on with."""
    queue_stop: tuple[str, Failure | None] | None = None
    """Why its queue takes no more in this session, and the failure."""


def docket_name(queue_id: str) -> str:
    """The docket of a queue: one each, so that a worker is never given a job of a queue that it does not serve."""
    return f"llmtask:queue:{queue_id}"


class Store:
    """What the broker keeps of one batch. Everything outlives the broker's restarts, and raises BrokerError."""

    def __init__(self, link: Link, run_id: str) -> None:
        """Take the connection, and the batch."""
        self._link = link
        self._out, self._results, self._starts, self._owners, self._session, self._refused = (
            f"llmtask:run:{run_id}:{name}" for name in ("out", "results", "starts", "owners", "session", "refused")
        )

    async def open(self, most: Cost | None = None) -> int:
        """Begin a session, in which jobs may begin until so much is spent; its number, from 1."""

        async def begin(redis: Any) -> int:
            number = int(await redis.hget(self._session, "number") or 0) + 1
            async with redis.pipeline() as pipe:
                pipe.delete(self._session)
                pipe.hset(self._session, "number", number)
                if most is not None:
                    pipe.hset(self._session, mapping={"currency": most.currency, "most": most.nanos})
                for name in (self._results, self._starts, self._owners):
                    pipe.hset(name, "", "")  # a hash that has nothing left would forget when it expires
                await pipe.execute()
            return number

        number = await self._link.do(begin)
        await self.keep()
        return number

    async def keep(self, *, is_over: bool = False) -> None:
        """Put off the time after which all of it is forgotten."""

        async def keep(redis: Any) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                for name in (self._out, self._results, self._starts, self._owners, self._session):
                    pipe.expire(name, _KEPT_WHEN_OVER_S if is_over else _KEPT_S)
                await pipe.execute()

        await self._link.do(keep)

    async def begin(self, key: str, queue_id: str, session: int, owner: str, before: str = "") -> Beginning:
        """Take a job.

        Args:
            key: Of the job.
            queue_id: Where it waited.
            session: In which it was put.
            owner: Who takes it.
            before: A worker that began it, and is dead.
        """
        names = (self._results, self._owners, self._starts, self._session)
        found = await self._link.run(_BEGIN, names, lambda: (key, owner, before, session, queue_id))
        status = Status(found[0].decode())
        if status is not Status.BEGUN:
            return Beginning(status, found[1].decode())
        return Beginning(status, "", int(found[2]), int(found[3]), _queue_stop(found[4]))

    async def give_back(self, key: str) -> None:
        """Give up a job that was taken, and not begun."""

        async def give_back(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                pipe.hdel(self._owners, key)
                pipe.hincrby(self._starts, key, -1)
                await pipe.execute()

        await self._link.do(give_back)

    async def publish(
        self, opening: Sequence[UsageRow], ended: Sequence[UsageRow], outcomes: Sequence[Outcome]
    ) -> str | None:
        """Publish what happened, all of it or nothing; the broker has it when this returns.

        Args:
            opening: Rows of calls that are about to begin; they are refused where the batch takes no more.
            ended: Rows of calls that have ended.
            outcomes: What came of jobs that are over; kept for whoever is given one again.

        Returns:
            Why the batch takes no more, so that the calls may not begin; None where they may.
        """
        costs = sums(cost for outcome in outcomes for cost in outcome.costs)
        said: list[str | int] = [_KEPT_S, _SPENT, _document(opening), _document(ended), len(costs)]
        said += [part for cost in costs for part in (cost.currency, cost.nanos)]
        for outcome in outcomes:
            said += [outcome.key, outcome.to_json()]
        names = (self._out, self._results, self._starts, self._owners, self._session)
        why: bytes = await self._link.run(_PUBLISH, names, lambda: said)
        return why.decode() or None

    async def say(self, kind: Kind, document: str, session: int = 0) -> None:
        """Publish something that is no job's end."""
        entry: dict[Any, Any] = {"kind": kind.value, "document": document, "session": session}
        await self._link.do(lambda redis: redis.xadd(self._out, entry))

    async def refuse(self, worker: str, why: str) -> None:
        """Note that a worker gives the batch's jobs back."""

        async def note(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                pipe.hset(self._refused, worker, json.dumps({"at": time.time(), "why": why}))
                pipe.expire(self._refused, round(_REFUSED_S))
                await pipe.execute()

        await self._link.do(note)

    async def refusals(self) -> Mapping[str, str]:
        """Why workers give the batch's jobs back, by worker."""
        found = await self._link.do(lambda redis: redis.hgetall(self._refused))
        said = {worker.decode(): json.loads(document) for worker, document in found.items()}
        return {worker: one["why"] for worker, one in said.items() if one["at"] > time.time() - _REFUSED_S}

    async def read(self, after: str, wait_s: float) -> list[Entry]:
        """The next entries behind one, `0` for the first; empty where none came within the time."""
        block = {"block": round(wait_s * 1000)} if wait_s else {}
        found = await self._link.do(lambda redis: redis.xread({self._out: after}, count=_AT_ONCE, **block))
        streams = found.values() if isinstance(found, dict) else [entries for _, entries in found or ()]
        return [_entry(entry_id, fields) for entries in streams for entry_id, fields in _flat(entries)]

    async def drop(self, ids: Sequence[str]) -> None:
        """Delete entries."""
        if ids:
            await self._link.do(lambda redis: redis.xdel(self._out, *ids))

    async def settle(self, ids: Sequence[str], keys: Sequence[str], session: int) -> None:
        """Delete entries, and of jobs that are over all but that they are, in this session and those before."""

        async def settle(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                if ids:
                    pipe.xdel(self._out, *ids)
                if keys:
                    pipe.hset(self._results, mapping=dict.fromkeys(keys, f"#{session}"))
                await pipe.execute()

        if ids or keys:
            await self._link.do(settle)

    async def stop(self, why: str, *, patience_s: float | None = None) -> None:
        """Let nothing more begin in this session."""
        await self._link.do(lambda redis: redis.hset(self._session, "stop", why), patience_s=patience_s)

    async def stopped(self) -> tuple[int, str | None]:
        """The session, and why nothing more begins in it."""
        number, why = await self._link.do(lambda redis: redis.hmget(self._session, "number", "stop"))
        return int(number or 0), why.decode() if why else None

    async def stop_queue(self, queue_id: str, why: str, failure: Failure) -> None:
        """Let no more of a queue begin in this session."""
        document = json.dumps({"why": why, "failure": failure.value})
        await self._link.do(lambda redis: redis.hset(self._session, f"queue:{queue_id}", document))


def _document(rows: Sequence[UsageRow]) -> str:
    """Rows as an entry has them; empty where there are none."""
    return json.dumps([text(row) for row in rows]) if rows else ""


def _queue_stop(document: bytes) -> tuple[str, Failure | None] | None:
    if not document:
        return None
    said = json.loads(document)
    return said["why"], Failure(said["failure"])


def _flat(entries: Any) -> Iterable[tuple[bytes, Mapping[bytes, bytes]]]:
    """A stream's entries, which one version of the protocol wraps in a list of their own."""
    for one in entries:
        if isinstance(one, list) and one and not isinstance(one[0], bytes):
            yield from one
        else:
            yield one


def _entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    kind, session = Kind(fields[b"kind"].decode()), int(fields.get(b"session", 0))
    return Entry(entry_id.decode(), kind, fields[b"document"].decode(), session)
