"""A table that fits: of what there is to show, what matters most, as wide as there is room."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmtask.view.console import harmless

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_GAP = 2  # characters between two columns
_NARROW = 20  # characters that a column of text needs, if it has them
_LONGEST = 200  # characters of a cell


@dataclass(slots=True)
class Column:
    """A column that may be shown."""

    heading: str
    cells: list[str]
    """One per row."""
    shorter: list[str] = field(default_factory=list)
    """The same in fewer characters, where there are such."""
    below: list[tuple[str, str]] = field(default_factory=list)
    """A second line of each cell, and its style."""
    below_shorter: list[str] = field(default_factory=list)
    """The second lines in fewer characters."""
    rank: int = 0
    """How early it has to go where there is too little room: 0 never."""
    is_number: bool = True
    least: int = _NARROW
    """Of a column of text: how narrow it may become, in characters."""

    def width(self, *, is_short: bool) -> int:
        """How much room it needs."""
        natural = self.natural(is_short=is_short)
        return natural if self.is_number else min(natural, self.least)

    def natural(self, *, is_short: bool) -> int:
        """How much room it can use."""
        from rich.cells import cell_len

        below = self.below_shorter if is_short and self.below_shorter else [text for text, _ in self.below]
        return max(cell_len(text) for text in (*self.heading.split("\n"), *self.shown(is_short), *below))

    def shown(self, is_short: bool) -> list[str]:
        """Its cells."""
        return self.shorter if is_short and self.shorter else self.cells


def one_line(text: str) -> str:
    """A text from anywhere as a cell: on one line, harmless, and no novel."""
    text = harmless(text).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that fits."""

    table: "Table"
    width: int
    """In characters."""
    left_out: list[str]
    """The headings of what there was no room for."""


def fitted(columns: Sequence[Column], room: int | None, *, total: bool = False, fold: bool = True) -> Fitted:
    """The table that there is room for.

    Args:
        columns: What there is to show, in order.
        room: Characters; None where there is no edge.
        total: Whether the last row stands apart.
        fold: Whether long text goes on in a second line; else its end is left out.
    """
    chosen, is_short = _chosen(columns, room)
    widths = [column.width(is_short=is_short) for column in chosen]
    needed = sum(widths) + _GAP * (len(chosen) - 1)
    spare = max(room - needed, 0) if room is not None else None
    for index, column in enumerate(chosen):
        more = column.natural(is_short=is_short) - widths[index]
        given = more if spare is None else min(more, spare)
        widths[index] += given
        spare = None if spare is None else spare - given
    kept = {id(column) for column in chosen}
    left_out = [one.heading.replace("-\n", "").replace("\n", " ") for one in columns if id(one) not in kept]
    table = _drawn(list(zip(chosen, widths, strict=True)), is_short, total=total, fold=fold)
    return Fitted(table, sum(widths) + _GAP * (len(chosen) - 1), left_out)


def _chosen(columns: Sequence[Column], room: int | None) -> tuple[list[Column], bool]:
    """The columns that there is room for, and whether their cells have to be short."""
    if room is None or _needed(columns, is_short=False) <= room:
        return list(columns), False
    kept = {id(column) for column in columns if column.rank == 0}
    for column in sorted(columns, key=lambda one: one.rank):
        wanted = kept | {id(column)}
        if _needed([one for one in columns if id(one) in wanted], is_short=True) <= room:
            kept = wanted
    chosen = [column for column in columns if id(column) in kept]
    natural = sum(column.natural(is_short=False) for column in chosen) + _GAP * (len(chosen) - 1)
    return chosen, natural > room


def _needed(columns: Sequence[Column], *, is_short: bool) -> int:
    return sum(column.width(is_short=is_short) for column in columns) + _GAP * (len(columns) - 1)


def _drawn(sized: Sequence[tuple[Column, int]], is_short: bool, *, total: bool, fold: bool) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_footer=total,
    )
    columns = [column for column, _ in sized]
    lines = max(column.heading.count("\n") for column in columns)
    rows = list(zip(*(column.shown(is_short) for column in columns), strict=True))
    for place, (column, width) in enumerate(sized):
        table.add_column(
            Text("\n" * (lines - column.heading.count("\n")) + column.heading),
            footer=_cell(column, -1, rows[-1][place], is_short, "bold") if total else "",
            justify="right" if column.is_number else "left",
            width=width,
            overflow="fold" if fold else "ellipsis",
            no_wrap=not fold,
        )
    for index, row in enumerate(rows[:-1] if total else rows):
        table.add_row(*(_cell(column, index, text, is_short) for column, text in zip(columns, row, strict=True)))
    return table


def _cell(column: Column, index: int, text: str, is_short: bool, style: str = "") -> "Text":
    from rich.text import Text

    cell = Text(text, style=style)
    if column.below:
        below, how = column.below[index]
        cell.append(f"\n{column.below_shorter[index] if is_short and column.below_shorter else below}", style=how)
    return cell
