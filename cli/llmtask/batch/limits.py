"""How fast a queue goes: how many at once, how many a minute; slower after refusals, not at all while it is broken."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueState:
    """How a queue stands."""

    queue_id: str
    running: int
    limit: int
    """How many may run at once now."""
    most: int
    """How many may run at once when all goes well."""
    waits_until: float | None = None
    """`time.time()` at which it goes on; None while it goes."""
    why: str | None = None
    """Why it waits, or was stopped."""
    is_stopped: bool = False
    """Whether it takes no more in this run."""
