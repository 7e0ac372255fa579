"""Budgets: caps on what is spent, checked before each call against the usage log and what calls in flight hold."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmtask.money import Cost
    from llmtask.project import Project
    from llmtask.usage import Ledger, UsageLog

__all__ = ["budgeted"]


def budgeted(
    project: "Project", log: "UsageLog | None", *, max_cost: "Cost | None" = None, total_s: float | None = None
) -> "Ledger | None":
    """The ledger that holds calls to the project's budgets; the log itself where there are none.

    Args:
        project: The project.
        log: The usage log; None for none, which only caps on a run can do without.
        max_cost: The most that each run may cost besides.
        total_s: How long a run can take; the config's default where it is left out.
    """
    if not project.config.budgets and max_cost is None:
        return log
    from llmtask.budgets.ledger import BudgetedLog  # the rest of it, where there is something to hold

    return BudgetedLog(project, log, max_cost=max_cost, total_s=total_s)
