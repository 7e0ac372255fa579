"""budgets: which calls have room, what is held for them, and what eight processes and kills make of it."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtask.budgets import budgeted
from llmtask.budgets.caps import standings
from llmtask.budgets.ledger import BudgetedLog
from llmtask.errors import CappedError, ProjectError
from llmtask.money import Cost, Currency
from llmtask.project import Project, load_project
from llmtask.tokens import Tokens
from llmtask.usage import UsageLog, UsageLogWarning, UsageRow, new_id, timestamp
from llmtask.usage.database import Connection
from llmtask.usage.spent import reserved, spent
from tests.conftest import MakeProject
from tests.unit.test_usage_log import unprivileged

YUAN = 1_000_000_000
CALL = Tokens(1_000_000, 0)
"""What costs ¥1.00 in the project of these tests."""
MODELS = """
providers:
  acme: {base_url: http://127.0.0.1:1/v1, currency: CNY}
  globex: {base_url: http://127.0.0.1:2/v1, currency: USD}
models:
  plain: {provider: acme, name: plain, context: 1000000, price: plain}
  foreign: {provider: globex, name: foreign, context: 1000000, price: plain}
  gratis: {provider: acme, name: gratis, context: 1000000, price: gratis}
  unpriced: {provider: acme, name: unpriced, context: 1000000}
prices:
  plain:
    - effective_from: 2020-01-01
      lists:
        CNY: {cache_hit: 1, cache_miss: 1, output: 1}
        USD: {cache_hit: 1, cache_miss: 1, output: 1}
  gratis:
    - effective_from: 2020-01-01
      lists: {CNY: {cache_hit: 0, cache_miss: 0, output: 0}}
"""
PINNED = "rates: {pinned_per_eur: {CNY: 8, USD: 1}}\n"
PROCESSES = 8


@pytest.fixture
def ledger(log: UsageLog, project: MakeProject) -> Callable[..., BudgetedLog]:
    """Makes a ledger behind budgets, each as YAML in one line."""

    def make(*budgets: str, more: str = "", log: UsageLog | None = log, **options: Any) -> BudgetedLog:
        lines = "".join(f"  - {{{one}}}\n" for one in budgets)
        config = f"{MODELS}{more}" + (f"budgets:\n{lines}" if lines else "")
        return BudgetedLog(project(config), log, **options)

    return make


def row(model: str = "plain", **said: Any) -> UsageRow:
    least = {
        "id": new_id(),
        "run_id": new_id(),
        "task_template_id": "job_match",
        "provider": {"foreign": "globex"}.get(model, "acme"),
        "model_id": model,
        "latency_ms": 1,
        "created_at": timestamp(datetime.now(UTC)),
    }
    return UsageRow(**(least | said))


def ended(one: UsageRow, nanos: int = YUAN, currency: Currency = "CNY") -> UsageRow:
    return replace(one, cost_nanos=nanos, currency=currency, cost=nanos / YUAN)


def call(ledger: BudgetedLog, one: UsageRow | None = None, nanos: int = YUAN) -> UsageRow:
    """A whole call of up to ¥1.00."""
    one = one or row()
    ledger.begin(one, CALL)
    ledger.finish(ended(one, nanos))
    return one


def refusal(ledger: BudgetedLog, one: UsageRow | None = None, most: Tokens = CALL) -> str:
    with pytest.raises(CappedError) as refused:
        ledger.begin(one or row(), most)
    return str(refused.value)


def rows(log: UsageLog) -> int:
    return len(log.latest(10_000))


def holds(log: UsageLog) -> int:
    [(count,)] = log.query("SELECT count(*) FROM budget_reservations") or [(0,)]
    return int(count)


def total(log: UsageLog) -> int:
    return log.run(lambda connection: spent(connection, {}, None))["CNY"]


# What has room


def test_without_budgets_the_ledger_is_the_log_itself(log: UsageLog, project: MakeProject) -> None:
    assert budgeted(project(MODELS), log) is log
    assert budgeted(project(MODELS), None) is None


def test_calls_go_on_until_one_could_pass_the_budget(ledger: Callable[..., BudgetedLog], log: UsageLog) -> None:
    held = ledger("amount: 3, currency: CNY, per: day, timezone: UTC")
    for _ in range(3):
        call(held)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert refusal(held) == (
        "the budget of ¥3.00 a day has no room for this call: ¥3.00 spent, and it can cost ¥1.00; it renews at "
        f"{tomorrow} 00:00 UTC; raise it under `budgets` in config.yaml, or take a cheaper --model"
    )
    assert (rows(log), holds(log), total(log)) == (3, 0, 3 * YUAN)


def test_a_call_that_was_refused_is_nowhere_in_the_log(ledger: Callable[..., BudgetedLog], log: UsageLog) -> None:
    refusal(ledger("amount: 0.5, currency: CNY, per: ever"))
    assert (rows(log), holds(log)) == (0, 0)


def test_what_calls_in_flight_can_cost_counts_until_they_end(ledger: Callable[..., BudgetedLog], log: UsageLog) -> None:
    held, one = ledger("amount: 2, currency: CNY, per: day"), row()
    held.begin(one, CALL)
    held.begin(row(), CALL)
    assert "¥0.00 spent, ¥2.00 held by calls in flight, and it can cost ¥1.00" in refusal(held)
    held.finish(ended(one, nanos=YUAN // 10))  # it cost less than it could
    assert "¥0.10 spent, ¥1.00 held" in refusal(held)
    held.begin(row(), Tokens(900_000, 0))
    assert (rows(log), holds(log)) == (3, 2)


def test_what_costs_nothing_is_always_let_through(ledger: Callable[..., BudgetedLog], log: UsageLog) -> None:
    held = ledger("amount: 1, currency: CNY, per: day")
    call(held, nanos=5 * YUAN)
    call(held, row("gratis"), nanos=0)
    assert (rows(log), holds(log)) == (2, 0)


@pytest.mark.parametrize(
    ("scope", "said", "other"),
    [
        ("task: job_match", {}, {"task_template_id": "job_summary"}),
        ("provider: acme", {}, {"provider": "globex", "model_id": "gratis"}),
        ("model: plain", {}, {"model_id": "gratis"}),
        ("user: alice", {"user_id": "alice"}, {"user_id": "bob"}),
        ("user: alice", {"user_id": "alice"}, {"user_id": None}),
        ("service: search", {"service_id": "search"}, {"service_id": None}),
        ("task: job_match, user: alice", {"user_id": "alice"}, {"user_id": "alice", "task_template_id": "job_summary"}),
        ('user: "*"', {"user_id": "alice"}, {"user_id": "bob"}),
        ('user: "*"', {"user_id": "alice"}, {"user_id": "a*"}),
        ('user: "*"', {"user_id": "o'brien\n"}, {"user_id": 'o"brien'}),
        ('user: "*"', {"user_id": "\udcff"}, {"user_id": "two\nlines"}),
        ('task: "*", user: "*"', {"user_id": "alice"}, {"user_id": "alice", "task_template_id": "job_summary"}),
    ],
)
@pytest.mark.parametrize("per", ["day", "week", "month", "ever"])
def test_a_budget_counts_and_refuses_the_calls_that_it_names_alone(
    ledger: Callable[..., BudgetedLog], scope: str, said: dict[str, Any], other: dict[str, Any], per: str
) -> None:
    held = ledger(f"amount: 1, currency: CNY, per: {per}, {scope}")
    call(held, row(**other))  # of "*", each value has its own
    call(held, row(**said))
    assert "has no room" in refusal(held, row(**said))
    if "*" not in scope:
        call(held, row(**other))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "Asia/Kathmandu", "America/Santiago"])
@pytest.mark.parametrize("per", ["day", "week", "month"])
@pytest.mark.parametrize("scope", ["", ', user: "*"'])
def test_what_was_spent_before_the_span_does_not_count(
    ledger: Callable[..., BudgetedLog], log: UsageLog, zone: str, per: str, scope: str
) -> None:
    held = ledger(f"amount: 1, currency: CNY, per: {per}, timezone: {zone}{scope}")
    call(held, row(user_id="u"))
    [standing] = standings(log, held._project)
    assert standing.renews_at is not None
    term = standing.cap.term(datetime.now(UTC))
    assert term is not None
    log.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs"))
    before = ended(row(user_id="u", created_at=timestamp(term.begin - timedelta(milliseconds=1))))
    log.record(before)
    call(held, row(user_id="u", created_at=timestamp(term.begin)))
    assert "¥1.00 spent" in refusal(held, row(user_id="u"))


def test_every_budget_must_have_room(ledger: Callable[..., BudgetedLog]) -> None:
    held = ledger("amount: 9, currency: CNY, per: day", "amount: 1, currency: CNY, per: month, user: alice")
    call(held, row(user_id="alice"))
    assert "¥1.00 a month for user 'alice'" in refusal(held, row(user_id="alice"))
    call(held, row(user_id="bob"))


def test_a_run_has_a_budget_of_its_own_with_and_without_a_log(
    ledger: Callable[..., BudgetedLog], log: UsageLog
) -> None:
    for kept in (log, None):
        held = ledger(max_cost=Cost(2 * YUAN, "CNY"), log=kept)
        run = new_id()
        call(held, row(run_id=run))
        call(held, row(run_id=run))
        assert refusal(held, row(run_id=run)) == (
            "--max-cost ¥2.00 has no room for this call: ¥2.00 spent, and it can cost ¥1.00; give it more, or take a "
            "cheaper --model"
        )
        call(held)
    assert rows(log) == 3


# What cannot be told


def test_another_currency_is_converted_by_the_days_rate(ledger: Callable[..., BudgetedLog]) -> None:
    held = ledger("amount: 16.5, currency: CNY, per: day", more=PINNED)
    held.begin(row("foreign"), CALL)  # $1 is ¥8
    held.begin(row("foreign"), CALL)
    assert "¥16.00 held by calls in flight, and it can cost ¥1.00" in refusal(held)


def test_without_a_rate_the_call_is_refused_with_the_way_out(ledger: Callable[..., BudgetedLog]) -> None:
    held = ledger("amount: 100, currency: CNY, per: day")
    text = refusal(held, row("foreign"))
    assert text.startswith("the budget of ¥100.00 a day cannot be held: no exchange rates of CNY and USD at hand")
    assert "llmtask prices rates --fetch" in text
    call(held)  # in the budget's own currency none is needed


def test_a_model_without_a_price_is_refused_unless_the_budget_lets_it_through(
    ledger: Callable[..., BudgetedLog], log: UsageLog
) -> None:
    text = refusal(ledger("amount: 100, currency: CNY, per: day"), row("unpriced"))
    assert text == (
        "unpriced has no price, so that the budget of ¥100.00 a day cannot hold it; give it one under `prices` in "
        "config.yaml, or say `unpriced: allow` on the budget"
    )
    held, one = ledger("amount: 100, currency: CNY, per: day, unpriced: allow"), row("unpriced")
    held.begin(one, CALL)
    held.finish(one)
    assert rows(log) == 1


def test_a_log_that_cannot_be_written_refuses_every_call_that_costs(project: MakeProject) -> None:
    loaded = project(MODELS + "budgets: [{amount: 100, currency: CNY, per: day}]\n")
    with unprivileged() as folder, closing(UsageLog(folder / "usage.db")) as log:
        text = refusal(BudgetedLog(loaded, log))
        assert text.startswith("the budget of ¥100.00 a day cannot be checked (usage log ")
        assert "Permission denied" in text
        assert text.endswith("so no call is made; `unreachable: allow` on it in config.yaml lets calls through")


def test_a_log_that_cannot_be_written_lets_calls_through_where_the_budget_says_so(project: MakeProject) -> None:
    config = MODELS + "budgets: [{amount: 0.1, currency: CNY, per: day, unreachable: allow}]\n"
    loaded = project(config)
    with unprivileged() as folder, closing(UsageLog(folder / "usage.db")) as log:
        held, one = BudgetedLog(loaded, log), row()
        held.begin(one, CALL)
        with pytest.warns(UsageLogWarning, match="this call's row waits in|this call was not logged"):
            held.finish(ended(one))


def test_without_a_log_only_a_runs_own_budget_can_be_held(ledger: Callable[..., BudgetedLog]) -> None:
    text = refusal(ledger("amount: 100, currency: CNY, per: day", log=None))
    assert "cannot be checked without the usage log, so no call is made" in text
    call(ledger("amount: 100, currency: CNY, per: day, unreachable: allow", log=None))
    call(ledger("amount: 100, currency: CNY, per: run", log=None))
    call(ledger("amount: 100, currency: CNY, per: day", log=None), row("gratis"))


def test_the_run_may_fall_to_the_free_tier_where_every_full_budget_says_so(ledger: Callable[..., BudgetedLog]) -> None:
    day, month = "amount: 0.1, currency: CNY, per: day, then: {}", "amount: 0.2, currency: CNY, per: month, then: {}"
    for first, second, falls in (("free", "free", True), ("free", "stop", False), ("stop", "free", False)):
        with pytest.raises(CappedError) as refused:
            ledger(day.format(first), month.format(second)).begin(row(), CALL)
        assert refused.value.falls_to_free is falls


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("amount: -1, currency: CNY, per: day", "amount"),
        ("amount: .nan, currency: CNY, per: day", "amount"),
        ("amount: .inf, currency: CNY, per: day", "amount"),
        ("amount: 1e400, currency: CNY, per: day", "amount"),
        ("amount: 99999999999, currency: CNY, per: day", "amount"),
        ("amount: 0.0000000001, currency: CNY, per: day", "amount"),
        ("amount: 1, currency: GBP, per: day", "currency"),
        ("amount: 1, per: day", "currency"),
        ("amount: 1, currency: CNY, per: fortnight", "per"),
        ("amount: 1, currency: CNY, per: day, timezone: Mars/Olympus", "time zone"),
        ("amount: 1, currency: CNY, per: day, task: job_macth", "did you mean 'job_match'"),
        ("amount: 1, currency: CNY, per: day, provider: acne", "did you mean 'acme'"),
        ("amount: 1, currency: CNY, per: day, model: plian", "did you mean 'plain'"),
        ("amount: 1, currency: CNY, per: day, than: free", "than"),
    ],
)
def test_a_wrong_budget_is_refused_with_its_line(project: MakeProject, budget: str, problem: str) -> None:
    with pytest.raises(ProjectError) as refused:
        project(f"{MODELS}budgets:\n  - {{{budget}}}\n")
    assert problem in str(refused.value)
    assert "config.yaml:" in str(refused.value)


# Time and processes


def test_what_a_killed_process_held_counts_until_its_run_would_be_over(
    ledger: Callable[..., BudgetedLog], log: UsageLog
) -> None:
    held = ledger("amount: 1, currency: CNY, per: ever", total_s=1)
    held.begin(row(), CALL)
    assert "¥1.00 held" in refusal(held)
    past = timestamp(datetime.now(UTC) - timedelta(seconds=1))
    log.run(lambda connection: connection.execute("UPDATE budget_reservations SET expires_at = ?", (past,)))
    call(held)
    assert holds(log) == 0


def test_what_was_held_by_a_clock_gone_wrong_does_not_count(ledger: Callable[..., BudgetedLog], log: UsageLog) -> None:
    held = ledger("amount: 1, currency: CNY, per: ever")
    held.begin(row(created_at="2099-01-01T00:00:00.000Z"), CALL)
    assert log.run(lambda connection: reserved(connection, {}, None, datetime.now(UTC))) == {}
    call(held)


@pytest.mark.sqlite
def test_a_row_that_waited_in_the_spool_counts_before_the_next_call(
    ledger: Callable[..., BudgetedLog], log: UsageLog
) -> None:
    held = ledger("amount: 1, currency: CNY, per: day")
    log.spool.put(ended(row()))
    assert "¥1.00 spent" in refusal(held)


def test_two_projects_that_share_a_log_share_what_was_spent_and_hold_it_to_their_own_budgets(
    log: UsageLog, project: MakeProject
) -> None:
    small = BudgetedLog(project(MODELS + "budgets: [{amount: 2, currency: CNY, per: day}]\n", folder="small"), log)
    large = BudgetedLog(project(MODELS + "budgets: [{amount: 3, currency: CNY, per: day}]\n", folder="large"), log)
    call(large)
    call(small)
    refusal(small)
    call(large)
    refusal(large)


def test_budgets_are_told_with_what_is_left(log: UsageLog, project: MakeProject) -> None:
    loaded = project(
        MODELS + "budgets:\n  - {amount: 5, currency: CNY, per: day}\n  - {amount: 1, currency: USD, per: ever}\n"
        '  - {amount: 2, currency: CNY, per: month, user: "*"}\n  - {amount: 1, currency: CNY, per: run}\n'
    )
    assert [(one.cap.words, one.left) for one in standings(log, loaded)] == [("¥5.00 a day", 5 * YUAN), ("$1.00", YUAN)]
    assert not log.exists or log.latest(1) == []
    held = BudgetedLog(project(MODELS + "budgets: [{amount: 9, currency: CNY, per: day}]\n", folder="other"), log)
    call(held, row(user_id="alice"))
    held.begin(row(user_id="bob"), CALL)
    found = {one.cap.words: one for one in standings(log, loaded)}
    assert {name: (one.spent["CNY"], one.reserved["CNY"], one.left) for name, one in found.items()} == {
        "¥5.00 a day": (YUAN, YUAN, 3 * YUAN),
        "$1.00": (YUAN, YUAN, None),  # no rate
        "¥2.00 a month for user 'alice'": (YUAN, 0, YUAN),
        "¥2.00 a month for user 'bob'": (0, YUAN, YUAN),
    }


CAP = 60 * YUAN


def all_of_it(connection: Connection) -> int:
    """What was spent, and what is held."""
    return spent(connection, {}, None)["CNY"] + reserved(connection, {}, None, datetime.now(UTC))["CNY"]


def call_and_call(path: Path | str, root: Path, number: int) -> None:
    """Calls of ¥0.10 to ¥1.00 that can cost ¥1.00, one after the other, until there is no room or somebody kills it."""
    chance = random.Random(number)  # noqa: S311  # no secret
    ledger = BudgetedLog(load_project(root), UsageLog(path))
    while True:
        one = row(user_id=f"user {number}")
        try:
            ledger.begin(one, CALL)
        except CappedError as error:
            if "another program holds it" in str(error):  # eight that do nothing else may be too many for it
                continue
            return
        time.sleep(chance.uniform(0, 0.003))
        ledger.finish(ended(one, chance.randrange(YUAN // 10, YUAN + 1)))


def started(work: Callable[..., None], path: Path | str, project: Project) -> list[Any]:
    spawn = multiprocessing.get_context("spawn")
    many = [spawn.Process(target=work, args=(path, project.root, number), daemon=True) for number in range(PROCESSES)]
    for one in many:
        one.start()
    return many


@pytest.fixture
def capped(project: MakeProject) -> Project:
    return project(MODELS + "budgets: [{amount: 60, currency: CNY, per: ever}]\n")


def test_eight_processes_at_once_pass_no_budget_and_leave_no_room_for_another_call(
    log: UsageLog, place: Path | str, capped: Project
) -> None:
    for process in started(call_and_call, place, capped):
        process.join(60)
        assert process.exitcode == 0
    log.drain()
    assert CAP - YUAN < total(log) <= CAP
    assert holds(log) == 0


def test_kills_at_random_moments_pass_no_budget_and_what_was_held_for_them_comes_back(
    log: UsageLog, place: Path | str, capped: Project
) -> None:
    chance = random.Random(int(os.environ.get("LLMTASK_KILLS_SEED", "1")))  # noqa: S311  # no secret
    log.check()
    processes = started(call_and_call, place, capped)
    until = time.monotonic() + 30
    while rows(log) < 30 and time.monotonic() < until:
        time.sleep(0.01)
    for process in processes:
        time.sleep(chance.uniform(0, 0.02))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert log.atomic(all_of_it, 60) <= CAP
    lost = holds(log)
    assert lost == sum(one.is_unfinished for one in log.latest(10_000))
    past = timestamp(datetime.now(UTC) - timedelta(seconds=1))
    log.run(lambda connection: connection.execute("UPDATE budget_reservations SET expires_at = ?", (past,)))
    ledger = BudgetedLog(capped, log)
    while total(log) <= CAP - YUAN:
        call(ledger, nanos=YUAN // 2)
    assert "has no room" in refusal(ledger)
    assert CAP - YUAN < total(log) <= CAP
    assert holds(log) == 0
