"""quota: what users may spend, its history, and what holds whatever happens in however many processes."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llmtask.errors import UsageError, UsageLogError
from llmtask.project import Tier
from llmtask.quota import Allowance, Grant, Quantity, Quota, Quotas, decide, read_allowance, read_quantity
from llmtask.usage import UsageLog, new_id
from llmtask.usage.database import Connection
from llmtask.usage.holdings import QUOTA_TABLES
from tests.unit.test_usage_log import unprivileged

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
LIFE_S = 960.0
YUAN = 1_000_000_000
PROCESSES = 8


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(log: UsageLog, clock: Clock) -> Iterator[Quotas]:
    yield Quotas(log, UTC, clock)
    assert_balanced(log)


def assert_balanced(log: UsageLog) -> None:
    """The sums of history are what is left, and nothing is below zero, nor was it ever; others may write meanwhile."""
    if log.exists:
        log.atomic(_assert_balanced, 60)


def _assert_balanced(connection: Connection) -> None:
    def read(sql: str, *values: Any) -> list[Any]:
        return connection.execute(sql, values).fetchall()

    for user, service, unit, credit, entries in read("SELECT user_id, service_id, unit, credit, entries FROM quotas"):
        lines = read(
            "SELECT number, tier, unit, amount, rest FROM quota_history WHERE user_id = ? AND service_id = ? "
            "ORDER BY number",
            user,
            service,
        )
        assert [number for number, *_ in lines] == list(range(1, entries + 1))
        sums: dict[str, int] = {}
        for _, tier, of, amount, rest in lines:
            if tier == "paid":
                sums[of] = sums.get(of, 0) + amount
                assert rest == sums[of] >= 0
        assert sums.get(unit, 0) == credit >= 0
        assert not any(amount for of, amount in sums.items() if of != unit)
    free = read(
        "SELECT f.used, (SELECT coalesce(-sum(h.amount), 0) FROM quota_history h WHERE h.user_id = f.user_id "
        "AND h.service_id = f.service_id AND h.period = f.period AND h.tier = 'free') FROM quota_free f"
    )
    assert all(used == counted >= 0 for used, counted in free)


def held(log: UsageLog) -> int:
    [(count,)] = log.query("SELECT count(*) FROM quota_reservations")
    return int(count)


def wants(need: int) -> Callable[[Quota], tuple[Tier, int]]:
    """Chooses as a run does that can cost so much."""

    def choose(quota: Quota) -> tuple[Tier, int]:
        decision = decide(quota, need)
        if decision.tier is None:
            raise RefusedError(decision.why)
        return decision.tier, need

    return choose


class RefusedError(Exception):
    """The quota refuses the run."""


def taken(quotas: Quotas, need: int = 1, user: str = "u", service: str | None = None) -> Grant:
    grant = quotas.reserve(new_id(), user, service, wants(need), LIFE_S)
    assert grant is not None
    return grant


def left(quotas: Quotas, user: str = "u", service: str | None = None) -> tuple[int, int]:
    """The credit and the free runs."""
    quota = quotas.find(user, service)
    assert quota is not None
    return quota.credit, quota.free_left


def told(quotas: Quotas, user: str = "u") -> list[tuple[str, int, int]]:
    """History, the oldest first."""
    return [(one.what, one.amount, one.rest) for one in quotas.history(user)][::-1]


# What is held, taken and given back


def test_nobody_has_a_quota_where_none_was_set(quotas: Quotas, log: UsageLog) -> None:
    assert quotas.find("u") is None
    assert quotas.all() == []
    assert quotas.history("u") == []
    assert not log.exists or log.latest(1) == []
    assert quotas.reserve("r", "u", None, wants(1), LIFE_S) is None


def test_a_run_holds_what_it_can_cost_and_then_pays_what_it_cost(quotas: Quotas, log: UsageLog) -> None:
    quotas.set("u", credit=Quantity(10 * YUAN, "CNY"))
    grant = taken(quotas, 3 * YUAN)
    quota = quotas.find("u")
    assert quota is not None
    assert (grant.tier, quota.credit, quota.reserved) == ("paid", 7 * YUAN, 3 * YUAN)
    assert quotas.settle(grant, YUAN) == 0
    assert (left(quotas), held(log)) == ((9 * YUAN, 0), 0)
    assert told(quotas) == [
        ("set", 10 * YUAN, 10 * YUAN),
        ("reserve", -3 * YUAN, 7 * YUAN),
        ("settle", 2 * YUAN, 9 * YUAN),
    ]
    assert {one.run_id for one in quotas.history("u")} == {"", grant.run_id}


def test_a_run_that_came_to_nothing_gives_back_all_that_it_held_and_once(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(10, "runs"), free=Allowance(1, "day"))
    grant = taken(quotas)
    assert left(quotas) == (9, 1)
    quotas.give_back(grant.run_id, "no valid answer: overloaded")
    quotas.give_back(grant.run_id, "again")
    assert left(quotas) == (10, 1)
    assert quotas.history("u")[0].why == "no valid answer: overloaded"


def test_without_enough_credit_free_runs_are_taken_and_then_runs_are_refused(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(YUAN, "CNY"), free=Allowance(2, "day"))
    first, second = taken(quotas, 2 * YUAN), taken(quotas, 2 * YUAN)
    assert (first.tier, second.tier, left(quotas)) == ("free", "free", (YUAN, 0))
    with pytest.raises(RefusedError) as refused:
        taken(quotas, 2 * YUAN)
    assert str(refused.value) == (
        "user 'u' has ¥1.00 of credit, and this run can cost up to ¥2.00, and all 2 free runs of 2026-11-25 are taken: "
        "they are new at 2026-11-26 00:00 UTC; `llmtask quota add u 5CNY` adds credit"
    )
    quotas.settle(first, 1)
    quotas.give_back(second.run_id, "")
    assert left(quotas) == (YUAN, 1)


def test_credit_is_never_below_zero_and_history_says_what_was_not_there(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(3 * YUAN, "CNY"))
    grant = taken(quotas, 2 * YUAN)
    assert quotas.settle(grant, 5 * YUAN) == 2 * YUAN
    assert left(quotas) == (0, 0)
    assert quotas.history("u")[0].why == "¥2.00 more were used than there were"


def test_a_quota_of_a_service_decides_for_it_and_the_general_one_for_all_others(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(5, "runs"))
    quotas.set("u", "search", credit=Quantity(1, "runs"))
    taken(quotas, service="search")
    assert (left(quotas), left(quotas, service="search"), left(quotas, service="mail")) == ((5, 0), (0, 0), (5, 0))
    with pytest.raises(RefusedError, match="no credit"):
        taken(quotas, service="search")
    taken(quotas, service="mail")
    assert [(one.service_id, one.credit) for one in quotas.all("u")] == [("", 4), ("search", 0)]


def test_set_leaves_alone_what_it_does_not_name(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(5, "runs"))
    quotas.set("u", free=Allowance(3, "month"))
    quota = quotas.set("u", credit=Quantity(2, "runs"))
    assert (quota.credit, quota.free_runs, quota.free_per, quota.term.name) == (2, 3, "month", "2026-11")
    assert told(quotas) == [("set", 5, 5), ("set", -3, 2)]


def test_the_unit_changes_by_set_alone_and_not_while_runs_hold_some(quotas: Quotas) -> None:
    quotas.set("u", credit=Quantity(5, "runs"))
    with pytest.raises(UsageError, match="the credit of user 'u' is in runs; add runs, or change it to CNY"):
        quotas.add("u", Quantity(YUAN, "CNY"))
    grant = taken(quotas)
    with pytest.raises(UsageError, match="runs in flight hold credit of user 'u' in runs; try again"):
        quotas.set("u", credit=Quantity(YUAN, "CNY"))
    quotas.settle(grant, 1)
    quotas.set("u", credit=Quantity(YUAN, "CNY"))
    quotas.add("u", Quantity(YUAN, "CNY"), why="invoice 4711")
    assert left(quotas) == (2 * YUAN, 0)
    assert told(quotas)[-3:] == [("set", -4, 0), ("set", YUAN, YUAN), ("grant", YUAN, 2 * YUAN)]


def test_a_free_allowance_that_was_lowered_is_used_up_and_not_below_zero(quotas: Quotas) -> None:
    quotas.set("u", free=Allowance(3, "day"))
    grants = [taken(quotas) for _ in range(3)]
    quotas.set("u", free=Allowance(1, "day"))
    assert left(quotas) == (0, 0)
    quotas.settle(grants[0], 1)
    for grant in grants[1:]:
        quotas.give_back(grant.run_id, "")
    assert left(quotas) == (0, 0)
    quotas.set("u", free=Allowance(2, "day"))
    assert left(quotas) == (0, 1)


# Time


def test_what_a_killed_process_held_is_given_back_when_its_run_would_be_over(quotas: Quotas, clock: Clock) -> None:
    quotas.set("u", credit=Quantity(10, "runs"), free=Allowance(1, "day"))
    taken(quotas)
    clock.now += timedelta(seconds=LIFE_S - 1)
    assert left(quotas) == (9, 1)
    clock.now += timedelta(seconds=1)
    assert left(quotas) == (10, 1)
    assert told(quotas)[-1] == ("expire", 1, 10)
    assert "the run was not heard of by 2026-11-25T12:16:00.000Z" in quotas.history("u")[0].why


def test_a_run_that_ends_after_its_time_pays_what_is_there(quotas: Quotas, clock: Clock) -> None:
    quotas.set("u", credit=Quantity(5, "CNY"))
    grant = taken(quotas, 5)
    clock.now += timedelta(seconds=LIFE_S)
    assert left(quotas) == (5, 0)
    other = taken(quotas, 3)
    assert quotas.settle(grant, 4) == 2
    assert left(quotas) == (0, 0)
    quotas.give_back(grant.run_id, "late")
    assert quotas.settle(other, 3) == 0
    assert left(quotas) == (0, 0)


@pytest.mark.parametrize(
    ("zone", "per", "before", "after"),
    [
        ("Asia/Shanghai", "day", "2026-11-25T15:59Z", "2026-11-25T16:00Z"),
        ("Asia/Shanghai", "month", "2026-11-30T15:59Z", "2026-11-30T16:00Z"),
        ("UTC", "month", "2028-02-29T23:59Z", "2028-03-01T00:00Z"),
        ("Europe/Berlin", "day", "2026-03-29T21:59Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "day", "2026-10-25T22:59Z", "2026-10-25T23:00Z"),
        ("America/Santiago", "day", "2026-04-05T03:59Z", "2026-04-05T04:00Z"),
        ("America/Santiago", "day", "2026-09-06T03:59Z", "2026-09-06T04:00Z"),
    ],
)
def test_free_runs_are_new_when_the_local_day_or_month_is(
    log: UsageLog, zone: str, per: str, before: str, after: str
) -> None:
    clock = Clock(datetime.fromisoformat(before))
    quotas = Quotas(log, ZoneInfo(zone), clock)
    quotas.set("u", free=Allowance(1, per))  # type: ignore[arg-type]  # day or month
    grant = taken(quotas)
    assert left(quotas) == (0, 0)
    clock.now = datetime.fromisoformat(after)
    assert left(quotas) == (0, 1)
    quotas.give_back(grant.run_id, "begun before midnight")
    assert left(quotas) == (0, 1)
    clock.now = datetime.fromisoformat(before)
    assert left(quotas) == (0, 1)
    assert_balanced(log)


def test_a_clock_that_goes_back_gives_no_free_runs_twice(quotas: Quotas, clock: Clock) -> None:
    quotas.set("u", free=Allowance(1, "day"))
    quotas.settle(taken(quotas), 1)
    clock.now += timedelta(days=1)
    quotas.settle(taken(quotas), 1)
    clock.now -= timedelta(days=1)
    assert left(quotas) == (0, 0)
    with pytest.raises(RefusedError, match="all 1 free runs of 2026-11-25 are taken"):
        taken(quotas)


def test_what_was_held_by_a_clock_gone_wrong_is_given_back_at_once(quotas: Quotas, clock: Clock) -> None:
    clock.now = datetime(2099, 1, 1, tzinfo=UTC)
    quotas.set("u", credit=Quantity(10, "runs"))
    taken(quotas)
    clock.now = NOON
    assert left(quotas) == (10, 0)
    assert "which is in the future" in {one.what: one.why for one in quotas.history("u")}["expire"]


# What people write


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("10CNY", Quantity(10 * YUAN, "CNY")),
        (" 2.50 usd ", Quantity(2_500_000_000, "USD")),
        ("€0.000000001", Quantity(1, "EUR")),
        ("¥3", Quantity(3 * YUAN, "CNY")),
        ("100runs", Quantity(100, "runs")),
        ("1 run", Quantity(1, "runs")),
        ("0CNY", Quantity(0, "CNY")),
    ],
)
def test_a_credit_is_runs_or_an_amount_of_money(text: str, quantity: Quantity) -> None:
    assert read_quantity(text) == quantity


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-5CNY", "is no amount"),
        ("−5CNY", "is no amount"),
        ("NaNCNY", "is no amount"),
        ("nan", "is no amount"),
        ("Infinity", "is no amount"),
        ("1e400CNY", "is no amount"),
        ("99999999999999999999CNY", "is more than 1,000,000,000"),
        ("1000000000.000000001CNY", "is more than"),
        ("9" * 400 + "CNY", "is no amount"),
        ("0.0000000001CNY", "has more than nine decimals"),
        ("5", "does not say of what; give 5CNY or 5runs"),
        ("5GBP", "is in an unknown currency; say CNY, USD, EUR"),
        ("¥5USD", "is no amount"),
        ("-3runs", "is no amount"),
        ("1.5runs", "is no amount"),
        ("9999999999runs", "is more than"),
        ("١٠CNY", "is no amount"),
        ("", "is no amount"),
        ("5CNY; DROP TABLE quotas", "is no amount"),
    ],
)
def test_what_is_no_credit_is_refused_with_the_way_out(text: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_quantity(text)
    assert why in str(refused.value)
    assert repr(text) in str(refused.value)


def test_an_allowance_is_runs_a_day_or_a_month() -> None:
    assert read_allowance("5/day") == Allowance(5, "day")
    assert read_allowance("100 runs per month") == Allowance(100, "month")
    assert read_allowance("0") == Allowance(0, "day")
    for text in ("5", "-1/day", "5/week", "1.5/day", "9999999999/day", "NaN/day", "/day"):
        with pytest.raises(UsageError, match=r"free runs|is more than"):
            read_allowance(text)


def test_nobody_can_have_more_than_the_database_holds(quotas: Quotas) -> None:
    most = read_quantity("1000000000CNY")
    for _ in range(9):
        quotas.add("u", most)
    with pytest.raises(UsageError, match=r"would have more than ¥9,000,000,000\.00"):
        quotas.add("u", most)
    assert left(quotas) == (9 * most.amount, 0)


@pytest.mark.parametrize(
    "user",
    ["o'brien", '"; DROP TABLE quotas; --', "two\nlines", "tab\there", "陈远", "*", "%", "\x1b[31m", "a\0b", "\udcff"],
)
def test_a_user_may_be_called_anything(quotas: Quotas, user: str) -> None:
    quotas.set("u", credit=Quantity(1, "runs"))
    quotas.set(user, credit=Quantity(2, "runs"))
    quotas.settle(taken(quotas, user=user), 1)
    assert (left(quotas, user), left(quotas)) == ((1, 0), (1, 0))
    assert len(quotas.history(user)) == 3
    assert len(quotas.all()) == 2


def test_a_user_must_have_a_name(quotas: Quotas) -> None:
    with pytest.raises(UsageError, match="name the user"):
        quotas.set("", credit=Quantity(1, "runs"))
    with pytest.raises(UsageError, match="name the user"):
        quotas.add("", Quantity(1, "runs"))


# The log behind it


@pytest.mark.sqlite
def test_a_log_of_the_release_before_quotas_gets_the_tables(log: UsageLog) -> None:
    log.check()
    log.close()
    with closing(sqlite3.connect(log.path)) as old:
        for table in QUOTA_TABLES:
            old.execute(f"DROP TABLE {table}")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '0004_quota'")
        old.commit()
    quotas = Quotas(log)
    quotas.set("u", credit=Quantity(1, "runs"))
    assert left(quotas) == (1, 0)


def test_a_log_that_cannot_be_written_gives_nobody_a_quota() -> None:
    with unprivileged() as folder, closing(UsageLog(folder / "usage.db")) as log:
        quotas = Quotas(log)
        for use in (lambda: quotas.find("u"), lambda: quotas.set("u", credit=Quantity(1, "runs")), quotas.all):
            with pytest.raises(UsageLogError, match="Permission denied"):
                use()


def test_the_tables_themselves_hold_no_credit_below_zero(quotas: Quotas, log: UsageLog) -> None:
    quotas.set("u", credit=Quantity(1, "runs"))
    with pytest.raises(UsageLogError, match=r"(?i)check constraint"):
        log.run(lambda connection: connection.execute("UPDATE quotas SET credit = credit - 2"))


def test_a_change_that_breaks_off_changes_nothing(quotas: Quotas, log: UsageLog) -> None:
    quotas.set("u", credit=Quantity(5, "runs"))

    with pytest.raises(RefusedError):
        quotas.reserve("r", "u", None, wants(6), LIFE_S)
    grant = taken(quotas)
    with pytest.raises(UsageLogError, match=r"UNIQUE constraint|duplicate key"):
        quotas.reserve(grant.run_id, "u", None, wants(1), LIFE_S)
    assert (left(quotas), held(log)) == ((4, 0), 1)


# Many processes


def started(work: Callable[..., None], path: Path | str, *more: Any) -> list[Any]:
    """Processes that end with the test, whatever comes of it."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(path, number, *more), daemon=True) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    return processes


def patiently(work: Callable[[], Any]) -> Any:
    """What a transaction gives, however long others hold the log: eight that do nothing else may be too many for it."""
    while True:
        try:
            return work()
        except UsageLogError as error:
            if "another program holds it" not in str(error):
                raise


def spend(path: Path | str, _number: int) -> None:
    """Run until the quota refuses."""
    quotas = Quotas(UsageLog(path), UTC, Clock())
    while True:
        try:
            grant = patiently(lambda: quotas.reserve(new_id(), "u", None, wants(1), LIFE_S))
        except RefusedError:
            return
        patiently(lambda grant=grant: quotas.settle(grant, 1))


def test_eight_processes_spend_exactly_what_there_is(quotas: Quotas, place: Path | str) -> None:
    quotas.set("u", credit=Quantity(40, "runs"), free=Allowance(13, "day"))
    for process in started(spend, place):
        process.join(60)
        assert process.exitcode == 0
    kinds = [(one.what, one.tier) for one in quotas.history("u")]
    assert kinds.count(("settle", "paid")) == 40
    assert kinds.count(("settle", "free")) == 13
    assert left(quotas) == (0, 0)


def run_and_run(path: Path | str, number: int, life_s: float) -> None:
    """Runs of all kinds, one after the other, until somebody kills the process."""
    chance = random.Random(number)  # noqa: S311  # no secret
    quotas = Quotas(UsageLog(path), UTC)
    while True:
        need = chance.randrange(1, 50)
        try:
            grant = patiently(lambda need=need: quotas.reserve(new_id(), "u", None, wants(need), life_s))
        except RefusedError:
            patiently(lambda: quotas.add("u", Quantity(100, "CNY")))
            continue
        used = chance.randrange(0, 60) if grant.tier == "paid" else 1
        if chance.random() < 0.3:
            patiently(lambda grant=grant: quotas.give_back(grant.run_id, "no valid answer"))
        else:
            patiently(lambda grant=grant, used=used: quotas.settle(grant, used))


def test_after_kills_at_random_moments_every_quota_is_balanced_and_what_was_held_comes_back(
    log: UsageLog, place: Path | str
) -> None:
    """Killed for real, and then looked at with a clock that is past the time of every run."""
    quotas = Quotas(log, UTC)
    quotas.set("u", credit=Quantity(200, "CNY"), free=Allowance(1_000_000, "month"))
    chance = random.Random(int(os.environ.get("LLMTASK_KILLS_SEED", "1")))  # noqa: S311  # no secret
    kills = 0
    for _ in range(int(os.environ.get("LLMTASK_KILLS", "2"))):
        begun = len(quotas.history("u"))
        processes = started(run_and_run, place, LIFE_S)
        until = time.monotonic() + 30
        while len(quotas.history("u")) < begun + 50 and time.monotonic() < until:
            time.sleep(0.02)
        for process in processes:
            time.sleep(chance.uniform(0, 0.03))
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            assert_balanced(log)
    later = Quotas(log, UTC, Clock(datetime.now(UTC) + timedelta(seconds=LIFE_S + 1)))
    lost = held(log)
    quota = later.find("u")
    assert quota is not None
    assert (quota.reserved, held(log)) == (0, 0)
    assert sum(one.what == "expire" for one in later.history("u")) == lost
    assert_balanced(log)
    assert kills >= PROCESSES
