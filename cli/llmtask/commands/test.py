"""`llmtask test`: are the answers still valid, good, cheap, in the right language?"""

from pathlib import Path
from typing import Annotated

import typer

from llmtask.commands.options import (
    Database,
    ProjectFolder,
    Results,
    TrustOnce,
    locale_names,
    model_names,
    open_project,
    task_names,
    usage_log,
)
from llmtask.view.console import note

app = typer.Typer(add_completion=False)


@app.command()
def run_suites(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...", help="Suites, folders of them, or FILE::ITEM.  [dim]\\[default: tests/][/]"
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="ID",
            help="Ask this model instead of the suites' own. Repeatable.",
            autocompletion=model_names,
        ),
    ] = None,
    locales: Annotated[
        list[str] | None,
        typer.Option(
            "--locale",
            "-l",
            metavar="LOCALE",
            help="Only cases in this locale. Repeatable.",
            autocompletion=locale_names,
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="TASK", help="Only suites of this task. Repeatable.", autocompletion=task_names),
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", metavar="VERSION", help="This version of the prompt instead of the suites' own. Repeatable."
        ),
    ] = None,
    words: Annotated[
        str | None, typer.Option("-k", metavar="WORDS", help="Only items whose names hold these: 'senior and not glm'.")
    ] = None,
    marks: Annotated[
        str | None, typer.Option("-m", metavar="MARKS", help="Only items with these marks: locale, model, task or tag.")
    ] = None,
    last_failed: Annotated[bool, typer.Option("--lf", help="Only what did not pass the last time.")] = False,
    first_failure: Annotated[bool, typer.Option("-x", help="Stop at the first that does not pass.")] = False,
    most_failures: Annotated[
        int | None, typer.Option("--maxfail", metavar="N", min=1, help="Stop after so many that do not pass.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeat", metavar="N", min=1, max=1000, help="Ask each case so often.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            min=1,
            max=1000,
            help="The most calls of one model at once; its queue's where that is less.",
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Stream the answers.",
            show_default="where the first token is looked at, or the model thinks",
        ),
    ] = None,
    max_cost: Annotated[
        str | None,
        typer.Option("--max-cost", metavar="AMOUNT", help="Ask no more once so much is spent: 2.00, 2.00CNY, 0.30USD."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="DIR", help="Write the answers as cassettes.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="DIR", help="Play cassettes and ask nobody; a miss is an error.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Take answers of earlier runs, where the very same was asked.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, though the last run of the same items was broken off.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call the run, for `compare`.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page.")] = None,
    document: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the run as JSON.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown for a pull request.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junitxml", metavar="FILE", help="Write JUnit XML.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="RUN", help="Compare with this run in page and Markdown: id, name, latest, FILE.json."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the items; ask nothing.")] = False,
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no usage rows.")] = False,
    results: Results = None,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
    db: Database = None,
) -> None:
    """Run suites: ask models the cases of tests/*.llm.yaml, and examine every answer.

    [bold]llmtask test --model offline[/]

    [bold]llmtask test tests/match.llm.yaml -k senior --repeat 5 --max-cost 2.00[/]

    [bold]llmtask test --replay tests/cassettes --report report.html[/]
    """
    from llmtask.testing.items import Selection  # pytest and pydantic's models: --help does without
    from llmtask.testing.launch import launch, verdict
    from llmtask.testing.outputs import Outputs, found_run, not_passed
    from llmtask.testing.runner import Runner, Settings
    from llmtask.testing.session import Options
    from llmtask.view.suites import Watch, show_plan, show_run

    options = Options(record, replay, cache, fresh, concurrency, name=name, streams=stream)
    outputs = Outputs(report, document, markdown, baseline)
    outputs.check()
    loaded = open_project(project, trust)
    keys = not_passed(loaded, results) if last_failed else None
    selection = Selection(_all(models), _all(locales), _all(tasks), _all(prompts), repeats, keys)
    watch = Watch()
    log = None if no_log else usage_log(db, loaded)
    runner = Runner(Settings(selection, options, max_cost, loaded, results, log), watch.begin, watch.end)
    wanted = {"-k": words, "-m": marks, "--maxfail": 1 if first_failure else most_failures, "--junitxml": junit}
    arguments = [f"{option}={value}" for option, value in wanted.items() if value is not None]
    arguments += ["--collect-only"] * dry_run
    before = outputs.before(loaded, results)
    code = launch(loaded, paths or [], arguments, runner)
    if dry_run and runner.chosen and not runner.errors:
        show_plan(runner.chosen)
        return
    for run in runner.runs:
        show_run(run, runner.notes)
        whole = found_run(run.id, loaded, results) if outputs.is_any else run
        for path in outputs.write(whole, loaded, outputs.compared(whole, before)):
            note(f"wrote {path}")
    raise typer.Exit(verdict(runner, code))


def _all(given: list[str] | None) -> tuple[str, ...]:
    return tuple(given or ())
