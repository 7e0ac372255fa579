"""`llmtask usage report`: what it all cost, by group."""

from enum import StrEnum
from typing import Annotated

import typer

from llmtask.commands.options import Database, ProjectFolder, usage_log
from llmtask.commands.usage import selection
from llmtask.usage import Asked, Query, statement
from llmtask.view.console import answer, json_text, note
from llmtask.view.usage.forms import as_csv, as_json, as_markdown


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
        Format, typer.Option("--format", "-f", metavar="FORMAT", help="table, json, csv or md.")
    ] = Format.TABLE,
    db: Database = None,
    project: ProjectFolder = None,
) -> None:
    """Sum up calls, tokens, cost, latency and errors.

    [bold]llmtask usage report --since 7d --by task[/]

    [bold]llmtask usage report --since "last month" --by model,user --compare previous --currency CNY[/]

    [bold]llmtask usage report --by day --format csv > usage.csv[/]
    """
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
    curves = selection.curves(spark, query) if form is Format.TABLE else "none"
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
