"""Whether a run is traced, and what it is to a run that is not. Nothing of OpenTelemetry is imported for that."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmtask.project import Model, Project
    from llmtask.usage import Ledger

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_is_command_line = False
_said: set[str] = set()


class TracingWarning(UserWarning):
    """Spans could not be made or sent; the run went on."""


class Trace:
    """How one run is traced: as it stands here, not at all.

    Attributes:
        ledger: Where the rows of the run's calls go, which are what spans are made of.
    """

    ledger: "Ledger | None"
    _nothing: AbstractContextManager[object] = nullcontext()

    def __init__(self, log: "Ledger | None") -> None:
        """Take the usage log; None for none."""
        self.ledger = log

    def asks(self, model: "Model") -> None:
        """Take the model that the call that has begun asks, with what is asked of it."""

    def current(self) -> AbstractContextManager[object]:
        """While the block goes on, the call's span is the current one: what sends its request is a child of it."""
        return self._nothing

    def close(self) -> None:
        """End the run's span, with what became of its last call."""


def trace(project: "Project", log: "Ledger | None") -> Trace:
    """How a run is traced.

    A program that uses llmtask as a library has its own OpenTelemetry, or none: spans go there unless the project's
    config forbids it. The command line sends spans where the config asks for it and the environment says to whom.
    """
    enabled = project.config.tracing.enabled
    is_wanted = enabled and _has_endpoint() if _is_command_line else enabled or "opentelemetry.trace" in sys.modules
    if enabled is False or not is_wanted:
        return Trace(log)
    try:
        return _traced(project, log)
    except ImportError:
        _warn_once("tracing is enabled, but OpenTelemetry is not installed: pip install 'llmtask[otel]'")
        return Trace(log)


def _traced(project: "Project", log: "Ledger | None") -> Trace:
    """A run that is traced.

    Raises:
        ImportError: The extra is not installed.
    """
    from llmtask.tracing import spans

    if not _is_command_line:
        return spans.Spans(spans.global_tracer(), project, log)
    from llmtask.tracing import export

    return spans.Spans(export.sender().tracer, project, log, export.parent())


@contextmanager
def sending() -> Iterator[None]:
    """For the command line, which has no OpenTelemetry but ours: what is left to send goes out at the block's end."""
    global _is_command_line
    _is_command_line = True
    try:
        yield
    finally:
        _is_command_line = False
        if "llmtask.tracing.export" in sys.modules:
            from llmtask.tracing import export

            problem = export.finish()
            if problem:
                warnings.warn(problem, TracingWarning, stacklevel=2)


def _has_endpoint() -> bool:
    """Whether the environment names a collector, and one that we can speak to."""
    if not _first(_ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("", "otlp"):
        return False
    protocol = _first(_PROTOCOLS) or _PROTOCOL
    if protocol != _PROTOCOL:
        _warn_once(f"no spans are sent: llmtask speaks {_PROTOCOL}, and the environment asks for {protocol!r}")
    return protocol == _PROTOCOL


def _first(names: tuple[str, ...]) -> str:
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), "")


def _warn_once(problem: str) -> None:
    if problem not in _said:
        _said.add(problem)
        warnings.warn(problem, TracingWarning, stacklevel=4)
