"""What tracing costs: per call, and at the start of commands.

    python bench/tracing.py

A run of the embedded model, 300 of them a way, interleaved and the median taken: with `tracing: {enabled: false}`; in a
program without a tracer provider, where spans do nothing; and in one with OpenTelemetry's SDK, whose spans are kept in
memory. Then whole processes: commands with the config silent, and with `enabled: true` and a collector on the loopback.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import llmtask

CALLS, STARTS = 300, 15
RESUME = {"resume": "Engineer since 2020, wants a senior role."}
RUN = (
    "run",
    "job_match",
    "--var",
    "resume=Engineer since 2020, wants a senior role.",
    "--model",
    "offline",
    "--no-log",
)


class Collector(BaseHTTPRequestHandler):
    """Takes everything."""

    def do_POST(self) -> None:
        """Take a request."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def project(folder: str, enabled: str) -> Path:
    root = Path(folder) / enabled
    root.mkdir()
    (root / "config.yaml").write_text(f"tracing: {{enabled: {enabled}}}\n", encoding="utf-8")
    return root


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def calls(folder: str) -> None:
    import opentelemetry.trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    off, auto = (llmtask.load_project(project(folder, name)) for name in ("false", "null"))
    sdk = TracerProvider(shutdown_on_exit=False)
    sdk.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    ways = {"off": (off, None), "no provider": (auto, None), "SDK": (auto, sdk)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(CALLS):
        for name, (where, provider) in ways.items():
            opentelemetry.trace._TRACER_PROVIDER = provider  # it can be set but once
            options = {"project": where, "log": None, "model_id": "offline"}
            taken[name].append(seconds(lambda o=options: llmtask.run_structured_task("job_match", RESUME, **o)))
    base = statistics.median(taken["off"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"run of one call, {name:12} {median * 1e3:7.3f} ms  {(median - base) * 1e6:+6.0f} us")


def starts(folder: str, endpoint: str) -> None:
    silent, sends = project(folder, "~"), project(folder, "true")
    for argv in (("--help",), RUN):
        taken: dict[str, list[float]] = {"silent": [], "sends": []}
        for _ in range(STARTS):
            for name, root in (("silent", silent), ("sends", sends)):
                env = {**os.environ, "LLMTASK_PROJECT": str(root), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
                command = [sys.executable, "-m", "llmtask", *argv]
                taken[name].append(seconds(lambda c=command, e=env: subprocess.run(c, env=e, capture_output=True)))
        base, traced = (statistics.median(times) for times in taken.values())
        ratio = traced / base
        print(f"llmtask {' '.join(argv)[:13]:14} silent {base:.3f} s  sends {traced:.3f} s  ratio {ratio:.2f}")


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        calls(folder)
        starts(folder, f"http://127.0.0.1:{server.server_port}")


if __name__ == "__main__":
    main()
