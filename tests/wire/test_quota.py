"""Quotas and budgets over real HTTP: which runs are made, what they hold, and what each way of ending gives back."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import llmtask
from llmtask.errors import ExitCode
from llmtask.money import Cost
from llmtask.quota import Allowance, Quantity, Quotas
from llmtask.usage import UsageLog, timestamp
from tests.unit.test_quota import assert_balanced
from tests.wire.conftest import MATCH, Outcome
from tests.wire.vendor import Reply, VendorServer

ANSWER = json.dumps(MATCH, ensure_ascii=False)
SLOW = Reply(ANSWER, chunk_delay_s=0.02)
REFUSED = Reply(status=402)
RESUME = {"resume": "支付后端工程师，求职意向：高级后端。" * 3}
RUN = ("run", "job_match", "--var", f"resume={RESUME['resume']}", "--format", "json")
YUAN = 1_000_000_000
FLAT = {"effective_from": "2020-01-01", "lists": {"CNY": {"cache_hit": 1, "cache_miss": 1, "output": 4}}}
DAY = {"amount": 1, "currency": "CNY", "per": "day"}

Command = Callable[..., Outcome]
Projects = Callable[..., llmtask.Project]


@pytest.fixture
def log(tmp_path: Path) -> UsageLog:
    """The log that `command` uses."""
    return UsageLog(tmp_path / "usage.db")


@pytest.fixture
def quotas(log: UsageLog) -> Quotas:
    return Quotas(log)


def credit(quotas: Quotas, user: str = "alice") -> int:
    found = quotas.find(user)
    assert found is not None
    assert_balanced(quotas._log)
    return found.credit


def whats(quotas: Quotas, user: str = "alice") -> list[str]:
    return [one.what for one in quotas.history(user)][::-1]


def held(log: UsageLog) -> tuple[int, int]:
    [(runs,)] = log.query("SELECT count(*) FROM quota_reservations") or [(0,)]
    [(calls,)] = log.query("SELECT count(*) FROM budget_reservations") or [(0,)]
    return int(runs), int(calls)


# The command line: which tier


def test_with_credit_a_run_is_paid_and_its_credit_pays_what_it_cost(
    command: Command, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(YUAN, "CNY"), free=Allowance(1, "day"))
    ran = command(*RUN, "--user", "alice")
    assert ran.code == ExitCode.DONE, ran.stderr
    assert ran.json == MATCH
    [row] = ran.rows
    assert (row.tier, row.model_id, row.user_id) == ("paid", "deepseek-chat", "alice")
    assert row.cost_nanos is not None
    assert credit(quotas) == YUAN - row.cost_nanos
    assert "user 'alice' has ¥1.00 of credit, and this run can cost up to ¥0.0" in ran.stderr
    assert (whats(quotas), held(log)) == (["set", "reserve", "settle"], (0, 0))
    assert {one.run_id for one in quotas.history("alice")} == {"", row.run_id}


def test_without_credit_runs_are_free_until_the_allowance_is_used_up_and_then_refused(
    command: Command, zhipu: VendorServer, quotas: Quotas
) -> None:
    zhipu.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(1, "CNY"), free=Allowance(2, "day"))
    for _ in range(2):
        ran = command(*RUN, "--user", "alice")
        assert (ran.code, ran.rows[-1].tier, ran.rows[-1].model_id) == (ExitCode.DONE, "free", "glm-4.5-flash")
    ran = command(*RUN, "--user", "alice")
    assert (ran.code, ran.stdout, len(ran.rows)) == (ExitCode.CAPPED, "", 2)
    assert "all 2 free runs of" in ran.stderr
    assert "they are new at" in ran.stderr
    assert "`llmtask quota add alice 5CNY` adds credit" in ran.stderr
    assert len(zhipu.requests) == 2


def test_a_tier_that_is_said_asks_no_quota(command: Command, deepseek: VendorServer, quotas: Quotas) -> None:
    deepseek.queue(Reply(ANSWER))
    quotas.set("alice", free=Allowance(0, "day"))
    assert command(*RUN, "--user", "alice", "--paid").code == ExitCode.DONE
    assert command(*RUN, "--user", "bob").code == ExitCode.DONE  # who has no quota is as before
    assert command(*RUN, "--user", "alice").code == ExitCode.CAPPED
    assert whats(quotas) == []


@pytest.mark.parametrize(
    ("unknown", "code", "tier"), [("free", 0, "free"), ("paid", 0, "paid"), ("refuse", 8, None), (None, 0, "paid")]
)
def test_config_says_what_becomes_of_users_without_a_quota(
    command: Command,
    deepseek: VendorServer,
    zhipu: VendorServer,
    unknown: str | None,
    code: int,
    tier: str | None,
) -> None:
    for vendor in (deepseek, zhipu):
        vendor.queue(Reply(ANSWER))
    ran = command(*RUN, "--user", "eve", quota={"unknown": unknown} if unknown else {"timezone": "Asia/Shanghai"})
    assert (ran.code, [row.tier for row in ran.rows]) == (code, [tier] if tier else [])
    assert "user 'eve' has no quota" in ran.stderr


def test_a_failed_run_costs_its_user_nothing_and_its_money_is_in_the_log(
    command: Command, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(Reply('{"match_score": "no"}'))
    quotas.set("alice", credit=Quantity(YUAN, "CNY"))
    ran = command(*RUN, "--user", "alice")
    assert (ran.code, len(ran.rows)) == (ExitCode.SCHEMA, 2)
    assert all(row.cost_nanos for row in ran.rows)
    assert (credit(quotas), held(log)) == (YUAN, (0, 0))
    assert quotas.history("alice")[0].why == "no valid answer: schema_invalid"


def test_a_model_that_costs_is_no_free_run(command: Command, deepseek: VendorServer, quotas: Quotas) -> None:
    quotas.set("alice", free=Allowance(5, "day"))
    ran = command(*RUN, "--user", "alice", "--model", "deepseek-chat")
    assert (ran.code, deepseek.requests) == (ExitCode.CAPPED, [])
    assert "a free run takes the free tier's model: leave --model out" in ran.stderr


def test_a_dry_run_and_a_route_say_the_tier_and_hold_nothing(command: Command, quotas: Quotas) -> None:
    quotas.set("alice", credit=Quantity(3, "runs"))
    shown = command(*RUN, "--user", "alice", "--dry-run")
    assert "quota    user 'alice' has 3 runs of credit: the paid tier" in shown.stdout
    routed = command("route", "job_match", "--user", "alice", "--json")
    assert (routed.json["tier"], routed.json["why"]) == ("paid", "user 'alice' has 3 runs of credit: the paid tier")
    quotas.set("alice", credit=Quantity(0, "runs"), free=Allowance(1, "month"))
    routed = command("route", "job_match", "--user", "alice")
    assert routed.stdout.startswith("job_match · free → glm-4.5-flash")
    assert "user 'alice' has no credit; 1 of 1 free runs of 20" in routed.stderr
    quotas.set("alice", free=Allowance(0, "day"))
    assert command("route", "job_match", "--user", "alice").code == ExitCode.CAPPED
    assert whats(quotas) == ["set", "set"]


def test_a_log_that_cannot_be_asked_refuses_the_run_where_config_has_quotas(
    vendors: Projects, deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER))
    options: dict[str, Any] = {"user_id": "alice", "log": UsageLog(tmp_path)}
    with pytest.raises(llmtask.CappedError, match=r"the quota of user 'alice' cannot be asked .*Is a directory"):
        llmtask.run_structured_task("job_match", RESUME, project=vendors(quota={}), **options)
    assert deepseek.requests == []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lenient = vendors(quota={"unreachable": "allow"})
        result = llmtask.run_structured_task("job_match", RESUME, project=lenient, **options)
    assert result.to_json() == MATCH
    assert any("cannot be asked" in str(one.message) for one in said)


# The library: every way a run ends


def ask(project: llmtask.Project, log: UsageLog, **more: Any) -> dict[str, Any]:
    return {"project": project, "log": log, "user_id": "alice", "quota": True, **more}


@pytest.mark.parametrize("way", ["structured", "streaming", "astructured", "astreaming"])
def test_every_way_to_run_a_task_settles(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog, way: str
) -> None:
    deepseek.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(2, "runs"))
    options = ask(vendors(), log)

    async def stream() -> None:
        assert [event async for event in llmtask.arun_streaming_task("job_match", RESUME, **options)]

    match way:
        case "structured":
            llmtask.run_structured_task("job_match", RESUME, **options)
        case "streaming":
            assert list(llmtask.run_streaming_task("job_match", RESUME, **options))
        case "astructured":
            asyncio.run(llmtask.arun_structured_task("job_match", RESUME, **options))
        case _:
            asyncio.run(stream())
    assert (credit(quotas), whats(quotas), held(log)) == (1, ["set", "reserve", "settle"], (0, 0))


def test_a_stream_nobody_reads_holds_nothing(vendors: Projects, quotas: Quotas, log: UsageLog) -> None:
    quotas.set("alice", credit=Quantity(2, "runs"))
    llmtask.run_streaming_task("job_match", RESUME, **ask(vendors(), log)).close()
    assert (credit(quotas), whats(quotas)) == (2, ["set"])


def test_a_stream_that_is_left_early_gives_back(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(SLOW)
    quotas.set("alice", credit=Quantity(YUAN, "CNY"))
    events = llmtask.run_streaming_task("job_match", RESUME, **ask(vendors(), log))
    next(events)
    assert credit(quotas) < YUAN
    events.close()
    assert (credit(quotas), held(log)) == (YUAN, (0, 0))
    assert quotas.history("alice")[0].why == "no valid answer: it was left early"
    assert log.latest(1)[0].error_class == "interrupted"


def test_an_answer_that_was_given_is_paid_though_the_reader_leaves_then(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(2, "runs"))
    for event in llmtask.run_streaming_task("job_match", RESUME, **ask(vendors(), log)):
        if isinstance(event, llmtask.ResultEvent):
            break
    assert credit(quotas) == 1


def test_a_task_that_is_cancelled_gives_back(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(SLOW)
    quotas.set("alice", credit=Quantity(2, "runs"))
    options = ask(vendors(), log)

    async def cancelled() -> None:
        begun = asyncio.Event()

        async def run() -> None:
            async for _ in llmtask.arun_streaming_task("job_match", RESUME, **options):
                begun.set()

        task = asyncio.create_task(run())
        await begun.wait()
        assert credit(quotas) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert (credit(quotas), held(log)) == (2, (0, 0))


def test_config_turns_quotas_on_for_the_library_and_an_option_turns_them_off(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(2, "runs"))
    options: dict[str, Any] = {"project": vendors(quota={}), "log": log, "user_id": "alice"}
    llmtask.run_structured_task("job_match", RESUME, **options)
    llmtask.run_structured_task("job_match", RESUME, quota=False, **options)
    llmtask.run_structured_task("job_match", RESUME, has_quota=True, **options)
    assert credit(quotas) == 1
    with pytest.raises(llmtask.UsageError, match="quotas are kept in the usage log, and there is none"):
        llmtask.run_structured_task("job_match", RESUME, **options | {"log": None})


def test_without_quotas_and_budgets_a_run_asks_the_log_nothing_more(
    vendors: Projects, deepseek: VendorServer, log: UsageLog
) -> None:
    deepseek.queue(Reply(ANSWER))
    log.check()
    said: list[str] = []
    log.run(lambda connection: connection.set_trace_callback(said.append))  # type: ignore[attr-defined]  # SQLite's
    llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=log, user_id="alice")
    assert not [sql for sql in said if "quota" in sql or "budget" in sql]


# Budgets


def test_a_budget_refuses_the_call_before_it_is_made(command: Command, deepseek: VendorServer, log: UsageLog) -> None:
    ran = command(*RUN, budgets=[{**DAY, "amount": 0.001}])
    assert (ran.code, ran.stdout, ran.rows, deepseek.requests) == (ExitCode.CAPPED, "", [], [])
    assert "the budget of ¥0.001 a day has no room for this call: ¥0.00 spent, and it can cost ¥0.0" in ran.stderr
    assert held(log) == (0, 0)


def test_a_budget_that_says_so_sends_the_run_to_the_free_tier(
    command: Command, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    zhipu.queue(Reply(ANSWER))
    ran = command(*RUN, budgets=[{**DAY, "amount": 0.001, "then": "free"}])
    assert (ran.code, deepseek.requests) == (ExitCode.DONE, [])
    [row] = ran.rows
    assert (row.tier, row.model_id, row.attempt) == ("free", "glm-4.5-flash", 1)
    assert "deepseek-chat gives way to glm-4.5-flash (call 1): the budget of" in ran.stderr


def test_a_run_that_a_budget_sent_to_the_free_tier_takes_no_run_of_its_users_credit(
    command: Command, zhipu: VendorServer, quotas: Quotas
) -> None:
    zhipu.queue(Reply(ANSWER))
    quotas.set("alice", credit=Quantity(2, "runs"))
    ran = command(*RUN, "--user", "alice", budgets=[{**DAY, "amount": 0.001, "then": "free"}])
    assert (ran.code, credit(quotas)) == (ExitCode.DONE, 2)
    assert quotas.history("alice")[0].why == "it went on in the free tier"


def test_retries_are_calls_too_and_the_last_failure_is_told(
    command: Command, deepseek: VendorServer, log: UsageLog
) -> None:
    deepseek.queue(Reply('{"match_score": "no"}'))
    ran = command(*RUN, "--max-cost", "0.035CNY", prices={"deepseek-flash": [FLAT]})
    assert (ran.code, len(ran.rows), len(deepseek.requests)) == (ExitCode.CAPPED, 1, 1)
    assert "--max-cost ¥0.035 has no room for this call: ¥0.0" in ran.stderr
    assert held(log) == (0, 0)


@pytest.mark.parametrize(
    ("amount", "code"), [("1", 0), ("1CNY", 0), ("¥0.5", 0), ("0", 8), ("-1CNY", 2), ("NaN", 2), ("1e9999CNY", 2)]
)
def test_max_cost_is_an_amount_in_the_models_currency_or_in_the_one_it_says(
    command: Command, deepseek: VendorServer, amount: str, code: int
) -> None:
    deepseek.queue(Reply(ANSWER))
    ran = command(*RUN, f"--max-cost={amount}", "--no-log")
    assert ran.code == code, ran.stderr


def test_no_log_and_a_budget_over_time_do_not_go_together(command: Command, deepseek: VendorServer) -> None:
    ran = command(*RUN, "--no-log", budgets=[DAY])
    assert (ran.code, deepseek.requests) == (ExitCode.CAPPED, [])
    assert "cannot be checked without the usage log" in ran.stderr


def test_budgets_hold_for_checks_of_models_and_for_suites(
    command: Command, deepseek: VendorServer, tmp_path: Path
) -> None:
    none = [{**DAY, "amount": 0}]
    assert command("models", "check", "deepseek-chat", budgets=none).code == ExitCode.CAPPED
    suite = (
        "task: job_match\nmodels: [deepseek-chat]\nchecks: [{check: schema}]\ncases: [{name: a, inputs: {resume: x}}]\n"
    )
    (tmp_path / "project/tests").mkdir()
    (tmp_path / "project/tests/a.llm.yaml").write_text(suite, encoding="utf-8")
    ran = command("test", str(tmp_path / "project/tests"), budgets=none)
    assert (ran.code, ran.rows, deepseek.requests) == (ExitCode.CAPPED, [], []), ran.stderr


def test_budget_show_tells_what_is_left(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    budgets = [DAY, {**DAY, "per": "month", "user": "*", "then": "free"}]
    ran = command(*RUN, "--user", "alice", budgets=budgets)
    cost = ran.rows[0].cost_nanos or 0
    shown = command("budget", "show", "--json", budgets=budgets).json
    assert [(one["per"], one["scope"], one["then"]) for one in shown] == [
        ("day", {}, "stop"),
        ("month", {"user_id": "alice"}, "free"),
    ]
    assert all(round(float(one["left"]) * YUAN) == YUAN - cost for one in shown)
    table = command("budget", "show", budgets=budgets).stdout
    assert "¥1.00 a month for user 'alice'" in table
    assert "there are no budgets" in command("budget", "show").stderr


def test_the_library_takes_a_cap_for_one_run(vendors: Projects, deepseek: VendorServer, log: UsageLog) -> None:
    with pytest.raises(llmtask.CappedError) as refused:
        llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=log, max_cost=Cost(1, "CNY"))
    assert (refused.value.failure, refused.value.exit_code) == (llmtask.Failure.CAPPED, ExitCode.CAPPED)
    assert (deepseek.requests, log.latest(1)) == ([], [])


# Processes that are killed


def test_eight_runs_at_once_and_kills_at_random_moments_lose_no_credit(
    vendors: Projects, deepseek: VendorServer, quotas: Quotas, log: UsageLog
) -> None:
    deepseek.queue(Reply(ANSWER, first_byte_delay_s=0.2, chunk_delay_s=0.01, chunk_chars=32))
    project = vendors(budgets=[{**DAY, "amount": 100}])
    quotas.set("alice", credit=Quantity(100, "runs"))
    dice = random.Random(int(os.environ.get("LLMTASK_KILLS_SEED", "1")))  # noqa: S311  # moments, not secrets
    blows = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None] * 3

    def fire(blow: signal.Signals | None, delay_s: float) -> int:
        argv = [sys.executable, "-m", "llmtask", *RUN, "--user", "alice", "--project", str(project.root)]
        process = subprocess.Popen([*argv, "--db", str(log.path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = len(deepseek.requests)
        until = time.monotonic() + 20
        while blow and len(deepseek.requests) == begun and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(delay_s)
        if blow and process.poll() is None:
            process.send_signal(blow)
        return process.wait(60)

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(fire, blows, [dice.uniform(0, 0.5) for _ in blows]))
    assert_balanced(log)
    whole = codes.count(0)
    later = Quotas(log, now=lambda: datetime.now(UTC) + timedelta(seconds=961))
    assert credit(later) == 100 - whats(later).count("settle")
    assert whats(later).count("settle") >= whole
    assert whats(later).count("reserve") == sum(whats(later).count(one) for one in ("settle", "give_back", "expire"))
    unfinished = [row.id for row in log.latest(1000) if row.is_unfinished]
    left_over = log.query(
        "SELECT call_id FROM budget_reservations WHERE expires_at > ?", (timestamp(datetime.now(UTC)),)
    )
    assert {call_id for (call_id,) in left_over} == set(unfinished)
