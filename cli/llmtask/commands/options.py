"""Options that several commands share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.errors import LlmtaskError
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
    Path | None,
    typer.Option("--db", metavar="FILE", help="Usage log.  [dim]\\[default: LLMTASK_DB, the user's data folder][/]"),
]
Results = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="FILE", help="Results of runs.  [dim]\\[default: .llmtask/runs.db in the project][/]"
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


def usage_log(db: Path | None) -> "UsageLog":
    """The usage log that `--db` names, or the default one."""
    from llmtask.usage import UsageLog  # 30 ms that commands without the log save

    return UsageLog(db)
