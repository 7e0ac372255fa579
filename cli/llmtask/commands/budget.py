"""`llmtask budget`: what may be spent, and what is left of it."""

from decimal import Decimal
from typing import Any

import typer

from llmtask.budgets.caps import Standing, standings
from llmtask.commands.options import AsJson, Database, ProjectFolder, usage_log
from llmtask.money import NANOS
from llmtask.project import load_project
from llmtask.view.console import answer, json_text, note

app = typer.Typer(no_args_is_help=True)


@app.callback()
def budget() -> None:
    """What may be spent, and what is left of it."""


@app.command("show")
def show_budgets(as_json: AsJson = False, project: ProjectFolder = None, db: Database = None) -> None:
    """Show each budget of config.yaml: what was spent, what calls in flight can cost, what is left, when it is new."""
    loaded = load_project(project)
    log = usage_log(db, loaded)
    log.drain()
    found = list(standings(log, loaded))
    if as_json:
        answer(json_text([_as_json(one) for one in found]))
    elif not loaded.config.budgets:
        note("there are no budgets; `budgets: [{amount: 20, currency: CNY, per: day}]` in config.yaml makes one")
    elif not found:
        note("nothing was spent yet of the budgets in config.yaml")
    else:
        from llmtask.view.quota import show_budgets as show  # Rich's tables, only for a table

        show(found)


def _as_json(one: Standing) -> dict[str, Any]:
    """A budget; amounts are strings, so that none is rounded."""
    budget = one.cap.budget
    return {
        "amount": _exact(one.cap.nanos),
        "currency": budget.currency,
        "per": budget.per,
        "scope": dict(one.cap.scope),
        "then": budget.then,
        "spent": {currency: _exact(nanos) for currency, nanos in sorted(one.spent.items()) if nanos},
        "reserved": {currency: _exact(nanos) for currency, nanos in sorted(one.reserved.items()) if nanos},
        "left": None if one.left is None else _exact(one.left),
        "renews_at": one.renews_at.isoformat() if one.renews_at else None,
    }


def _exact(nanos: int) -> str:
    return format((Decimal(nanos) / NANOS).normalize(), "f")
