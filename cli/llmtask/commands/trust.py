"""`llmtask trust`: whether a project may run code of its own and reach for keys."""

from typing import Annotated

import typer

from llmtask.errors import UsageError
from llmtask.project import grant_trust, load_project, revoke_trust, risks, trust_always, why_trusted
from llmtask.view.console import answer, harmless, note

app = typer.Typer(add_completion=False)


@app.command()
def trust(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[DIR]", help="Project folder.  [dim]\\[default: LLMTASK_PROJECT, the nearest][/]"),
    ] = None,
    always: Annotated[
        bool, typer.Option("--always", help="Whatever it will hold: the folder is your own work.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Show what it needs trust for, and whether it has it.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Trust it no more.")] = False,
) -> None:
    """Let a project run its own Python code and use its own providers; a change of them asks again.

    [bold]llmtask trust --show their-tasks[/]

    [bold]llmtask trust their-tasks[/]
    """
    if always + show + revoke > 1:
        message = "--always, --show and --revoke are three things; choose one"
        raise UsageError(message)
    project = load_project(folder)
    place, found = str(project.root), risks(project)
    if show:
        why = why_trusted(project, found)
        lines = [f"{place}: {'not trusted' if why is None else f'trusted: {why}'}", *(f"  {one.text}" for one in found)]
        answer(harmless("\n".join(lines)))
    elif revoke:
        note(f"{place}: {'trusted no more' if revoke_trust(project) else 'was not trusted'}")
    elif always:
        trust_always(project.root)
        note(f"{place}: trusted, whatever it will hold", style="green")
    elif not found:
        note(f"{place}: needs no trust: nothing in it runs code or sends anything to hosts of its own")
    else:
        for one in found:
            note(f"  {one.text}")
        grant_trust(project, found)
        note(f"{place}: trusted, as it is now", style="green")
