"""A report as a table: what its width has room for, of what there is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal

from llmtask.usage import Day, Line, Statement, days_of
from llmtask.view.console import can_say, draw, note, room
from llmtask.view.fitting import Column, Fitted, fitted, one_line
from llmtask.view.usage.figures import BLOCKS, NONE, amounts, bar, changed, figure, percent, spark
from llmtask.view.usage.figures import amount as money
from llmtask.view.usage.measures import BEFORE_MONEY, MEASURES, Change, Measure, change
from llmtask.view.usage.notes import notes, unfinished

Spark = Literal["calls", "cost", "none"]

_NO_DAY = Day()
_TREND = 12  # characters of a curve
_ERRORS = 28  # characters that a list of errors needs
_BETTER, _WORSE, _SAME = "green", "red", "dim"


@dataclass(frozen=True, slots=True)
class Look:
    """How a table is to look."""

    width: int | None = None
    """Characters; None where there is no edge."""
    spark: Spark = "calls"
    """What the curves are of."""
    most: int | None = None
    """Lines, the total left out; None for all."""
    fold: bool = True
    """Whether long names go on in a second line."""


def drawn(stated: Statement, look: Look) -> Fitted:
    """The table that there is room for."""
    lines = stated.lines if look.most is None else stated.lines[: look.most]
    has_total = len(stated.lines) != 1
    every = [*lines, stated.total] if has_total else lines
    columns = [*_keys(stated, lines, has_total), *_numbers(stated, every)]
    columns += [*_trend(stated, every, look.spark), *_errors(every)]
    return fitted(columns, look.width, total=has_total, fold=look.fold)


def _keys(stated: Statement, lines: Sequence[Line], has_total: bool) -> Iterator[Column]:
    by = stated.query.by
    for index, name in enumerate(by):
        cells = [one_line(line.sums.keys[index]) or f"(no {name})" for line in lines]
        end = ["total" if index == 0 else ""] if has_total else []
        least = 16 if stated.query.time == name else 20 if len(by) == 1 else 14
        yield Column(name, cells + end, below=_nothing(stated, len(cells + end)), is_number=False, least=least)
    if not by:
        yield Column("", ["all"], below=_nothing(stated, 1), is_number=False)


def _nothing(stated: Statement, count: int) -> list[tuple[str, str]]:
    return [("", "")] * count if stated.previous else []


def _numbers(stated: Statement, lines: Sequence[Line]) -> Iterator[Column]:
    """The columns of numbers that say something."""
    measures = {measure.name: measure for measure in MEASURES}
    for name in BEFORE_MONEY:
        yield from _measured(measures.pop(name), stated, lines)
    yield from _money(stated, lines, "cost", 0, lambda line: line.costs)
    yield from _money(stated, lines, "saved by\ncache", 13, lambda line: line.savings)
    for measure in measures.values():
        yield from _measured(measure, stated, lines)


def _measured(measure: Measure, stated: Statement, lines: Sequence[Line]) -> Iterator[Column]:
    values = [measure.value(line.sums) for line in lines]
    if measure.rank and not any(values) and measure.name != "success_rate":
        return
    cells, shorter = (
        [_cell(measure, value, line, short) for value, line in zip(values, lines, strict=True)]
        for short in (False, True)
    )
    below, below_shorter = _below(measure, stated, lines)
    yield Column(measure.heading, cells, shorter, below, below_shorter, measure.rank)


def _cell(measure: Measure, value: "float | Decimal | None", line: Line, short: bool) -> str:
    if not value and measure.name not in ("calls", "success_rate"):
        return NONE
    about = "~" if measure.kind == "tokens" and line.sums.estimated else ""
    return about + figure(value, measure.kind, short=short)


def _below(measure: Measure, stated: Statement, lines: Sequence[Line]) -> tuple[list[tuple[str, str]], list[str]]:
    """How each number stands to the span before, and the same in short."""
    if not stated.previous:
        return [], []
    changes = [
        change(measure.value(line.sums), measure.value(line.before.sums)) if line.before else None for line in lines
    ]
    is_judged = measure.kind in ("share", "ms") or measure.is_less_better
    styles = [_style(one, measure.is_less_better) if is_judged else _SAME for one in changes]
    full, short = ([changed(one, measure.kind, short=short) for one in changes] for short in (False, True))
    return list(zip(full, styles, strict=True)), short


def _style(found: Change | None, is_less_better: bool) -> str:
    if found is None or not found.delta:
        return _SAME
    return _BETTER if (found.delta < 0) == is_less_better else _WORSE


def _money(
    stated: Statement, lines: Sequence[Line], heading: str, rank: int, of: Callable[[Line], dict[str, Decimal]]
) -> Iterator[Column]:
    """A column per currency; what has no price is named in the first."""
    earlier = [line.before for line in lines if line.before]
    currencies = sorted({currency for line in (*lines, *earlier) for currency in of(line)})
    is_cost = rank == 0
    if not is_cost:
        currencies = [one for one in currencies if any(of(line).get(one) for line in lines)]
    for index, currency in enumerate(currencies or ([""] if is_cost else [])):
        values = [of(line).get(currency) for line in lines]
        full, short = (amounts(values, currency, short=short) for short in (False, True))
        cells, shorter = (
            [_marked(cell, line, stated, is_cost and index == 0) for cell, line in zip(some, lines, strict=True)]
            for some in (full, short)
        )
        changes = [_changed_amount(of, line, currency) for line in lines] if stated.previous else []
        below = [(full, _SAME) for full, _ in changes]
        yield Column(heading, cells, shorter, below, [short for _, short in changes], rank)


def _marked(cell: str, line: Line, stated: Statement, is_first: bool) -> str:
    """An amount that says where it comes from, or why there is none."""
    sums = line.sums
    if cell == NONE:
        if not is_first or line.costs:
            return NONE
        return "unpriced" if sums.unpriced else "unknown" if sums.unfinished else NONE
    if cell[0] == "<" or cell[1:] == "0":
        return cell
    is_converted = (stated.rate_dates or stated.is_pinned) and set(sums.costs) - set(line.costs)
    return f"{'≈' if is_converted else '~' if sums.estimated > sums.unfinished else ''}{cell}"


def _changed_amount(of: Callable[[Line], dict[str, Decimal]], line: Line, currency: str) -> tuple[str, str]:
    """How an amount stands to that of the span before, and the same in short."""
    now, before = (of(one).get(currency, Decimal(0)) if one else None for one in (line, line.before))
    found = change(now, before)
    if found is None or not (now or before):
        return "", ""
    if not found.delta:
        return "=", "="
    sign = "-" if found.delta < 0 else "+"
    digits = 2 if abs(found.delta) >= 1 else 4
    return f"{sign}{money(abs(found.delta), currency, digits)} {percent(found.percent)}", percent(found.percent)


def _trend(stated: Statement, lines: Sequence[Line], of: Spark) -> Iterator[Column]:
    """A curve over the days; a bar where the lines are times themselves."""
    if of == "none" or not can_say(BLOCKS):
        return
    is_cost, heading, days = of == "cost", str(of), list(days_of(stated))
    if stated.query.time:
        groups = lines[:-1] if len(lines) > 1 else lines
        is_one = len({currency for line in groups for currency in line.costs}) < 2
        sizes = [_size(line, is_cost) if is_one or not is_cost else Decimal(0) for line in groups]
        cells = [bar(size, max(sizes), _TREND) for size in sizes] + [""] * (len(lines) - len(groups))
    elif len(days) > 1:
        cells = [spark(_sizes(line, days, is_cost), _TREND) for line in lines]
        heading = f"{of}\nby day" if len(days) <= _TREND else f"{of} over\n{len(days)} days"
    else:
        return
    if any(cells):
        yield Column(heading, cells, below=_nothing(stated, len(cells)), rank=7, is_number=False, least=_TREND)


def _size(line: Line, is_cost: bool) -> Decimal:
    return sum(line.costs.values(), Decimal(0)) if is_cost else Decimal(line.sums.calls)


def _sizes(line: Line, days: Sequence[date], is_cost: bool) -> list[Decimal]:
    """What a curve shows of each day; nothing where that would add up two currencies."""
    if is_cost and len(line.costs) > 1:
        return []
    found = [line.days.get(day, _NO_DAY) for day in days]
    if not is_cost:
        return [Decimal(one.calls) for one in found]
    return [sum(one.costs.values(), Decimal(0)) if one.converted is None else one.converted for one in found]


def _errors(lines: Sequence[Line]) -> Iterator[Column]:
    cells = [errors(line) or NONE for line in lines]
    if any(cell != NONE for cell in cells):
        yield Column("errors", cells, below=[], rank=9, is_number=False, least=_ERRORS)


def errors(line: Line) -> str:
    """The classes of failure, the most frequent first: `timeout 12, network 3`."""
    return ", ".join(f"{one_line(name)} {count:,}" for name, count in line.sums.errors.most_common() if count > 0)


def show(stated: Statement, look: Look) -> None:
    """The report on stdout, and on stderr what there is to say about it."""
    found = drawn(stated, replace(look, width=room()))
    draw(found.table, room=found.width)
    if found.left_out:
        if "errors" in found.left_out:
            note(f"errors: {errors(stated.total)}")
        note(f"no room for: {', '.join(dict.fromkeys(found.left_out))}; --format json has them")
    for text in notes(stated, is_of_cost=look.spark == "cost"):
        note(text, style="yellow" if text == unfinished(stated.total.sums.unfinished) else "dim")
