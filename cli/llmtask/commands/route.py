"""`llmtask route`: task + quota -> model + queue."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmtask.commands.options import AsJson, Database, Paid, ProjectFolder, TaskName, has_quota, usage_log
from llmtask.errors import CappedError
from llmtask.project import Project, load_project
from llmtask.router import Router
from llmtask.view.console import answer, harmless, json_text, note

if TYPE_CHECKING:
    from llmtask.quota import Decision
    from llmtask.usage import UsageLog

app = typer.Typer(add_completion=False)


@app.command()
def route(
    task: TaskName,
    paid: Paid = None,
    image: Annotated[bool, typer.Option("--image", help="The input holds an image.")] = False,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Prefer the reasoning model (paid tier).")] = False,
    user: Annotated[
        str | None, typer.Option("--user", help="Ask this user's quota, where neither --paid nor --free is said.")
    ] = None,
    service: Annotated[str | None, typer.Option("--service", help="For which service the quota is asked.")] = None,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Show where a run of a task goes: tier, model, queue, worker.

    [bold]llmtask route resume_summary --free[/]

    [bold]llmtask route job_summary --image --json[/]

    [bold]llmtask route job_match --user alice[/]
    """
    loaded = load_project(project)
    asked = _asked(loaded, usage_log(db, loaded), task, user, service, image) if user and paid is None else None
    has = has_quota(loaded, paid) if asked is None else asked.tier == "paid"
    decided = Router(loaded).route_task(task, has, has_image=image, prefer_reasoning=reasoning)
    found = {
        "task": loaded.task_id(task),
        "tier": decided.tier,
        "model_id": decided.model_id,
        "queue_id": decided.queue_id,
        "worker": decided.worker,
        "model_name": loaded.model(decided.model_id).name,
    }
    if as_json:
        answer(json_text(found | ({"why": asked.why} if asked else {})))
        return
    if asked:
        note(asked.why)
    line = (
        f"{found['task']} · {decided.tier} → {decided.model_id} ({found['model_name']}) · "
        f"queue {decided.queue_id or '-'} · worker {decided.worker}"
    )
    answer(harmless(line))


def _asked(project: Project, log: "UsageLog", task: str, user: str, service: str | None, image: bool) -> "Decision":
    """What the user's quota says.

    Raises:
        CappedError: It refuses the run.
    """
    from llmtask.service.admission import tier_for  # the whole of a run, which a route without a user saves

    decision = tier_for(project, log, task, user, service, has_image=image)
    if decision.tier is None:
        raise CappedError(decision.why)
    return decision
