"""`llmtask usage export` and `usage import`: calls go from log to file, and from log to log."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.commands.options import Database, usage_log
from llmtask.commands.usage import selection
from llmtask.errors import ExitCode, UsageError
from llmtask.view.console import answer, note

if TYPE_CHECKING:
    from llmtask.usage.selection import Page


class Form(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


def export_rows(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to write; stdout without it.")] = None,
    form: Annotated[
        Form, typer.Option("--format", "-f", metavar="FORMAT", help="jsonl, csv, or parquet (needs pyarrow).")
    ] = Form.JSONL,
    since: selection.Since = None,
    until: selection.Until = None,
    task: selection.Task = None,
    model: selection.Model = None,
    provider: selection.Provider = None,
    tier: selection.Tier = None,
    queue: selection.Queue = None,
    user: selection.User = None,
    service: selection.Service = None,
    locale: selection.Locale = None,
    prompt: selection.Prompt = None,
    db: Database = None,
) -> None:
    """Write the rows of calls to a file, whole or not at all, or to stdout: any number of them.

    [bold]llmtask usage export november.jsonl --since 2026-11[/]

    [bold]llmtask usage export --format csv --model 'deepseek-*' > calls.csv[/]
    """
    from llmtask.usage.exporting import csv_lines, json_lines, whole_file, write_parquet
    from llmtask.usage.selection import Selection, pages

    if form is Form.PARQUET and file is None:
        message = "--format parquet needs a FILE to write: llmtask usage export calls.parquet --format parquet"
        raise UsageError(message)
    log = usage_log(db)
    log.drain()
    filters = selection.where(
        task=task,
        model=model,
        provider=provider,
        tier=tier,
        queue=queue,
        user=user,
        service=service,
        locale=locale,
        prompt=prompt,
    )
    rows = _Counted(pages(log, Selection(*selection.bounds(since, until), filters)))
    if file is None:
        for text in csv_lines(rows) if form is Form.CSV else json_lines(rows):
            if text:
                answer(text.removesuffix("\n"))
    else:
        with whole_file(file) as stream:
            if form is Form.PARQUET:
                write_parquet(rows, stream)
            else:
                for text in csv_lines(rows) if form is Form.CSV else json_lines(rows):
                    stream.write(text.encode())
    note(f"{rows.count:,} rows{f' in {file}' if file else ''}")


def import_rows(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Usage logs of any release, or exports as JSONL.")
    ],
    even_so: Annotated[
        bool,
        typer.Option(
            "--even-so", help="Take rows, too, of hours of which rows were pruned or purged here: they may count twice."
        ),
    ] = False,
    db: Database = None,
) -> None:
    """Bring in the calls of other logs: each exactly once, however often you do it. They are only read.

    [bold]llmtask usage import laptop.db november.jsonl[/]
    """
    from llmtask.usage.importing import copy_in, total
    from llmtask.view.usage.upkeep import tally

    log = usage_log(db)
    log.drain()
    found = total(copy_in(log, file, even_so=even_so) for file in files)
    tally(found)
    if found.refused:
        raise typer.Exit(ExitCode.USAGE)


class _Counted:
    """Pages, and how many rows they had."""

    def __init__(self, rows: "Iterable[Page]") -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> "Iterator[Page]":
        for page in self._rows:
            self.count += len(page)
            yield page
