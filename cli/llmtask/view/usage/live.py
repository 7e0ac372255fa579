"""A report that is kept up to date: a table in its place on a terminal, a line per look in a pipe."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import count as numbers
from typing import TYPE_CHECKING

from llmtask.errors import UsageLogError
from llmtask.usage import Statement
from llmtask.view import words
from llmtask.view.console import answer, harmless, stdout, warn
from llmtask.view.usage.figures import amount, seconds, share
from llmtask.view.usage.notes import span_text, unfinished
from llmtask.view.usage.table import Look, drawn, errors

if TYPE_CHECKING:
    from rich.console import RenderableType

_AROUND = 9  # lines of a picture besides its groups and what is said: headings, rules, the total, the cursor's
_FEWEST = 3  # groups that are shown, however low the terminal is

Take = Callable[[], Statement]


def watch(take: Take, interval_s: float, count: int | None, look: Look) -> None:
    """Show a report again and again.

    Args:
        take: Makes the report.
        interval_s: From one look to the next.
        count: How many looks; None for no end.
        look: How a table is to look.

    Raises:
        UsageLogError: The log could not be read at the first look; later ones wait for it.
    """
    if stdout().is_terminal:
        _in_place(take, interval_s, count, look)
        return
    before: Statement | None = None
    for found in _looks(take, interval_s, count):
        if isinstance(found, UsageLogError):
            warn(str(found))
            continue
        answer(line(found, before))
        before = found


def _looks(take: Take, interval_s: float, count: int | None) -> Iterator[Statement | UsageLogError]:
    """A report per interval, or why there is none."""
    due = time.monotonic()
    for number in numbers(1):
        try:
            yield take()
        except UsageLogError as error:
            if number == 1:
                raise
            yield error
        if number == count:
            return
        due = max(due + interval_s, time.monotonic())  # what took longer than the interval is not caught up on
        time.sleep(max(due - time.monotonic(), 0))


def _in_place(take: Take, interval_s: float, count: int | None, look: Look) -> None:
    from rich.live import Live  # only for a terminal

    before: Statement | None = None
    with Live(console=stdout(), auto_refresh=False) as live:
        for found in _looks(take, interval_s, count):
            problem = str(found) if isinstance(found, UsageLogError) else ""
            shown = before if isinstance(found, UsageLogError) else found
            if shown is not None:
                live.update(_picture(shown, before, problem, look), refresh=True)
                before = shown


def _picture(stated: Statement, before: Statement | None, problem: str, look: Look) -> "RenderableType":
    """As much of the report as the terminal has lines."""
    from rich.console import Group
    from rich.text import Text

    said = [(f"errors: {errors(stated.total)}", "dim")] if stated.total.sums.errors else []
    said.append((f"{span_text(stated.query)} · {_news(stated, before)}", "dim"))
    if stated.total.sums.unfinished:
        said.append((unfinished(stated.total.sums.unfinished), "yellow"))
    if problem:
        said.append((harmless(problem), "yellow"))
    most = max(stdout().height - _AROUND - len(said), _FEWEST)
    if len(stated.lines) > most:
        said.insert(0, (f"and {len(stated.lines) - most:,} groups more, in the total", "dim"))
    lines = [Text(text, style=style, no_wrap=True, overflow="ellipsis") for text, style in said]
    if not stated.lines:
        return Group(Text("no calls yet", style="bold"), *lines)
    found = drawn(stated, replace(look, width=stdout().width, most=most, fold=False))
    return Group(found.table, Text(), *lines)


def _news(stated: Statement, before: Statement | None) -> str:
    """The time, and what came since the look before."""
    now = f"{datetime.now().astimezone():%H:%M:%S}"
    if before is None:
        return now
    calls, costs = _more(stated, before)
    return f"{now} · {calls:+,} calls{''.join(f' {text}' for text in costs)}"


def _more(stated: Statement, before: Statement) -> tuple[int, list[str]]:
    """The calls and the amounts that came since the look before."""
    was = before.total.costs
    more = {one: value - was.get(one, Decimal(0)) for one, value in stated.total.costs.items()}
    costs = [f"{'-' if value < 0 else '+'}{amount(abs(value), one)}" for one, value in more.items() if value]
    return stated.total.sums.calls - before.total.sums.calls, costs


def line(stated: Statement, before: Statement | None) -> str:
    """A look on one line: `2026-11-25 14:03:22  1,234 calls (+12)  98.2 % ok  ¥1.2345  p95 4.21 s`."""
    sums = stated.total.sums
    new = f" ({_more(stated, before)[0]:+,})" if before else ""
    parts = [f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}", f"{sums.calls:,} calls{new}"]
    if sums.success_rate is not None:
        parts.append(f"{share(sums.success_rate)} % ok")
    if sums.calls:
        parts.append(words.costs(stated.total.costs, sums.unpriced, sums.unfinished))
    p95 = sums.latency(0.95)
    if p95 is not None:
        parts.append(f"p95 {seconds(p95)} s")
    if found := errors(stated.total):
        parts.append(f"errors: {found}")
    return "  ".join(parts)
