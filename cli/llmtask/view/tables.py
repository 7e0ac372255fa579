"""Tables for people."""

from collections.abc import Iterable, Sequence
from typing import Literal

from llmtask.usage import Report, Summary, UsageRow
from llmtask.view import words
from llmtask.view.console import draw, harmless, note, stdout

_NARROWEST = 8  # characters of a column of text, however small the terminal is
_PADDING = 3  # between two columns
_WIDEST = 10_000  # characters; a pipe has no edge


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table to stdout: as wide as it needs to be in a pipe, and on a terminal wide enough for every number.

    Args:
        columns: The headings.
        rows: A cell per column.
        right: The headings of the columns that hold numbers.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    drawn = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    cells = [[harmless(cell) for cell in row] for row in rows]
    narrowest = 0
    for index, name in enumerate(columns):
        is_number = name in right
        width = max(len(row[index]) for row in [columns, *cells]) if is_number else _NARROWEST
        narrowest += width + _PADDING
        justify: Literal["left", "right"] = "right" if is_number else "left"
        drawn.add_column(name, justify=justify, no_wrap=is_number, overflow="fold", min_width=width)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    if console.is_terminal:
        console.width = max(console.width, narrowest)
    else:
        console.width = _WIDEST
        console.width = console.measure(drawn).maximum
    draw(drawn)


_NUMBERS = ("calls", "failed", "in", "cached", "out", "cost", "mean s")


def usage_report(report: Report) -> None:
    """What it all cost, a line per group and one for all."""
    rows = [_summary_cells(one, one.group or "-") for one in report.groups]
    if len(rows) != 1:
        rows.append(_summary_cells(report.total, "total"))
    table((" / ".join(report.by), *_NUMBERS), rows, _NUMBERS)
    _note_unfinished(report.total.unfinished)


def _summary_cells(one: Summary, name: str) -> list[str]:
    about = "~" if one.estimated else ""
    return [
        name,
        f"{one.calls:,}",
        f"{one.failed:,}" if one.failed else "-",
        f"{about}{one.input_tokens:,}",
        f"{one.cached_tokens:,}" if one.cached_tokens else "-",
        f"{about}{one.output_tokens:,}",
        words.costs(one.costs, one.unpriced, one.unfinished),
        f"{one.mean_latency_ms / 1000:.2f}",
    ]


def _note_unfinished(count: int) -> None:
    if count:
        calls = "1 call has" if count == 1 else f"{count:,} calls have"
        note(f"{calls} no end: killed, or still going on; what was sent may have been billed", style="yellow")


def usage_list(rows: Sequence[UsageRow]) -> None:
    """The last calls, a line each."""
    table(
        ("when (UTC)", "task", "model", "tokens", "cost", "s", "end"),
        (
            (
                row.created_at[:19].replace("T", " "),
                row.task_template_id,
                row.model_id,
                f"{'~' if row.is_estimate else ''}{row.total_tokens:,}",
                "unknown" if row.is_unfinished else words.cost(row.price),
                "-" if row.is_unfinished else f"{row.latency_ms / 1000:.2f}",
                "ok" if row.is_success else (row.error_class or "failed"),
            )
            for row in rows
        ),
        ("tokens", "cost", "s"),
    )
    _note_unfinished(sum(row.is_unfinished for row in rows))
