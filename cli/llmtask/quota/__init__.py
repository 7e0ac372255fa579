"""Quotas: what each user may spend, as paid credit and as free runs, and the history of it. They decide the tier."""

from llmtask.quota.amounts import UNITS, Allowance, Quantity, Unit, quantity_text, read_allowance, read_quantity
from llmtask.quota.decision import Decision, decide
from llmtask.quota.shapes import Entry, Grant, Quota
from llmtask.quota.store import Quotas, quotas_of

__all__ = [
    "UNITS",
    "Allowance",
    "Decision",
    "Entry",
    "Grant",
    "Quantity",
    "Quota",
    "Quotas",
    "Unit",
    "decide",
    "quantity_text",
    "quotas_of",
    "read_allowance",
    "read_quantity",
]
