"""Options that several commands share."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.errors import LlmtaskError, UsageError
from llmtask.view.console import can_ask, is_yes, note, warn

if TYPE_CHECKING:
    from llmtask.project import Project
    from llmtask.usage import UsageLog

Paid = Annotated[
    bool | None, typer.Option("--paid/--free", help="Tier: with quota or without.  [dim]\\[default: the config's][/]")
]
ProjectFolder = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="DIR",
        help="Project folder.  [dim]\\[default: LLMTASK_PROJECT, the nearest, the starter][/]",
    ),
]
TrustOnce = Annotated[
    bool,
    typer.Option("--trust", help="Let the project run its own code and use its own providers, for this once."),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="FILE|URL",
        help="Usage log: a file, or postgresql://...  [dim]\\[default: LLMTASK_DB, the config's, the user's own][/]",
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="FILE", help="Results of runs.  [dim]\\[default: .llmtask/runs.db in the project][/]"
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        envvar="LLMTASK_BROKER",
        show_envvar=False,
        help="Workers on many machines do it: redis://...  [dim]\\[default: LLMTASK_BROKER, else this process][/]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def task_names(incomplete: str) -> list[str]:
    """Completion: the project's tasks."""
    return _beginning(lambda project: project.config.tasks, incomplete)


def model_names(incomplete: str) -> list[str]:
    """Completion: the project's models."""
    return _beginning(lambda project: project.config.models, incomplete)


def locale_names(incomplete: str) -> list[str]:
    """Completion: the project's locales."""
    return _beginning(lambda project: project.locales, incomplete)


def _beginning(names: Callable[["Project"], Iterable[str]], incomplete: str) -> list[str]:
    from llmtask.project import load_project  # 100 ms that commands without a project save

    try:
        return [name for name in names(load_project()) if name.startswith(incomplete)]
    except LlmtaskError:  # somebody is typing: no time to complain
        return []


TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="Task, or one of its aliases.", autocompletion=task_names)
]
Locale = Annotated[
    str | None,
    typer.Option(
        "--locale",
        "-l",
        help="Locale of prompt and answer.  [dim]\\[default: the config's][/]",
        autocompletion=locale_names,
    ),
]


def open_project(folder: str | None, trust: bool) -> "Project":
    """The project for a command that runs its code or calls its models.

    Where it needs trust and has none, whoever sits at the terminal is asked. A no is no end: what needs no trust still
    works, and the rest raises UntrustedError when it comes to that.
    """
    from llmtask.project import grant_trust, is_trusted, load_project, risks  # 100 ms, as above

    project = load_project(folder, trust=trust)
    if not can_ask() or is_trusted(project):
        return project
    found = risks(project)
    warn(f"{project.root} can run code and use your keys:")
    for risk in found:
        note(f"  {risk.text}")
    if is_yes("Trust it, as it is now?"):
        grant_trust(project, found)
    return project


def has_quota(project: "Project", paid: bool | None) -> bool:
    """What `--paid`, `--free` or neither means."""
    return project.config.defaults.tier == "paid" if paid is None else paid


def usage_log(db: str | None, project: "Project | None" = None) -> "UsageLog":
    """The usage log that `--db` names, or LLMTASK_DB, or the project's config; else the user's own.

    Args:
        db: What `--db` says.
        project: The project; the one that would be found, where it is left out and its config names a log.
    """
    from llmtask.usage import UsageLog, place_of  # 30 ms that commands without the log save

    if db is None and project is None and _may_name_a_log():
        from llmtask.project import load_project  # 100 ms, as above

        project = load_project()
    return UsageLog(db or (place_of(project) if project else None))


def team_log(folder: str | None) -> str:
    """The log that the project's config names, or LLMTASK_DB where that is a database's URL.

    Raises:
        UsageError: There is neither.
    """
    from llmtask.project import database_of, load_project  # 100 ms, as above

    named = database_of(load_project(folder)) or os.environ.get("LLMTASK_DB", "")
    if "://" not in named:
        message = "name the team's log: `llmtask usage sync postgresql://...`, or usage.database in config.yaml"
        raise UsageError(message)
    return named


def _may_name_a_log() -> bool:
    """Whether a look at the project's config is worth its time: a file that could be it says `database`."""
    named = os.environ.get("LLMTASK_PROJECT")
    try:
        folders = [Path(named).expanduser()] if named else [Path.cwd(), *Path.cwd().parents]
    except OSError:  # the working folder was deleted
        return False
    for folder in folders:
        with suppress(OSError):
            if b"database" in (folder / "config.yaml").read_bytes():
                return True
    return False
