"""Which tier a quota gives a run, and why, in words. Pure: it reads nothing and takes nothing."""

from dataclasses import dataclass
from shlex import quote

from llmtask.project import Tier
from llmtask.quota.amounts import quantity_text
from llmtask.quota.shapes import Quota


@dataclass(frozen=True, slots=True)
class Decision:
    """What a quota says of a run."""

    tier: Tier | None
    """None where the run is refused."""
    why: str
    """What is left, which tier that gives, and when there is more."""


def decide(
    quota: Quota, need: int | None, why_not: str = "", *, may_be_free: bool = True, run: str = "this run can cost up to"
) -> Decision:
    """Which tier a quota gives a run: the paid one where its credit is enough, else the free one while there are runs.

    Args:
        quota: What is left.
        need: The most that the run holds of the credit, in its unit; None where that cannot be told.
        why_not: Why it cannot.
        may_be_free: Whether a free run would do: one that names a model that costs is none.
        run: What stands before the cost of the run.
    """
    lack = _lack(quota, need, why_not, run)
    if need is not None and 0 < quota.credit >= need:
        return Decision("paid", f"{lack}: the paid tier")
    if not may_be_free:
        return Decision(None, f"{lack}; a free run takes the free tier's model: leave --model out")
    if quota.free_left:
        left = f"{quota.free_left:,} of {quota.free_runs:,} free runs of {quota.term.name} are left"
        return Decision("free", f"{lack}; {left}: the free tier")
    return Decision(None, f"{lack}, and {_no_free(quota)}; {_way_out(quota)}")


def _lack(quota: Quota, need: int | None, why_not: str, run: str) -> str:
    """What there is, and what the run takes."""
    if not quota.credit:
        return f"user {quota.user_id!r} has no credit"
    credit = f"user {quota.user_id!r} has {quantity_text(quota.credit, quota.unit)} of credit"
    if need is None:
        return f"{credit}, and {why_not}"
    return credit if quota.unit == "runs" else f"{credit}, and {run} {quantity_text(need, quota.unit)}"


def _no_free(quota: Quota) -> str:
    if not quota.free_runs:
        return "no free runs"
    return f"all {quota.free_runs:,} free runs of {quota.term.name} are taken: they are new at {quota.renews}"


def _way_out(quota: Quota) -> str:
    amount = "10runs" if quota.unit == "runs" else f"5{quota.unit}"
    service = f" --service {quote(quota.service_id)}" if quota.service_id else ""
    return f"`llmtask quota add {quote(quota.user_id)} {amount}{service}` adds credit"
