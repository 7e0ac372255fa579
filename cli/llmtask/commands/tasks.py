"""`llmtask tasks`: what there is to run."""

import typer

from llmtask.commands.options import AsJson, ProjectFolder, TaskName
from llmtask.project import Project, load_project
from llmtask.prompts import load_prompt
from llmtask.router import Router
from llmtask.view.console import answer, harmless, json_text

app = typer.Typer(no_args_is_help=True, help="What there is to run.")


@app.command("list")
def show_list(as_json: AsJson = False, project: ProjectFolder = None) -> None:
    """List the tasks: inputs, routes, description."""
    from llmtask.view.tables import table  # Rich's tables, only for a table

    loaded = load_project(project)
    found = [_described(loaded, task) for task in loaded.config.tasks]
    if as_json:
        answer(json_text(found))
        return
    columns = ("task", "inputs", "paid", "free", "description")
    rows = [
        (str(one["task"]), " ".join(_shown(one)), str(one["paid"]), str(one["free"]), str(one["description"]))
        for one in found
    ]
    table(columns, rows)


@app.command("show")
def show_one(task: TaskName, as_json: AsJson = False, project: ProjectFolder = None) -> None:
    """Show a task: its variables, routes, schema and locales."""
    loaded = load_project(project)
    found = _described(loaded, loaded.task_id(task))
    if as_json:
        answer(json_text(found))
        return
    answer(harmless(f"{found['task']}: {found['description']}"))
    for name, variable in load_prompt(loaded, task, str(found["locale"])).file.variables.items():
        kind = "required" if variable.required else "optional"
        bare = ", a bare --input" if variable.input else ""
        answer(harmless(f"  {name} ({kind}{bare}): {variable.description}"))
    answer(harmless(f"  routes: paid {found['paid']}, free {found['free']}, worker {found['worker']}"))
    answer(harmless(f"  schema: {found['schema']}; locales: {', '.join(loaded.locales)}"))
    if found["aliases"]:
        answer(harmless(f"  also known as: {', '.join(loaded.config.tasks[str(found['task'])].aliases)}"))


def _described(project: Project, task: str) -> dict[str, object]:
    locale = _locale_of(project, task)
    prompt = load_prompt(project, task, locale).file
    paid, free = (Router(project).route_task(task, has_quota) for has_quota in (True, False))
    return {
        "task": task,
        "aliases": list(project.config.tasks[task].aliases),
        "description": prompt.description,
        "locale": locale,
        "variables": {name: variable.model_dump() for name, variable in prompt.variables.items()},
        "paid": paid.model_id,
        "free": free.model_id,
        "worker": paid.worker,
        "schema": project.config.tasks[task].schema_,
    }


def _locale_of(project: Project, task: str) -> str:
    """The config's default locale, or the first other one that the task has a prompt in."""
    default = project.config.defaults.locale
    written = [one for one in (default, *project.locales) if project.find("prompts", f"{one}/{task}.yaml")]
    return written[0] if written else default


def _shown(one: dict[str, object]) -> list[str]:
    """The variables, the optional ones in brackets."""
    variables = one["variables"]
    if not isinstance(variables, dict):
        return []
    return [name if variable["required"] else f"[{name}]" for name, variable in variables.items()]
