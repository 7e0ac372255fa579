"""Lanes by a clock of their own: how many at once, how many a minute, and when a broken queue is tried again."""

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtask.errors import Failure
from llmtask.service import Lane, StoppedError
from llmtask.service.lanes import Rate


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(1, 30), st.floats(0, 40)), min_size=1, max_size=60))
def test_no_minute_has_more_than_it_may_unless_one_call_alone_is_more(
    most: int, calls: list[tuple[int, float]]
) -> None:
    clock = Clock()
    rate = Rate(most, clock)
    taken: list[tuple[float, int]] = []
    for amount, pause_s in calls:
        clock.now += pause_s
        while (wait_s := rate.wait_s(amount)) > 0:
            clock.now += wait_s
        rate.take(amount)
        taken.append((clock.now, amount))
    for end, last in taken:
        within = [amount for at, amount in taken if end - 60 + 1e-6 < at <= end]
        assert sum(within) <= most or within == [last]


def test_what_a_call_did_not_use_is_there_for_the_next() -> None:
    rate = Rate(100, Clock())
    entry = rate.take(90)
    assert rate.wait_s(50) == 60
    rate.settle(entry, 10)
    assert rate.wait_s(50) == 0


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


def test_a_refusal_lowers_the_limit_once_for_calls_that_went_out_together_and_answers_raise_it_again() -> None:
    clock = Clock()
    lane = Lane("q", 10, clock=clock)
    begun = clock.now
    clock.now += 1
    for _ in range(10):
        lane.refused(begun=begun)
    assert lane.limit == lane.state.lowest == 7
    for _ in range(100):
        lane.answered()
    assert lane.limit == 10
    assert lane.state.lowest == 7
    for _ in range(100):
        clock.now += 1
        lane.refused(begun=clock.now - 0.5)
    assert lane.limit == 1


def test_places_are_given_up_to_the_limit_and_a_stop_wakes_who_waits() -> None:
    async def work() -> None:
        lane = Lane("q", 2)
        await lane.enter()
        await lane.enter()
        third = asyncio.create_task(lane.enter())
        await asyncio.sleep(0)
        assert not third.done()
        lane.leave()
        await third
        fourth = asyncio.create_task(lane.enter())
        await asyncio.sleep(0)
        lane.stop("no balance", Failure.NO_BALANCE)
        with pytest.raises(StoppedError, match="no balance"):
            await fourth
        with pytest.raises(StoppedError):
            await lane.pace(lambda: 1)

    run(work())


def test_a_circuit_opens_when_most_calls_fail_says_until_when_and_one_call_closes_it() -> None:
    clock = Clock()
    told: list[tuple[str, str]] = []
    lane = Lane("q", 8, clock=clock, alert=lambda kind, text: told.append((kind, text)))
    for _ in range(19):
        lane.failed()
    assert not told
    lane.failed()
    assert [kind for kind, _ in told] == ["circuit"]
    assert "in 10 s" in told[0][1]
    assert lane.state.waits_until is not None
    assert lane.limit == 1
    lane.failed()  # of a call that was on its way
    assert len(told) == 1
    clock.now += 11
    lane.failed()  # the call that was tried
    assert "in 20 s" in told[1][1]
    clock.now += 21
    lane.answered()
    assert lane.limit == 8
    assert lane.state.waits_until is None
    lane.failed()
    assert len(told) == 2


def test_a_third_of_all_calls_failing_opens_no_circuit() -> None:
    told: list[str] = []
    lane = Lane("q", 8, clock=Clock(), alert=lambda kind, _: told.append(kind))
    for _ in range(300):
        lane.failed()
        lane.answered()
        lane.answered()
    assert not told


def test_a_queue_through_which_nothing_gets_for_an_hour_is_stopped_after_waits_that_double_to_five_minutes() -> None:
    clock = Clock()
    opened: list[float] = []
    lane = Lane("q", 8, clock=clock, alert=lambda _, __: opened.append(clock.now))
    for _ in range(20):
        lane.failed()
    begun = clock.now
    while lane.stopped is None:
        clock.now += 1
        lane.failed()
        assert clock.now - begun < 4200
    waits = [round(later - earlier) for earlier, later in pairwise(opened)]
    assert waits[:5] == [10, 20, 40, 80, 160]
    assert set(waits[5:]) == {300}
    assert clock.now - begun > 3600


def test_the_vendors_wait_holds_the_whole_queue() -> None:
    clock = Clock()
    lane = Lane("q", 8, clock=clock)
    lane.refused(30, clock.now)
    assert "30 s" in str(lane.state.why)

    async def work() -> None:
        entering = asyncio.create_task(lane.enter())
        await asyncio.sleep(0)
        assert not entering.done()
        clock.now += 31
        lane.answered()
        await entering

    run(work())
