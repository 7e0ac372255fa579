"""`run` against servers that speak the vendors' formats: what went over the wire, and what came of it."""

import base64
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmtask.errors import ExitCode
from llmtask.main import app
from tests.wire.conftest import DEEPSEEK_KEY, EXAMPLES, JOB, MATCH, ZHIPU_KEY, Outcome
from tests.wire.vendor import Reply, VendorServer

Command = Callable[..., Outcome]
RESUME = str(EXAMPLES / "resume.zh.md")
ENGLISH = str(EXAMPLES / "resume.en.md")
ANSWER = json.dumps(MATCH, ensure_ascii=False)
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


def test_a_chinese_resume_becomes_valid_json_in_one_command(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER, keep_alive=3))
    outcome = command("run", "job_match", "--locale", "zh", "--input", RESUME)
    assert (outcome.code, outcome.json) == (ExitCode.DONE, MATCH)
    [row] = outcome.rows
    assert (row.provider, row.model_id, row.upstream_model) == ("deepseek", "deepseek-chat", "deepseek-flash")
    assert (row.queue_id, row.tier, row.worker, row.locale) == ("q_deepseek_chat", "paid", "stream", "zh")
    assert row.is_success
    assert not row.is_estimate
    assert row.finish_reason == "stop"


def test_an_english_resume_goes_the_free_way(command: Command, zhipu: VendorServer) -> None:
    zhipu.queue(Reply(ANSWER, usage_in="trailing"))
    outcome = command("run", "job_match", "--locale", "en", "--input", ENGLISH, "--free")
    assert (outcome.code, outcome.json) == (ExitCode.DONE, MATCH)
    [row] = outcome.rows
    assert (row.model_id, row.upstream_model, row.cost_nanos, row.tier) == ("glm-4.5-flash", "glm-4.7-flash", 0, "free")


def test_the_body_is_what_deepseek_documents(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    command("run", "job_match", "--input", RESUME)
    body = deepseek.requests[0].body or {}
    assert body["model"] == "deepseek-flash"
    assert body["max_tokens"] == 8192
    assert "max_completion_tokens" not in body
    assert body["thinking"] == {"type": "disabled"}
    assert body["temperature"] == 0.1
    assert body["stream_options"] == {"include_usage": True}
    assert body["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "json" in body["messages"][0]["content"].lower()


def test_reasoning_is_asked_for_and_kept_out_of_the_answer(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER, reasoning='先看要求。{"match_score": 1}'))
    outcome = command("run", "job_match", "--input", RESUME, "--reasoning", "--format", "events")
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    thought = "".join(event["text"] for event in events if event["event"] == "reasoning")
    said = "".join(event["text"] for event in events if event["event"] == "text")
    assert (thought, said) == ('先看要求。{"match_score": 1}', ANSWER)
    assert events[-1]["data"] == MATCH
    body = deepseek.requests[0].body or {}
    assert (body["thinking"], body["reasoning_effort"]) == ({"type": "enabled"}, "high")
    assert "temperature" not in body
    assert outcome.rows[0].reasoning_tokens > 0


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_usage_and_cost_are_the_vendors_own_numbers(stream: str, command: Command, deepseek: VendorServer) -> None:
    usage = {
        "prompt_tokens": 1000,
        "prompt_cache_hit_tokens": 600,
        "prompt_cache_miss_tokens": 400,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    deepseek.queue(Reply(ANSWER, usage=usage))
    prices = [{"effective_from": "2020-01-01", "lists": {"CNY": {"cache_hit": 0.02, "cache_miss": 1, "output": 4}}}]
    outcome = command("run", "job_match", "--input", RESUME, stream, prices={"deepseek-flash": prices})
    [row] = outcome.rows
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.total_tokens) == (1000, 600, 100, 1100)
    assert (row.cost_nanos, row.currency) == (600 * 20 + 400 * 1000 + 100 * 4000, "CNY")
    assert row.saved_nanos == 600 * (1000 - 20)
    assert bool(row.is_stream) is (stream == "--stream")


def test_a_stream_without_usage_is_counted_and_marked(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER, usage_in="none"))
    outcome = command("run", "job_match", "--input", RESUME)
    [row] = outcome.rows
    assert row.is_estimate
    assert row.input_tokens > 500
    assert row.output_tokens > 20
    assert "~" in outcome.stderr


@pytest.mark.parametrize(("structured", "choice"), [("tool", "named"), ("tool_auto", "auto")])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_tool_arguments_are_the_answer_and_stream(
    structured: str, choice: str, stream: str, command: Command, deepseek: VendorServer
) -> None:
    deepseek.queue(Reply(tool_arguments=ANSWER, finish_reason="tool_calls"))
    models = {"deepseek-chat": {"structured": structured}}
    outcome = command("run", "job_match", "--input", RESUME, stream, "--format", "events", models=models)
    assert outcome.code == ExitCode.DONE
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert events[-1]["data"] == MATCH
    assert (len([event for event in events if event["event"] == "text"]) > 3) is (stream == "--stream")
    body = deepseek.requests[0].body or {}
    named = {"type": "function", "function": {"name": "output_formatter"}}
    assert body["tool_choice"] == (named if choice == "named" else "auto")
    assert "$ref" not in json.dumps(body["tools"])


@pytest.mark.parametrize("structured", ["tool", "tool_auto"])
def test_glm_is_never_forced_to_a_tool(structured: str, command: Command, zhipu: VendorServer) -> None:
    zhipu.queue(Reply(tool_arguments=ANSWER, finish_reason="tool_calls"))
    models = {"glm-4.5-flash": {"structured": structured}}
    assert command("run", "job_match", "--input", RESUME, "--free", models=models).json == MATCH
    assert (zhipu.requests[0].body or {})["tool_choice"] == "auto"


def test_deepseek_is_not_forced_to_a_tool_while_it_thinks(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(tool_arguments=ANSWER, reasoning="想", finish_reason="tool_calls"))
    models = {"deepseek-reasoner": {"structured": "tool"}}
    assert command("run", "job_match", "--input", RESUME, "--reasoning", models=models).json == MATCH
    assert "tool_choice" not in (deepseek.requests[0].body or {})


@pytest.mark.parametrize(("asked", "sent"), [(0, 0.01), (1, 0.99), (0.5, 0.5)])
def test_glm_temperature_stays_inside_its_bounds(
    asked: float, sent: float, command: Command, zhipu: VendorServer
) -> None:
    zhipu.queue(Reply(ANSWER))
    outcome = command("run", "job_match", "--input", RESUME, "--free", models={"glm-4.5-flash": {"temperature": asked}})
    assert outcome.code == ExitCode.DONE
    body = zhipu.requests[0].body or {}
    assert body["temperature"] == sent
    assert body.get("do_sample") is (False if asked == 0 else None)


def test_an_image_goes_to_the_vision_route_as_bare_base64(
    command: Command, zhipu: VendorServer, tmp_path: Path
) -> None:
    (tmp_path / "shot.png").write_bytes(PNG)
    zhipu.queue(Reply(f"<think>看图</think>\n```json\n{json.dumps(JOB)}\n```"))
    outcome = command("run", "job_summary", "--input", f"job={tmp_path / 'shot.png'}", "--free")
    assert (outcome.code, outcome.json) == (ExitCode.DONE, JOB)
    body = zhipu.requests[0].body or {}
    assert body["model"] == "glm-4.1v-thinking-flash"
    [image] = [part for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    assert base64.b64decode(image["image_url"]["url"]) == PNG
    [row] = outcome.rows
    assert (row.queue_id, row.worker, row.images) == ("q_glm_vision_free", "structured", 1)


def test_only_the_providers_own_key_is_sent(
    command: Command, deepseek: VendorServer, zhipu: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "LANGSMITH_API_KEY"):
        monkeypatch.setenv(name, "sk-stranger")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: sk-stranger\nAuthorization: Bearer sk-stranger")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/stranger")
    for server, tier, key in ((deepseek, "--paid", DEEPSEEK_KEY), (zhipu, "--free", ZHIPU_KEY)):
        server.queue(Reply(ANSWER))
        assert command("run", "job_match", "--input", RESUME, tier).code == ExitCode.DONE
        headers = server.requests[0].headers
        assert headers["authorization"] == f"Bearer {key}"
        assert "sk-stranger" not in json.dumps(headers)
        assert not [name for name in headers if name.startswith(("openai-", "x-secret"))]


def test_an_openai_key_does_not_stand_in_for_a_missing_one(
    command: Command, deepseek: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-stranger")
    monkeypatch.setenv("DEEPSEEK_API_KEY", "")
    outcome = command("run", "job_match", "--input", RESUME)
    assert outcome.code == ExitCode.KEY
    for way_on in ("DEEPSEEK_API_KEY", "--model offline", "another model"):
        assert way_on in outcome.stderr
    assert deepseek.requests == []


def test_an_answer_that_does_not_fit_is_asked_for_again_with_its_problems(
    command: Command, deepseek: VendorServer
) -> None:
    deepseek.queue(Reply(json.dumps({**MATCH, "match_score": 820}, ensure_ascii=False)), Reply(ANSWER))
    outcome = command("run", "job_match", "--input", RESUME)
    assert (outcome.code, outcome.json) == (ExitCode.DONE, MATCH)
    messages = (deepseek.requests[1].body or {})["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert "match_score" in messages[-1]["content"]
    first, second = outcome.rows
    assert (first.error_class, first.attempt, second.attempt) == ("schema_invalid", 1, 2)
    assert first.run_id == second.run_id
    assert "2 calls" in outcome.stderr


def test_an_answer_that_never_fits_ends_with_6_and_both_rows(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply("I'd rather write a poem."))
    outcome = command("run", "job_match", "--input", RESUME)
    assert (outcome.code, outcome.stdout) == (ExitCode.SCHEMA, "")
    assert [row.error_class for row in outcome.rows] == ["schema_invalid"] * 2
    assert "poem" not in "".join(str(row) for row in outcome.rows)


def test_an_answer_that_never_fits_is_kept_where_stderr_says(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply("I'd rather write a poem."))
    outcome = command("run", "job_match", "--input", RESUME)
    found = re.search(r"answer as it came is in (\S+)", " ".join(outcome.stderr.split()))
    assert found
    kept = Path(found[1])
    assert kept.read_text(encoding="utf-8") == "I'd rather write a poem."
    assert kept.stat().st_mode & 0o077 == 0
    for other in kept.parent.iterdir():
        other.unlink()
    assert command("run", "job_match", "--input", RESUME, "--no-keep").code == ExitCode.SCHEMA
    assert not list(kept.parent.iterdir())


FAULTS = [
    (Reply(status=401, error={"message": "Authentication Fails", "code": "invalid_request_error"}), 4, "refused_key"),
    (Reply(status=402, error={"message": "Insufficient Balance", "code": "x"}), 5, "no_balance"),
    (Reply(status=429, error={"message": "Rate limit reached", "code": "x"}), 5, "rate_limited"),
    (Reply(status=503, error={"message": "overloaded", "code": "x"}), 5, "overloaded"),
    (Reply(status=500, raw_body=b"<html>oops</html>"), 5, "overloaded"),
    (Reply(ANSWER, cut_after_chunks=3), 5, "cut_stream"),
    (Reply(ANSWER, finish_reason="length"), 5, "length"),
    (Reply(ANSWER, finish_reason="content_filter"), 7, "filtered"),
    (Reply(ANSWER, finish_reason="insufficient_system_resource"), 5, "overloaded"),
    (Reply("     "), 5, "blank"),
    (Reply(ANSWER, mid_stream_error={"message": "server exploded", "code": "500"}), 5, None),
]


@pytest.mark.parametrize(("reply", "code", "failure"), FAULTS)
def test_a_failed_call_has_its_exit_code_and_its_row(
    reply: Reply, code: int, failure: str | None, command: Command, deepseek: VendorServer
) -> None:
    deepseek.queue(reply)
    outcome = command("run", "job_match", "--input", RESUME)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert len(outcome.rows) == len(deepseek.requests)
    assert not any(row.is_success for row in outcome.rows)
    if failure:
        assert outcome.rows[-1].error_class == failure
    assert len(outcome.stderr.strip().splitlines()) <= 2
    assert DEEPSEEK_KEY not in outcome.stderr + str(outcome.rows)


def test_zhipus_empty_account_is_no_rate_limit(command: Command, zhipu: VendorServer) -> None:
    zhipu.queue(Reply(status=429, error={"code": "1113", "message": "您的账户已欠费，请充值后重试"}))
    outcome = command("run", "job_match", "--input", RESUME, "--free")
    assert outcome.code == ExitCode.PROVIDER
    assert "欠费" in outcome.stderr
    assert [row.error_class for row in outcome.rows] == ["no_balance"]


def test_a_silent_server_ends_with_the_timeout(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER, hang_after_chunks=2))
    outcome = command("run", "job_match", "--input", RESUME, "--timeout", "0.5")
    assert outcome.code == ExitCode.PROVIDER
    assert outcome.rows[0].error_class == "timeout"
    assert outcome.rows[0].is_estimate


def test_a_dead_port_and_an_unknown_host_are_told_apart(command: Command) -> None:
    dead = command("run", "job_match", "-i", RESUME, providers={"deepseek": {"base_url": "http://127.0.0.1:9/v1"}})
    assert (dead.code, dead.rows[0].error_class) == (ExitCode.PROVIDER, "network")
    assert "refused" in dead.stderr.lower()


def test_a_model_that_is_not_listed_is_reached_by_provider_and_name(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    outcome = command("run", "job_match", "--input", RESUME, "--model", "deepseek/deepseek-v4-pro")
    assert outcome.code == ExitCode.DONE
    assert (outcome.rows[0].model_id, outcome.rows[0].currency) == (
        "deepseek/deepseek-v4-pro",
        "CNY",
    )  # by its full name
    assert "unpriced" not in outcome.stderr
    assert (deepseek.requests[0].body or {})["model"] == "deepseek-v4-pro"


def test_a_server_without_keys_gets_none(command: Command, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    providers: dict[str, Any] = {"local": {"base_url": deepseek.base_url, "unlisted": {"structured": "json_schema"}}}
    command("run", "job_match", "--input", RESUME, "--model", "local/qwen", providers=providers)
    assert "authorization" not in deepseek.requests[0].headers


def test_the_usage_report_shows_the_runs(
    command: Command, deepseek: VendorServer, zhipu: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER))
    zhipu.queue(Reply(ANSWER))
    command("run", "job_match", "--locale", "zh", "--input", RESUME)
    outcome = command("run", "job_match", "--locale", "en", "--input", ENGLISH, "--free")
    assert {row.model_id for row in outcome.rows} == {"deepseek-chat", "glm-4.5-flash"}
    report = CliRunner().invoke(app, ["usage", "report", "--format", "json", "--db", str(tmp_path / "usage.db")])
    total = json.loads(report.stdout)["total"]
    assert (total["calls"], total["failed"]) == (2, 0)
    assert total["input_tokens"] == sum(row.input_tokens for row in outcome.rows)
    assert Decimal(total["cost"]["CNY"]) * 10**9 == sum(row.cost_nanos or 0 for row in outcome.rows)
