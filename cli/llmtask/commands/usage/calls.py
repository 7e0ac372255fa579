"""`llmtask usage list` and `usage show`: single calls, and the story of a run."""

from dataclasses import asdict
from typing import Annotated

import typer

from llmtask.commands.options import AsJson, Database, usage_log
from llmtask.commands.usage import selection
from llmtask.usage import LATEST, Calls, calls, run_of
from llmtask.view.console import answer, json_text, note

_MOST = 100_000


def show_list(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=_MOST, help="How many.")] = 20,
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
    errors: Annotated[bool, typer.Option("--errors", help="Only calls without a valid answer.")] = False,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Go on after this call, the last of an earlier list.")
    ] = None,
    as_json: AsJson = False,
    db: Database = None,
) -> None:
    """Show the last calls, the newest first.

    [bold]llmtask usage list --errors --since today --model 'deepseek-*'[/]
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
    log = usage_log(db)
    log.drain()
    rows = calls(log, Calls(begin, end, filters, errors, after), count)
    if as_json:
        answer(json_text([asdict(row) for row in rows]))
    elif not rows:
        is_all = not (filters or errors or after or since or until)
        note(f"no calls {'yet' if is_all else 'like that'} in {log.place}")
    else:
        from llmtask.view.usage.rows import show_rows  # Rich's tables, only for a table

        show_rows(rows)


def show_run(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The beginning of a run's id or of a call's, or latest.")
    ] = LATEST,
    as_json: AsJson = False,
    db: Database = None,
) -> None:
    """Tell one run's story, attempt by attempt.

    [bold]llmtask usage show latest[/]
    """
    log = usage_log(db)
    log.drain()
    rows = run_of(log, run)
    from llmtask.view.usage.rows import run_json, show_story

    if as_json:
        answer(json_text(run_json(rows)))
    else:
        show_story(rows)
