"""service.reprice: what calls cost, computed anew on request, and nothing else changed."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmtask.project import Project, load_project
from llmtask.service.reprice import NO_END, NO_MODEL, NO_PRICE, OTHER_PROVIDER, Change, reprice
from llmtask.usage import UsageLog, report
from llmtask.usage.selection import Selection
from llmtask.usage.verify import verify
from tests.conftest import MakeProject
from tests.unit.test_usage_log import row
from tests.unit.test_usage_prune import killed_when

ALL = Selection()
CONFIG = """
models: {offline: {price: list}}
prices:
  list:
    - {effective_from: 2026-11-20, lists: {CNY: {cache_hit: 0.1, cache_miss: 2, output: 4, image: 0.001}}}
    - {effective_from: 2026-01-01, lists: {CNY: {cache_hit: 0.1, cache_miss: 1, output: 4}}}
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "usage.db")
    yield found
    found.close()


@pytest.fixture
def prices(project: MakeProject) -> Project:
    return project(CONFIG)


def call(name: str, **said: Any) -> Any:
    """1,000 tokens in, 400 of them cached, and 100 out, by a price that was wrong."""
    least: dict[str, Any] = {
        "id": name,
        "provider": "offline",
        "model_id": "offline",
        "input_tokens": 1000,
        "cached_tokens": 400,
        "output_tokens": 100,
        "total_tokens": 1100,
        "cost_nanos": 7,
        "cost": 7e-9,
        "currency": "CNY",
        "saved_nanos": 0,
    }
    return row(**(least | said))


NEW = 400 * 100 + 600 * 2000 + 100 * 4000
SAVED = 400 * 1900


def test_each_call_costs_by_the_prices_of_its_own_day(log: UsageLog, prices: Project) -> None:
    log.record(call("new"))
    log.record(call("old", created_at="2026-11-19T23:59:59.999Z"))
    found = reprice(log, prices, ALL, write=True)
    old = 400 * 100 + 600 * 1000 + 100 * 4000
    assert found.sorted() == [Change("offline", "CNY", "CNY", 2, 0, 14, NEW + old, 0)]
    rows = {one.id: one for one in log.latest(9)}
    assert (rows["new"].cost_nanos, rows["new"].cost, rows["new"].saved_nanos) == (NEW, NEW / 1e9, SAVED)
    assert (rows["old"].cost_nanos, rows["old"].saved_nanos) == (old, 400 * 900)
    assert report(log).total.cost_nanos == {"CNY": NEW + old}
    assert verify(log).agrees


def test_a_look_changes_nothing_and_says_what_would(log: UsageLog, prices: Project) -> None:
    log.record(call("a"))
    before = log.path.with_name("usage.db-wal").read_bytes()
    looked = reprice(log, prices, ALL)
    assert log.path.with_name("usage.db-wal").read_bytes() == before
    assert log.latest(1) == [call("a")]
    assert reprice(log, prices, ALL, write=True) == looked
    assert reprice(log, prices, ALL).rows == 0


def test_unpriced_calls_get_a_price_and_images_count(log: UsageLog, prices: Project) -> None:
    log.record(call("a", cost_nanos=None, cost=None, currency=None, saved_nanos=None, images=3))
    found = reprice(log, prices, ALL, write=True)
    assert found.sorted() == [Change("offline", None, "CNY", 1, 0, 0, NEW + 3_000_000, 0)]
    total = report(log).total
    assert (total.unpriced, total.cost_nanos) == (0, {"CNY": NEW + 3_000_000})


def test_estimates_are_computed_too_and_counted_apart(log: UsageLog, prices: Project) -> None:
    log.record(call("a", is_estimate=True))
    log.record(call("b"))
    assert [(one.rows, one.estimates) for one in reprice(log, prices, ALL).sorted()] == [(2, 1)]


def test_savings_of_older_rows_are_filled_where_the_cost_is_right(log: UsageLog, prices: Project) -> None:
    log.record(call("a", cost_nanos=NEW, saved_nanos=None))
    found = reprice(log, prices, ALL, write=True)
    assert found.sorted() == [Change("offline", "CNY", "CNY", 0, 0, 0, 0, 1)]
    assert report(log).total.saved_nanos == {"CNY": SAVED}


def test_a_currency_that_has_changed_is_told_apart(log: UsageLog, prices: Project) -> None:
    log.record(call("a", currency="USD"))
    assert reprice(log, prices, ALL, write=True).sorted() == [Change("offline", "USD", "CNY", 1, 0, 7, NEW, 0)]
    assert report(log).total.cost_nanos == {"CNY": NEW}


def test_what_cannot_be_priced_now_keeps_its_cost(log: UsageLog, prices: Project) -> None:
    rows = [
        call("no model", model_id="gone/model"),
        call("before all prices", created_at="2025-12-31T00:00:00.000Z"),
        call("other provider", provider="zhipu"),
        call("no instant", created_at="garbage"),
    ]
    for one in rows:
        log.record(one)
    log.begin(call("no end"))
    found = reprice(log, prices, ALL, write=True)
    assert found.rows == 0
    assert found.left == {NO_MODEL: 1, NO_PRICE: 1, OTHER_PROVIDER: 1, NO_END: 1, "no instant": 1}
    assert {one.id: one.cost_nanos for one in log.latest(9)} == {one.id: 7 for one in rows} | {"no end": None}


def test_only_what_is_selected_changes(log: UsageLog, prices: Project) -> None:
    for name, at, user in (("a", "20", "ann"), ("b", "21", "ann"), ("c", "21", "bob")):
        log.record(call(name, created_at=f"2026-11-{at}T00:00:00.000Z", user_id=user))
    chosen = Selection(datetime(2026, 11, 21, tzinfo=UTC), None, {"user": ["ann"]})
    assert reprice(log, prices, chosen, write=True).rows == 1
    assert {one.id: one.cost_nanos for one in log.latest(9)} == {"a": 7, "b": NEW, "c": 7}


def test_a_call_that_the_service_has_just_priced_is_not_changed(log: UsageLog, starter: Project) -> None:
    from llmtask import run_structured_task

    run_structured_task("job_match", {"resume": "Engineer"}, model_id="offline", log=log, project=starter)
    found = reprice(log, starter, ALL)
    assert (found.looked_at, found.rows, found.left) == (1, 0, {})


def reprice_all(path: Path, root: Path) -> None:
    with closing(UsageLog(path)) as log:
        reprice(log, load_project(root), ALL, write=True)


def test_killed_in_the_middle_it_goes_on_the_next_time(log: UsageLog, prices: Project) -> None:
    log.atomic(lambda connection: [log.write(connection, call(f"{number:05}")) for number in range(3000)])
    done = f"SELECT count(*) FROM llm_usage_logs WHERE cost_nanos = {NEW}"  # noqa: S608  # a number
    killed_when(lambda: log.query(done) > [(0,)], reprice_all, log.path, prices.root)
    [(first,)] = log.query(done)
    assert 0 < first < 3000
    assert verify(log).agrees
    assert reprice(log, prices, ALL, write=True).rows == 3000 - first
    assert report(log).total.cost_nanos == {"CNY": 3000 * NEW}
    assert verify(log).agrees
