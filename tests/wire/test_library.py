"""The library over real HTTP: typed results, sync and async, and what closing early leaves behind."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel

import llmtask
from tests.wire.conftest import MATCH
from tests.wire.vendor import Reply, VendorServer

ANSWER = json.dumps(MATCH, ensure_ascii=False)
RESUME = {"resume": "支付后端工程师，求职意向：高级后端。" * 3}

Projects = Callable[..., llmtask.Project]


class Score(BaseModel):
    match_score: int


def test_a_class_of_the_callers_own_makes_the_result_typed(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    result = llmtask.run_structured_task("job_match", RESUME, schema=Score, project=vendors(), log=None)
    score: int = result.data.match_score
    assert score == 82
    assert (result.attempts, result.is_sample, result.upstream_model) == (1, False, "deepseek-flash")
    assert (deepseek.requests[0].body or {})["stream"] is False


def test_sync_and_async_streams_give_the_same_events(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    project = vendors()

    async def gather() -> list[object]:
        return [event async for event in llmtask.arun_streaming_task("job_match", RESUME, project=project, log=None)]

    async_events = asyncio.run(gather())
    sync_events = list(llmtask.run_streaming_task("job_match", RESUME, project=project, log=None))
    assert [type(event) for event in async_events] == [type(event) for event in sync_events]
    first, second = async_events[-1], sync_events[-1]
    assert isinstance(first, llmtask.ResultEvent)
    assert isinstance(second, llmtask.ResultEvent)
    assert first.result.to_json() == second.result.to_json() == MATCH


def test_async_and_structured_gives_the_result(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(ANSWER))
    result = asyncio.run(llmtask.arun_structured_task("job_match", RESUME, project=vendors(), log=None))
    assert result.to_json() == MATCH


def test_a_stream_that_is_closed_early_leaves_its_row(
    vendors: Projects, deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER, chunk_delay_s=0.01))
    log = llmtask.UsageLog(tmp_path / "early.db")
    events = llmtask.run_streaming_task("job_match", RESUME, project=vendors(), log=log)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]  # a generator
    [row] = log.latest(10)
    assert (row.is_success, row.error_class, bool(row.is_estimate)) == (0, "interrupted", True)
    assert row.input_tokens > 0


def test_a_cancelled_task_leaves_its_row(vendors: Projects, deepseek: VendorServer, tmp_path: Path) -> None:
    deepseek.queue(Reply(ANSWER, hang_after_chunks=3))
    log = llmtask.UsageLog(tmp_path / "cancelled.db")
    project = vendors()

    async def cancel() -> None:
        task = asyncio.create_task(llmtask.arun_structured_task("job_match", RESUME, project=project, log=log))
        while not deepseek.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    [row] = log.latest(10)
    assert row.error_class == "interrupted"


def test_an_error_says_what_kind_it_is(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(Reply(status=402, error={"message": "Insufficient Balance", "code": "x"}))
    with pytest.raises(llmtask.CallError) as caught:
        llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=None)
    assert (caught.value.failure, caught.value.status) == (llmtask.Failure.NO_BALANCE, 402)


def test_get_model_gives_a_langchain_chat_model(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(Reply("你好", reasoning="想一想"))
    model = llmtask.get_model("deepseek-reasoner", project=vendors())
    assert isinstance(model, BaseChatModel)
    message = model.invoke("hello")
    assert message.text == "你好"
    assert message.additional_kwargs["reasoning_content"] == "想一想"
    assert "canary" not in repr(model)
    model.http_client.close()  # type: ignore[attr-defined]


def test_an_unknown_option_is_refused(vendors: Projects) -> None:
    with pytest.raises(TypeError, match="unknown option 'model'; did you mean 'model_id'"):
        llmtask.run_structured_task("job_match", RESUME, model="deepseek-chat", project=vendors())  # type: ignore[call-arg]
