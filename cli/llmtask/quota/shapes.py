"""What a quota is, what a run holds of it, and a line of its history."""

from dataclasses import dataclass
from typing import Literal

from llmtask.project import Tier
from llmtask.quota.amounts import Unit
from llmtask.terms import Term

What = Literal["grant", "set", "reserve", "settle", "give_back", "expire"]


@dataclass(frozen=True, slots=True)
class Quota:
    """What a user may spend."""

    user_id: str
    service_id: str
    """Empty: for all services that have no quota of their own."""
    unit: Unit
    """What the credit counts."""
    credit: int
    """What is left to spend, in the unit (money: nano-units); what runs in flight hold is no longer in it."""
    reserved: int
    """What runs in flight hold of the credit."""
    free_runs: int
    """How many free runs there are in a term."""
    free_used: int
    """How many of this term are taken, those in flight included."""
    free_per: Literal["day", "month"]
    term: Term
    """The day or month that is now."""
    renews: str
    """When the next one begins, for people."""

    @property
    def free_left(self) -> int:
        """How many free runs of this term are left."""
        return max(self.free_runs - self.free_used, 0)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a run holds of a quota until it ends."""

    run_id: str
    user_id: str
    service_id: str
    tier: Tier
    unit: str
    """Of the credit; runs for a free run."""
    amount: int
    """What it holds of the credit; 1 for a free run."""
    period: str
    """The term of a free run; empty for a paid one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a quota's history."""

    created_at: str
    user_id: str
    service_id: str
    number: int
    """From 1, in each quota."""
    what: What
    tier: Tier
    """paid: of the credit. free: of the free runs."""
    unit: str
    amount: int
    """What it added to what is left; below 0 for what it took."""
    rest: int
    """What was left then."""
    period: str
    """The term, of free runs."""
    run_id: str
    why: str
