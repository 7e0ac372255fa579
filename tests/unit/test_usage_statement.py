"""usage.statement: a report beside the span before, in one currency, by day; usage.calls: single calls and runs."""

import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llmtask.errors import NoRateError, UsageError
from llmtask.money import Cost
from llmtask.project import Project
from llmtask.rates import load_rates
from llmtask.rates.cache import store
from llmtask.usage import (
    Asked,
    Calls,
    Query,
    UsageLog,
    UsageRow,
    calls,
    days_of,
    new_id,
    run_of,
    statement,
    timestamp,
)
from llmtask.usage.instants import span_before

BEIJING = ZoneInfo("Asia/Shanghai")


@pytest.fixture(autouse=True)
def _beijing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "usage.db")
    yield found
    found.close()


def here(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING)


def call(log: UsageLog, at: str = "2026-11-23T09:00", **said: Any) -> UsageRow:
    """A recorded call at a time in Beijing."""
    least = {
        "id": new_id(),
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "latency_ms": 100,
        "cost_nanos": 1_000_000_000,
        "currency": "CNY",
        "created_at": timestamp(here(at)),
        "run_id": new_id(),
    }
    row = UsageRow(**(least | said))
    log.record(row)
    return row


@pytest.mark.parametrize(
    ("since", "until", "now", "before"),
    [
        # whole months, of any length
        ("2026-11-01", "2026-12-01", "2026-12-24T10:00", ("2026-10-01", "2026-11-01")),
        ("2026-03-01", "2026-04-01", "2026-12-24T10:00", ("2026-02-01", "2026-03-01")),
        ("2026-01-01", "2027-01-01", "2027-02-01", ("2025-01-01", "2026-01-01")),
        # a month that goes on, with as much of the month before
        ("2026-11-01", "2026-12-01", "2026-11-11T14:00", ("2026-10-01", "2026-10-11T14:00")),
        ("2026-03-01", "2026-04-01", "2026-03-31T14:00", ("2026-02-01", "2026-03-01")),
        # from a midnight on: by whole days
        ("2026-11-25", None, "2026-11-25T14:00", ("2026-11-24", "2026-11-24T14:00")),
        ("2026-11-20", None, "2026-11-25T14:00", ("2026-11-14", "2026-11-19T14:00")),
        ("2026-11-23", "2026-11-30", "2026-11-25T14:00", ("2026-11-16", "2026-11-18T14:00")),
        ("2026-11-02", "2026-11-09", "2026-11-25T14:00", ("2026-10-26", "2026-11-02")),
        ("2026-11-25", None, "2026-11-25", ("2026-11-24", "2026-11-24")),
        # from now back: just before
        ("2026-11-18T14:00", None, "2026-11-25T14:00", ("2026-11-11T14:00", "2026-11-18T14:00")),
        ("2026-11-25T08:00", "2026-11-25T10:30", "2026-11-25T14:00", ("2026-11-25T05:30", "2026-11-25T08:00")),
    ],
)
def test_the_span_before_is_as_long_and_begins_as_the_clock_does(
    since: str, until: str | None, now: str, before: tuple[str, str]
) -> None:
    found = span_before(here(since), here(until) if until else None, now=here(now))
    assert found == (here(before[0]), here(before[1]))


def test_the_day_before_a_change_of_the_clocks_begins_at_its_own_midnight() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    day = datetime(2026, 10, 26, tzinfo=berlin)  # the day before has 25 hours
    assert span_before(day, day + timedelta(days=1), berlin) == (datetime(2026, 10, 25, tzinfo=berlin), day)


def test_before_the_calendar_there_is_no_span() -> None:
    first = datetime(1, 1, 2, tzinfo=UTC)
    assert span_before(first, None, UTC) is None
    assert Query(since=first, zone=UTC).previous is None


def test_each_group_stands_beside_itself_in_the_span_before(log: UsageLog) -> None:
    call(log, "2026-11-10T09:00", model_id="old")
    call(log, "2026-11-10T09:00")
    for _ in range(2):
        call(log, "2026-11-17T09:00")
    call(log, "2026-11-17T09:00", model_id="new", currency="USD")
    query = Query(("model",), here("2026-11-16"), here("2026-11-23"))
    found = statement(log, query, Asked(compare=True))
    told = [(line.sums.group, line.sums.calls, line.before and line.before.sums.calls) for line in found.lines]
    assert told == [("deepseek-chat", 2, 1), ("new", 1, 0), ("old", 0, 1)]
    assert found.total.before is not None
    assert (found.total.sums.calls, found.total.before.sums.calls) == (3, 2)
    assert (found.total.costs, found.total.before.costs) == (
        {"CNY": Decimal(2), "USD": Decimal(1)},
        {"CNY": Decimal(2)},
    )
    assert found.previous == Query(("model",), here("2026-11-09"), here("2026-11-16"))


@pytest.mark.parametrize(
    ("by", "since", "until", "then", "now", "label"),
    [
        ("day", "2026-10-01", "2026-11-01", "2026-09-03T09:00", "2026-10-03T20:00", "2026-10-03"),
        ("hour", "2026-11-05", "2026-11-06", "2026-11-04T09:10", "2026-11-05T09:50", "2026-11-05 09:00"),
        ("week", "2026-11-16", "2026-11-23", "2026-11-10T09:00", "2026-11-20T09:00", "2026-W47"),
        ("month", "2026-07-01", "2026-10-01", "2026-05-31T09:00", "2026-08-01T09:00", "2026-08"),
    ],
)
def test_times_stand_beside_those_in_the_same_place_of_the_span_before(
    log: UsageLog, by: Any, since: str, until: str, then: str, now: str, label: str
) -> None:
    call(log, then)
    for _ in range(2):
        call(log, now)
    found = statement(log, Query(("model", by), here(since), here(until)), Asked(compare=True))
    [line] = found.lines
    assert line.before is not None
    assert (line.sums.keys, line.sums.calls, line.before.sums.calls) == (("deepseek-chat", label), 2, 1)


def test_a_day_that_the_span_does_not_have_is_only_in_the_total_before(log: UsageLog) -> None:
    call(log, "2026-08-31T09:00")
    found = statement(log, Query(("day",), here("2026-09-01"), here("2026-10-01")), Asked(compare=True))
    assert found.lines == []
    assert found.total.before is not None
    assert found.total.before.sums.calls == 1


def test_without_a_begin_there_is_nothing_to_compare_with(log: UsageLog) -> None:
    with pytest.raises(UsageError, match="say where this one begins, such as --since 7d"):
        statement(log, Query(), Asked(compare=True))


RATES = {
    (date(2026, 9, 1) + timedelta(days=index)).isoformat(): {"CNY": f"8.{100 + index}", "USD": f"1.{150 + index % 30}"}
    for index in range(80)
    if (date(2026, 9, 1) + timedelta(days=index)).weekday() < 5
}


@pytest.mark.parametrize("by", [("model",), ("model", "week"), ("month",), ("hour", "task"), ("day",), ()])
def test_every_call_is_converted_by_the_rate_of_its_own_day(log: UsageLog, starter: Project, by: Any) -> None:
    store(starter.config.rates.url, RATES, None)
    rates = load_rates(starter, today=date(2026, 11, 25))
    chance = random.Random(5)  # noqa: S311  # the same rows every time
    rows = []
    for _ in range(60):
        at = datetime(2026, 9, 5, tzinfo=BEIJING) + timedelta(minutes=chance.randrange(70 * 24 * 60))
        money = {"currency": chance.choice(["CNY", "USD"]), "cost_nanos": chance.randrange(10**10)}
        rows.append(call(log, at.replace(tzinfo=None).isoformat(), model_id=chance.choice("ab"), **money))
    convert = lambda cost, on: rates.convert(cost, "EUR", on)  # noqa: E731  # as the command does
    found = statement(log, Query(by), Asked(currency="EUR", convert=convert))
    wanted: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        day = datetime.fromisoformat(row.created_at).astimezone(BEIJING)
        assert row.price is not None
        amount = rates.convert(row.price, "EUR", day.date()).amount
        wanted["total"] += amount
        wanted[row.model_id] += amount
    assert abs(found.total.costs["EUR"] - wanted["total"]) < Decimal("1e-20")
    assert list(found.total.costs) == ["EUR"]
    assert abs(sum(line.costs["EUR"] for line in found.lines) - wanted["total"]) < Decimal("1e-20")
    if by == ("model",):
        for line in found.lines:
            assert abs(line.costs["EUR"] - wanted[line.sums.group]) < Decimal("1e-20")
    assert set(found.total.sums.costs) == {"CNY", "USD"}
    days = sorted(datetime.fromisoformat(row.created_at).astimezone(BEIJING).date() for row in rows)
    first, last = found.rate_dates
    assert first <= days[0] <= first + timedelta(days=2)
    assert last <= days[-1] <= last + timedelta(days=2)


def test_amounts_of_that_currency_need_no_rate_and_others_say_which_is_missing(log: UsageLog, starter: Project) -> None:
    rates = load_rates(starter, today=date(2026, 11, 25))
    convert = lambda cost, on: rates.convert(cost, "CNY", on)  # noqa: E731
    call(log)
    assert statement(log, Query(), Asked(currency="CNY", convert=convert)).total.costs == {"CNY": Decimal(1)}
    call(log, cost_nanos=0, currency="USD")  # nothing is nothing in every currency
    assert statement(log, Query(), Asked(currency="CNY", convert=convert)).total.costs == {"CNY": Decimal(1)}
    call(log, currency="USD")
    with pytest.raises(NoRateError, match="llmtask prices rates --fetch"):
        statement(log, Query(), Asked(currency="CNY", convert=convert))


def test_a_line_knows_its_days(log: UsageLog) -> None:
    for at in ("2026-11-20T23:59", "2026-11-21T00:00", "2026-11-21T12:00"):
        call(log, at)
    call(log, "2026-11-23T12:00", model_id="other")
    found = statement(log, Query(since=here("2026-11-19"), until=here("2026-11-25")), Asked(days=True))
    assert {day.day: one.calls for day, one in found.lines[0].days.items()} == {20: 1, 21: 2}
    assert [day.day for day in days_of(found)] == [19, 20, 21, 22, 23, 24]
    assert [day.day for day in days_of(statement(log, Query(), Asked(days=True)))] == [20, 21, 22, 23]


def test_converting_asks_for_no_more_than_what_was_spent(log: UsageLog) -> None:
    call(log, "2026-11-20T09:00", currency="USD", cost_nanos=5)
    call(log, "2026-11-20T10:00", currency="USD", cost_nanos=6)
    asked: list[tuple[Cost, date]] = []

    def convert(cost: Cost, on: date) -> Any:
        asked.append((cost, on))
        raise NoRateError

    with pytest.raises(NoRateError):
        statement(log, Query(), Asked(currency="CNY", convert=convert))
    assert asked == [(Cost(11, "USD"), date(2026, 11, 20))]


def test_a_run_is_found_by_the_beginning_of_its_id_or_of_a_calls(log: UsageLog) -> None:
    at = datetime.now(UTC)
    run = new_id()
    rows = [
        call(log, run_id=run, attempt=attempt, created_at=timestamp(at + timedelta(minutes=attempt)))
        for attempt in (2, 1)
    ]
    call(log, created_at=timestamp(at))
    for name in (run, run[:14], rows[0].id, rows[1].id[:15], "latest"):
        assert [row.attempt for row in run_of(log, name)] == [1, 2], name


def test_a_name_of_several_runs_names_them_and_one_of_none_says_where_to_look(log: UsageLog) -> None:
    rows = [call(log, created_at=timestamp(datetime.now(UTC))) for _ in range(2)]
    with pytest.raises(UsageError, match="beginning of several runs") as caught:
        run_of(log, rows[0].run_id[:3])
    assert all(row.run_id in str(caught.value) for row in rows)
    for name in ("zzz", "ffffffffffff", "f" * 40, "\udcff", "%", ""):
        with pytest.raises(UsageError, match="`llmtask usage list` shows the last"):
            run_of(log, name)


def test_of_an_empty_log_there_is_no_latest_run(log: UsageLog) -> None:
    with pytest.raises(UsageError, match="no calls yet in"):
        run_of(log, "latest")
    assert not log.path.exists()


def test_a_run_is_looked_for_in_its_own_time_only(log: UsageLog, monkeypatch: pytest.MonkeyPatch) -> None:
    row = call(log, created_at=timestamp(datetime.now(UTC)))
    asked: list[tuple[str, Any]] = []
    query = log.query
    monkeypatch.setattr(log, "query", lambda sql, values=(): asked.append((sql, values)) or query(sql, values))
    for name in (row.run_id, row.id):
        run_of(log, name)
    assert asked
    with sqlite3.connect(log.path) as connection:
        for sql, values in asked:
            plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert not [step for step in plan if step.startswith("SCAN llm_usage_logs")], plan
    connection.close()


def test_the_list_is_filtered_bounded_and_goes_on_after_a_call(log: UsageLog) -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    rows = [
        call(
            log,
            created_at=timestamp(at + timedelta(hours=index // 2)),  # two of the same instant
            user_id="ann" if index % 2 else None,
            is_success=index % 3 > 0,
            error_class=None if index % 3 else "timeout",
        )
        for index in range(12)
    ]
    newest = sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)
    assert calls(log, Calls(), 5) == newest[:5]
    pages, after = [], None
    while page := calls(log, Calls(after=after), 5):
        pages.append(len(page))
        assert page == newest[sum(pages) - len(page) : sum(pages)]
        after = page[-1].id
    assert pages == [5, 5, 2]
    assert calls(log, Calls(only_errors=True), 99) == [row for row in newest if row.error_class]
    assert calls(log, Calls(where={"user": ["a*"]}), 99) == [row for row in newest if row.user_id]
    assert calls(log, Calls(where={"user": [""]}), 99) == [row for row in newest if not row.user_id]
    span = Calls(at + timedelta(hours=1), at + timedelta(hours=3))
    assert calls(log, span, 99) == [row for row in newest if row in rows[2:6]]
    with pytest.raises(UsageError, match="no call has an id that begins with 'zz'"):
        calls(log, Calls(after="zz"), 1)
    with pytest.raises(UsageError, match="several calls have ids that begin with '0'"):
        calls(log, Calls(after="0"), 1)
