"""The numbers behind the page's plots, in percent of a track's width: the page draws them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor, log10

from llmtask.money import Currency, amount_text
from llmtask.testing.compare import Change
from llmtask.testing.report import words
from llmtask.testing.run import Outcome
from llmtask.testing.summary import Column


@dataclass(frozen=True, slots=True)
class Mark:
    """A row of a plot."""

    column: Column
    said: str
    """Its value in words."""
    value: float
    """Where the dot is, or the bar ends; like the others from 0 to 100."""
    low: float | None = None
    high: float | None = None
    second: float | None = None
    """Where a second mark is."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A row per model, locale and prompt version."""

    title: str
    """A key of WORDS, like the note."""
    note: str
    marks: Sequence[Mark]
    ticks: Sequence[tuple[float, str]]
    """Where on the track, and what is written there."""
    is_bar: bool
    """Whether it begins at 0 with a bar, rather than being a dot with its interval."""


def plots(columns: Sequence[Column]) -> list[Plot]:
    """Pass rate, cost per currency, and latency: those for which there is a number."""
    currencies: dict[Currency, None] = {cost.currency: None for column in columns for cost in column.costs}
    drawn = [_passes(columns), *(_cost(columns, currency) for currency in currencies), _latency(columns)]
    return [plot for plot in drawn if plot.marks]


def cost_per_sample(column: Column, currency: Currency) -> Decimal | None:
    """What a sample that was asked cost in the mean, in the currency's unit; None where nothing was paid in it."""
    amount = next((cost.amount for cost in column.costs if cost.currency == currency), None)
    asked = sum(column.samples[outcome] for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.ERROR))
    return amount / asked if amount is not None and asked else None


def change_track(change: Change) -> tuple[float, float, float, float]:
    """Where a change's interval begins, its dot, where it ends, and where no change is, from 0 to 100."""
    least, most = min(change.low, change.effect, 0), max(change.high, change.effect, 0)
    reach = max(-least, most) or 1  # no change stands in the middle, whatever the unit
    low, dot, high = (50 + 46 * value / reach for value in (change.low, change.effect, change.high))
    return low, dot, high, 50


def _passes(columns: Iterable[Column]) -> Plot:
    marks = [
        Mark(
            column,
            f"{words.percent(rate.value)} ({words.percent(rate.low)}–{words.percent(rate.high)})",
            100 * rate.value,
            100 * rate.low,
            100 * rate.high,
            100 * column.all_passed.value if column.all_passed else None,
        )
        for column in columns
        if (rate := column.passes)
    ]
    note = "plot_passes_k" if any(mark.second is not None for mark in marks) else "plot_passes_note"
    return Plot("plot_passes", note, marks, [(share, f"{share}%") for share in (0, 50, 100)], is_bar=False)


def _cost(columns: Iterable[Column], currency: Currency) -> Plot:
    found = [(column, cost) for column in columns if (cost := cost_per_sample(column, currency)) is not None]
    place, ticks = _scale(
        max((float(cost) for _, cost in found), default=0), lambda value: _money(value, currency) if value else "0"
    )
    marks = [Mark(column, _money(float(cost), currency), place(float(cost))) for column, cost in found]
    return Plot("plot_cost", "plot_cost_note", marks, ticks, is_bar=True)


def _latency(columns: Iterable[Column]) -> Plot:
    found = [
        (column, column.latency_p50_ms, column.latency_p95_ms)
        for column in columns
        if column.latency_p50_ms is not None and column.latency_p95_ms is not None
    ]
    place, ticks = _scale(max((p95 for _, _, p95 in found), default=0), lambda value: f"{value / 1000:g} s")
    marks = [
        Mark(column, f"{words.seconds(p50)} – {words.seconds(p95)}", place(p50), place(p50), place(p95))
        for column, p50, p95 in found
    ]
    return Plot("plot_latency", "plot_latency_note", marks, ticks, is_bar=True)


def _scale(most: float, write: Callable[[float], str]) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """A scale from 0 to a round number just above the most: where a value stands on it, and its ticks."""
    if most <= 0:
        return (lambda _: 0.0), [(0, write(0))]
    unit = 10 ** floor(log10(most))
    step = next(unit * part for part in (0.5, 1, 2.5, 5) if most <= 4 * unit * part)
    end = step * ceil(most / step - 1e-9)
    ticks = [(100 * index * step / end, write(index * step)) for index in range(round(end / step) + 1)]
    return (lambda value: 100 * value / end), ticks


def _money(value: float, currency: str) -> str:
    return amount_text(Decimal(f"{value:.6f}"), currency)
