"""`llmtask usage watch`: the report of a span that goes on, again and again."""

from typing import Annotated

import typer

from llmtask.commands.options import Database, usage_log
from llmtask.commands.usage import selection
from llmtask.errors import UsageError
from llmtask.usage import Asked, Query, Statement, statement
from llmtask.view.usage.live import watch
from llmtask.view.usage.table import Look

_LEAST_S, _MOST_S = 0.2, 86_400.0
_MOST = 1_000_000_000


def show_watch(
    by: selection.By = None,
    since: selection.Since = "today",
    task: selection.Task = None,
    model: selection.Model = None,
    provider: selection.Provider = None,
    tier: selection.Tier = None,
    queue: selection.Queue = None,
    user: selection.User = None,
    service: selection.Service = None,
    locale: selection.Locale = None,
    prompt: selection.Prompt = None,
    interval: Annotated[float, typer.Option("--interval", metavar="SECONDS", help="From one picture to the next.")] = 2,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, max=_MOST, help="End after so many.  [dim]\\[default: at Ctrl-C][/]"),
    ] = None,
    spark: selection.Spark = None,
    db: Database = None,
) -> None:
    """Show the report of today, or of another span, and keep it up to date; Ctrl-C ends it, with exit code 130.

    On a terminal it is a table that stays in its place, in a pipe a line per interval.

    [bold]llmtask usage watch --by task --since 1h[/]
    """
    if not _LEAST_S <= interval <= _MOST_S:
        message = f"--interval {interval}: give {_LEAST_S} to {_MOST_S:.0f} seconds"
        raise UsageError(message)
    groups = selection.groups(by)
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
    begin, end = selection.bounds(since, None)
    curves = selection.curves(spark, Query(groups, begin, end, filters))
    log = usage_log(db)
    log.drain()

    def take() -> Statement:
        begin, end = selection.bounds(since, None)  # a span of 1h moves, and today becomes another day
        try:
            return statement(log, Query(groups, begin, end, filters), Asked(days=curves != "none"))
        finally:
            log.close()  # between two pictures nothing is held, not even the file

    watch(take, interval, count, Look(spark=curves))
