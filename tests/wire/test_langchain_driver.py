"""driver langchain: the seed's own ChatZhipuAI, named in config.yaml, against a real HTTP server."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import llmtask
from llmtask.errors import CallError, ExitCode, Failure
from tests.wire.conftest import EXAMPLES, MATCH, ZHIPU_KEY, Outcome
from tests.wire.vendor import Reply, VendorServer

pytest.importorskip("langchain_community", reason="the extra llmtask[community] is not installed")
pytest.importorskip("jwt", reason="the extra llmtask[community] is not installed")

RESUME = str(EXAMPLES / "resume.zh.md")
ANSWER = json.dumps(MATCH, ensure_ascii=False)


def community(server: VendorServer, **model: Any) -> dict[str, Any]:
    """What a config.yaml says to reach GLM through ChatZhipuAI."""
    provider = {
        "driver": "langchain",
        "class": "langchain_community.chat_models.ChatZhipuAI",
        "base_url": server.base_url,
        "api_key_env": ["ZHIPU_API_KEY"],
        "currency": "CNY",
        "kwargs": {
            "model": "{name}",
            "api_key": "{api_key}",
            "api_base": "{base_url}/chat/completions",
            "temperature": "{temperature}",
            "max_tokens": "{max_tokens}",
        },
    }
    glm = {"provider": "glm", "name": "glm-4.5-flash", "context": 128000, "temperature": 0.1, "max_tokens": 4096}
    return {"providers": {"glm": provider}, "models": {"glm-community": {**glm, "structured": "json_object", **model}}}


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_chat_zhipu_ai_works_through_the_dotted_driver(
    stream: str, command: Callable[..., Outcome], zhipu: VendorServer
) -> None:
    zhipu.queue(Reply(ANSWER))
    config = community(zhipu, price="glm-flash-free", thinking="disabled")
    outcome = command("run", "job_match", "-i", RESUME, "-m", "glm-community", stream, **config)
    assert (outcome.code, outcome.json) == (ExitCode.DONE, MATCH)
    body = zhipu.requests[0].body or {}
    assert (body["model"], body["max_tokens"], body["response_format"]) == (
        "glm-4.5-flash",
        4096,
        {"type": "json_object"},
    )
    assert body["thinking"] == {"type": "disabled"}
    [row] = outcome.rows
    assert (row.provider, row.model_id, row.cost_nanos) == ("glm", "glm-community", 0)
    assert row.input_tokens > 0
    assert row.is_success


def test_chat_zhipu_ai_calls_a_tool(command: Callable[..., Outcome], zhipu: VendorServer) -> None:
    zhipu.queue(Reply(tool_arguments=ANSWER, finish_reason="tool_calls"))
    config = community(zhipu, structured="tool_auto")
    outcome = command("run", "job_match", "-i", RESUME, "-m", "glm-community", "--no-stream", **config)
    assert (outcome.code, outcome.json) == (ExitCode.DONE, MATCH)


@pytest.mark.parametrize(
    ("reply", "stream", "code", "failure"),
    [
        (Reply(status=401, error={"code": "1002", "message": "Token非法"}), "--no-stream", ExitCode.KEY, "refused_key"),
        (Reply(status=429, error={"code": "1113", "message": "您的账户已欠费"}), "--no-stream", 5, "no_balance"),
        (Reply(status=500, error={"code": "1234", "message": "network error"}), "--no-stream", 5, "overloaded"),
        # The class drops status and body of an error in a stream; what is left is that there was one.
        (Reply(status=401, error={"code": "1002", "message": "Token非法"}), "--stream", 5, "bad_request"),
        (Reply(ANSWER, cut_after_chunks=3), "--stream", ExitCode.PROVIDER, "cut_stream"),
    ],
)
def test_its_errors_become_ours(
    reply: Reply, stream: str, code: int, failure: str, command: Callable[..., Outcome], zhipu: VendorServer
) -> None:
    zhipu.queue(reply)
    outcome = command("run", "job_match", "-i", RESUME, "-m", "glm-community", stream, **community(zhipu))
    assert (outcome.code, outcome.stdout) == (code, "")
    assert [row.error_class for row in outcome.rows] == [failure]
    assert ZHIPU_KEY not in outcome.stderr + str(outcome.rows)
    assert "Traceback" not in outcome.stderr


def test_a_key_it_cannot_read_is_not_shown(
    command: Callable[..., Outcome], zhipu: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZHIPU_API_KEY", "sk-canary-without-a-dot")
    outcome = command("run", "job_match", "-i", RESUME, "-m", "glm-community", **community(zhipu))
    assert outcome.code == ExitCode.PROVIDER
    assert "sk-canary" not in outcome.stderr


def test_a_class_that_is_not_there_is_a_project_error(command: Callable[..., Outcome], zhipu: VendorServer) -> None:
    config = community(zhipu)
    config["providers"]["glm"]["class"] = "langchain_communty.chat_models.ChatZhipuAI"
    outcome = command("run", "job_match", "-i", RESUME, "-m", "glm-community", **config)
    assert outcome.code == ExitCode.PROJECT
    assert "providers.glm.class" in outcome.stderr


@pytest.mark.parametrize("live", [True, False])
def test_async_too_waits_no_longer_than_config_says(
    live: bool, vendors: Callable[..., llmtask.Project], zhipu: VendorServer
) -> None:
    zhipu.queue(Reply(ANSWER, first_byte_delay_s=20))
    project = vendors(**community(zhipu), defaults={"timeouts": {"first_byte_s": 0.3}})
    options: Any = {"model_id": "glm-community", "project": project, "log": None}

    async def run() -> None:
        if not live:
            await llmtask.arun_structured_task("job_match", {"resume": "Go"}, **options)
        async for _ in llmtask.arun_streaming_task("job_match", {"resume": "Go"}, **options):
            pass

    with pytest.raises(CallError, match=r"no answer began within 0\.3 s") as caught:
        asyncio.run(run())
    assert caught.value.failure is Failure.STALLED
