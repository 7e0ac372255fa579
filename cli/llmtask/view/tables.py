"""Tables for people."""

from collections.abc import Iterable, Sequence

from llmtask.usage import Report, Summary, UsageRow
from llmtask.view import words
from llmtask.view.console import harmless, stdout

_WIDEST = 10_000  # characters; a pipe has no edge


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()) -> None:
    """Print a table to stdout; piped, it is as wide as it needs to be.

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
    numbers = set(right)
    for name in columns:
        drawn.add_column(name, justify="right" if name in numbers else "left", no_wrap=name in numbers, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(harmless(cell)) for cell in row))
    if not console.is_terminal:
        console.width = _WIDEST
        console.width = console.measure(drawn).maximum
    console.print(drawn)


_NUMBERS = ("calls", "failed", "in", "cached", "out", "cost", "mean s")


def usage_report(report: Report) -> None:
    """What it all cost, a line per group and one for all."""
    rows = [_summary_cells(one, one.group or "-") for one in report.groups]
    if len(rows) != 1:
        rows.append(_summary_cells(report.total, "total"))
    table((report.by, *_NUMBERS), rows, _NUMBERS)


def _summary_cells(one: Summary, name: str) -> list[str]:
    about = "~" if one.estimated else ""
    return [
        name,
        f"{one.calls:,}",
        f"{one.failed:,}" if one.failed else "-",
        f"{about}{one.input_tokens:,}",
        f"{one.cached_tokens:,}" if one.cached_tokens else "-",
        f"{about}{one.output_tokens:,}",
        words.costs(one.costs, one.unpriced),
        f"{one.mean_latency_ms / 1000:.2f}",
    ]


def usage_list(rows: Iterable[UsageRow]) -> None:
    """The last calls, a line each."""
    table(
        ("when (UTC)", "task", "model", "tokens", "cost", "s", "end"),
        (
            (
                row.created_at[:19].replace("T", " "),
                row.task_template_id,
                row.model_id,
                f"{'~' if row.is_estimate else ''}{row.total_tokens:,}",
                words.cost(row.price),
                f"{row.latency_ms / 1000:.2f}",
                "ok" if row.is_success else (row.error_class or "failed"),
            )
            for row in rows
        ),
        ("tokens", "cost", "s"),
    )
