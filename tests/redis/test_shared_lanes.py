"""Lanes that workers share, over a real Redis: never more than they let, a share for each, the dead's for others."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from llmtask.batch.remote.lanes import Shared, SharedLane
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.places import Places, standing
from llmtask.errors import Failure
from llmtask.service import StoppedError
from tests.redis.server import Server

LEASE_S = 1.0


@dataclass
class Desk:
    """A worker: its lane, and how many calls it has made."""

    link: Link
    places: Places
    lane: SharedLane
    stops: list[str] = field(default_factory=list)


@dataclass
class Office:
    """Workers that share a lane."""

    server: Server
    under_way: int = 0
    most: int = 0
    made: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def desk(self, owner: str, most: int = 4, lease_s: float = LEASE_S, **limits: int) -> AsyncIterator[Desk]:
        link = Link(self.server.url, patience_s=30)
        places = Places(link, owner, lease_s, None)
        stops: list[str] = []
        shared = Shared(places, lambda name, why, failure: stops.append(f"{name} {why} {failure}"))
        try:
            await places.open()
            yield Desk(link, places, SharedLane(shared, "q", most, **limits), stops)
        finally:
            await places.aclose()
            await link.aclose()

    async def call(self, owner: str, desk: Desk, seconds: float) -> None:
        async with desk.lane.place():
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(seconds)
            self.under_way -= 1
            self.made[owner] += 1

    async def free(self, desk: Desk) -> bool:
        """Whether no place is taken, in a moment."""
        for _ in range(200):
            if (await standing(desk.link, "q")).running == 0 and desk.lane.state.running == 0:
                return True
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
def office(broker_server: Server) -> Office:
    return Office(broker_server)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


@pytest.mark.parametrize("most", [1, 3, 10])
def test_workers_together_have_no_more_calls_than_the_lane_lets_and_each_has_its_share(
    office: Office, most: int
) -> None:
    async def scenario() -> None:
        async with office.desk("a", most) as a, office.desk("b", most) as b, office.desk("c", most) as c:
            for owner, desk in {"a": a, "b": b, "c": c}.items():
                await office.call(owner, desk, 0)  # they are all there
            office.made.clear()
            calls = [
                asyncio.create_task(office.call(owner, desk, 0.02))
                for owner, desk in {"a": a, "b": b, "c": c}.items()
                for _ in range(30 * most)
            ]
            while office.made.total() < 45 * most:
                await asyncio.sleep(0.01)
            assert min(office.made.values()) >= 5 * most, office.made
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert await office.free(a)

    run(scenario)
    assert office.most == most


def test_who_wants_no_more_leaves_all_places_to_the_others(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a") as a, office.desk("b") as b:
            await asyncio.gather(*(office.call("b", b, 0) for _ in range(8)))
            await asyncio.gather(*(office.call("a", a, 0.05) for _ in range(12)))

    run(scenario)
    assert office.most == 4


def test_cancelled_waits_and_cancelled_calls_leave_no_place_taken(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 2) as a:
            for delay in (0, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02):
                calls = [asyncio.create_task(office.call("a", a, 0.005)) for _ in range(6)]
                await asyncio.sleep(delay)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert await office.free(a)

    run(scenario)


def test_the_places_of_a_worker_that_says_nothing_any_more_are_others_after_the_lease(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("b") as b:
            async with office.desk("dead") as dead:
                for _ in range(4):
                    await dead.lane.enter()
                agent = dead.places.agent("q", 4)
                agent._asking.cancel()  # type: ignore[union-attr]  # as a kill would
                dead.places._agents.clear()
            begun = time.monotonic()
            await b.lane.enter()
            assert LEASE_S / 2 < time.monotonic() - begun < 3 * LEASE_S

    run(scenario)


@pytest.mark.parametrize("lease_s", [LEASE_S, 40], ids=["alike", "a longer lease than others"])
def test_a_worker_that_is_at_its_calls_keeps_its_places_however_long_they_take(office: Office, lease_s: float) -> None:
    async def scenario() -> None:
        async with office.desk("a", 1, lease_s=lease_s) as a, office.desk("b", 1) as b:
            await a.lane.enter()
            waiting = asyncio.create_task(b.lane.enter())
            await asyncio.sleep(3 * LEASE_S)
            assert not waiting.done()
            a.lane.leave()
            await waiting

    run(scenario)


def test_a_broker_that_comes_back_without_what_it_knew_gives_no_place_twice(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 1) as a, office.desk("b", 1) as b:
            await b.lane.enter()
            b.lane.leave()
            await a.lane.enter()
            waiting = asyncio.create_task(b.lane.enter())
            await asyncio.sleep(0.2)
            office.server.kill()
            office.server.forget()
            await asyncio.sleep(0.5)
            office.server.start()
            await asyncio.sleep(3 * LEASE_S)
            assert not waiting.done(), "a is at its call still"
            a.lane.leave()
            await waiting

    run(scenario)


def test_after_the_broker_was_away_no_place_is_given_twice(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 2) as a, office.desk("b", 2) as b:
            await a.lane.enter()
            await a.lane.enter()
            office.server.kill()
            await asyncio.sleep(2 * LEASE_S)
            office.server.start()
            waiting = asyncio.create_task(b.lane.enter())
            await asyncio.sleep(3 * LEASE_S)
            assert not waiting.done(), "a is at its calls still"
            a.lane.leave()
            await waiting

    run(scenario)


def test_a_wait_that_the_vendor_asks_for_is_everybodys(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a") as a, office.desk("b") as b:
            a.lane.refused(1.0)
            await asyncio.sleep(0.1)
            found = await standing(b.link, "q")
            assert found.why == "the vendor asks to wait 1 s"
            assert 0 < found.paused_s <= 1
            begun = time.monotonic()
            await b.lane.enter()
            assert time.monotonic() - begun > 0.7
            assert (await standing(b.link, "q")).running == 1

    run(scenario)


def test_a_minute_is_everybodys_and_what_a_call_really_used_is_counted(office: Office) -> None:
    async def scenario() -> None:
        limits = {"requests_per_minute": 5, "tokens_per_minute": 1000}
        async with office.desk("a", **limits) as a, office.desk("b", **limits) as b:
            first = await a.lane.pace(lambda: 600)
            blocked = asyncio.create_task(b.lane.pace(lambda: 600))
            await asyncio.sleep(0.3)
            assert not blocked.done()
            a.lane.settle(first, 100)
            await blocked  # 100 and 600 are no more than 1,000
            for _ in range(3):
                await b.lane.pace(lambda: 1)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await a.lane.pace(lambda: 1)
                    raise AssertionError

    run(scenario)


def test_a_stop_wakes_whoever_waits_and_is_told_once(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 1) as a, office.desk("b", 1) as b:
            await a.lane.enter()
            waiting = asyncio.create_task(b.lane.enter())
            await asyncio.sleep(0.1)
            b.lane.stop("no balance", Failure.NO_BALANCE)
            with pytest.raises(StoppedError, match="no balance"):
                await waiting
            b.lane.stop("again", Failure.NO_BALANCE)
            assert b.stops == ["q no balance no_balance"]
            a.lane.leave()
            assert await office.free(a)

    run(scenario)


def test_a_wait_holds_calls_of_other_workers_that_have_a_place_already(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a") as a, office.desk("b") as b, office.desk("c", requests_per_minute=60) as c:
            await b.lane.enter()
            await c.lane.enter()
            a.lane.refused(4.0)
            begun = time.monotonic()
            await asyncio.sleep(1.5)  # each looks once a second
            await asyncio.gather(b.lane.pace(lambda: 1), c.lane.pace(lambda: 1))
            assert time.monotonic() - begun > 3.5

    run(scenario)


def test_a_refusal_leaves_a_worker_fewer_calls_than_it_had_under_way(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 40) as a:
            for _ in range(10):
                await a.lane.enter()
            waiting = [asyncio.create_task(a.lane.enter()) for _ in range(10)]
            a.lane.refused()
            for _ in range(10):
                a.lane.leave()
            await asyncio.sleep(0.5)
            assert sum(one.done() for one in waiting) == a.lane.limit == 7
            for one in waiting:
                one.cancel()

    run(scenario)


def test_a_worker_s_own_limit_holds_for_all_its_batches_together(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 40) as a:
            a.places.at_once = 3
            shared = Shared(a.places, lambda *_: None)
            lanes = [SharedLane(shared, "other", 40) for _ in range(3)]
            entering = [asyncio.create_task(lane.enter()) for lane in lanes for _ in range(2)]
            while sum(one.done() for one in entering) < 3:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            assert sum(one.done() for one in entering) == 3
            assert [entering[2 * index].done() for index in range(3)] == [True] * 3, "each batch has one"
            for one in entering:
                one.cancel()

    run(scenario)


def test_a_stop_is_noticed_at_once_by_all_that_wait_for_the_minute(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", requests_per_minute=1) as a:
            await a.lane.pace(lambda: 1)
            waiting = [asyncio.create_task(a.lane.pace(lambda: 1)) for _ in range(8)]
            await asyncio.sleep(0.2)
            a.lane.stop("enough")
            begun = time.monotonic()
            found = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(one, StoppedError) for one in found)
            assert time.monotonic() - begun < 3

    run(scenario)


def test_a_shorter_wait_cuts_no_longer_one_short(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a") as a, office.desk("b") as b:
            a.lane.refused(60)
            await asyncio.sleep(0.1)
            b.lane.refused(2)
            await asyncio.sleep(0.1)
            assert (await standing(b.link, "q")).paused_s > 50

    run(scenario)


def test_a_worker_that_comes_to_a_broker_without_memory_waits_for_those_that_call(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", 1) as a:
            await a.lane.enter()
            office.server.kill()
            office.server.forget()
            office.server.start()
            async with office.desk("new", 1) as new:
                waiting = asyncio.create_task(new.lane.enter())
                await asyncio.sleep(4)
                assert not waiting.done(), "a is at its call still"
                a.lane.leave()
                await waiting

    run(scenario)


def test_minutes_that_are_settled_late_are_forgotten(office: Office) -> None:
    async def scenario() -> None:
        async with office.desk("a", tokens_per_minute=100) as a:
            entry = await a.lane.pace(lambda: 10)
            await a.link.do(lambda redis: redis.flushall())
            a.lane.settle(entry, 20)
            await asyncio.sleep(0.2)
            assert await a.link.do(lambda redis: redis.ttl("llmtask:lane:q:minute")) > 0

    run(scenario)
