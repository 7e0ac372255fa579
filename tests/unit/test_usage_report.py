"""usage.report: the log summed up, and the instants that bound it."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from llmtask.errors import UsageError
from llmtask.usage import GROUPS, GroupBy, Query, Report, Summary, UsageLog, UsageRow, instant, new_id, report


@pytest.fixture(autouse=True)
def _beijing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time zone of these tests."""
    yield from local_zone("Asia/Shanghai", monkeypatch)


def local_zone(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a time zone the local one, for a while."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from local_zone("America/New_York", monkeypatch)


def call(log: UsageLog, created_at: str = "2026-11-23T01:00:00.000Z", **said: Any) -> None:
    """A recorded call: priced, unless it says otherwise."""
    least = {
        "id": new_id(),
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "latency_ms": 100,
        "cost_nanos": 0,
        "currency": "CNY",
        "created_at": created_at,
        "run_id": "r",
    }
    log.record(UsageRow(**(least | said)))


def calls(found: Report) -> list[tuple[str, int]]:
    return [(one.group, one.calls) for one in found.groups]


@pytest.mark.parametrize("by", GROUPS)
def test_an_empty_log_sums_up_to_nothing(log: UsageLog, by: GroupBy) -> None:
    assert report(log, Query((by,))) == Report((by,), [], Summary(("total",)))
    assert log.path is None or not log.path.exists()


@pytest.mark.parametrize(
    ("by", "column", "values"),
    [
        ("model", "model_id", ("deepseek-chat", "glm-4.5-flash")),
        ("task", "task_template_id", ("job_match", "job_summary")),
        ("provider", "provider", ("deepseek", "zhipu")),
        ("user", "user_id", ("ann", "bob")),
        ("tier", "tier", ("paid", "free")),
        ("day", "created_at", ("2026-11-22T00:00:00.000Z", "2026-11-23T00:00:00.000Z")),
    ],
)
def test_calls_are_summed_by_each_group(log: UsageLog, by: GroupBy, column: str, values: tuple[str, str]) -> None:
    often, once = values
    for value in (often, once, often):
        call(log, **{column: value, "input_tokens": 10})  # type: ignore[arg-type]
    found = report(log, Query((by,)))
    names = [value[:10] for value in values] if by == "day" else values
    assert [(one.group, one.calls, one.input_tokens) for one in found.groups] == [(names[0], 2, 20), (names[1], 1, 10)]
    assert (found.by[0], found.total.calls, found.total.input_tokens) == (by, 3, 30)


def test_every_group_of_the_spec_is_there() -> None:
    words = {"model", "task", "provider", "tier", "queue", "user", "service", "locale", "prompt"}
    assert set(GROUPS) == words | {"hour", "day", "week", "month"}


def test_every_sum_is_made(log: UsageLog) -> None:
    call(log, input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=2, latency_ms=100, cost_nanos=7)
    call(log, input_tokens=1, output_tokens=2, latency_ms=201, is_success=False, is_estimate=True, cost_nanos=5)
    [found] = report(log).groups
    assert found == Summary(
        keys=("deepseek-chat",),
        calls=2,
        failed=1,
        input_tokens=11,
        cached_tokens=4,
        output_tokens=7,
        reasoning_tokens=2,
        estimated=1,
        unpriced=0,
        cost_nanos={"CNY": 12},
        saved_nanos={"CNY": 0},
        latency_ms=301,
        latencies=Counter({100: 1, 199: 1}),
    )
    assert found.mean_latency_ms == 150
    assert Summary().mean_latency_ms == 0


def test_a_call_without_an_end_is_counted_apart(log: UsageLog) -> None:
    unfinished = {
        "is_success": False,
        "is_estimate": True,
        "error_class": "unfinished",
        "cost_nanos": None,
        "currency": None,
    }
    call(log, **unfinished, input_tokens=7, latency_ms=0)
    call(log, latency_ms=100, cost_nanos=5, input_tokens=1)
    call(log, latency_ms=300, cost_nanos=0, is_success=False, error_class="timeout")
    [found] = report(log).groups
    assert (found.calls, found.unfinished, found.failed, found.unpriced, found.estimated) == (3, 1, 1, 0, 1)
    assert (found.mean_latency_ms, found.cost_nanos, found.input_tokens) == (200, {"CNY": 5}, 8)
    assert Summary(calls=2, unfinished=2).mean_latency_ms == 0


def test_two_currencies_are_kept_apart(log: UsageLog) -> None:
    call(log, cost_nanos=1_500_000_000, currency="USD")
    call(log, cost_nanos=1, currency="CNY")
    call(log, cost_nanos=2, currency="CNY")
    [found] = report(log).groups
    assert (found.calls, found.unpriced) == (3, 0)
    assert found.costs == {"CNY": Decimal("0.000000003"), "USD": Decimal("1.5")}
    assert list(found.costs) == ["CNY", "USD"]


def test_an_unpriced_call_is_counted_and_is_in_no_cost(log: UsageLog) -> None:
    call(log, cost_nanos=None, currency=None, input_tokens=3)
    call(log, cost_nanos=9)
    [found] = report(log).groups
    assert (found.calls, found.unpriced, found.input_tokens, found.cost_nanos) == (2, 1, 3, {"CNY": 9})


def test_only_unpriced_calls_have_no_cost_at_all(log: UsageLog) -> None:
    call(log, cost_nanos=None, currency=None)
    assert report(log).total.costs == {}


def test_a_free_call_costs_0_and_is_priced(log: UsageLog) -> None:
    call(log, cost_nanos=0)
    assert (report(log).total.costs, report(log).total.unpriced) == ({"CNY": Decimal(0)}, 0)


def test_sums_stay_exact_where_floats_would_not(log: UsageLog) -> None:
    for _ in range(10):
        call(log, cost_nanos=100_000_000)
    call(log, cost_nanos=9_007_199_254_740_993)
    assert report(log).total.costs == {"CNY": Decimal("9007200.254740993")}


def test_calls_without_a_user_are_a_group_of_their_own(log: UsageLog) -> None:
    call(log, user_id=None)
    call(log, user_id="ann")
    assert calls(report(log, Query(("user",)))) == [("", 1), ("ann", 1)]


def test_groups_are_sorted_by_calls_and_days_by_date(log: UsageLog) -> None:
    for model, day in [("b", "03"), ("a", "01"), ("c", "02"), ("c", "02")]:
        call(log, f"2026-11-{day}T01:00:00.000Z", model_id=model)
    assert calls(report(log, Query(("model",)))) == [("c", 2), ("a", 1), ("b", 1)]
    assert calls(report(log, Query(("day",)))) == [("2026-11-01", 1), ("2026-11-02", 2), ("2026-11-03", 1)]


def test_days_are_days_here(log: UsageLog) -> None:
    call(log, "2026-11-22T15:59:59.999Z")
    call(log, "2026-11-22T16:00:00.000Z")  # midnight in Beijing
    assert calls(report(log, Query(("day",)))) == [("2026-11-22", 1), ("2026-11-23", 1)]


@pytest.mark.usefixtures("new_york")
def test_days_are_days_somewhere_else_too(log: UsageLog) -> None:
    call(log, "2026-11-23T04:59:59.999Z")
    call(log, "2026-11-23T05:00:00.000Z")
    assert calls(report(log, Query(("day",)))) == [("2026-11-22", 1), ("2026-11-23", 1)]


def test_since_is_included_and_until_is_not(log: UsageLog) -> None:
    for second in range(4):
        call(log, f"2026-11-23T01:00:0{second}.000Z", run_id=str(second))
    since, until = (datetime(2026, 11, 23, 1, 0, second, tzinfo=UTC) for second in (1, 3))
    assert report(log, Query(since=since)).total.calls == 3
    assert report(log, Query(until=until)).total.calls == 3
    assert report(log, Query(since=since, until=until)).total.calls == 2
    assert report(log, Query(since=until, until=since)).total.calls == 0


# Instants

NOW = datetime(2026, 11, 23, 4, 30, 15, tzinfo=UTC)  # 12:30:15 in Beijing


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("7d", timedelta(days=7)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(days=14)),
        ("3m", timedelta(days=90)),
        ("0d", timedelta()),
        (" 7 D ", timedelta(days=7)),
    ],
)
def test_a_span_is_that_long_ago(text: str, ago: timedelta) -> None:
    assert instant(text, NOW) == NOW - ago


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("today", "2026-11-23T00:00:00+08:00"),
        ("yesterday", "2026-11-22T00:00:00+08:00"),
        ("2026-11-01", "2026-11-01T00:00:00+08:00"),
        ("2026-11-01T08:15", "2026-11-01T08:15:00+08:00"),
        ("2026-11-01 08:15:30", "2026-11-01T08:15:30+08:00"),
        ("2026-11-01T08:15:00Z", "2026-11-01T08:15:00+00:00"),
        ("2026-11-01T08:15:00-05:00", "2026-11-01T08:15:00-05:00"),
    ],
)
def test_a_day_or_a_time_is_one_here_unless_it_says_otherwise(text: str, meant: str) -> None:
    found = instant(text, NOW)
    assert found == datetime.fromisoformat(meant)
    assert found.tzinfo is not None


def test_today_goes_by_the_day_here_and_not_in_utc() -> None:
    evening = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)  # the 23rd, 04:00 in Beijing
    assert instant("today", evening) == datetime(2026, 11, 22, 16, tzinfo=UTC)


@pytest.mark.usefixtures("new_york")
@pytest.mark.parametrize(
    ("text", "now", "meant"),
    [  # clocks went forward on 2026-03-08 at 02:00, and back on 2026-11-01 at 02:00
        ("today", "2026-03-08T12:00:00-04:00", "2026-03-08T00:00:00-05:00"),
        ("yesterday", "2026-03-09T12:00:00-04:00", "2026-03-08T00:00:00-05:00"),
        ("today", "2026-11-01T12:00:00-05:00", "2026-11-01T00:00:00-04:00"),
        ("2026-03-08", "2026-03-20T12:00:00-04:00", "2026-03-08T00:00:00-05:00"),
    ],
)
def test_a_day_begins_by_the_clock_of_its_midnight(text: str, now: str, meant: str) -> None:
    assert instant(text, datetime.fromisoformat(now)) == datetime.fromisoformat(meant)


def test_without_a_now_it_is_now() -> None:
    before = datetime.now(UTC)
    assert before <= instant("0h") <= datetime.now(UTC)
    assert instant("today").date() in (date.today(), before.astimezone().date())  # noqa: DTZ011  # local on purpose


@pytest.mark.parametrize(
    "text", ["", "soon", "7", "7y", "-7d", "1.5d", "2026-13-01", "2026-11-31", "11/01/2026", "25:00", "0001-01-01"]
)
def test_what_is_no_time_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        instant(text, NOW)
    assert str(caught.value) == f"{text!r} is no time; give 7d, 12h, 2w, today, 2026-11-01 or 2026-11-01T08:00"


@pytest.mark.parametrize("text", ["999999999d", "9999999999999999999w"])
def test_what_is_further_than_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is further away than the calendar knows; give 7d"):
        instant(text, NOW)


def test_a_bound_long_ago_still_sorts_before_the_calls(log: UsageLog) -> None:
    call(log)
    assert report(log, Query(since=instant("0700-01-01", NOW))).total.calls == 1
    assert report(log, Query(until=instant("0700-01-01", NOW))).total.calls == 0


def test_a_value_of_bytes_that_are_no_text_is_a_value_like_others(log: UsageLog) -> None:
    call(log, model_id="deepseek\udc80")
    call(log)
    assert report(log, Query(where={"model": ("deepseek\udc80",)})).total.calls == 1
