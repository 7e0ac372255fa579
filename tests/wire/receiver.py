"""A collector on the loopback interface: takes OTLP over HTTP as protobuf, and keeps every byte of it.

with Receiver() as receiver:
    ...                         # something sends spans to receiver.endpoint
[span] = receiver.spans
"""

import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Received:
    """A span as it arrived.

    Attributes:
        kind: Such as "CLIENT".
        parent_id: In hex; empty for the root of a trace.
        is_error: Whether its status is ERROR.
        status_text: The text of its status.
        events: How many events it carries.
        resource: The attributes of who sent it.
        scope: Name, version and schema URL of what made it.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    is_error: bool
    status_text: str
    events: int
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: tuple[str, str, str]


class Receiver:
    """A collector on a free loopback port, for as long as the `with` block lasts.

    Attributes:
        endpoint: What OTEL_EXPORTER_OTLP_ENDPOINT has to say.
        bodies: Path and body of every request, uncompressed.
        raw: Everything that arrived, headers too, in one piece.
    """

    def __init__(self, *, status: int = 200, silence_s: float = 0) -> None:
        """Script it.

        Args:
            status: What each request is answered with.
            silence_s: Seconds before each answer.
        """
        self.status, self.silence_s = status, silence_s
        self.bodies: list[tuple[str, bytes]] = []
        self.raw = b""
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        """Starts to listen."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (_Handler,), {"front": self}))
        self._http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops to listen."""
        self._is_over.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def spans(self) -> list[Received]:
        """The spans that arrived, in the order of their begin."""
        found = [span for path, body in self.bodies if path == "/v1/traces" for span in _spans(body)]
        return [span for _, span in sorted(found, key=lambda pair: pair[0])]

    @property
    def points(self) -> dict[tuple[str, str], Any]:
        """The measurements that arrived last: (name, token modality or error type) -> point."""
        points = {}
        for path, body in self.bodies:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                        for point in (*metric.sum.data_points, *metric.histogram.data_points):
                            told = _attributes(point.attributes)
                            detail = told.get("gen_ai.token.modality") or told.get("error.type") or ""
                            points[metric.name, detail] = point
        return points

    def take(self, path: str, headers: str, body: bytes) -> None:
        """Keeps a request."""
        self.raw += path.encode() + headers.encode() + body
        self.bodies.append((path, body))

    def wait(self) -> None:
        """Is silent."""
        self._is_over.wait(self.silence_s)

    def until(self, count: int, seconds: float = 10) -> None:
        """Waits for so many spans."""
        until = time.monotonic() + seconds
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.01)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    front: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.front.take(self.path, str(self.headers), body)
        self.front.wait()
        self.send_response(self.front.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps silent."""


def _spans(body: bytes) -> Iterator[tuple[int, Received]]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scoped in resource.scope_spans:
            for span in scoped.spans:
                yield (
                    span.start_time_unix_nano,
                    Received(
                        name=span.name,
                        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                        status_text=span.status.message,
                        events=len(span.events),
                        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        attributes=_attributes(span.attributes),
                        resource=_attributes(resource.resource.attributes),
                        scope=(scoped.scope.name, scoped.scope.version, scoped.schema_url),
                    ),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
