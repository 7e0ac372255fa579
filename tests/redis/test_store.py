"""batch.remote.store: what the broker keeps of a batch, whatever is told twice, comes late or is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ResponseError

from llmtask.batch.job import Job, Outcome, Record, State
from llmtask.batch.journal import Journal
from llmtask.batch.remote.jobs import _Run as JobsOfBatch
from llmtask.batch.remote.ledger import RunLedger
from llmtask.batch.remote.link import Link, passes
from llmtask.batch.remote.payload import ForeignError, Origin, Payload
from llmtask.batch.remote.store import Kind, Status, Store
from llmtask.errors import BrokerError, Failure, UsageError
from llmtask.money import Cost
from tests.redis.conftest import DIGEST, RUN, Site, jobs
from tests.redis.server import Server

MOST = Cost(1_000, "CNY")
KEY, OTHER = (job.key for job in jobs(2))


def outcome(state: State = State.DONE, nanos: int = 400, key: str = KEY, **more: Any) -> Outcome:
    return Outcome(key, state, costs=(Cost(nanos, "CNY"),), calls=1, **more)


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[tuple[Store, Link]]:
    link = Link(server.url, patience_s=5)
    try:
        yield Store(link, RUN), link
    finally:
        await link.aclose()


@pytest.fixture
def run(broker_server: Server) -> Callable[[Callable[[Store, Link], Awaitable[None]]], None]:
    def run(scenario: Callable[[Store, Link], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60), opened(broker_server) as (store, link):
                await scenario(store, link)

        asyncio.run(bounded())

    return run


Run = Callable[[Callable[[Store, Link], Awaitable[None]]], None]


async def kinds(store: Store) -> list[str]:
    return [entry.kind.value for entry in await store.read("0", 0)]


def test_a_session_is_later_than_those_before_also_where_the_broker_forgot_them(run: Run) -> None:
    async def scenario(store: Store, link: Link) -> None:
        first, second = await store.open(), await store.open()
        await asyncio.sleep(0.01)  # it counts milliseconds
        await link.do(lambda redis: redis.flushall())
        assert first < second < await store.open()

    run(scenario)


def test_a_job_of_a_batch_that_the_broker_forgot_is_not_begun_until_its_client_is_back(run: Run) -> None:
    async def scenario(store: Store, link: Link) -> None:
        session = await store.open(MOST)
        await link.do(lambda redis: redis.flushall())
        assert (await store.begin(KEY, "q", session, "w1")).status is Status.FORGOTTEN
        await store.restore(session, None, MOST)
        assert (await store.begin(KEY, "q", session, "w1")).status is Status.BEGUN
        assert await store.publish((), (), [outcome(nanos=1_000)]) == "the amount of --max-cost is spent"
        await link.do(lambda redis: redis.flushall())
        await store.restore(session, "enough", MOST)
        await store.restore(session, None, None)  # it is there: nothing of it changes
        assert (await store.begin(OTHER, "q", session, "w1")).status is Status.STOPPED

    run(scenario)


def test_a_job_that_is_begun_or_given_back_twice_over_counts_once(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        session = await store.open()
        for _again in range(3):
            assert (await store.begin(KEY, "q", session, "w1")).starts == 1
        for _again in range(3):
            await store.give_back(KEY, "w1")
        assert (await store.begin(KEY, "q", session, "w2")).starts == 1
        await store.give_back(KEY, "w1")  # late: it is another's by now
        assert (await store.begin(KEY, "q", session, "w3")).status is Status.HELD
        assert (await store.begin(KEY, "q", session, "w3", before="w2")).starts == 2

    run(scenario)


def test_what_is_published_again_costs_once_and_is_told_once(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        session = await store.open(MOST)
        for _again in range(3):
            assert await store.publish((), (), [outcome(nanos=400)]) is None
        [entry] = await store.read("0", 0)
        await store.settle([entry.id], [KEY], session)
        assert await store.publish((), (), [outcome(nanos=400)]) is None
        assert (await store.begin(KEY, "q", session, "w1")).status is Status.OVER
        assert await kinds(store) == []
        assert await store.publish((), (), [outcome(nanos=600, key=OTHER)]) == "the amount of --max-cost is spent"

    run(scenario)


def test_what_a_job_used_before_it_was_given_back_goes_with_it(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        session = await store.open()
        await store.begin(KEY, "q", session, "w1")
        await store.give_back(KEY, "w1", outcome(State.PENDING))
        assert (await store.begin(KEY, "q", session, "w2")).used == outcome(State.PENDING)
        await store.stop("enough")
        await store.give_back(KEY, "w2", outcome(State.PENDING))
        beginning = await store.begin(KEY, "q", session, "w3")
        assert (beginning.status, beginning.used) == (Status.STOPPED, outcome(State.PENDING))
        for _again in range(3):
            await store.give_up(outcome(State.PENDING), "w3", session, was_begun=False)
        [entry] = await store.read("0", 0)
        assert (entry.kind, entry.session, entry.outcome) == (Kind.RETURNED, session, outcome(State.PENDING))
        assert (await store.begin(KEY, "q", await store.open(), "w3")).used is None

    run(scenario)


def test_a_queue_is_stopped_by_the_present_session_alone(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        former, session = await store.open(), await store.open()
        await store.stop_queue("q", "no balance", Failure.NO_BALANCE, former)
        assert (await store.begin(KEY, "q", session, "w1")).queue_stop is None
        await store.stop_queue("q", "no balance", Failure.NO_BALANCE, session)
        assert (await store.begin(KEY, "q", session, "w1")).queue_stop == ("no balance", Failure.NO_BALANCE)

    run(scenario)


def test_entries_of_a_newer_release_are_not_passed_over(run: Run) -> None:
    async def scenario(store: Store, link: Link) -> None:
        await link.do(lambda redis: redis.xadd(f"llmtask:run:{RUN}:out", {"kind": "verdict", "document": "{}"}))
        with pytest.raises(BrokerError, match="newer llmtask"):
            await store.read("0", 0)

    run(scenario)


def test_a_job_with_more_to_it_than_this_release_knows_is_another_release_s() -> None:
    [job] = jobs(1)
    text = Payload(Origin(RUN, "{}", DIGEST, "batch:r1", 3), job).to_json()
    with pytest.raises(ForeignError, match="version 1 with more to them"):
        Payload.from_json(text.replace('"digest"', '"priority":1,"digest"', 1))


def test_a_url_that_redis_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="--broker"):
        Link("redis://localhost:6379/0?socket_timeout=soon", patience_s=0)


def test_what_a_failed_job_used_counts_when_it_is_tried_again(site: Site) -> None:
    """Its failure was not taken in when its client was killed."""

    async def scenario() -> None:
        [job] = given = jobs(1)
        async with opened(site.server) as (store, _):
            async with site.client() as broker:
                await broker.put(given)
                session = broker._origin.session
                await store.begin(job.key, job.queue_id, session, "w1")
                await store.publish((), (), [outcome(State.FAILED, failure=Failure.OVERLOADED)])
            for _again in range(2):  # the second one is killed, too
                async with site.client(retry=True) as broker:
                    assert broker._outcomes.empty()
            async with site.client() as broker:
                await broker.put(given)
                session = broker._origin.session
                assert (await store.begin(job.key, job.queue_id, session, "w1")).status is Status.BEGUN
                await store.publish((), (), [outcome(nanos=50)])
                [found] = (await site.outcomes(broker, 1)).values()
            assert (found.state, found.calls, found.costs) == (State.DONE, 2, (Cost(450, "CNY"),))
            assert await kinds(store) == []

    asyncio.run(scenario())


def test_what_came_while_nobody_was_there_is_taken_off_the_amount(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(3)
        async with opened(site.server) as (store, _):
            async with site.client(most=MOST) as broker:
                session = broker._origin.session
                await store.publish((), (), [outcome(nanos=400)])
                await store.begin(OTHER, "slow", session, "w1")
                await store.give_up(outcome(State.PENDING, 300, OTHER), "w1", session, was_begun=True)
            async with site.client(most=MOST) as broker:
                await broker.put(given[2:])
                assert await store.publish((), (), [outcome(nanos=299, key=given[2].key)]) is None
                assert await store.publish((), (), [outcome(nanos=1, key="00")]) == "the amount of --max-cost is spent"

    asyncio.run(scenario())


def test_a_stop_gives_back_what_a_job_used_in_a_session_before(site: Site) -> None:
    async def scenario() -> None:
        [job] = given = jobs(1)
        async with opened(site.server) as (store, _):
            async with site.client() as broker:
                await store.begin(job.key, job.queue_id, broker._origin.session, "w1")
                await store.give_up(outcome(State.PENDING), "w1", broker._origin.session, was_begun=True)
            async with site.client() as broker:
                await broker.put(given)
                await broker.stop("enough")
                [found] = (await site.outcomes(broker, 1)).values()
            assert (found.state, found.reason, found.calls) == (State.PENDING, "enough", 1)
            assert await kinds(store) == []

    asyncio.run(scenario())


class Journaled:
    """Clients with a journal, each killed before it lets go of what it took."""

    def __init__(self, site: Site, given: list[Job]) -> None:
        self.site = site
        self.journal = Journal(site.folder / "journal.db")
        self.journal.begin(RUN, {})
        self.journal.add([(n, Record(str(n)), job) for n, job in enumerate(given, start=1)], digest=DIGEST)

    async def take(self, broker: Any, *, settles: bool) -> None:
        found = list(await broker.take())
        self.journal.settle(found)
        if settles:
            await broker.settle(found)

    @property
    def sums(self) -> tuple[int, tuple[Cost, ...]]:
        standing = self.journal.standing()
        self.journal.close()
        return standing.calls, standing.spent


@pytest.mark.parametrize("how", ["returned", "returned, reply lost", "failed", "failed, told twice"])
def test_what_a_job_used_is_in_the_journal_s_sum_once_whenever_its_client_is_killed(site: Site, how: str) -> None:
    async def scenario() -> None:
        [job] = given = jobs(1)
        journaled = Journaled(site, given)
        fails = how.startswith("failed")
        async with opened(site.server) as (store, _):
            async with site.client(known=journaled.journal) as broker:
                await broker.put(given)
                session = broker._origin.session
                await store.begin(job.key, job.queue_id, session, "w1")
                if fails:
                    await store.publish((), (), [outcome(State.FAILED, failure=Failure.OVERLOADED)])
                for _again in range(0 if fails else 1 + how.endswith("lost")):
                    await store.give_up(outcome(State.PENDING), "w1", session, was_begun=True)
                await journaled.take(broker, settles=how.endswith("lost"))
                if how.endswith("lost"):
                    await store.give_up(outcome(State.PENDING), "w1", session, was_begun=True)
                if how.endswith("twice"):
                    again = await store.begin(job.key, job.queue_id, session, "w2")
                    await store.say(Kind.OUTCOME, again.said)
            if fails:
                journaled.journal.retry()
            async with site.client(retry=fails, known=journaled.journal) as broker:
                await broker.put(given)
                await store.begin(job.key, job.queue_id, broker._origin.session, "w1")
                await store.publish((), (), [outcome(nanos=50)])
                await journaled.take(broker, settles=True)
            assert await kinds(store) == []
        assert journaled.sums == (2, (Cost(450, "CNY"),))

    asyncio.run(scenario())


def test_a_failure_that_was_told_twice_and_never_taken_counts_once(site: Site) -> None:
    async def scenario() -> None:
        [job] = given = jobs(1)
        async with opened(site.server) as (store, _):
            session = await store.open()
            await store.publish((), (), [outcome(State.FAILED, failure=Failure.OVERLOADED)])
            again = await store.begin(job.key, job.queue_id, session, "w2")
            await store.say(Kind.OUTCOME, again.said)
            async with site.client(retry=True) as broker:
                await broker.put(given)
                await store.begin(job.key, job.queue_id, broker._origin.session, "w1")
                await store.publish((), (), [outcome(nanos=50)])
                [found] = (await site.outcomes(broker, 1)).values()
            assert (found.calls, found.costs) == (2, (Cost(450, "CNY"),))

    asyncio.run(scenario())


def test_what_is_published_while_a_batch_is_opened_is_taken_off_its_amount_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        begin = Store.open

        async def open_slowly(store: Store, most: Cost | None = None) -> int:
            session = await begin(store, most)
            await asyncio.sleep(0.01)
            await store.publish((), (), [outcome(nanos=400)])
            return session

        monkeypatch.setattr(Store, "open", open_slowly)
        async with opened(site.server) as (store, _), site.client(most=MOST):
            assert await store.publish((), (), [outcome(nanos=599, key=OTHER)]) is None
            assert await store.publish((), (), [outcome(nanos=1, key="00")]) == "the amount of --max-cost is spent"

    asyncio.run(scenario())


def test_what_the_journal_has_is_not_taken_off_the_amount_again(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(2)
        journaled = Journaled(site, given)
        async with opened(site.server) as (store, _):
            async with site.client(known=journaled.journal) as broker:
                await broker.put(given[:1])
                await store.publish((), (), [outcome(nanos=400)])
                await journaled.take(broker, settles=False)
            left = Cost(600, "CNY")  # as whoever goes on has it from the journal
            async with site.client(known=journaled.journal, most=left):
                assert await store.publish((), (), [outcome(nanos=599, key=OTHER)]) is None
                assert await store.publish((), (), [outcome(nanos=1, key="00")]) == "the amount of --max-cost is spent"

    asyncio.run(scenario())


def test_an_amount_that_is_spent_already_lets_nothing_begin(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        session = await store.open(MOST)
        await store.lower(Cost(0, "CNY"))
        assert (await store.begin(KEY, "q", session, "w1")).status is Status.STOPPED

    run(scenario)


def test_a_stop_stays_where_going_on_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async def newer(*_: object) -> None:
            message = "a worker has a newer llmtask"
            raise BrokerError(message)

        async with opened(site.server) as (store, _):
            async with site.client() as broker:
                await broker.stop("enough")
            await store.say(Kind.ROWS, "[]")
            monkeypatch.setattr("llmtask.batch.remote.broker.RemoteBroker._take_in", newer)
            with pytest.raises(BrokerError, match="newer"):
                async with site.client():
                    pass
            session, _why = await store.stopped()
            assert (await store.begin(KEY, "slow", session, "w1")).status is Status.STOPPED

    asyncio.run(scenario())


def test_what_comes_late_to_a_broker_that_forgot_the_batch_is_forgotten_in_turn(run: Run) -> None:
    async def scenario(store: Store, link: Link) -> None:
        await store.publish((), (), [outcome()])
        for name in ("out", "results", "session"):
            assert await link.do(lambda redis, name=name: redis.ttl(f"llmtask:run:{RUN}:{name}")) > 0

    run(scenario)


@pytest.mark.parametrize(
    ("said", "is_passing"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", True),
        ("Error running script (call to f_1): @user_script:1: -OOM command not allowed", True),
        ("NOPERM this user has no permissions", False),
        ("BUSYGROUP Consumer Group name already exists", False),
    ],
)
def test_what_redis_says_of_itself_passes_also_where_a_script_ran_into_it(said: str, is_passing: bool) -> None:
    assert passes(ResponseError(said)) is is_passing


class Idle:
    """A hand that does nothing."""

    why: str | None = None

    async def do(self, job: Job) -> Outcome:
        return Outcome(job.key, State.PENDING)

    def leave(self, key: str) -> None:
        """It has no places."""

    def stop(self, why: str) -> None:
        self.why = why

    def stop_queue(self, queue_id: str, why: str, failure: Failure | None) -> None:
        """It has no queues."""

    async def aclose(self) -> None:
        """It has nothing open."""


def test_a_worker_hears_of_a_stop_that_is_of_a_later_session_than_its_jobs(run: Run) -> None:
    async def scenario(store: Store, _: Link) -> None:
        hand = Idle()
        batch = JobsOfBatch(store, RunLedger(store), lambda _: hand, jobs=1)
        await batch.hired(await store.open())
        watching = asyncio.create_task(batch.watch())
        await store.open()
        await store.stop("enough")
        while hand.why != "enough":
            await asyncio.sleep(0.05)
        watching.cancel()

    run(scenario)
