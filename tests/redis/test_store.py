"""batch.remote.store: what the broker keeps of a batch, whatever is told twice, comes late or is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmtask.batch.job import Outcome, State
from llmtask.batch.remote.link import Link
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
        await store.give_up(outcome(State.PENDING), "w3", session)
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
                await store.give_up(outcome(State.PENDING, 300, OTHER), "w1", session)
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
                await store.give_up(outcome(State.PENDING), "w1", broker._origin.session)
            async with site.client() as broker:
                await broker.put(given)
                await broker.stop("enough")
                [found] = (await site.outcomes(broker, 1)).values()
            assert (found.state, found.reason, found.calls) == (State.PENDING, "enough", 1)
            assert await kinds(store) == []

    asyncio.run(scenario())
