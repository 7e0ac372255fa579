"""`llmtask worker`: does the jobs of batches that were begun elsewhere."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.collecting import collecting_seldom
from llmtask.commands.options import ProjectFolder, TrustOnce, open_project
from llmtask.errors import ExitCode, KeyMissingError, UsageError
from llmtask.interrupts import drained
from llmtask.view.console import note, warn

if TYPE_CHECKING:
    from llmtask.project import Project

app = typer.Typer(add_completion=False)


@app.command()
def worker(
    broker: Annotated[
        str,
        typer.Option(
            "--broker", metavar="URL", envvar="LLMTASK_BROKER", help="Where batches put their jobs: redis://..."
        ),
    ],
    queues: Annotated[
        str | None,
        typer.Option("--queues", metavar="A,B", help="Whose jobs it does.  [dim]\\[default: all of the project's][/]"),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", metavar="N", min=1, help="The most calls of a queue at once here; the queue's if less."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What others call it.  [dim]\\[default: its host and process][/]"),
    ] = None,
    lease: Annotated[
        float,
        typer.Option("--lease", metavar="S", min=1, help="Seconds until a killed worker's jobs are given to others."),
    ] = 30,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
) -> None:
    """Do the jobs of batches that were begun elsewhere, with others like it.

    [bold]llmtask worker --queues q_deepseek_chat,q_glm_flash --broker redis://queue.example:6379/0[/]

    It needs the same project as whoever began the batch, and keys of its own; the usage log and the results are theirs.
    SIGTERM and Ctrl-C let its calls come to their end; once more breaks them off, for other workers.
    """
    from llmtask.batch.carrier import MISSING
    from llmtask.batch.lanes import queues_of

    try:
        from llmtask.batch.remote.hand import TaskHand
        from llmtask.batch.remote.heard import hear_docket
        from llmtask.batch.remote.jobs import Duty
        from llmtask.batch.remote.worker import QueueWorker
    except ModuleNotFoundError as error:
        raise UsageError(MISSING) from error
    loaded = open_project(project, trust)
    known = queues_of(loaded)
    wanted = [one.strip() for one in queues.split(",") if one.strip()] if queues is not None else list(known)
    unknown = [one for one in wanted if one not in known]
    if unknown or not wanted:
        message = f"the project has no queue {', '.join(unknown)!r}; it has {', '.join(known)}"
        raise UsageError(message)
    _require_keys(loaded, {model for queue in wanted for model in known[queue]})
    hear_docket(warn)
    duty = Duty(hire=partial(TaskHand, loaded), tell=partial(note, style=""), lease_s=lease)
    working = QueueWorker(loaded, broker, wanted, duty, concurrency=concurrency, name=name)
    with drained(working.on_signal), collecting_seldom():
        asyncio.run(working.run())
    if working.is_broken_off:
        raise typer.Exit(ExitCode.PROVIDER)


def _require_keys(project: "Project", models: set[str]) -> None:
    """Say whose jobs it must give back for want of a key.

    Raises:
        UntrustedError: The project runs code.
        KeyMissingError: It can ask none of its models.
    """
    from llmtask.project import require_trust
    from llmtask.providers import require_key

    require_trust(project)
    providers = sorted({project.model(model).provider for model in models})
    problems = []
    for provider in providers:
        try:
            require_key(project, provider)
        except KeyMissingError as error:
            problems.append(error)
    if problems and len(problems) == len(providers):
        raise problems[0]
    for problem in problems:
        warn(f"jobs that need it go to other workers: {problem}")
