"""A month of traffic: what reports say it cost, against a calculation that shares nothing with the code.

Prices are read off the vendor's page as whole nano-units a token; holidays are those of the State Council's notice.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmtask.prices import get_cost
from llmtask.project import Project
from llmtask.tokens import Tokens
from llmtask.usage import Query, UsageLog, UsageRow, new_id, report, span, timestamp
from tests.conftest import MakeProject

BEIJING = ZoneInfo("Asia/Shanghai")
BEGIN = datetime(2026, 9, 28, tzinfo=BEIJING)
HOLIDAYS = {f"2026-10-0{day}" for day in range(1, 8)}  # Thursday to Wednesday; Saturday the 10th is a working day
PAGE = {  # nano-units a token: cache hit, cache miss, output
    "CNY": (20, 1_000, 4_000),
    "USD": (3, 150, 600),
}
RAISED = datetime(2026, 10, 19, tzinfo=BEIJING)  # from then on twice as much for the account in USD
CONFIG = """
providers:
  abroad: {driver: openai, base_url: "https://abroad.example/v1", currency: USD}
  unknown: {driver: openai, base_url: "https://unknown.example/v1"}
models:
  deepseek-usd: {provider: abroad, name: deepseek-flash, context: 1000000, price: dated}
  unpriced: {provider: unknown, name: x, context: 1000}
prices:
  dated:
    - effective_from: 2026-09-10
      lists: {USD: {cache_hit: 0.003, cache_miss: 0.15, output: 0.60}}
      peak: deepseek_peak
      peak_lists: {USD: {cache_hit: 0.006, cache_miss: 0.30, output: 1.20}}
    - effective_from: 2026-10-19
      lists: {USD: {cache_hit: 0.006, cache_miss: 0.30, output: 1.20}}
      peak: deepseek_peak
      peak_lists: {USD: {cache_hit: 0.012, cache_miss: 0.60, output: 2.40}}
"""
MODELS = {"deepseek-chat": "CNY", "deepseek-usd": "USD", "glm-4.5-flash": "CNY", "unpriced": None}
_MIDNIGHT = 24 * 60


@dataclass(frozen=True)
class Call:
    """A call as it came."""

    at: datetime
    model_id: str
    task: str
    user: str
    tokens: Tokens
    attempt: int
    failure: str | None


def is_peak(at: datetime) -> bool:
    """Whether the vendor's page says that an instant is peak."""
    local = at.astimezone(BEIJING)
    minute = local.hour * 60 + local.minute
    return (
        local.weekday() < 5
        and f"{local:%Y-%m-%d}" not in HOLIDAYS
        and (9 * 60 <= minute < 12 * 60 or 14 * 60 <= minute < 18 * 60)
    )


def nanos(call: Call) -> int | None:
    """What a call costs, in whole numbers; None where nobody has named a price."""
    currency = MODELS[call.model_id]
    if currency is None:
        return None
    if call.model_id == "glm-4.5-flash":
        return 0
    hit, miss, output = PAGE[currency]
    used = call.tokens
    cost = hit * used.cached + miss * (used.input - used.cached) + output * used.output
    raised = 2 if currency == "USD" and call.at >= RAISED else 1
    return cost * raised * (2 if is_peak(call.at) else 1)


def traffic(chance: random.Random) -> Iterator[Call]:
    """35 days of it: failures, retries, cache hits, and calls on the very edges of the peak hours."""
    edges = [BEGIN + timedelta(days=day, hours=hour) for day in range(35) for hour in (0, 9, 12, 14, 18)]
    times = [edge + timedelta(milliseconds=shift) for edge in edges for shift in (-1, 0)]
    times += [BEGIN + timedelta(milliseconds=chance.randrange(35 * _MIDNIGHT * 60_000)) for _ in range(1_500)]
    for at in times:
        model_id, task = chance.choice(list(MODELS)), chance.choice(["job_match", "resume_summary"])
        user = chance.choice(["ann", "bob", "eve"])
        for attempt in (1, 2):
            failure = chance.choice(["schema_invalid", "overloaded"]) if chance.random() < 0.2 else None
            going_in = 0 if failure == "overloaded" else chance.randrange(1, 9_000)
            used = Tokens(going_in, chance.randrange(2_000) if going_in else 0, chance.randrange(going_in + 1))
            yield Call(at + timedelta(seconds=attempt - 1), model_id, task, user, used, attempt, failure)
            if failure is None:
                break


def logged(log: UsageLog, project: Project, call: Call) -> None:
    """Log a call as the service does."""
    cost = get_cost(call.model_id, call.tokens, at=call.at, project=project)
    row = UsageRow(
        id=new_id(),
        run_id=new_id(),
        task_template_id=call.task,
        provider=project.model(call.model_id).provider,
        model_id=call.model_id,
        user_id=call.user,
        input_tokens=call.tokens.input,
        output_tokens=call.tokens.output,
        cached_tokens=call.tokens.cached,
        total_tokens=call.tokens.total,
        latency_ms=1_000,
        created_at=timestamp(call.at),
        cost_nanos=cost.nanos if cost else None,
        currency=cost.currency if cost else None,
        attempt=call.attempt,
        is_success=call.failure is None,
        error_class=call.failure,
    )
    log.begin(row)
    log.finish(row)


@pytest.fixture
def month(tmp_path: Path, project: MakeProject) -> tuple[UsageLog, list[Call]]:
    made, log = project(CONFIG), UsageLog(tmp_path / "usage.db")
    calls = list(traffic(random.Random(10)))  # noqa: S311  # no secret
    for call in calls:
        logged(log, made, call)
    return log, calls


def summed(calls: list[Call]) -> dict[str, Decimal]:
    """What calls cost, per currency."""
    sums: dict[str, int] = defaultdict(int)
    for call in calls:
        cost, currency = nanos(call), MODELS[call.model_id]
        if cost is not None and currency is not None:
            sums[currency] += cost
    return {currency: Decimal(total) / 10**9 for currency, total in sorted(sums.items())}


def test_a_month_of_traffic_is_reported_to_the_last_nano_unit(month: tuple[UsageLog, list[Call]]) -> None:
    log, calls = month
    found = report(log)
    assert found.total.costs == summed(calls)
    assert {one.group: one.costs for one in found.groups} == {
        model: summed([call for call in calls if call.model_id == model]) for model in MODELS
    }
    assert found.total.unpriced == sum(call.model_id == "unpriced" for call in calls)
    assert found.total.failed == sum(call.failure is not None for call in calls)
    assert found.total.retries == sum(call.attempt > 1 for call in calls)
    assert found.total.errors == Counter(call.failure for call in calls if call.failure)
    assert found.total.cached_tokens == sum(call.tokens.cached for call in calls)


def test_every_day_of_it_is_right_in_beijing_and_elsewhere(month: tuple[UsageLog, list[Call]]) -> None:
    log, calls = month
    for zone in (BEIJING, UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")):
        days: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            days[f"{call.at.astimezone(zone):%Y-%m-%d}"].append(call)
        found = report(log, Query(("day",), zone=zone))
        assert {one.group: one.costs for one in found.groups} == {day: summed(own) for day, own in days.items()}


def test_its_users_and_tasks_are_right_over_any_span(month: tuple[UsageLog, list[Call]]) -> None:
    log, calls = month
    chance = random.Random(11)  # noqa: S311
    for _ in range(20):
        since, until = sorted(BEGIN + timedelta(milliseconds=chance.randrange(35 * _MIDNIGHT * 60_000)) for _ in "ab")
        own = [call for call in calls if since <= call.at < until]
        found = report(log, Query(("user", "task"), since, until))
        expected = {
            (user, task): summed([call for call in own if (call.user, call.task) == (user, task)])
            for user, task in {(call.user, call.task) for call in own}
        }
        assert {one.keys: one.costs for one in found.groups} == expected
        ann = report(log, Query((), since, until, {"user": ["ann"]}))
        assert ann.total.costs == summed([call for call in own if call.user == "ann"])


def test_october_by_its_name_is_october_here(
    month: tuple[UsageLog, list[Call]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    log, calls = month
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        since, until = span("last month", None, datetime(2026, 11, 25, tzinfo=BEIJING))
        assert (since, until) == span("2026-10", None)
        october = [call for call in calls if call.at.astimezone(BEIJING).month == 10]
        assert report(log, Query((), since, until)).total.costs == summed(october)
    time.tzset()
