"""Spans, sent by OpenTelemetry's own SDK and exporter to a collector that keeps every byte."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import opentelemetry.metrics._internal
import opentelemetry.trace
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import llmtask
from llmtask import __version__
from llmtask.errors import ExitCode
from llmtask.project import Project
from llmtask.usage import UsageLog, UsageRow
from tests.wire.conftest import DEEPSEEK_KEY, MATCH, ZHIPU_KEY
from tests.wire.receiver import Received, Receiver
from tests.wire.vendor import Reply, VendorServer

SECRET = "候选人张三丰-canary-resume"
RESUME = {"resume": f"{SECRET}，支付后端工程师，求职意向：高级后端。" * 3}
THOUGHT = "canary-reasoning"
MARK = "canary-answer"
ANSWER = json.dumps({**MATCH, "overall_assessment": MARK}, ensure_ascii=False)
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_cache_hit_tokens": 600,
    "prompt_cache_miss_tokens": 400,
    "completion_tokens_details": {"reasoning_tokens": 50},
}
GOOD = Reply(ANSWER, usage=USAGE)
OTHERS = {
    "LANGSMITH_TRACING": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGSMITH_API_KEY": "ls-key",
    "LANGSMITH_OTEL_ENABLED": "true",
    "LANGSMITH_OTEL_ONLY": "true",
    "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
}
VAR = ("--var", "resume=Go, 5 years")
ON = {"tracing": {"enabled": True}}
Projects = Callable[..., Project]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as collector:
        yield collector


@pytest.fixture
def program(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """A program that has set OpenTelemetry up: each span is sent when it ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{receiver.endpoint}/v1/traces")))
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", provider)  # theirs; it can be set but once
    yield provider
    provider.shutdown()


def calls(spans: list[Received]) -> list[Received]:
    return [span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat"]


def the_run(spans: list[Received]) -> Received:
    [run] = [span for span in spans if span.name.startswith("llmtask ")]
    return run


# the library


@pytest.mark.parametrize("way", ["structured", "streaming", "async structured", "async streaming"])
@pytest.mark.usefixtures("program")
def test_a_run_is_a_span_and_its_call_is_one_below_it(
    way: str, vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    log = UsageLog(tmp_path / "own.db")
    options: dict[str, Any] = {"project": vendors(), "log": log, "service_id": "hr", "user_id": "user-canary"}
    asked = ask(way, options)
    [row] = log.latest(9)
    run, call = receiver.spans
    assert (run.name, run.kind, run.parent_id) == ("llmtask job_match", "INTERNAL", "")
    assert (call.name, call.kind, call.parent_id) == ("chat deepseek-flash", "CLIENT", run.span_id)
    assert call.trace_id == run.trace_id
    assert (call.is_error, run.is_error) == (False, False)
    assert call.scope == ("llmtask", __version__, "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev")
    is_stream = way.endswith("streaming")
    stream = {"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": (row.first_token_ms or 0) / 1000}
    shared = {
        "llmtask.run.id": row.run_id,
        "llmtask.task": "job_match",
        "llmtask.locale": "zh",
        "llmtask.tier": "paid",
        "llmtask.worker": row.worker,
        "llmtask.service": "hr",
        "llmtask.model": "deepseek-chat",
    }
    assert run.attributes == shared | {"llmtask.run.calls": 1}
    assert call.attributes == shared | (stream if is_stream else {}) | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "deepseek",
        "gen_ai.request.model": "deepseek-flash",
        "gen_ai.request.max_tokens": 8192,
        "gen_ai.request.temperature": 0.1,
        "gen_ai.output.type": "json",
        "gen_ai.prompt.name": "zh/job_match",
        "gen_ai.prompt.version": row.prompt_hash,
        "gen_ai.response.model": "deepseek-flash",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 200,
        "gen_ai.usage.cache_read.input_tokens": 600,
        "gen_ai.usage.reasoning.output_tokens": 50,
        "server.address": "127.0.0.1",
        "server.port": int(deepseek.base_url.split(":")[2].split("/")[0]),
        "llmtask.call.id": row.id,
        "llmtask.call.attempt": 1,
        "llmtask.queue": row.queue_id,
        "llmtask.usage.is_estimate": False,
        "llmtask.cost.nanos": row.cost_nanos,
        "llmtask.cost.currency": "CNY",
        "llmtask.repair_level": "strict",
    }
    assert asked.run_id == row.run_id
    assert abs(call.seconds - row.latency_ms / 1000) < 0.05
    assert run.seconds >= call.seconds


def ask(way: str, options: dict[str, Any]) -> llmtask.TaskResult:
    async def stream() -> list[Any]:
        return [event async for event in llmtask.arun_streaming_task("job_match", RESUME, **options)]

    if way == "structured":
        return llmtask.run_structured_task("job_match", RESUME, **options)
    if way == "async structured":
        return asyncio.run(llmtask.arun_structured_task("job_match", RESUME, **options))
    if way == "streaming":
        result: llmtask.TaskResult = list(llmtask.run_streaming_task("job_match", RESUME, **options))[-1].result  # type: ignore[union-attr]
        return result
    last: llmtask.TaskResult = asyncio.run(stream())[-1].result
    return last


@pytest.mark.parametrize("way", ["structured", "streaming", "async structured", "async streaming"])
def test_a_run_is_a_child_of_what_is_current_and_leaves_it_current(
    way: str, vendors: Projects, deepseek: VendorServer, receiver: Receiver, program: TracerProvider
) -> None:
    deepseek.queue(GOOD)
    with program.get_tracer("app").start_as_current_span("request") as outer:
        ask(way, {"project": vendors(), "log": None})
        assert opentelemetry.trace.get_current_span() is outer
    assert the_run(receiver.spans).parent_id == format(outer.get_span_context().span_id, "016x")


def test_between_two_events_the_callers_own_span_is_current(
    vendors: Projects, deepseek: VendorServer, program: TracerProvider
) -> None:
    deepseek.queue(GOOD)
    with program.get_tracer("app").start_as_current_span("request") as outer:
        for _ in llmtask.run_streaming_task("job_match", RESUME, project=vendors(), log=None):
            assert opentelemetry.trace.get_current_span() is outer


def test_runs_that_go_on_at_once_keep_their_own_calls(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, program: TracerProvider
) -> None:
    deepseek.queue(Reply(ANSWER, usage=USAGE, chunk_delay_s=0.001))
    project, tracer = vendors(), program.get_tracer("app")

    async def one(number: int) -> str:
        with tracer.start_as_current_span(f"request {number}") as outer:
            options: Any = {"project": project, "log": None, "service_id": str(number)}
            assert [event async for event in llmtask.arun_streaming_task("job_match", RESUME, **options)]
            assert opentelemetry.trace.get_current_span() is outer
        return format(outer.get_span_context().span_id, "016x")

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(8)))

    outers = asyncio.run(all_of_them())
    by_id = {span.span_id: span for span in receiver.spans}
    found = calls(receiver.spans)
    assert len(found) == 8
    for call in found:
        run = by_id[call.parent_id]
        assert run.attributes["llmtask.service"] == call.attributes["llmtask.service"]
        assert run.parent_id == outers[int(run.attributes["llmtask.service"])]


@pytest.mark.usefixtures("program")
def test_retries_and_fallbacks_are_calls_of_one_run(
    vendors: Projects, deepseek: VendorServer, zhipu: VendorServer, receiver: Receiver
) -> None:
    deepseek.queue(Reply(status=503))
    zhipu.queue(Reply(ANSWER))
    project = vendors(
        models={"deepseek-chat": {"fallbacks": ["glm-4.5-flash"]}},
        rules={"overloaded": {"retry": 1, "wait_s": 0.01, "then": "fall_back"}},
    )
    llmtask.run_structured_task("job_match", RESUME, project=project, log=None)
    run, *found = receiver.spans
    assert [span.name for span in found] == ["chat deepseek-flash", "chat deepseek-flash", "chat glm-4.7-flash"]
    assert {span.parent_id for span in found} == {run.span_id}
    assert [span.is_error for span in found] == [True, True, False]
    assert [span.attributes.get("error.type") for span in found] == ["overloaded", "overloaded", None]
    assert [span.attributes["gen_ai.response.finish_reasons"] for span in found] == [["error"], ["error"], ["stop"]]
    assert [span.attributes["gen_ai.provider.name"] for span in found] == ["deepseek", "deepseek", "zhipu"]
    assert [span.attributes["llmtask.call.attempt"] for span in found] == [1, 2, 3]
    assert [span.attributes["llmtask.usage.is_estimate"] for span in found] == [True, True, False]
    assert (run.is_error, run.attributes["llmtask.run.calls"]) == (False, 3)
    assert run.attributes["llmtask.model"] == "glm-4.5-flash"


@pytest.mark.usefixtures("program")
def test_a_call_that_is_given_more_room_says_how_much_it_asked_for(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver
) -> None:
    deepseek.queue(Reply(ANSWER, reasoning=THOUGHT, finish_reason="length"), Reply(ANSWER))
    options: Any = {"project": vendors(), "log": None, "model_id": "deepseek-reasoner"}
    llmtask.run_structured_task("job_match", RESUME, **options)
    first, second = calls(receiver.spans)
    assert first.attributes["gen_ai.request.max_tokens"] * 2 == second.attributes["gen_ai.request.max_tokens"]
    assert first.attributes["error.type"] == "length"
    assert first.attributes["gen_ai.response.finish_reasons"] == ["length"]
    assert first.attributes["gen_ai.request.reasoning.level"] == "high"
    assert "gen_ai.request.temperature" not in first.attributes


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.usefixtures("program")
def test_a_stream_that_is_closed_early_ends_its_spans_as_interrupted(
    way: str, vendors: Projects, deepseek: VendorServer, receiver: Receiver
) -> None:
    deepseek.queue(Reply(ANSWER, chunk_delay_s=0.01))
    options: Any = {"project": vendors(), "log": None}

    async def leave() -> None:
        events = llmtask.arun_streaming_task("job_match", RESUME, **options)
        async for _ in events:
            break
        await events.aclose()

    if way == "async":
        asyncio.run(leave())
    else:
        with closing(llmtask.run_streaming_task("job_match", RESUME, **options)) as events:
            next(events)
    run, call = receiver.spans
    assert (run.is_error, run.attributes["error.type"]) == (True, "interrupted")
    assert (call.is_error, call.attributes["error.type"]) == (True, "interrupted")
    assert call.attributes["gen_ai.response.finish_reasons"] == ["error"]


@pytest.mark.usefixtures("program")
def test_a_cancelled_task_ends_its_spans(vendors: Projects, deepseek: VendorServer, receiver: Receiver) -> None:
    deepseek.queue(Reply(ANSWER, first_byte_delay_s=20))

    async def give_up() -> None:
        options: Any = {"project": vendors(), "log": None}
        task = asyncio.create_task(llmtask.arun_structured_task("job_match", RESUME, **options))
        while not deepseek.in_flight:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert [span.attributes["error.type"] for span in receiver.spans] == ["interrupted"] * 2


@pytest.mark.usefixtures("program")
def test_a_stream_that_nobody_reads_is_no_span(vendors: Projects, receiver: Receiver) -> None:
    llmtask.run_streaming_task("job_match", RESUME, project=vendors(), log=None).close()
    assert receiver.bodies == []


class Unwritable(UsageLog):
    """A log that fails, which the real one never does."""

    def __init__(self, moment: str) -> None:
        super().__init__(Path("nowhere.db"))
        self._moment = moment

    def begin(self, row: UsageRow, most: Any = None) -> None:
        if self._moment == "begin":
            raise OSError(row.id, most)

    def finish(self, row: UsageRow) -> None:
        if self._moment == "finish":
            raise OSError(row.id)


@pytest.mark.usefixtures("program")
def test_a_call_whose_row_cannot_be_closed_still_ends_its_spans(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver
) -> None:
    deepseek.queue(GOOD)
    with pytest.raises(OSError, match=r"\w"):
        llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=Unwritable("finish"))
    assert [span.is_error for span in receiver.spans] == [False, False]  # the call itself went well
    with pytest.raises(OSError, match=r"\w"):
        llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=Unwritable("begin"))
    assert len(receiver.spans) == 2, "what never began is no span"


class Broken(SpanProcessor):
    """Somebody's span processor that fails at every turn."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise ZeroDivisionError(span, parent_context)

    def on_end(self, span: Any) -> None:
        raise ZeroDivisionError(span)


def test_a_broken_processor_costs_no_answer(vendors: Projects, deepseek: VendorServer, program: TracerProvider) -> None:
    program.add_span_processor(Broken())
    deepseek.queue(GOOD)
    assert llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=None).data


@pytest.mark.usefixtures("program")
def test_enabled_false_makes_no_span(vendors: Projects, deepseek: VendorServer, receiver: Receiver) -> None:
    deepseek.queue(GOOD)
    project = vendors(tracing={"enabled": False})
    assert llmtask.run_structured_task("job_match", RESUME, project=project, log=None).data
    assert receiver.bodies == []


def test_calls_are_measured_where_the_program_measures(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.endpoint}/v1/metrics"), float("inf"))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(opentelemetry.metrics._internal, "_METER_PROVIDER", provider)
    deepseek.queue(GOOD, Reply(status=503))
    project = vendors()
    llmtask.run_structured_task("job_match", RESUME, project=project, log=None)
    with pytest.raises(llmtask.CallError):
        llmtask.run_structured_task("job_match", RESUME, project=project, log=None)
    provider.force_flush()
    provider.shutdown()
    points = receiver.points
    usage = "gen_ai.client.inference.usage"
    assert {name: point.as_int for (name, detail), point in points.items() if detail == "text"} == {
        f"{usage}.input_tokens": 1000,
        f"{usage}.output_tokens": 200,
        f"{usage}.cache_read.input_tokens": 600,
        f"{usage}.reasoning.output_tokens": 50,
    }
    good, failed = (points["gen_ai.client.inference.duration", detail] for detail in ("", "overloaded"))
    assert (good.count, failed.count) == (1, 1)
    assert [round(bound, 2) for bound in good.explicit_bounds][:3] == [0.01, 0.02, 0.04]
    assert max(good.explicit_bounds) == 81.92


# the command line


def started(project: Project, tmp_path: Path, *argv: str, **env: str) -> "subprocess.Popen[str]":
    words = [*(argv or ("run", "job_match", "--var", f"resume={SECRET}")), "--project", str(project.root)]
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "TRACEPARENT"))}
    return subprocess.Popen(
        [sys.executable, "-m", "llmtask", *words, "--db", str(tmp_path / "usage.db")],
        env={**clean, "PYTHONIOENCODING": "utf-8", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def ran(project: Project, tmp_path: Path, *argv: str, **env: str) -> "subprocess.CompletedProcess[str]":
    process = started(project, tmp_path, *argv, **env)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_the_command_line_sends_its_spans_and_no_content_and_no_key(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    quoting = {"message": f"you sent {SECRET}", "type": "x", "code": "y"}
    deepseek.queue(Reply(status=503, error=quoting), Reply(f"{MARK}: no JSON", reasoning=THOUGHT), GOOD)
    project = vendors(**ON, rules={"overloaded": {"retry": 1, "wait_s": 0.01}})
    argv = ("run", "job_match", "--var", f"resume={SECRET}", "--user", "user-canary", "--service", "hr")
    result = ran(project, tmp_path, *argv, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **OTHERS)
    assert result.returncode == ExitCode.DONE, result.stderr
    run, *found = receiver.spans
    assert [span.attributes.get("error.type") for span in found] == ["overloaded", "schema_invalid", None]
    assert {span.parent_id for span in found} == {run.span_id}
    assert run.resource["service.name"] == "llmtask"
    assert run.resource["service.version"] == __version__
    assert [(span.status_text, span.events) for span in receiver.spans] == [("", 0)] * 4
    sent = json.dumps([request.body for request in deepseek.requests], ensure_ascii=False)
    system = deepseek.requests[0].body["messages"][0]["content"]  # type: ignore[index]
    assert SECRET in sent
    pieces = [SECRET, MARK, THOUGHT, "user-canary", DEEPSEEK_KEY, ZHIPU_KEY, "ls-key", str(project.root), "match_score"]
    pieces += [line for line in system.splitlines() if len(line) > 12]
    assert len(pieces) > 15
    for piece in pieces:
        assert piece.encode() not in receiver.raw, piece


@pytest.mark.parametrize("says", [{}, {"tracing": {"enabled": False}}], ids=["nothing", "false"])
def test_variables_of_others_send_nothing(
    says: dict[str, Any], vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "LANGSMITH_ENDPOINT": receiver.endpoint, **OTHERS}
    result = ran(vendors(**says), tmp_path, **env)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert receiver.raw == b""


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
    ids=lambda env: " ".join(env),
)
def test_the_environment_can_say_no(
    env: dict[str, str], vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    result = ran(vendors(**ON), tmp_path, **{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **env})
    assert (result.returncode, "tracing" in result.stderr, "not sent" in result.stderr) == (0, False, False)
    assert receiver.raw == b""


def test_a_protocol_that_is_not_spoken_is_said_once(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    result = ran(vendors(**ON), tmp_path, **env)
    assert result.returncode == ExitCode.DONE
    assert result.stderr.count("no spans are sent: llmtask speaks http/protobuf") == 1
    assert receiver.raw == b""


def test_the_standard_variables_hold(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    env = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.endpoint}/v1/traces",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=hr",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "screening",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
        "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert ran(vendors(**ON), tmp_path, **env).returncode == ExitCode.DONE
    run = the_run(receiver.spans)
    assert (run.trace_id, run.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert run.resource["service.name"] == "screening"
    assert run.resource["deployment.environment.name"] == "staging"
    assert b"x-team: hr" in receiver.raw


def test_a_suite_sends_the_calls_that_it_makes_and_none_that_it_replays(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    project = vendors(**ON)
    suite = {"task": "job_match", "locales": ["zh"], "models": ["deepseek-chat"], "checks": [{"check": "schema"}]}
    suite["cases"] = [{"name": "a", "inputs": {"resume": SECRET}}, {"name": "b", "inputs": {"resume": "b"}}]
    (project.root / "tests").mkdir()
    (project.root / "tests" / "a.llm.yaml").write_text(json.dumps(suite), encoding="utf-8")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    first = ran(project, tmp_path, "test", "--record", str(tmp_path / "tapes"), **env)
    assert first.returncode == ExitCode.DONE, first.stderr
    assert len(calls(receiver.spans)) == 2
    again = ran(project, tmp_path, "test", "--replay", str(tmp_path / "tapes"), **env)
    assert again.returncode == ExitCode.DONE, again.stderr
    assert len(calls(receiver.spans)) == 2
    assert SECRET.encode() not in receiver.raw


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses, and stays free while the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_collector_that_is_not_there_costs_a_sentence(
    vendors: Projects, deepseek: VendorServer, dead_port: int, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:canary-password@127.0.0.1:{dead_port}/canary-path"}
    began = time.monotonic()
    result = ran(vendors(**ON), tmp_path, **env)
    assert time.monotonic() - began < 15
    assert (result.returncode, json.loads(result.stdout)["overall_assessment"]) == (ExitCode.DONE, MARK)
    assert f"2 spans were not sent to 127.0.0.1:{dead_port} (it cannot be reached, or is slow)" in result.stderr
    assert "Traceback" not in result.stderr
    assert "canary-p" not in result.stderr


def test_a_collector_that_refuses_says_with_what(vendors: Projects, deepseek: VendorServer, tmp_path: Path) -> None:
    deepseek.queue(GOOD)
    with Receiver(status=401) as strict:
        result = ran(vendors(**ON), tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=strict.endpoint)
    assert result.returncode == ExitCode.DONE
    assert "(HTTP 401); the answer is not touched by it" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_collector_that_is_silent_holds_up_the_end_for_two_seconds_and_the_answer_not_at_all(
    vendors: Projects, deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    with Receiver(silence_s=60) as silent:
        argv = ("run", "job_match", "--var", "resume=Go", "--format", "json")
        process = started(vendors(**ON), tmp_path, *argv, OTEL_EXPORTER_OTLP_ENDPOINT=silent.endpoint)
        assert process.stdout is not None
        answer = os.read(process.stdout.fileno(), 1 << 16).decode()
        answered = time.monotonic()
        _, stderr = process.communicate(timeout=60)
        waited_s = time.monotonic() - answered
    assert json.loads(answer)["overall_assessment"] == MARK
    assert process.returncode == ExitCode.DONE
    assert "it cannot be reached, or is slow" in stderr
    assert 1.0 < waited_s < 5, "the answer was there before the collector was waited for"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_the_spans_and_sends_them(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(Reply(ANSWER, hang_after_chunks=3))
    process = started(vendors(**ON), tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    while not deepseek.in_flight and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in stderr) == (ExitCode.INTERRUPTED, False)
    run, call = receiver.spans
    assert (run.attributes["error.type"], call.attributes["error.type"]) == ("interrupted", "interrupted")
    assert run.is_error


# without the extra

BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""
WATCH = 'import atexit, sys; atexit.register(lambda: sys.stderr.write(f"{{{!r} in sys.modules}}\\n"))'


def with_site(tmp_path: Path, code: str) -> dict[str, str]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def test_without_the_extra_it_is_said_once_and_the_run_goes_on(
    vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    site = with_site(tmp_path, BLOCK)
    result = ran(vendors(**ON), tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **site)
    assert (result.returncode, json.loads(result.stdout)["overall_assessment"]) == (ExitCode.DONE, MARK)
    assert result.stderr.count("pip install 'llmtask[otel]'") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "argv", [("--help",), ("route", "job_match"), ("run", "job_match", "--dry-run", *VAR)], ids=str
)
def test_commands_that_ask_nobody_import_nothing_of_it(
    argv: tuple[str, ...], vendors: Projects, receiver: Receiver, tmp_path: Path
) -> None:
    site = with_site(tmp_path, WATCH.format("opentelemetry"))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "LLMTASK_PROJECT": str(vendors(**ON).root), **site}
    done = subprocess.run(
        [sys.executable, "-m", "llmtask", *argv], env={**os.environ, **env}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (ExitCode.DONE, b"False"), done.stderr


@pytest.mark.parametrize("says", [{}, {"tracing": {"enabled": False}}], ids=["nothing", "false"])
@pytest.mark.parametrize("name", ["llmtask.tracing.spans", "opentelemetry.exporter"])
def test_a_run_that_is_not_traced_imports_nothing_for_it_though_langsmith_imports_the_sdk(
    name: str, says: dict[str, Any], vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    site = with_site(tmp_path, WATCH.format(name))
    result = ran(vendors(**says), tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **site)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (ExitCode.DONE, "False")


@pytest.mark.parametrize("model", ["deepseek-chat", "offline"])
def test_without_the_extra_a_run_that_asks_for_nothing_says_nothing(
    model: str, vendors: Projects, deepseek: VendorServer, receiver: Receiver, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    argv = ("run", "job_match", "--var", "resume=Go", "--model", model)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **with_site(tmp_path, BLOCK)}
    result = ran(vendors(), tmp_path, *argv, **env)
    assert result.returncode == ExitCode.DONE, result.stderr
    assert "otel" not in result.stderr
    assert "tracing" not in result.stderr


def test_a_program_that_enables_it_without_the_extra_is_told_once(
    vendors: Projects, deepseek: VendorServer, tmp_path: Path
) -> None:
    deepseek.queue(GOOD)
    project = vendors(**ON)
    code = (
        "import warnings, llmtask\n"
        f"project = llmtask.load_project({str(project.root)!r})\n"
        "warnings.simplefilter('always')\n"
        "for _ in range(2):\n"
        "    llmtask.run_structured_task('job_match', {'resume': 'Go'}, project=project, log=None)\n"
    )
    environment = {**os.environ, **with_site(tmp_path, BLOCK)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("TracingWarning: tracing is enabled, but OpenTelemetry is not installed") == 1


def test_no_warning_comes_of_a_program_that_has_the_api_alone(vendors: Projects, deepseek: VendorServer) -> None:
    deepseek.queue(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert llmtask.run_structured_task("job_match", RESUME, project=vendors(), log=None).data
