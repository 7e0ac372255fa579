"""`llmtask usage report`: what it all cost, by group."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.commands.options import Database, ProjectFolder, usage_log
from llmtask.commands.usage import selection
from llmtask.errors import UsageError
from llmtask.usage import Asked, Query, statement
from llmtask.view.console import answer, json_text, note
from llmtask.view.usage.forms import as_csv, as_json, as_markdown

if TYPE_CHECKING:
    from llmtask.usage import UsageLog


class Format(StrEnum):
    """What stdout carries."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"


class Compare(StrEnum):
    """What a span is compared with."""

    PREVIOUS = "previous"


def show_report(
    by: selection.By = None,
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
    compare: Annotated[
        Compare | None,
        typer.Option("--compare", metavar="previous", help="Put the span before beside each number; needs --since."),
    ] = None,
    currency: selection.Convert = None,
    spark: selection.Spark = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", metavar="FORMAT", help="table, json, csv or md.  [dim]\\[default: table][/]"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with plots to click instead; it needs no network."),
    ] = None,
    db: Database = None,
    project: ProjectFolder = None,
) -> None:
    """Sum up calls, tokens, cost, latency and errors.

    [bold]llmtask usage report --since 7d --by task[/]

    [bold]llmtask usage report --since "last month" --by model,user --compare previous --currency CNY[/]

    [bold]llmtask usage report --by day --format csv > usage.csv[/]

    [bold]llmtask usage report --since 90d --html usage.html[/]
    """
    if html:
        _check_page(html, table_only={"--compare": compare, "--currency": currency, "--spark": spark, "--format": form})
    begin, end = selection.bounds(since, until)
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
    query = Query(selection.groups(by), begin, end, filters)
    to = selection.currency(currency)
    convert = selection.converter(to, project) if to else None
    log = usage_log(db)
    log.drain()
    if html:
        _write_page(html, log, query)
        return
    curves = selection.curves(spark, query) if form in (None, Format.TABLE) else "none"
    found = statement(log, query, Asked(bool(compare), curves != "none", to, convert))
    if form is Format.JSON:
        answer(json_text(as_json(found)))
    elif form is Format.CSV:
        answer(as_csv(found))
    elif not found.lines:
        which = "like that" if filters else "in that span" if since or until else "yet"
        note(f"no calls {which} in {log.place}")
    elif form is Format.MD:
        answer(as_markdown(found))
    else:
        from llmtask.view.usage.table import Look, show  # Rich's tables, only for a table

        show(found, Look(spark=curves))


def _check_page(path: Path, table_only: Mapping[str, object]) -> None:
    """Refuse what a page does not have, and a file that cannot be one.

    Raises:
        UsageError: There is one of them.
    """
    if said := [name for name, value in table_only.items() if value is not None]:
        message = f"--html writes a page that has its own of it; leave {' and '.join(said)} out"
        raise UsageError(message)
    if path.is_dir() or not path.absolute().parent.is_dir():
        problem = "is a folder; name a file in it" if path.is_dir() else "its folder is missing; make it first"
        message = f"--html {str(path)!r}: {problem}"
        raise UsageError(message)


def _write_page(path: Path, log: "UsageLog", query: Query) -> None:
    from llmtask.view.usage_page import usage_page  # Jinja, only for a page

    text = usage_page(log, query, locale=_language())
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        message = f"--html {str(path)!r} cannot be written ({error.strerror}); name another file"
        raise UsageError(message) from error
    note(f"wrote {path}")


def _language() -> str:
    """The language of the terminal, as POSIX says it: zh_CN.UTF-8."""
    return next(filter(None, (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
