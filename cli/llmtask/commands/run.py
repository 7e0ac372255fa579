"""`llmtask run`: template -> model -> live stream -> validated JSON -> a row in the usage log."""

from pathlib import Path
from typing import Annotated

import typer

from llmtask.budgets import budgeted
from llmtask.commands.inputs import Given, gather
from llmtask.commands.options import (
    Database,
    Locale,
    Paid,
    ProjectFolder,
    TaskName,
    TrustOnce,
    model_names,
    open_project,
    usage_log,
)
from llmtask.errors import AnswerInvalidError
from llmtask.project import Project
from llmtask.providers import preload
from llmtask.service import Decided, Plan, RunOptions, asks_quota, decide_run, execute_decided, read_most
from llmtask.usage import Ledger, UsageLog
from llmtask.view.console import note
from llmtask.view.deliver import Delivery, Format, kept
from llmtask.view.plan import show_plan

app = typer.Typer(add_completion=False)


@app.command()
def run(
    task: TaskName,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="[NAME=]PATH|-", help="A document: a file, or - for stdin; images too. Repeatable."
        ),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable's text. Repeatable.")
    ] = None,
    locale: Locale = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model id, or provider/name; offline needs no key.", autocompletion=model_names
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="VERSION", help="A draft: v2 is prompts/LOCALE/TASK@v2.yaml."),
    ] = None,
    paid: Paid = None,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Prefer the reasoning model (paid tier).")] = False,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Stream the call.")] = True,
    form: Annotated[
        Format,
        typer.Option("--format", "-f", metavar="FORMAT", help="What stdout carries: pretty, json, text or events."),
    ] = Format.PRETTY,
    select: Annotated[
        str | None,
        typer.Option("--select", "-s", metavar="PATH", help="Write only this part (JMESPath); strings bare."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the answer to a file, whole or not at all."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="On whose behalf; where the user has a quota and no tier is said, it decides."),
    ] = None,
    service: Annotated[str | None, typer.Option("--service", help="For which service, for the usage log.")] = None,
    max_cost: Annotated[
        str | None,
        typer.Option("--max-cost", metavar="AMOUNT", help="Make no call that could pass it: 2.00, 2.00CNY, 0.30USD."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="For the whole run.")
    ] = None,
    fallback: Annotated[
        bool | None,
        typer.Option(
            "--fallback/--no-fallback",
            help="Whether the model's fallbacks may take over.",
            show_default="yes, unless --model names one",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take only the bare JSON object: no fence, no prose, no repair.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show route, messages, tokens and cost; call nothing.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep the text of an answer that does not fit, in a file.")
    ] = True,
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no usage row.")] = False,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
    db: Database = None,
) -> None:
    """Run a task and write its valid answer to stdout; everything else goes to stderr.

    [bold]llmtask run job_match --locale zh --input resume.md --model offline[/]

    [bold]llmtask run job_match -i resume.md -i job=posting.md --select match_score[/]

    [bold]llmtask run job_summary --input job=screenshot.png --free[/]
    """
    loaded = open_project(project, trust)
    chosen = {"locale": locale} if locale else {}
    options = RunOptions(
        **chosen,  # type: ignore[typeddict-item]  # the one key that has no None
        model_id=model,
        prompt_version=prompt,
        prefer_reasoning=reasoning,
        user_id=user,
        service_id=service,
        strict=strict,
        fall_back=fallback,
        timeout_s=timeout,
        project=loaded,
    )
    delivery = Delivery(form, select, output)
    delivery.check()
    if model and not dry_run:
        preload(loaded, model)
    log = usage_log(db, loaded)
    given = _given(loaded, task, locale, inputs or [], variables or [])
    options["images"] = given.images
    if paid is not None:
        options["has_quota"] = paid
    elif user:
        options["quota"] = asks_quota(loaded, log, user, service)
    decided = decide_run(task, given.texts, options, log)
    if dry_run:
        show_plan(decided.preview().plan, decided.why)
        return
    ledger = _ledger(decided.plan, None if no_log else log, max_cost)
    try:
        with decided:
            _show_start(loaded, decided, model)
            delivery.watch_and_write(execute_decided(decided, ledger, live=stream), decided.plan)
    except AnswerInvalidError as error:
        if keep:
            note(kept(error.text, log.folder / "rejected"))
        raise


def _given(project: Project, task: str, locale: str | None, inputs: list[str], variables: list[str]) -> Given:
    """What was given, its encodings said."""
    given = gather(project, task, locale, inputs, variables)
    for name, encoding in given.encodings.items():
        note(f"{name} was read as {encoding}")
    return given


def _show_start(project: Project, decided: Decided, model: str | None) -> None:
    """Say why the run goes where it goes, and bring in what it takes to ask its model."""
    if decided.why:
        note(decided.why)
    if not model:
        preload(project, decided.plan.route.model_id)


def _ledger(planned: Plan, log: UsageLog | None, max_cost: str | None) -> Ledger | None:
    """The usage log behind the budgets of config.yaml and of `--max-cost`.

    Raises:
        UsageError: That is no amount, or does not say its currency where the model's price does not, either.
    """
    most = read_most(max_cost, planned.project, {planned.route.model_id}) if max_cost is not None else None
    return budgeted(planned.project, log, max_cost=most, total_s=planned.timeouts.total_s)
