"""`llmtask prompts`: look at prompt templates, and check them."""

import typer

from llmtask.commands.options import Locale, ProjectFolder, TaskName
from llmtask.errors import ProjectError
from llmtask.project import load_project, shown
from llmtask.prompts import lint, load_prompt
from llmtask.view.console import answer, harmless, note

app = typer.Typer(no_args_is_help=True, help="Prompt templates: look at them, check them.")


@app.command("show")
def show_one(task: TaskName, locale: Locale = None, project: ProjectFolder = None) -> None:
    """Show a task's templates as they are; `run --dry-run` shows them filled."""
    loaded = load_project(project)
    prompt = load_prompt(loaded, task, locale or loaded.config.defaults.locale)
    note(f"{shown(prompt.source.path)} (version {prompt.hash})")
    for part, text in (("system", prompt.file.system), ("user", prompt.file.user)):
        answer(f"--- {part} ---\n{harmless(text)}")


@app.command("lint")
def show_lint(project: ProjectFolder = None) -> None:
    """Check all templates: they parse, declare what they use, and agree between locales."""
    loaded = load_project(project)
    problems = lint(loaded)
    if problems:
        raise ProjectError("\n".join(problems))
    note(f"all prompts are sound ({', '.join(loaded.locales)}: {len(loaded.config.tasks)} tasks)", style="green")
