"""`llmtask doctor`: is everything in place?"""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from llmtask import __version__
from llmtask.commands.options import Database, ProjectFolder, TrustOnce, usage_log
from llmtask.errors import ExitCode, LlmtaskError, UntrustedError
from llmtask.project import Project, load_project, risks, shown, why_trusted
from llmtask.prompts import lint
from llmtask.providers import find_key, reach
from llmtask.schemas import load_schema
from llmtask.view.console import draw, harmless

_PACKAGES = ("langchain-openai", "openai", "langchain-community", "pydantic", "sqlite-utils")
_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]-[/]"}

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Reach for no network.")] = False,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
    db: Database = None,
) -> None:
    """Check versions, project files, keys, usage log and endpoints; exits 3 when something is wrong."""
    sound = True
    try:
        loaded = load_project(project, trust=trust)
    except LlmtaskError as error:
        _line(False, str(error))
        raise typer.Exit(error.exit_code) from error
    for is_good, text in (*_versions(), *_project(loaded), *_log(db, loaded), *_providers(loaded, offline)):
        sound = sound and is_good is not False
        _line(is_good, text)
    if not sound:
        raise typer.Exit(ExitCode.PROJECT)


def _line(is_good: bool | None, text: str) -> None:
    from rich.markup import escape

    draw(f"{_MARKS[is_good]} {escape(harmless(text))}", soft_wrap=True)


Finding = tuple[bool | None, str]
"""Good, bad, or None for what is merely not there; and a sentence."""


def _versions() -> Iterator[Finding]:
    yield True, f"llmtask {__version__}, Python {platform.python_version()} ({sys.platform})"
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    yield True, ", ".join(found)


def _project(project: Project) -> Iterator[Finding]:
    kind = "the starter" if project.is_starter else "your own, over the starter"
    yield (
        True,
        f"project {shown(project.root)} ({kind}): "
        f"{len(project.config.tasks)} tasks, {len(project.config.models)} models",
    )
    yield from _trust(project)
    problems = lint(project)
    for problem in problems:
        yield False, problem
    for task in project.config.tasks:
        try:
            load_schema(project, task)
        except UntrustedError:
            problems.append("")  # said already
        except LlmtaskError as error:
            problems.append(str(error))
            yield False, str(error)
    if not problems:
        yield True, f"prompts and schemas are sound ({', '.join(project.locales)})"


def _trust(project: Project) -> Iterator[Finding]:
    """What the project needs trust for, where it does."""
    try:
        found = risks(project)
    except LlmtaskError as error:
        yield False, str(error)
        return
    why = why_trusted(project, found)
    if why is None:
        yield from ((False, f"not trusted: {risk.text}") for risk in found)
        yield None, "what is not trusted was not run and not connected to; look at it, then `llmtask trust`"
    elif found:
        yield True, f"trusted to run code and use keys ({why})"


def _log(db: Database, project: Project) -> Iterator[Finding]:
    try:
        log = usage_log(db, project)
        log.check()
    except LlmtaskError as error:
        yield False, str(error)
    else:
        yield True, f"usage log {log.place} can be written"


def _providers(project: Project, offline: bool) -> Iterator[Finding]:
    for provider_id, provider in project.config.providers.items():
        if provider.driver == "offline":
            yield True, f"{provider_id}: embedded, needs no key and no network"
            continue
        key = find_key(project, provider_id)
        if provider.api_key_env and key is None:
            yield None, f"{provider_id}: no key (set {' or '.join(provider.api_key_env)})"
        else:
            yield True, f"{provider_id}: {'key from ' + key.source if key else 'needs no key'}"
        if provider.base_url and not offline:
            yield _reached(project, provider_id, provider.base_url)


def _reached(project: Project, provider_id: str, base_url: str) -> Finding:
    try:
        problem = reach(project, provider_id)
    except UntrustedError:
        return None, f"{provider_id}: {base_url} is not tried before the project is trusted"
    return (None, f"{provider_id}: {base_url} {problem}") if problem else (True, f"{provider_id}: {base_url} answers")
