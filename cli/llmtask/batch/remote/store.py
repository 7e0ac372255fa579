"""What the broker keeps of a batch, beside the jobs that wait: what came of them, until the journal has it.

llmtask:run:ID:out       stream   rows of calls, outcomes, alerts; each is deleted once the log or the journal has it
llmtask:run:ID:results   hash     outcome by job; once the journal has it, `#` and the session in which that was:
                                  whoever is given the job again publishes it in place of a call
llmtask:run:ID:starts    hash     by job, how often a worker began it without coming to an end
llmtask:run:ID:owners    hash     by job, the worker that began it last
llmtask:run:ID:used      hash     by job, what calls of a worker that gave it back have used: a pending outcome
llmtask:run:ID:session   hash     number: when the batch was begun or gone on with (ms, as the broker's clock has it,
                                  and later than the time before); stop: why no more is to be begun; queue:QUEUE: why no
                                  more of that queue is, and the failure; spent:CURRENCY, currency, most: nanos that
                                  calls cost in this session, and that they may cost
llmtask:run:ID:refused   hash     by worker, why it gives the batch's jobs back
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmtask.batch.job import Outcome
from llmtask.batch.remote import scripts
from llmtask.batch.remote.link import Link
from llmtask.errors import BrokerError, Failure
from llmtask.money import Cost
from llmtask.usage import UsageRow
from llmtask.usage.spool import from_json, text

_KEPT_S = 30 * 24 * 3600  # how long a batch that nobody goes on with is kept
_KEPT_WHEN_OVER_S = 24 * 3600  # and one of which the journal has everything
_REFUSED_S = 60.0  # how long a refusal is news
_AT_ONCE = 200  # entries that are read together
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
    """In which a job was returned; 0 where none was."""

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
    FORGOTTEN = "forgotten"
    """Nobody has gone on with the batch for long, or the broker lost it: whoever still wants the job puts it again."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What became of the wish to begin a job."""

    status: Status
    said: str = ""
    """The outcome, empty where the journal has it; the other worker; why the batch takes no more."""
    used: Outcome | None = None
    """What the calls of a worker that gave it back have used."""
    starts: int = 0
    """How often it was begun without an end, this time included."""
    session: int = 0
    """The batch's present one."""
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
        self._out, self._results, self._starts, self._owners, self._used, self._session, self._refused = (
            f"llmtask:run:{run_id}:{name}"
            for name in ("out", "results", "starts", "owners", "used", "session", "refused")
        )

    async def open(self, most: Cost | None = None) -> int:
        """Begin a session, in which jobs may begin until so much is spent; its number, larger than any before."""
        number = int(await self._link.run(scripts.OPEN, self._hashes, lambda: _amount(most)))
        await self.keep()
        return number

    async def restore(self, session: int, stop: str | None, most: Cost | None) -> None:
        """See to it that the broker knows the session: it may have come back without what it knew."""
        if await self._link.run(scripts.RESTORE, self._hashes, lambda: (session, stop or "", *_amount(most))):
            await self.keep()

    async def lower(self, most: Cost) -> None:
        """Let so much be spent in this session, and no more."""
        await self._link.run(scripts.LOWER, [self._session], lambda: (_SPENT, *_amount(most)))

    @property
    def _hashes(self) -> Sequence[str]:
        return self._session, self._results, self._starts, self._owners, self._used

    async def keep(self, *, is_over: bool = False) -> None:
        """Put off the time after which all of it is forgotten."""

        async def keep(redis: Any) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                for name in (self._out, *self._hashes):
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
        names = (self._results, self._owners, self._starts, self._session, self._used)
        found = await self._link.run(scripts.BEGIN, names, lambda: (key, owner, before, session, queue_id))
        status, said = Status(found[0].decode()), found[1].decode()
        if status not in {Status.BEGUN, Status.STOPPED}:
            return Beginning(status, said)
        used, starts, now, *queue = found[2:]
        stop = _queue_stop(queue[0]) if queue else None
        return Beginning(status, said, Outcome.from_json(used) if used else None, int(starts), int(now), stop)

    async def give_back(self, key: str, owner: str, used: Outcome | None = None) -> None:
        """Give up a job that was taken, and not done.

        Args:
            key: Of the job.
            owner: Who has taken it.
            used: What its calls have used, for whoever does it.
        """
        document = used.to_json() if used is not None and used.calls else ""
        await self._link.run(
            scripts.GIVE_BACK, (self._owners, self._starts, self._used), lambda: (key, owner, document)
        )

    async def give_up(self, undone: Outcome, owner: str, session: int, *, was_begun: bool) -> None:
        """Return a job to whoever began the batch.

        Args:
            undone: A pending outcome: why, and what the job's calls have used.
            owner: Who has taken the job, or could have.
            session: In which the job was stopped.
            was_begun: Whether it has taken it.
        """
        names = (self._out, self._owners, self._starts, self._used)
        said = (_KEPT_S, undone.key, owner, undone.to_json(), session, int(was_begun), undone.calls)
        await self._link.run(scripts.RETURN, names, lambda: said)

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
        said: list[str | int] = [_KEPT_S, _SPENT, _document(opening), _document(ended)]
        for outcome in outcomes:
            said += [outcome.key, outcome.to_json(), len(outcome.costs)]
            said += [part for cost in outcome.costs for part in (cost.currency, cost.nanos)]
        names = (self._out, self._results, self._starts, self._owners, self._session, self._used)
        why: bytes = await self._link.run(scripts.PUBLISH, names, lambda: said)
        return why.decode() or None

    async def say(self, kind: Kind, document: str) -> None:
        """Publish something that is no job's end."""
        entry: dict[Any, Any] = {"kind": kind.value, "document": document}

        async def say(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                pipe.xadd(self._out, entry)
                pipe.expire(self._out, _KEPT_S)
                await pipe.execute()

        await self._link.do(say)

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
        """The next entries behind one, `0` for the first; empty where none came within the time.

        Raises:
            BrokerError: A newer release wrote them, or the broker cannot be used.
        """
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

    async def reopen(self, entry_id: str, used: Outcome, session: int) -> None:
        """Have a job that is over done again in this session; what it has used stays, as of a job that came back."""
        entry: dict[Any, Any] = {"kind": Kind.RETURNED.value, "document": used.to_json(), "session": session - 1}

        async def reopen(redis: Any) -> None:
            async with redis.pipeline() as pipe:
                pipe.xdel(self._out, entry_id)
                pipe.hset(self._results, used.key, f"#{session - 1}")
                pipe.xadd(self._out, entry)
                await pipe.execute()

        await self._link.do(reopen)

    async def stop(self, why: str, *, patience_s: float | None = None) -> None:
        """Let nothing more begin in this session."""
        await self._link.do(lambda redis: redis.hset(self._session, "stop", why), patience_s=patience_s)

    async def stopped(self) -> tuple[int, str | None]:
        """The session, and why nothing more begins in it."""
        number, why = await self._link.do(lambda redis: redis.hmget(self._session, "number", "stop"))
        return int(number or 0), why.decode() if why else None

    async def stop_queue(self, queue_id: str, why: str, failure: Failure, session: int) -> None:
        """Let no more of a queue begin in a session, if that is the present one."""
        document = json.dumps({"why": why, "failure": failure.value})
        await self._link.run(scripts.STOP_QUEUE, [self._session], lambda: (session, queue_id, document))


def _amount(most: Cost | None) -> tuple[str, str | int]:
    """As scripts are told of it."""
    return (most.currency, most.nanos) if most is not None else ("", "")


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
    """An entry.

    Raises:
        BrokerError: A newer release wrote it.
    """
    try:
        kind = Kind(fields[b"kind"].decode())
    except ValueError as error:
        message = "a worker has a newer llmtask, and tells what this one does not know; upgrade, then go on"
        raise BrokerError(message) from error
    return Entry(entry_id.decode(), kind, fields[b"document"].decode(), int(fields.get(b"session", 0)))
