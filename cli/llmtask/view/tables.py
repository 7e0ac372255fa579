"""Tables for people."""

from collections.abc import Iterable, Sequence
from typing import Literal

from llmtask.view.console import draw, harmless, stdout

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
