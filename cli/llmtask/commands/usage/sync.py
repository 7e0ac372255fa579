"""`llmtask usage sync`: pushes a local log to the team's."""

from dataclasses import asdict
from typing import Annotated

import typer

from llmtask.commands.options import AsJson, Database, ProjectFolder, team_log, usage_log
from llmtask.errors import LlmtaskError, UsageError
from llmtask.usage import Push, Synced, UsageLog, data_folder, instant
from llmtask.view.console import answer, json_text, note, warn


def show_sync(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="The team's log: postgresql://..., or a file.  [dim]\\[default: the config's, LLMTASK_DB][/]",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Look at every call from then on, whatever was sent before."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and send nothing.")] = False,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Push a local log to the team's: each row exactly once. What was broken off goes on the next time.

    [bold]llmtask usage sync postgresql://me@db.example/llmtask --dry-run[/]
    """
    begin = instant(since) if since else None
    push = Push(_local(db), UsageLog(target or team_log(project)), is_dry=dry_run)
    push.local.drain()
    try:
        done = push.run(begin)
    except LlmtaskError:
        if push.done.sent:
            note(f"{push.done.sent} rows were sent before that; the next sync goes on from there")
        raise
    if as_json:
        answer(json_text(asdict(done) | {"target": push.target.place, "is_dry": dry_run}))
    else:
        note(_told(done, push.target.place, dry_run))
    if done.refused:
        warn(f"{done.refused} rows were refused and are tried again next time: {done.refusal}")


def _local(db: str | None) -> UsageLog:
    """The log to push: the one that is named, else the user's own."""
    log = usage_log(db)
    if log.path is None and db:
        message = f"{log.place} is on a server; name a log in a file with --db"
        raise UsageError(message)
    return log if log.path else UsageLog(data_folder() / "usage.db")


def _told(done: Synced, place: str, is_dry: bool) -> str:
    verb = "to send" if is_dry else "sent"
    unfinished = f", {done.unfinished} of them without an end so far" if done.unfinished else ""
    return f"{done.sent} rows {verb} to {place}{unfinished}; it had {done.known} of those that were looked at"
