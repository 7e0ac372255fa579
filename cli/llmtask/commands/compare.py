"""`llmtask compare`: two runs of suites, and whether they differ by more than chance."""

from pathlib import Path
from typing import Annotated

import typer

from llmtask.commands.options import AsJson, ProjectFolder, Results
from llmtask.errors import ExitCode, UsageError
from llmtask.project import load_project
from llmtask.testing.compare import compare
from llmtask.testing.outputs import Outputs, found_run
from llmtask.testing.store import latest_runs
from llmtask.view.comparison import show_comparison
from llmtask.view.console import answer, json_text, note
from llmtask.view.suites import show_runs

app = typer.Typer(add_completion=False)

_RUN = "A run's id, its beginning, its name, latest, or FILE.json."


@app.command()
def compare_runs(
    baseline: Annotated[
        str | None, typer.Argument(metavar="[BASELINE]", help=f"{_RUN} Without one, lists runs.")
    ] = None,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help=_RUN)] = "latest",
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="OLD=NEW", help="Hold one model or prompt version against another. Repeatable."),
    ] = None,
    alpha: Annotated[
        float,
        typer.Option("--alpha", metavar="SHARE", min=0.0001, max=0.5, help="Share of false alarms that is accepted."),
    ] = 0.05,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit with 1 where passes, a check or the score are worse.")
    ] = False,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown for a pull request.")
    ] = None,
    results: Results = None,
    project: ProjectFolder = None,
) -> None:
    """Compare two runs of suites: what is better, what is worse, what cannot be told.

    [bold]llmtask compare main --fail-on-regression[/]

    [bold]llmtask compare latest latest --pair deepseek-chat=glm-4.5-flash[/]
    """
    outputs = Outputs(report, markdown=markdown)
    outputs.check()
    loaded = load_project(project)
    if baseline is None:
        show_runs(latest_runs(loaded, results))
        return
    names = dict(_pair(text) for text in pairs or [])
    ours = found_run(run, loaded, results)
    theirs = found_run(baseline, loaded, results, before=None if names else ours.id)
    found = compare(theirs, ours, alpha=alpha, pairs=names)
    if as_json:
        answer(json_text(found.to_json()))
    else:
        show_comparison(found)
    for path in outputs.write(ours, loaded, found):
        note(f"wrote {path}")
    if fail_on_regression and found.is_regression:
        raise typer.Exit(ExitCode.FAILED)


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign and new):
        message = f"--pair {text!r}: give OLD=NEW, such as deepseek-chat=glm-4.5-flash or current=v2"
        raise UsageError(message)
    return old, new
