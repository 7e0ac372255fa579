"""Which rows are meant, and those rows, a page at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llmtask.usage.log import UsageLog
from llmtask.usage.report import Word, filtered
from llmtask.usage.rollup import ROWS
from llmtask.usage.row import COLUMNS, timestamp

_PAGE = 1_000  # rows

Page = list[tuple[Any, ...]]
"""Rows as the log holds them: a value per column."""


@dataclass(frozen=True)
class Selection:
    """Which rows are meant."""

    since: datetime | None = None
    """The first instant that counts."""
    until: datetime | None = None
    """The first instant that no longer counts."""
    where: Mapping[Word, Sequence[str]] = field(default_factory=dict)
    """As in a report's query."""

    def conditions(self) -> tuple[str, list[str]]:
        """SQL: the condition, and what is bound to it."""
        conditions, values = filtered(self.where)
        for at, sign in ((self.since, ">="), (self.until, "<")):
            if at is not None:
                conditions.append(f"created_at {sign} ?")
                values.append(timestamp(at))
        return " AND ".join(conditions) or "1 = 1", values


def pages(log: UsageLog, selection: Selection, columns: Sequence[str] = COLUMNS) -> Iterator[Page]:
    """The rows, the oldest first; each page is a short query of its own, so that nobody waits for the reader.

    Args:
        log: The usage log.
        selection: Which rows.
        columns: Which columns; `created_at` and `id` come first and second.

    Raises:
        UsageLogError: The log cannot be read.
    """
    condition, values = selection.conditions()
    names = ", ".join(["created_at", "id", *columns])
    last: tuple[str, ...] = ()
    while True:
        after = "created_at >= ? AND (created_at > ? OR id > ?) AND " if last else ""
        sql = f"SELECT {names} FROM {ROWS} WHERE {after}{condition} ORDER BY created_at, id LIMIT {_PAGE}"
        found = log.query(sql, (*((last[0], *last) if last else ()), *values))
        if found:
            yield [row[2:] for row in found]
        if len(found) < _PAGE:
            return
        last = found[-1][:2]
