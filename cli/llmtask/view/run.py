"""How a run looks: the live preview and the closing line on stderr, the answer on stdout."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmtask.service import (
    Event,
    FallbackEvent,
    PartialEvent,
    Plan,
    ReasoningEvent,
    ResultEvent,
    RetryEvent,
    TaskResult,
    TextEvent,
)
from llmtask.view import words
from llmtask.view.console import answer, harmless, json_text, note, stderr, warn

if TYPE_CHECKING:
    from rich.text import Text

_REFRESH_S = 0.05  # between two pictures of the preview; the first piece is shown at once


def watch(events: Iterator[Event[Any]], plan: Plan) -> TaskResult[Any]:
    """Show a run while it goes on, and give its result.

    On a terminal the answer grows in a preview that is gone when it is done; piped, nothing moves.
    """
    if not stderr().is_terminal:
        return _quietly(events)
    with _Preview(plan) as preview:
        for event in events:
            preview.show(event)
            if isinstance(event, ResultEvent):
                return event.result
    raise _ended_early()


def _quietly(events: Iterator[Event[Any]]) -> TaskResult[Any]:
    for event in events:
        if isinstance(event, RetryEvent | FallbackEvent):
            warn(_next_call(event))
        if isinstance(event, ResultEvent):
            return event.result
    raise _ended_early()


def emit(events: Iterator[Event[Any]]) -> TaskResult[Any]:
    """Write a run's events to stdout, one JSON object a line, and give its result."""
    for event in events:
        answer(json_text(_event_json(event), indent=None))
        if isinstance(event, ResultEvent):
            return event.result
    raise _ended_early()


def _ended_early() -> TypeError:
    return TypeError("a run ended without a result")


def _event_json(event: Event[Any]) -> dict[str, Any]:
    if isinstance(event, TextEvent):
        return {"event": "text", "text": event.text}
    if isinstance(event, ReasoningEvent):
        return {"event": "reasoning", "text": event.text}
    if isinstance(event, PartialEvent):
        return {"event": "partial", "value": event.value}
    if isinstance(event, RetryEvent):
        return {
            "event": "retry",
            "attempt": event.attempt,
            "reason": event.reason,
            "model_id": event.model_id,
            "wait_s": round(event.wait_s, 3),
        }
    if isinstance(event, FallbackEvent):
        return {
            "event": "fallback",
            "attempt": event.attempt,
            "reason": event.reason,
            "failed_model_id": event.failed_model_id,
            "model_id": event.model_id,
        }
    result = event.result
    costs = [{"amount": str(cost.amount), "currency": cost.currency} for cost in result.costs]
    return {
        "event": "result",
        "data": result.to_json(),
        "run_id": result.run_id,
        "model_id": result.route.model_id,
        "upstream_model": result.upstream_model,
        "input_tokens": result.tokens.input,
        "output_tokens": result.tokens.output,
        "cost": costs[0] if result.cost else None,
        "costs": costs,
        "unpriced_calls": result.unpriced_calls,
        "latency_ms": result.latency_ms,
        "first_token_ms": result.first_token_ms,
        "attempts": result.attempts,
    }


def _next_call(event: RetryEvent | FallbackEvent) -> str:
    """Why there is another call, and which."""
    if isinstance(event, FallbackEvent):
        return f"{event.failed_model_id} gives way to {event.model_id} (call {event.attempt}): {event.reason}"
    wait = f" in {words.seconds(round(event.wait_s * 1000))}" if event.wait_s else ""
    return f"asking {event.model_id} again{wait} (call {event.attempt}): {event.reason}"


class _Preview:
    """The growing answer, drawn on stderr's terminal."""

    def __init__(self, plan: Plan) -> None:
        from rich.live import Live  # only for a terminal
        from rich.spinner import Spinner

        waiting = Spinner("dots", f" {plan.task} · {plan.route.model_id}", style="cyan")
        self._live: Live = Live(waiting, console=stderr(), refresh_per_second=10, transient=True)
        self._answer = ""
        self._reasoning = ""
        self._drawn_at = 0.0

    def __enter__(self) -> "_Preview":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, event: Event[Any]) -> None:
        """Take an event into the picture."""
        if isinstance(event, TextEvent):
            self._answer += event.text
        elif isinstance(event, ReasoningEvent):
            self._reasoning += event.text
        elif isinstance(event, RetryEvent | FallbackEvent):
            self._answer = self._reasoning = ""
            self._live.console.print(harmless(_next_call(event)), style="yellow", markup=False)
        else:
            return
        now = time.monotonic()
        if now - self._drawn_at >= _REFRESH_S:
            self._drawn_at = now
            self._live.update(self._picture(), refresh=True)

    def _picture(self) -> "Text":
        """The end of the answer, or of the reasoning before it begins, as much as the terminal holds."""
        from rich.text import Text

        console = self._live.console
        room = max(console.height - 4, 3)
        shown = self._answer or self._reasoning
        text = Text(harmless(shown[-room * console.width :]), style="" if self._answer else "dim italic")
        lines = text.wrap(console, console.width)
        return Text("\n").join(lines[-room:])


def close(result: TaskResult[Any], output: str | None) -> None:
    """The closing line: valid, tokens, cost, seconds, first token."""
    parts = [
        f"{result.task} ({result.locale})",
        _model_name(result),
        words.tokens(result.tokens),
        _cost(result),
    ]
    parts.append(words.seconds(result.latency_ms))
    if result.first_token_ms is not None:
        parts.append(f"first token {words.seconds(result.first_token_ms)}")
    if result.attempts > 1:
        parts.append(f"{result.attempts} calls")
    if output:
        parts.append(f"→ {output}")
    console = stderr()
    console.print("valid ✓", style="green", end=" ", markup=False)
    console.print(harmless(" · ".join(parts)), style="dim", markup=False)
    if result.is_sample:
        note(
            "This is a sample made of passages of your input: no language model wrote it (model offline).",
            style="yellow",
        )


def _cost(result: TaskResult[Any]) -> str:
    if not result.costs:
        return words.cost(None)
    return words.costs({cost.currency: cost.amount for cost in result.costs}, result.unpriced_calls, 0)


def _model_name(result: TaskResult[Any]) -> str:
    upstream = result.upstream_model
    return result.route.model_id + (f" = {upstream}" if upstream and upstream != result.route.model_id else "")
