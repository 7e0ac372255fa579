"""`llmtask models`: what can be asked, and whether it answers."""

from typing import Annotated

import typer

from llmtask.commands.options import (
    AsJson,
    Database,
    ProjectFolder,
    TrustOnce,
    model_names,
    open_project,
    usage_log,
)
from llmtask.project import Project, load_project
from llmtask.providers import find_key
from llmtask.view.console import answer, json_text, note

app = typer.Typer(no_args_is_help=True, help="What can be asked, and whether it answers.")


@app.command("list")
def show_list(as_json: AsJson = False, project: ProjectFolder = None) -> None:
    """List the models; `provider/name` reaches others of a provider that allows it."""
    loaded = load_project(project)
    found = [_described(loaded, model_id) for model_id in loaded.config.models]
    if as_json:
        answer(json_text(found))
        return
    from llmtask.view.tables import table  # Rich's tables, only for a table

    columns = ("model", "provider", "name", "context", "schema by", "price", "key")
    rows = [
        (
            one["model"],
            one["provider"],
            one["name"],
            f"{int(one['context']):,}",
            one["structured"],
            one["price"],
            one["key"],
        )
        for one in found
    ]
    table(columns, rows, ("context",))


@app.command("check")
def show_check(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model id, or provider/name.", autocompletion=model_names)
    ],
    project: ProjectFolder = None,
    trust: TrustOnce = False,
    db: Database = None,
) -> None:
    """Ask a model one short question; costs next to nothing, is logged, and exits as `run` would."""
    from llmtask.service import check_model  # the whole of a run, which `list` saves

    loaded = open_project(project, trust)
    name = check_model(loaded, model, usage_log(db, loaded))
    note(f"{model}: answered as {name}", style="green")


def _described(project: Project, model_id: str) -> dict[str, str]:
    model = project.config.models[model_id]
    provider = project.config.providers[model.provider]
    key = find_key(project, model.provider)
    missing = f"missing: {' or '.join(provider.api_key_env)}"
    return {
        "model": model_id,
        "provider": model.provider,
        "name": model.name,
        "context": str(model.context),
        "structured": model.structured,
        "price": model.price or "unpriced",
        "key": "none needed" if not provider.api_key_env else key.source if key else missing,
    }
