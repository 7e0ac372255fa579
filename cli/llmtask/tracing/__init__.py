"""Spans of runs and of their calls, by OpenTelemetry's conventions for generative AI; never any content."""

from llmtask.tracing.trace import Trace, TracingWarning, sending, trace

__all__ = ["Trace", "TracingWarning", "sending", "trace"]
