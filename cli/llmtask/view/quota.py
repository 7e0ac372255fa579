"""How quotas and budgets look."""

from collections.abc import Sequence
from decimal import Decimal

from llmtask.budgets.caps import Standing
from llmtask.money import NANOS, amount_text
from llmtask.quota import Entry, Quota, quantity_text
from llmtask.terms import when
from llmtask.view.console import harmless
from llmtask.view.tables import table

_WHAT = {
    "grant": "added",
    "set": "set",
    "reserve": "held",
    "settle": "settled",
    "give_back": "given back",
    "expire": "expired",
}


def show(quotas: Sequence[Quota]) -> None:
    """Quotas, a line each."""
    columns = ("user", "service", "credit", "held", "free runs left", "new at")
    rows = [
        (
            one.user_id,
            one.service_id or "-",
            quantity_text(one.credit, one.unit),
            quantity_text(one.reserved, one.unit) if one.reserved else "-",
            f"{one.free_left:,} of {one.free_runs:,} a {one.free_per}" if one.free_runs else "-",
            one.renews if one.free_runs else "-",
        )
        for one in quotas
    ]
    table(columns, rows, ("credit", "held", "free runs left"))


def words(one: Quota) -> str:
    """A quota in a sentence."""
    service = f" for service {one.service_id!r}" if one.service_id else ""
    held = f" ({quantity_text(one.reserved, one.unit)} more held by runs in flight)" if one.reserved else ""
    free = f"{one.free_left:,} of {one.free_runs:,} free runs a {one.free_per}" if one.free_runs else "no free runs"
    return f"user {one.user_id!r}{service} has {quantity_text(one.credit, one.unit)} of credit{held} and {free}"


def show_history(entries: Sequence[Entry]) -> None:
    """Changes of quotas, a line each."""
    columns = ("when (UTC)", "service", "what", "amount", "left", "run", "why")
    rows = [
        (
            one.created_at[:19].replace("T", " "),
            one.service_id or "-",
            f"{_WHAT.get(one.what, one.what)}{' (free)' if one.tier == 'free' else ''}",
            f"{'+' if one.amount > 0 else ''}{quantity_text(one.amount, one.unit)}",
            quantity_text(one.rest, one.unit),
            one.run_id or "-",
            "; ".join(filter(None, (one.period, one.why))) or "-",
        )
        for one in entries
    ]
    table(columns, rows, ("amount", "left"))


def show_budgets(standings: Sequence[Standing]) -> None:
    """Budgets, a line each."""
    columns = ("budget", "spent", "in flight", "left", "then", "new at")
    rows = [
        (
            harmless(one.cap.words),
            _amounts(one.spent),
            _amounts(one.reserved),
            "no rate" if one.left is None else amount_text(Decimal(one.left) / NANOS, one.cap.budget.currency),
            one.cap.budget.then,
            when(one.renews_at, one.cap.zone) if one.renews_at else "-",
        )
        for one in standings
    ]
    table(columns, rows, ("spent", "in flight", "left"))


def _amounts(nanos: dict[str, int]) -> str:
    parts = [amount_text(Decimal(amount) / NANOS, currency) for currency, amount in sorted(nanos.items()) if amount]
    return " + ".join(parts) or "-"
