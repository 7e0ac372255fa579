"""A run and its calls as spans and measurements.

The names are those of OpenTelemetry's semantic conventions for generative AI, which are in development and had no
release by November 2026: open-telemetry/semantic-conventions-genai, schema gen-ai-dev/1.42.0-dev,
docs/gen-ai/client-inference.md at ac48b1f9, gen-ai-token-metrics.md at 27f82f09. What has no name there is `llmtask.*`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from llmtask import __version__
from llmtask.interrupts import held
from llmtask.project import Model, Project, Provider
from llmtask.tokens import Tokens
from llmtask.tracing.trace import Trace
from llmtask.usage import Ledger, UsageRow

SCOPE = "llmtask"
SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"

_CHAT = "chat"
_BOUNDARIES_S = [0.01 * 2**power for power in range(14)]  # client-inference.md: 0.01, 0.02 ... 81.92
_PORTS = {"http": 80, "https": 443}

Value = str | int | float | bool | list[str]
Attributes = dict[str, Value]


def global_tracer() -> Tracer:
    """The tracer of the program's own OpenTelemetry; it does nothing where the program has set none up."""
    return trace.get_tracer(SCOPE, __version__, schema_url=SCHEMA_URL)


class Spans(Trace):
    """A run whose calls are spans below one of its own: a ledger that hands each row on to the usage log."""

    def __init__(self, tracer: Tracer, project: Project, log: Ledger | None, parent: Context | None = None) -> None:
        """Begin with nothing: the run's span is opened with its first call.

        Args:
            tracer: What makes the spans.
            project: The run's project.
            log: The usage log; None for none.
            parent: What the run's span is a child of; where it is left out, what is current when it is opened.
        """
        super().__init__(self)
        self._tracer, self._project, self._log = tracer, project, log
        self._context = parent
        self._run: Span | None = None
        self._call: _Call | None = None
        self._last: UsageRow | None = None

    def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Open the span of a call that is about to begin, once its row is in the log: one that is refused has none."""
        if self._log is not None:
            self._log.begin(row, most)
        with held(), suppress(Exception):  # somebody's span processor may fail; no answer is lost over it
            self._open(row)

    def finish(self, row: UsageRow) -> None:
        """Close the span of a call that has ended, whatever becomes of its row."""
        ended_ns = time.time_ns()
        try:
            if self._log is not None:
                self._log.finish(row)
        finally:
            self._last = row
            with suppress(Exception):  # as above
                self._end(row, ended_ns)

    def asks(self, model: Model) -> None:
        """Note what is asked of the model: a call that is tried again may ask for more room."""
        if self._call is not None:
            with suppress(Exception):  # as above
                self._call.span.set_attributes(_asked(model, self._project.config.providers[model.provider]))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the call's span the current one."""
        if self._call is None:
            yield
            return
        token = context.attach(self._call.context)
        try:
            yield
        finally:
            context.detach(token)

    def close(self) -> None:
        """End the run's span; a second time does nothing."""
        run, self._run = self._run, None
        if run is None:
            return
        with suppress(Exception):  # as above
            if self._last is not None:
                run.set_attributes(_run_end(self._last))
                _judge(run, self._last)
            run.end()

    def _open(self, row: UsageRow) -> None:
        if self._run is None:
            self._run = self._tracer.start_span(
                f"llmtask {row.task_template_id}", self._context, SpanKind.INTERNAL, _of_run(row)
            )
            self._context = trace.set_span_in_context(self._run, self._context)
        model = self._project.model(row.model_id)
        provider = self._project.config.providers[row.provider]
        common = _common(row, model, provider)
        kind = SpanKind.INTERNAL if provider.driver == "offline" else SpanKind.CLIENT
        begun_ns = time.time_ns()
        name = f"{_CHAT} {model.name}"
        span = self._tracer.start_span(name, self._context, kind, common | _of_call(row), start_time=begun_ns)
        inside = trace.set_span_in_context(span, self._context)
        self._call = _Call(span, inside, begun_ns, common)

    def _end(self, row: UsageRow, ended_ns: int) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        call.span.set_attributes(_answered(row))
        _judge(call.span, row)
        call.span.end(ended_ns)
        _measure(call, row, (ended_ns - call.begun_ns) / 1e9)


class _Call(NamedTuple):
    """A call while it goes on."""

    span: Span
    context: Context
    begun_ns: int
    common: Attributes


class _Instruments(NamedTuple):
    """What calls are measured with."""

    duration: metrics.Histogram
    input: Mapping[str, metrics.Counter]
    """By the row's column."""
    output: Mapping[str, metrics.Counter]


@lru_cache(maxsize=8)
def _instruments(provider: metrics.MeterProvider) -> _Instruments:
    meter = provider.get_meter(SCOPE, __version__, SCHEMA_URL)

    def counter(name: str, text: str) -> metrics.Counter:
        return meter.create_counter(f"gen_ai.client.inference.usage.{name}", "{token}", text)

    return _Instruments(
        meter.create_histogram(
            "gen_ai.client.inference.duration",
            "s",
            "From a call's begin to its end.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES_S,
        ),
        {
            "input_tokens": counter("input_tokens", "Input tokens, cached ones included."),
            "cached_tokens": counter("cache_read.input_tokens", "Input tokens that the provider's cache held."),
        },
        {
            "output_tokens": counter("output_tokens", "Output tokens, reasoning included."),
            "reasoning_tokens": counter("reasoning.output_tokens", "Output tokens of reasoning."),
        },
    )


def _measure(call: _Call, row: UsageRow, seconds: float) -> None:
    """Count a call in, where the program collects measurements; tokens only where the vendor reported them."""
    found = _instruments(metrics.get_meter_provider())
    common = call.common | _some({"gen_ai.response.model": row.upstream_model})
    found.duration.record(seconds, common | _some({"error.type": row.error_class}))
    if not row.is_estimate:
        mixed = "unknown" if row.images else "text"  # vendors do not tell the tokens of images apart
        _count(found.input, row, common | {"gen_ai.token.modality": mixed})
        _count(found.output, row, common | {"gen_ai.token.modality": "text"})


def _count(counters: Mapping[str, metrics.Counter], row: UsageRow, attributes: Attributes) -> None:
    for column, counter in counters.items():
        if count := getattr(row, column):
            counter.add(count, attributes)


def _common(row: UsageRow, model: Model, provider: Provider) -> Attributes:
    """What spans and measurements of a call share, all of it known before the call: samplers look at it."""
    return _some(
        {
            "gen_ai.operation.name": _CHAT,
            "gen_ai.provider.name": row.provider,
            "gen_ai.request.model": model.name,
            **_server(provider.base_url),
        }
    )


@lru_cache(maxsize=64)
def _server(base_url: str | None) -> Mapping[str, Value]:
    if not base_url:
        return {}
    parts = urlsplit(base_url)
    return {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS[parts.scheme]}


def _of_call(row: UsageRow) -> Attributes:
    """What else is known of a call before it begins."""
    return _some(
        {
            "gen_ai.output.type": "json",
            "gen_ai.request.stream": row.is_stream or None,  # by the conventions it is left out where it is false
            "gen_ai.prompt.name": f"{row.locale}/{row.task_template_id}",
            "gen_ai.prompt.version": row.prompt_hash,
            "llmtask.call.id": row.id,
            "llmtask.call.attempt": row.attempt,
            "llmtask.model": row.model_id,
            "llmtask.queue": row.queue_id,
            **_of_run(row),
        }
    )


def _of_run(row: UsageRow) -> Attributes:
    """What holds for a run and for each of its calls."""
    return _some(
        {
            "llmtask.run.id": row.run_id,
            "llmtask.task": row.task_template_id,
            "llmtask.locale": row.locale,
            "llmtask.tier": row.tier,
            "llmtask.worker": row.worker,
            "llmtask.service": row.service_id,
        }
    )


def _asked(model: Model, provider: Provider) -> Attributes:
    temperature = model.temperature
    if temperature is not None and provider.temperature_range is not None:  # as it is sent
        low, high = provider.temperature_range
        temperature = min(max(temperature, low), high)
    return _some(
        {
            "gen_ai.request.max_tokens": model.max_tokens,
            "gen_ai.request.temperature": temperature,
            "gen_ai.request.reasoning.level": model.reasoning_effort,
        }
    )


def _answered(row: UsageRow) -> Attributes:
    """What is known of a call when it has ended."""
    finish = row.finish_reason or (None if row.is_success else "error")  # the conventions' word where none was sent
    is_timed = row.is_stream and row.first_token_ms is not None
    return _some(
        {
            "gen_ai.response.model": row.upstream_model,
            "gen_ai.response.finish_reasons": [finish] if finish else None,
            "gen_ai.response.time_to_first_chunk": (row.first_token_ms or 0) / 1000 if is_timed else None,
            "gen_ai.usage.input_tokens": row.input_tokens,
            "gen_ai.usage.output_tokens": row.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": row.cached_tokens or None,
            "gen_ai.usage.reasoning.output_tokens": row.reasoning_tokens or None,
            "llmtask.usage.is_estimate": row.is_estimate,
            "llmtask.cost.nanos": row.cost_nanos,
            "llmtask.cost.currency": row.currency,
            "llmtask.repair_level": row.repair_level,
        }
    )


def _run_end(row: UsageRow) -> Attributes:
    """What is known of a run by its last call."""
    return {"llmtask.model": row.model_id, "llmtask.run.calls": row.attempt}


def _judge(span: Span, row: UsageRow) -> None:
    """Say that it failed, and how. Its message stays here: a vendor's may quote what it was sent."""
    if not row.is_success:
        span.set_attribute("error.type", row.error_class or "_OTHER")
        span.set_status(Status(StatusCode.ERROR))


def _some(values: Mapping[str, Value | None]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}
