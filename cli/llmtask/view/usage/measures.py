"""What a report tells of a group: each number's name, kind and place, the same in every form."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from llmtask.usage import Summary

Kind = Literal["count", "tokens", "share", "ms"]
Number = int | float | Decimal


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that a report tells."""

    name: str
    """In JSON and CSV; a unit ends it."""
    heading: str
    """In tables; a line break is one."""
    kind: Kind
    rank: int
    """How early it has to go where a table is too narrow: 0 never."""
    value: Callable[[Summary], Number | None]
    """None where it is not known."""
    is_less_better: bool = False


def _latency(share: float) -> Callable[[Summary], int | None]:
    return lambda one: one.latency(share)


def _first_token(share: float) -> Callable[[Summary], int | None]:
    return lambda one: one.first_token(share)


def _cached(one: Summary) -> float | None:
    return one.cached_tokens / one.input_tokens if one.input_tokens else None


MEASURES = (
    Measure("calls", "calls", "count", 0, lambda one: one.calls),
    Measure("success_rate", "ok\n%", "share", 2, lambda one: one.success_rate),
    Measure("repair_rate", "repair\n%", "share", 8, lambda one: one.repair_rate, is_less_better=True),
    Measure("retries", "retries", "count", 13, lambda one: one.retries, is_less_better=True),
    Measure("input_tokens", "in", "tokens", 4, lambda one: one.input_tokens),
    Measure("cached_rate", "cached\n%", "share", 6, _cached),
    Measure("output_tokens", "out", "tokens", 4, lambda one: one.output_tokens),
    Measure("reasoning_tokens", "reason-\ning", "tokens", 12, lambda one: one.reasoning_tokens),
    Measure("images", "images", "count", 14, lambda one: one.images),
    Measure("unpriced", "un-\npriced", "count", 1, lambda one: one.unpriced, is_less_better=True),
    Measure("unfinished", "unfin-\nished", "count", 1, lambda one: one.unfinished, is_less_better=True),
    Measure("latency_p50_ms", "p50\ns", "ms", 5, _latency(0.5), is_less_better=True),
    Measure("latency_p95_ms", "p95\ns", "ms", 3, _latency(0.95), is_less_better=True),
    Measure("latency_p99_ms", "p99\ns", "ms", 9, _latency(0.99), is_less_better=True),
    Measure("first_token_p50_ms", "first\np50 s", "ms", 10, _first_token(0.5), is_less_better=True),
    Measure("first_token_p95_ms", "first\np95 s", "ms", 11, _first_token(0.95), is_less_better=True),
)
"""In the order of a table's columns. Amounts of money stand between output and latency, a column per currency."""

BEFORE_MONEY = (
    "calls",
    "success_rate",
    "repair_rate",
    "retries",
    "input_tokens",
    "cached_rate",
    "output_tokens",
    "reasoning_tokens",
    "images",
)


@dataclass(frozen=True, slots=True)
class Change:
    """How a number stands to that of the span before."""

    delta: Any
    percent: float | None
    """None where it was 0."""


def change(now: Number | None, before: Number | None) -> Change | None:
    """How a number has changed; None where one of the two is not known."""
    if now is None or before is None:
        return None
    delta: Any = now - before  # type: ignore[operator]  # both are of one kind
    return Change(delta, float(delta) / float(before) * 100 if before else None)
