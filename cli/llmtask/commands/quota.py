"""`llmtask quota`: what users may spend."""

from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

import typer

from llmtask.commands.options import AsJson, Database, ProjectFolder, usage_log
from llmtask.errors import UsageError
from llmtask.money import NANOS
from llmtask.project import load_project
from llmtask.quota import Quota, Quotas, quotas_of, read_allowance, read_quantity
from llmtask.view.console import answer, json_text, note

app = typer.Typer(no_args_is_help=True, help="What users may spend: paid credit and free runs, and what became of it.")

User = Annotated[str, typer.Argument(metavar="USER", help="The user, as `run --user` says it.")]
Service = Annotated[
    str, typer.Option("--service", help="For this service alone.  [dim]\\[default: all that have none of their own][/]")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="A word for the history.")]


@app.command("show")
def show_quotas(
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="Only this user's.")] = None,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Show what users have left, what runs in flight hold, and when free runs are new."""
    found = _quotas(project, db).all(user)
    if as_json:
        answer(json_text([_as_json(one) for one in found]))
    elif not found:
        note(f"user {user!r} has no quota" if user is not None else "nobody has a quota; `llmtask quota set` gives one")
    else:
        from llmtask.view.quota import show  # Rich's tables, only for a table

        show(found)


@app.command("set")
def set_quota(
    user: User,
    credit: Annotated[
        str | None,
        typer.Option("--credit", metavar="AMOUNT", help="What is left to spend from now on: 10CNY, 2.50USD, 100runs."),
    ] = None,
    free: Annotated[
        str | None, typer.Option("--free", metavar="RUNS", help="Free runs: 5/day, 100/month, 0 for none.")
    ] = None,
    service: Service = "",
    why: Why = "",
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Say what a user may spend; what is left out stays as it is.

    [bold]llmtask quota set alice --credit 10CNY --free 5/day[/]
    """
    if credit is None and free is None:
        message = "say what to set: --credit 10CNY, --free 5/day, or both"
        raise UsageError(message)
    wanted = (read_quantity(credit) if credit is not None else None, read_allowance(free) if free is not None else None)
    _say(_quotas(project, db).set(user, service, credit=wanted[0], free=wanted[1], why=why))


@app.command("add")
def add_credit(
    user: User,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="How much: 10CNY, 2.50USD, 100runs.")],
    service: Service = "",
    why: Why = "",
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Add to a user's paid credit.

    [bold]llmtask quota add alice 10CNY --why "invoice 4711"[/]
    """
    _say(_quotas(project, db).add(user, read_quantity(amount), service, why=why))


@app.command("history")
def show_history(
    user: User,
    service: Annotated[str | None, typer.Option("--service", help="Of this service's quota alone.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many lines.")] = 50,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    db: Database = None,
) -> None:
    """Show every change of a user's quota, the newest first: when, what, how much, why, and of which run."""
    found = _quotas(project, db).history(user, service, count)
    if as_json:
        answer(json_text([asdict(one) | _amounts(one.unit, amount=one.amount, rest=one.rest) for one in found]))
    elif not found:
        note(f"user {user!r} has no history")
    else:
        from llmtask.view.quota import show_history as show

        show(found)


def _quotas(project: str | None, db: Any) -> Quotas:
    loaded = load_project(project)
    return quotas_of(loaded, usage_log(db, loaded))


def _say(quota: Quota) -> None:
    from llmtask.view.quota import words

    note(words(quota))


def _as_json(one: Quota) -> dict[str, Any]:
    """A quota; amounts of money are strings, so that none is rounded."""
    return {
        "user_id": one.user_id,
        "service_id": one.service_id,
        "unit": one.unit,
        **_amounts(one.unit, credit=one.credit, reserved=one.reserved),
        "free_runs": one.free_runs,
        "free_per": one.free_per,
        "free_used": one.free_used,
        "free_left": one.free_left,
        "renews_at": one.term.end.isoformat(),
    }


def _amounts(unit: str, **amounts: int) -> dict[str, int | str]:
    if unit == "runs":
        return dict(amounts)
    return {name: format((Decimal(amount) / NANOS).normalize(), "f") for name, amount in amounts.items()}
