"""`llmtask route`: task + quota -> model + queue."""

from typing import Annotated

import typer

from llmtask.commands.options import AsJson, Paid, ProjectFolder, TaskName, has_quota
from llmtask.project import load_project
from llmtask.router import Router
from llmtask.view.console import answer, harmless, json_text

app = typer.Typer(add_completion=False)


@app.command()
def route(
    task: TaskName,
    paid: Paid = None,
    image: Annotated[bool, typer.Option("--image", help="The input holds an image.")] = False,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Prefer the reasoning model (paid tier).")] = False,
    as_json: AsJson = False,
    project: ProjectFolder = None,
) -> None:
    """Show where a run of a task goes: tier, model, queue, worker.

    [bold]llmtask route resume_summary --free[/]

    [bold]llmtask route job_summary --image --json[/]
    """
    loaded = load_project(project)
    decided = Router(loaded).route_task(task, has_quota(loaded, paid), has_image=image, prefer_reasoning=reasoning)
    found = {
        "task": loaded.task_id(task),
        "tier": decided.tier,
        "model_id": decided.model_id,
        "queue_id": decided.queue_id,
        "worker": decided.worker,
        "model_name": loaded.model(decided.model_id).name,
    }
    if as_json:
        answer(json_text(found))
        return
    line = (
        f"{found['task']} · {decided.tier} → {decided.model_id} ({found['model_name']}) · "
        f"queue {decided.queue_id or '-'} · worker {decided.worker}"
    )
    answer(harmless(line))
