"""`usage reprice`: what rows would cost by the prices that the config has now for the day of their call.

A cost is fixed when the call is made. Where a price was wrong or missing, this puts it right, on request and with the
difference shown before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from llmtask.errors import Failure, UsageError
from llmtask.money import Cost
from llmtask.project import Project
from llmtask.service.charge import Charge, charge
from llmtask.tokens import Tokens
from llmtask.usage import UsageLog
from llmtask.usage.database import Connection
from llmtask.usage.pace import Pace
from llmtask.usage.selection import Selection, pages

_COLUMNS = (
    "id",
    "created_at",
    "provider",
    "model_id",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "images",
    "is_estimate",
    "error_class",
    "cost_nanos",
    "currency",
    "saved_nanos",
)
NO_PRICE = "no price now"
NO_MODEL = "no such model in config.yaml now"
OTHER_PROVIDER = "the model is another provider's now"
NO_END = "no end"


@dataclass(slots=True)
class Change:
    """What becomes of the calls of one model that were priced in one currency."""

    model: str
    before: str | None
    """The currency of the old cost; None for calls that were unpriced."""
    after: str
    """The currency of the new one."""
    rows: int = 0
    """Rows whose cost changes."""
    estimates: int = 0
    """Rows among them whose tokens are estimates."""
    old_nanos: int = 0
    new_nanos: int = 0
    savings: int = 0
    """Rows whose cost stays, and whose `saved_nanos` is filled or changed."""


@dataclass(slots=True)
class Repricing:
    """What a repricing comes to."""

    looked_at: int = 0
    changes: dict[tuple[str, str | None, str], Change] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    """Rows that stay as they are because nobody can say what they cost now: why, and how many."""

    @property
    def rows(self) -> int:
        """How many rows change."""
        return sum(one.rows + one.savings for one in self.changes.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not self.rows

    def sorted(self) -> list[Change]:
        """The changes, sorted."""
        return sorted(self.changes.values(), key=lambda one: (one.model, one.before or "", one.after))


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row says of its cost."""

    id: str
    created_at: str
    provider: str
    model_id: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    images: int
    is_estimate: int
    error_class: str | None
    cost_nanos: int | None
    currency: str | None
    saved_nanos: int | None

    @property
    def is_same(self) -> "tuple[int | None, str | None, int | None]":
        """What must not have changed when it is written."""
        return self.cost_nanos, self.currency, self.saved_nanos


_Priced = tuple[_Row, Charge]


def reprice(log: UsageLog, project: Project, selection: Selection, *, write: bool = False) -> Repricing:
    """Compute each row's cost anew, and write it where that is wanted.

    A row whose model has no price now, is not in the config any more or has another provider keeps its cost: unknown is
    worse than old. Calls without an end have no cost. Killed in between, it goes on the next time.

    Args:
        log: The usage log.
        project: Its prices hold, each at the instant at which the call began.
        selection: Which rows.
        write: Whether to write, in short transactions; otherwise nothing changes.

    Returns:
        What changes, or has changed.

    Raises:
        UsageLogError: The log cannot be read or written.
    """
    found, pace = Repricing(), Pace()
    for page in pages(log, selection, _COLUMNS):
        rows = [_Row(*values) for values in page]
        todo = [(row, new) for row in rows if (new := _new(project, row, found)) is not None]
        for row, new in _update(log, todo, pace) if write else todo:
            _count(found, row, new)
    return found


def _update(log: UsageLog, todo: list[_Priced], pace: Pace) -> Iterator[_Priced]:
    """Write rows in short transactions; those that were written."""
    while todo:
        some, todo = todo[: pace.size], todo[pace.size :]
        done: list[_Priced] = []

        def write(connection: Connection, some: list[_Priced] = some, done: list[_Priced] = done) -> int:
            done[:] = _written(connection, some)
            return len(some)

        pace.atomic(log, write)
        yield from done


def _new(project: Project, row: _Row, found: Repricing) -> Charge | None:
    """What a row is charged now; None where that is the same, or cannot be said."""
    found.looked_at += 1
    why = NO_END if row.error_class == Failure.UNFINISHED else ""
    new = Charge(None, None)
    if not why:
        try:
            if project.model(row.model_id).provider != row.provider:
                why = OTHER_PROVIDER
            tokens = Tokens(row.input_tokens, row.output_tokens, row.cached_tokens)
            new = charge(project, row.model_id, tokens, datetime.fromisoformat(row.created_at), row.images)
        except UsageError:
            why = NO_MODEL
        except ValueError:  # another program's instant
            why = "no instant"
    if not why and new.cost is None:
        why = NO_PRICE
    if why:
        found.left[why] = found.left.get(why, 0) + 1
        return None
    return None if new.cost and (new.cost.nanos, new.cost.currency, new.saved_nanos) == row.is_same else new


def _count(found: Repricing, row: _Row, new: Charge) -> None:
    cost = _cost(new)
    before = row.currency if row.cost_nanos is not None else None
    key = (row.model_id, before, cost.currency)
    change = found.changes.setdefault(key, Change(row.model_id, before, cost.currency))
    if (row.cost_nanos, row.currency) == (cost.nanos, cost.currency):
        change.savings += 1
        return
    change.rows += 1
    change.estimates += bool(row.is_estimate)
    change.old_nanos += row.cost_nanos or 0
    change.new_nanos += cost.nanos


def _written(connection: Connection, some: list[_Priced]) -> Iterator[_Priced]:
    """Write rows that nobody has changed meanwhile; those that were written."""
    for row, new in some:
        cost = _cost(new)
        known = connection.execute(
            "SELECT cost_nanos, currency, saved_nanos, error_class FROM llm_usage_logs WHERE id = ?", (row.id,)
        ).fetchone()
        if known is None or tuple(known) != (*row.is_same, row.error_class):
            continue
        connection.execute(
            "UPDATE llm_usage_logs SET cost_nanos = ?, currency = ?, cost = ?, saved_nanos = ? WHERE id = ?",
            (cost.nanos, cost.currency, float(cost.amount), new.saved_nanos, row.id),
        )
        yield row, new


def _cost(new: Charge) -> Cost:
    if new.cost is None:
        message = "an unpriced charge is never written"
        raise TypeError(message)
    return new.cost
