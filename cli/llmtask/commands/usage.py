"""`llmtask usage`: what it all cost."""

import csv
import io
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, cast

import typer

from llmtask.commands.options import AsJson, Database, usage_log
from llmtask.usage import GROUPS, GroupBy, Query, Report, Summary, report, span
from llmtask.view.console import answer, json_text, note

app = typer.Typer(no_args_is_help=True, help="What it all cost.")


class Format(StrEnum):
    """What stdout carries."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


By = StrEnum("By", {name.upper(): name for name in GROUPS})  # type: ignore[misc]  # the report's own list of groups

Since = Annotated[str | None, typer.Option("--since", metavar="WHEN", help="From then on: 7d, 12h, today, 2026-11-01.")]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")]


@app.command("report")
def show_report(
    by: Annotated[By, typer.Option("--by", help="What to group by.")] = By.MODEL,  # type: ignore[attr-defined]
    since: Since = None,
    until: Until = None,
    form: Annotated[
        Format, typer.Option("--format", "-f", metavar="FORMAT", help="table, json or csv.")
    ] = Format.TABLE,
    db: Database = None,
) -> None:
    """Sum up calls, tokens and cost.

    [bold]llmtask usage report --since 7d --by task[/]

    [bold]llmtask usage report --by day --format csv > usage.csv[/]
    """
    group = cast("GroupBy", by.value)
    log = usage_log(db)
    log.drain()
    begin, end = span(since, until)
    found = report(log, Query((group,), begin, end))
    if form is Format.JSON:
        groups = [_as_json(one) for one in found.groups]
        answer(json_text({"by": group, "groups": groups, "total": _as_json(found.total)}))
    elif form is Format.CSV:
        answer(_as_csv(found))
    elif not found.groups:
        note(f"no calls yet in {log.path}" if not since and not until else f"no calls in that span in {log.path}")
    else:
        from llmtask.view.tables import usage_report  # Rich's tables, only for a table

        usage_report(found)


@app.command("list")
def show_list(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 20,
    as_json: AsJson = False,
    db: Database = None,
) -> None:
    """Show the last calls, the newest first."""
    log = usage_log(db)
    log.drain()
    rows = log.latest(count)
    if as_json:
        answer(json_text([asdict(row) for row in rows]))
    elif not rows:
        note(f"no calls yet in {log.path}")
    else:
        from llmtask.view.tables import usage_list

        usage_list(rows)


@app.command("path")
def show_path(db: Database = None) -> None:
    """Show where the usage log is."""
    answer(str(usage_log(db).path))


def _as_json(one: Summary) -> dict[str, Any]:
    """A group's sums; amounts are strings, so that none is rounded."""
    found = {
        name: value
        for name, value in asdict(one).items()
        if name not in ("keys", "cost_nanos", "saved_nanos", "latency_ms", "latencies", "first_tokens")
    }
    costs = {currency: format(amount.normalize(), "f") for currency, amount in one.costs.items()}
    return {"group": one.group} | found | {"mean_latency_ms": one.mean_latency_ms, "cost": costs}


def _as_csv(found: Report) -> str:
    """A line per group and currency, without the total; a group of two currencies is two lines of the same counts."""
    buffer = io.StringIO()
    names = (
        "calls",
        "failed",
        "unfinished",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "estimated",
        "unpriced",
    )
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([" / ".join(found.by), *names, "mean_latency_ms", "currency", "cost"])
    for one in found.groups:
        sums = [getattr(one, name) for name in names]
        costs = {currency: format(amount.normalize(), "f") for currency, amount in one.costs.items()}
        for currency, cost in (costs or {"": ""}).items():
            writer.writerow([_safe(one.group), *sums, one.mean_latency_ms, currency, cost])
    return buffer.getvalue().rstrip("\n")


def _safe(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
