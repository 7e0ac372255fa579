"""What follows a failed call, as the rules say: asked again, another model, or the end."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.conftest import MATCH, Outcome
from tests.wire.vendor import Reply, VendorServer

RUN = ("run", "job_match", "--var", "resume=Go, 5 years")
GOOD = Reply(content=json.dumps(MATCH, ensure_ascii=False))
BUSY = Reply(status=503)
FALLBACK = {"models": {"deepseek-chat": {"fallbacks": ["glm-4.5-flash"]}}}
LIVE = pytest.mark.parametrize("live", ["--stream", "--no-stream"])
Command = Callable[..., Outcome]


def rules(**said: dict[str, Any]) -> dict[str, Any]:
    return {"rules": said}


@LIVE
def test_an_overload_is_tried_again_and_each_call_has_its_row(
    command: Command, deepseek: VendorServer, live: str
) -> None:
    deepseek.queue(BUSY, BUSY, GOOD)
    outcome = command(*RUN, live, **rules(overloaded={"retry": 3, "wait_s": 0.01}))
    assert (outcome.code, outcome.json) == (0, MATCH)
    assert [row.error_class for row in outcome.rows] == ["overloaded", "overloaded", None]
    assert [row.attempt for row in outcome.rows] == [1, 2, 3]
    assert len({row.run_id for row in outcome.rows}) == 1
    assert len(deepseek.requests) == 3
    assert outcome.stderr.count("asking deepseek-chat again in 0.0") == 2


def test_the_calls_of_a_run_are_bounded(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(BUSY)
    outcome = command(*RUN, **rules(overloaded={"retry": 9}), defaults={"calls": 2})
    assert (outcome.code, len(outcome.rows), len(deepseek.requests)) == (5, 2, 2)


def test_a_429_without_balance_is_never_tried_again(command: Command, zhipu: VendorServer) -> None:
    zhipu.queue(Reply(status=429, error={"code": "1113", "message": "欠费"}))
    outcome = command(*RUN, "--free", **rules(rate_limited={"retry": 3}))
    assert (outcome.code, [row.error_class for row in outcome.rows]) == (5, ["no_balance"])
    assert len(zhipu.requests) == 1


def test_retry_after_is_waited(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(status=429, headers={"Retry-After": "0.2"}), GOOD)
    outcome = command(*RUN, **rules(rate_limited={"retry": 1}))
    first, second = deepseek.requests
    assert outcome.code == 0
    assert second.received_at - first.received_at >= 0.2


def test_who_asks_for_too_long_a_wait_is_not_asked_again(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(status=429, headers={"Retry-After": "3600"}), GOOD)
    outcome = command(*RUN, **rules(rate_limited={"retry": 3}))
    assert (outcome.code, len(deepseek.requests)) == (5, 1)


@LIVE
def test_a_fallback_takes_over_in_plain_sight(
    command: Command, deepseek: VendorServer, zhipu: VendorServer, live: str
) -> None:
    deepseek.queue(Reply(status=402))
    zhipu.queue(GOOD)
    outcome = command(*RUN, live, **FALLBACK)
    assert (outcome.code, outcome.json) == (0, MATCH)
    assert "deepseek-chat gives way to glm-4.5-flash (call 2): deepseek: no balance" in outcome.stderr
    assert [(row.provider, row.model_id, row.error_class) for row in outcome.rows] == [
        ("deepseek", "deepseek-chat", "no_balance"),
        ("zhipu", "glm-4.5-flash", None),
    ]
    assert [row.queue_id for row in outcome.rows] == ["q_deepseek_chat", "q_glm_flash"]


@pytest.mark.parametrize(
    ("reply", "extra"),
    [(Reply(status=401), ()), (Reply(status=402), ("--no-fallback",)), (Reply(status=402), ("-m", "deepseek-chat"))],
)
def test_no_other_model_is_asked(
    command: Command, deepseek: VendorServer, zhipu: VendorServer, reply: Reply, extra: tuple[str, ...]
) -> None:
    deepseek.queue(reply)
    outcome = command(*RUN, *extra, **FALLBACK)
    assert outcome.code in (4, 5)
    assert (len(outcome.rows), zhipu.requests) == (1, [])


def test_thinking_that_used_up_the_budget_gets_a_larger_one(command: Command, deepseek: VendorServer) -> None:
    cut = Reply(reasoning="思考" * 20, finish_reason="length")
    deepseek.queue(cut, GOOD)
    outcome = command(*RUN, "-m", "deepseek-reasoner")
    assert outcome.code == 0
    assert [request.body["max_tokens"] for request in deepseek.requests if request.body] == [32768, 65536]


def test_thinking_goes_off_where_the_budget_is_the_most(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(reasoning="思考" * 20, finish_reason="length"), GOOD)
    outcome = command(*RUN, "-m", "deepseek-reasoner", models={"deepseek-reasoner": {"most_tokens": None}})
    assert outcome.code == 0
    assert [request.body["thinking"]["type"] for request in deepseek.requests if request.body] == [
        "enabled",
        "disabled",
    ]


@LIVE
@pytest.mark.parametrize("keep_alive", [0, 200])
def test_an_answer_that_never_begins_is_given_up(
    command: Command, deepseek: VendorServer, live: str, keep_alive: int
) -> None:
    deepseek.queue(Reply(content="{}", keep_alive=keep_alive, first_byte_delay_s=0 if keep_alive else 20))
    outcome = command(*RUN, live, defaults={"timeouts": {"first_byte_s": 0.3}})
    assert (outcome.code, [row.error_class for row in outcome.rows]) == (5, ["stalled"])
    assert "no answer began within 0.3 s" in outcome.stderr


def test_a_run_ends_at_its_time_though_bytes_still_come(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(content=GOOD.content, chunk_chars=1, chunk_delay_s=0.1))
    outcome = command(*RUN, "--timeout", "0.5")
    assert (outcome.code, outcome.rows[-1].error_class) == (5, "timeout")


def test_a_dry_run_says_the_worst_case(command: Command) -> None:
    outcome = command(*RUN, "--dry-run", **FALLBACK)
    assert "at worst 4 calls of deepseek-chat, about ¥" in outcome.stdout
    assert "then     4 calls of glm-4.5-flash" in outcome.stdout
    assert "over after 900 s" in outcome.stdout


def test_costs_in_two_currencies_are_never_added_up(
    command: Command, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    deepseek.queue(Reply(content='{"match_score":', finish_reason="length"))
    zhipu.queue(GOOD)
    dollars = {"providers": {"deepseek": {"currency": "USD"}}}
    paid = {
        "models": {
            "deepseek-chat": {"most_tokens": None, **FALLBACK["models"]["deepseek-chat"]},
            "glm-4.5-flash": {"price": "deepseek-flash"},
        }
    }
    takes_over = rules(length={"retry": 0, "then": "fall_back"})
    outcome = command(*RUN, "--format", "events", **dollars, **paid, **takes_over)
    result = json.loads(outcome.stdout.splitlines()[-1])
    assert [(row.currency, (row.cost_nanos or 0) > 0) for row in outcome.rows] == [("USD", True), ("CNY", True)]
    assert (result["cost"], [cost["currency"] for cost in result["costs"]]) == (None, ["USD", "CNY"])
    assert " + " in outcome.stderr.splitlines()[-1].split("tokens")[1]
