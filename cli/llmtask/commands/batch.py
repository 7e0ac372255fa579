"""`llmtask batch`: a task on thousands of inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from llmtask.commands.options import (
    AsJson,
    Broker,
    Database,
    Locale,
    Paid,
    ProjectFolder,
    TaskName,
    TrustOnce,
    has_quota,
    model_names,
    open_project,
    usage_log,
)
from llmtask.errors import UsageError
from llmtask.view.console import note, warn

if TYPE_CHECKING:
    from llmtask.batch.alerts import Alerts
    from llmtask.batch.journal import Standing
    from llmtask.batch.outputs import Outputs
    from llmtask.batch.start import Started
    from llmtask.usage import UsageLog

_START = "start"


class _Group(TyperGroup):
    """`batch TASK` is `batch start TASK`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where a task stands in its place."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = [_START, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    add_completion=False,
    no_args_is_help=True,
    help="Run a task on thousands of inputs: a journal, limits that learn, resumable.",
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A batch's id, the beginning of one, or latest.")]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="FILE.jsonl, a folder (a file each), or - for stdout; failed ones beside it.",
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", min=1, help="The most calls of a queue at once; the queue's if less."),
]
MaxCost = Annotated[
    str | None, typer.Option("--max-cost", metavar="AMOUNT", help="Begin no more once so much is spent: 20, 2.5USD.")
]
Alert = Annotated[
    str | None,
    typer.Option("--alert", metavar="URL|COMMAND", help="Is told when it stops, breaks or is done."),
]
FormName = Literal["bar", "plain", "json", "none"]
Form = Annotated[
    FormName | None,
    typer.Option(
        "--progress",
        metavar="FORM",
        help="What stderr shows: bar, plain, json or none.  [dim]\\[default: bar at a terminal, else plain][/]",
    ),
]
NoLog = Annotated[bool, typer.Option("--no-log", help="Write no usage rows.")]


@app.command(_START)
def start(
    task: TaskName,
    inputs: Annotated[
        str, typer.Option("--inputs", "-i", metavar="PATH", help="FILE.jsonl, FILE.csv, a folder, or - for JSONL.")
    ],
    out: Out = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=TEXT", help="A text that every record has. Repeatable.")
    ] = None,
    locale: Locale = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="ID", help="A model instead of the route's.", autocompletion=model_names),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="VERSION", help="A draft of the prompt.")] = None,
    paid: Paid = None,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="The route's reasoning model.")] = False,
    fallback: Annotated[
        bool | None, typer.Option("--fallback/--no-fallback", help="Whether the model's fallbacks take over.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Accept nothing but the bare JSON object.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="S", min=0.1, help="Seconds for a run.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="On whose behalf, for the log.")] = None,
    service: Annotated[
        str | None, typer.Option("--service", metavar="ID", help="For which service, for the log.")
    ] = None,
    concurrency: Concurrency = None,
    max_cost: MaxCost = None,
    as_finished: Annotated[
        bool, typer.Option("--as-finished", help="Write answers as they come, not in the order of the input.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it can cost; ask nobody.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is in --out.")] = False,
    alert: Alert = None,
    progress: Form = None,
    broker: Broker = None,
    no_log: NoLog = False,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
    db: Database = None,
) -> None:
    """Run a task on every record of an input.

    [bold]llmtask batch job_match --inputs resumes.jsonl --out matches.jsonl[/]

    [bold]llmtask batch job_match --inputs resumes/ --out out/ --concurrency 64 --max-cost 20[/]
    """
    from llmtask.batch.alerts import Alerts
    from llmtask.batch.broker import Reports
    from llmtask.batch.outputs import open_outputs
    from llmtask.batch.spec import Plans, Spec
    from llmtask.batch.start import HERE, Settings, begin, estimated, fixed, source_of
    from llmtask.service import read_most
    from llmtask.view.batch import show_estimate

    _require_apart(inputs, out)
    alerts = Alerts(alert)
    loaded = open_project(project, trust)
    spec = Spec(
        task=loaded.task_id(task),
        locale=locale,
        prompt_version=prompt,
        model_id=model,
        has_quota=has_quota(loaded, paid),
        prefer_reasoning=reasoning,
        fall_back=fallback,
        strict=strict,
        timeout_s=timeout,
        user_id=user,
        service_id=service,
    )
    plans = Plans(spec, loaded)
    settings = Settings(
        inputs=fixed(inputs),
        out=fixed(out) if out else None,
        base=_texts(variables or []),
        as_finished=as_finished,
        broker=None if broker == HERE else broker,
        concurrency=concurrency,
        max_cost=read_most(max_cost, loaded, {plans.planner.route.model_id}) if max_cost else None,
    )
    source = source_of(plans, settings)
    show_estimate(estimated(plans, settings, source.count), source.count, settings.max_cost)
    if dry_run:
        return
    outputs = open_outputs(out, force=force) if out else None
    reports = Reports(None if no_log else usage_log(db, loaded), alerts.send)
    started = begin(plans, settings, source, reports)
    _run(started, outputs, alerts, progress)


def _going_on(*, retry: bool) -> Callable[..., None]:
    """The command that goes on with a batch, or tries its failures again: their options are the same."""

    def command(
        run: Run,
        concurrency: Concurrency = None,
        max_cost: MaxCost = None,
        alert: Alert = None,
        progress: Form = None,
        broker: Broker = None,
        no_log: NoLog = False,
        project: ProjectFolder = None,
        trust: TrustOnce = False,
        db: Database = None,
    ) -> None:
        from llmtask.batch.alerts import Alerts
        from llmtask.batch.broker import Reports
        from llmtask.batch.outputs import open_outputs
        from llmtask.batch.start import go_on, model_of
        from llmtask.service import read_most

        alerts = Alerts(alert)
        loaded = open_project(project, trust)
        most = read_most(max_cost, loaded, {model_of(loaded, run)}) if max_cost else None
        changes = {"concurrency": concurrency, "max_cost": most, "broker": broker}
        reports = Reports(None if no_log else usage_log(db, loaded), alerts.send)
        started = go_on(loaded, run, changes, reports, retry=retry)
        out = started.settings.out
        _run(started, open_outputs(out, force=True) if out else None, alerts, progress)

    return command


app.command("resume", help="Go on with a batch that was broken off or stopped; what is done is not done again.")(
    _going_on(retry=False)
)
app.command("retry", help="Ask for the failed ones again, and for them alone.")(_going_on(retry=True))


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A batch; all where it is left out.")] = None,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Show how batches stand; one that another process runs, too."""
    from llmtask.batch.journal import Journal, find_journal, folder_of, run_ids
    from llmtask.project import load_project
    from llmtask.view.batch import show_standings

    loaded = load_project(project)
    log = usage_log(db, loaded)
    paths = [find_journal(loaded, run)] if run else [folder_of(loaded) / f"{name}.db" for name in run_ids(loaded)]
    found = []
    for path in paths:
        journal = Journal(path)
        try:
            standing = journal.standing()
        finally:
            journal.close()
        found.append((standing, _open_calls(standing, log)))
    if not found:
        note("no batch yet: `llmtask batch TASK --inputs FILE.jsonl --out FILE.jsonl` begins one")
    show_standings(found, as_json=as_json)


def _open_calls(standing: "Standing", log: "UsageLog") -> int:
    """Calls of a batch that have no end: under way, or killed."""
    from llmtask.batch.carrier import service_of

    service_id = standing.settings["spec"]["service_id"] or service_of(standing.run_id)
    sql = "SELECT count(*) FROM llm_usage_logs WHERE service_id = ? AND created_at >= ? AND error_class = 'unfinished'"
    return int(log.query(sql, (service_id, standing.began_at.rstrip("Z")))[0][0]) if log.exists else 0


@app.command()
def cancel(run: Run, project: ProjectFolder = None) -> None:
    """Stop a batch that another process runs: what is in flight comes to its end."""
    from llmtask.batch.journal import Journal, find_journal
    from llmtask.project import load_project

    journal = Journal(find_journal(load_project(project), run))
    try:
        journal.request_stop()
    finally:
        journal.close()
    note(f"batch {journal.run_id} stops when what is in flight has ended; `llmtask batch resume` would go on")


@app.command()
def results(
    run: Run,
    out: Out = "-",
    force: Annotated[bool, typer.Option("--force", help="Write over what is in --out.")] = False,
    project: ProjectFolder = None,
) -> None:
    """Write the answers of a batch again, from its journal."""
    from llmtask.batch.journal import Journal, find_journal
    from llmtask.batch.outputs import open_outputs
    from llmtask.project import load_project

    journal = Journal(find_journal(load_project(project), run))
    try:
        outputs = open_outputs(out or "-", force=force)
        for block in journal.all_finished():
            outputs.write(block)
        outputs.flush()
        outputs.close()
        standing = journal.standing()
    finally:
        journal.close()
    note(f"{standing.done:,} done, {standing.failed:,} failed, {standing.pending:,} to do", style="")


def _run(started: "Started", outputs: "Outputs | None", alerts: "Alerts", progress: FormName | None) -> None:
    from llmtask.batch.foreground import run_in_foreground
    from llmtask.view.batch import Watch, show_end

    if started.settings.broker:
        from llmtask.batch.remote.heard import hear_docket

        hear_docket(warn)
    watch = Watch(started.batch, progress)
    note(f"batch {started.batch.journal.run_id}", style="")
    ended = run_in_foreground(started, outputs, alerts, watch.run)
    watch.end()
    for problem in alerts.problems:
        warn(problem)
    show_end(started.batch, ended.standing, ended.seconds)
    if ended.code:
        raise typer.Exit(ended.code)


def _require_apart(inputs: str, out: str | None) -> None:
    """Refuse to write over what is read.

    Raises:
        UsageError: Input and output are one place.
    """
    if out not in (None, "-") and inputs != "-" and Path(str(out)).resolve() == Path(inputs).resolve():
        message = f"--out {out!r} is what --inputs reads; name another place"
        raise UsageError(message)


def _texts(variables: list[str]) -> dict[str, str]:
    found = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals:
            message = f"--var {variable!r} is not of the form NAME=TEXT"
            raise UsageError(message)
        found[name] = value
    return found
