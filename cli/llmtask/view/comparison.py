"""How two runs stand to each other."""

from collections.abc import Sequence
from decimal import Decimal

from llmtask.money import amount_text
from llmtask.testing.compare import Change, Comparison, Moved, Pairing
from llmtask.view.console import answer, harmless, note
from llmtask.view.tables import table

_MOST_MOVED = 5  # items that are named of those broken, and of those mended
_WIDEST = 120  # characters of a reason
_COLUMNS = ("what", "group", "baseline", "run", "change [95 %]", "p (Holm)", "verdict")


def show_comparison(comparison: Comparison) -> None:
    """A line per thing compared, the items that changed sides, and what it comes to."""
    if comparison.changes:
        table(_COLUMNS, (_cells(change) for change in comparison.changes), _COLUMNS[2:6])
    _show_moved("broken: passed in the baseline, failed now", comparison.broken)
    _show_moved("mended: failed in the baseline, passed now", comparison.mended)
    _note_left_out(comparison.pairing)
    pairing = comparison.pairing
    answer(harmless(f"{comparison.in_words} {_counted(pairing.cases, 'case')}, {_counted(pairing.items, 'item')}."))


def _cells(change: Change) -> tuple[str, ...]:
    effect, low, high = (_signed(value, change.unit) for value in (change.effect, change.low, change.high))
    return (
        change.what,
        change.group,
        _amount(change.baseline, change.unit),
        _amount(change.run, change.unit),
        f"{effect} [{low}, {high}]",
        "< 0.001" if change.p_adjusted < 0.001 else f"{change.p_adjusted:.3f}",
        change.in_words,
    )


def _amount(value: float, unit: str) -> str:
    """A value with its unit: `92.5 %`, `1,240 ms`, `¥0.001812`, `312.4`, `0.917`."""
    if unit in ("points", "ms", "tokens", ""):
        return _number(value, unit) + {"points": " %", "ms": " ms"}.get(unit, "")
    return amount_text(Decimal(f"{value:.6f}"), unit)


def _number(value: float, unit: str) -> str:
    places = {"points": 1, "ms": 0, "tokens": 1, "": 3}.get(unit, 6)  # money to a millionth
    return f"{value:,.{places}f}"


def _signed(value: float, unit: str) -> str:
    return ("-" if value < 0 else "+") + _number(abs(value), unit)


def _show_moved(title: str, moved: Sequence[Moved]) -> None:
    if not moved:
        return
    answer(f"{title} ({len(moved)})")
    for one in moved[:_MOST_MOVED]:
        (was, of), (now, of_now) = one.baseline, one.run
        repeats = f"{was}/{of} -> {now}/{of_now}  " if max(of, of_now) > 1 else ""
        reasons = "; ".join(f"{check}: {reason}" for check, reason in one.reasons.items())
        answer(harmless(f"  {one.item}  {repeats}{_short(reasons)}"))
    if len(moved) > _MOST_MOVED:
        answer(f"  and {len(moved) - _MOST_MOVED} more")
    answer("")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _note_left_out(pairing: Pairing) -> None:
    """What is in no line, and what is in one that should be known about."""
    told = (
        (len(pairing.only_in_baseline), "item", "only in the baseline", pairing.only_in_baseline),
        (len(pairing.only_in_run), "item", "only in the run", pairing.only_in_run),
        (len(pairing.unanswered), "item", "without an answer on a side", pairing.unanswered),
        (pairing.samples_left_out, "answer", "whose repeat has none on the other side", ()),
        (len(pairing.checks_left_out), "check", "only on one side", pairing.checks_left_out),
    )
    for count, noun, why, names in told:
        if count:
            note(f"left out: {_counted(count, noun)} {why}{_first(names)}")
    if pairing.changed_inputs:
        inputs = _counted(len(pairing.changed_inputs), "item")
        note(f"compared, though asked something else: {inputs}{_first(pairing.changed_inputs)}", style="yellow")


def _first(names: Sequence[str], most: int = 3) -> str:
    if not names:
        return ""
    return f": {', '.join(names[:most])}{', …' if len(names) > most else ''}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
