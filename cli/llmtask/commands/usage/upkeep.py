"""`llmtask usage prune|purge|reprice|verify`: the upkeep of the usage log."""

from typing import Annotated

import typer

from llmtask.commands.options import Database, ProjectFolder, usage_log
from llmtask.commands.usage import selection
from llmtask.errors import ExitCode, UsageError
from llmtask.view.console import answer, can_ask, is_yes, note, warn

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def prune_rows(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="WHEN", help="Calls before that day in UTC: 90d, 2026-01-01.")
    ],
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Give the room back: the file is written anew, and runs wait meanwhile.")
    ] = False,
    yes: Yes = False,
    db: Database = None,
) -> None:
    """Delete the rows of old calls, and keep what they came to: reports say the same.

    [bold]llmtask usage prune --older-than 90d[/]
    """
    from llmtask.usage import instant
    from llmtask.usage.prune import old, prune
    from llmtask.view.usage import upkeep as view

    log = usage_log(db)
    log.drain()
    found = old(log, instant(older_than))
    if found.rows:
        view.old_rows(found)
        if not _confirmed("Delete them?", yes):
            return
        answer(f"{view.rows(sum(prune(log, found.until)))} deleted")
    else:
        note(f"no rows before {found.until:%Y-%m-%d} UTC in {log.place}")
        view.unfinished(found)
    if vacuum and log.exists:
        before = sum(one.stat().st_size for one in log.files)
        if not log.compact():
            warn("another program reads the log; its write-ahead log stays for now")
        note(f"{view.size(before)} are {view.size(sum(one.stat().st_size for one in log.files))} now")


def purge_user(
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Whose calls, as `run --user` named them.")],
    yes: Yes = False,
    db: Database = None,
) -> None:
    """Delete everything about one user, then search every byte of the log for the user's id; exits 3 where it is left.

    [bold]llmtask usage purge --user ann[/]
    """
    from llmtask.usage.purge import belongings, purge, search
    from llmtask.view.usage import upkeep as view

    if not user:
        message = "--user is empty; name a user (`llmtask usage report --by user` lists them)"
        raise UsageError(message)
    log = usage_log(db)
    found = belongings(log, user)
    if found.rows:
        view.belongings(found)
        if not _confirmed(f"Delete everything about {user!r}?", yes):
            return
    else:
        note(f"nothing about {user!r} in {log.place}; its bytes are searched all the same")
    log.drain()
    gone = sum(purge(log, user))
    note(f"{view.rows(gone)} deleted")
    result = search(log, user)
    view.search(result, user)
    if result.found:
        raise typer.Exit(ExitCode.PROJECT)


def reprice_rows(
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    yes: Yes = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Compute what calls cost anew, by the prices that config.yaml has now for their day; shows the difference first.

    [bold]llmtask usage reprice --since 2026-11 --model 'deepseek-*' --dry-run[/]
    """
    from llmtask.project import load_project
    from llmtask.service.reprice import reprice
    from llmtask.usage.selection import Selection
    from llmtask.view.usage import upkeep as view

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
    chosen = Selection(*selection.bounds(since, until), filters)
    prices = load_project(project)
    found = reprice(log, prices, chosen)
    view.repricing(found)
    if not found.rows:
        note(f"nothing changes: {view.rows(found.looked_at)} looked at in {log.place}")
    elif not dry_run and _confirmed(f"Change {view.rows(found.rows)}?", yes):
        answer(f"{view.rows(reprice(log, prices, chosen, write=True).rows)} changed")


def verify_rollup(
    mend: Annotated[bool, typer.Option("--mend", help="Put the sums right where rows can still prove them.")] = False,
    db: Database = None,
) -> None:
    """Count every row anew, and say whether the sums that reports are made of agree; exits 3 where they do not.

    [bold]llmtask usage verify --mend[/]
    """
    from llmtask.usage import verify as library
    from llmtask.view.usage import upkeep as view

    log = usage_log(db)
    log.drain()
    found = library.verify(log)
    view.verdict(found)
    if mend and not found.agrees:
        note(f"{library.mend(log):,} sums mended")
        found = library.verify(log)
        view.verdict(found)
    if not found.agrees:
        raise typer.Exit(ExitCode.PROJECT)


def _confirmed(question: str, yes: bool) -> bool:
    """Whether to go on.

    Raises:
        UsageError: Nobody said so, and nobody can be asked.
    """
    if yes:
        return True
    if not can_ask():
        message = "nothing was changed: nobody is here to be asked; give --yes"
        raise UsageError(message)
    if is_yes(question):
        return True
    note("nothing was changed")
    return False
