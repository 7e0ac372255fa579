"""The command line's own way to a collector: OTLP over HTTP, in a thread, for a bounded moment at the end."""

import logging
import os
import threading
from functools import cache
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llmtask import __version__
from llmtask.tracing.spans import SCHEMA_URL, SCOPE

_PATIENCE_S = 2.0  # how long the end of the program waits for a collector; what it printed is out by then
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Sender:
    """Sends spans in batches, and knows how many arrived.

    Attributes:
        tracer: What makes the spans that are sent.
    """

    def __init__(self) -> None:
        """Read the environment; nothing is sent yet."""
        self._ear = _Ear()
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self._ear)
        logger.propagate = False  # it would print a line for each attempt, and tracebacks
        self._exporter = _Exporter()
        self._processor = _Processor(self._exporter)
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self.tracer = provider.get_tracer(SCOPE, __version__, SCHEMA_URL)

    def finish(self) -> str:
        """Send what is left.

        Returns:
            What could not be sent, for people; empty where all was.
        """
        last = threading.Thread(target=self._processor.shutdown, daemon=True)  # the SDK's own waits are longer
        last.start()
        last.join(_PATIENCE_S)
        lost = self._processor.ended - self._exporter.arrived
        if lost <= 0:
            return ""
        why = f"HTTP {self._ear.status}" if self._ear.status else "it cannot be reached, or is slow"
        spans = "1 span was" if lost == 1 else f"{lost} spans were"
        return f"{spans} not sent to {_place()} ({why}); the answer is not touched by it"


class _Exporter(OTLPSpanExporter):
    """Counts the spans that a collector took."""

    def __init__(self) -> None:
        is_told = any(os.environ.get(name, "").strip() for name in _TIMEOUTS)
        super().__init__(timeout=None if is_told else _PATIENCE_S)
        self.arrived = 0

    def export(self, spans: "list[ReadableSpan] | tuple[ReadableSpan, ...]") -> SpanExportResult:  # type: ignore[override]
        """Send a batch."""
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self.arrived += len(spans)
        return result


class _Processor(BatchSpanProcessor):
    """Counts the spans that are to be sent."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        super().__init__(exporter)
        self.ended = 0
        self._counting = threading.Lock()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span."""
        if span.context is not None and span.context.trace_flags.sampled:
            with self._counting:
                self.ended += 1
        super().on_end(span)


class _Ear(logging.Handler):
    """Hears the HTTP status in what the exporter would print."""

    status: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message."""
        if isinstance(record.args, tuple):
            self.status = next((one for one in record.args if isinstance(one, int)), self.status)


@cache
def _sender() -> Sender:
    return Sender()


_making = threading.Lock()


def sender() -> Sender:
    """The process's one sender."""
    with _making:
        return _sender()


def finish() -> str:
    """Send what is left, where anything was traced; as `Sender.finish`."""
    return _sender().finish() if _sender.cache_info().currsize else ""


def parent() -> Context:
    """What the variables TRACEPARENT and TRACESTATE say that called this program; nothing where they are not set.

    By OpenTelemetry's specification of environment variables as carriers of context.
    """
    carrier = {name: os.environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    return TraceContextTextMapPropagator().extract({name: text for name, text in carrier.items() if text}, Context())


def _resource() -> Resource:
    """Who we are, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say it."""
    ours, theirs = Resource({SERVICE_NAME: SCOPE, SERVICE_VERSION: __version__}), Resource.create()
    is_named = not str(theirs.attributes[SERVICE_NAME]).startswith("unknown_service")
    return ours.merge(theirs) if is_named else theirs.merge(ours)


def _place() -> str:
    """The collector's host and port: the rest of its address may hold a secret."""
    url = next(filter(None, (os.environ.get(name, "").strip() for name in _VARIABLES)), "")
    return urlsplit(url).netloc.rpartition("@")[2] or "the collector"
