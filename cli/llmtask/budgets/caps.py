"""A budget of config.yaml as it holds for calls: which ones, since when, in which currency, and what is left of it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from llmtask.errors import NoRateError, UntrustedError
from llmtask.money import NANOS, amount_text
from llmtask.project import Budget, Project
from llmtask.rates.exchange import Exchange
from llmtask.terms import Term, term_of
from llmtask.usage import Query, UsageLog, UsageRow, report
from llmtask.usage.log import stored
from llmtask.usage.report import Word
from llmtask.usage.spent import Scope, reserved, spent

EACH = "*"
"""Says of a word of a budget that it holds for each value on its own."""

_COLUMNS: dict[Word, str] = {
    "task": "task_template_id",
    "provider": "provider",
    "model": "model_id",
    "user": "user_id",
    "service": "service_id",
}


@dataclass(frozen=True, slots=True)
class Cap:
    """A budget, for one value of each word that it names."""

    budget: Budget
    scope: Scope
    """Which calls it holds for: columns of the log, and the value of each."""

    @property
    def nanos(self) -> int:
        """The most that may be spent."""
        return int(self.budget.amount * NANOS)

    @property
    def words(self) -> str:
        """What it is called, such as `¥20.00 a day for task job_match`."""
        said = {word: self.scope[column] for word, column in _COLUMNS.items() if column in self.scope}
        scope = " and ".join(f"{word} {value!r}" for word, value in said.items())
        per = {"run": " a run", "ever": ""}.get(self.budget.per, f" a {self.budget.per}")
        return f"{amount_text(self.budget.amount, self.budget.currency)}{per}{f' for {scope}' if scope else ''}"

    def term(self, now: datetime) -> Term | None:
        """The span that it is for; None for a run, and for ever."""
        per = self.budget.per
        return None if per == "run" or per == "ever" else term_of(now, per, self.zone)

    @property
    def zone(self) -> tzinfo | None:
        """Whose clock it goes by; None for the local one."""
        return ZoneInfo(self.budget.timezone) if self.budget.timezone else None


def caps_of(budgets: Iterable[Budget], row: UsageRow) -> Iterator[Cap]:
    """The budgets that a call is held to."""
    for budget in budgets:
        scope = _scope(budget, row)
        if scope is not None:
            yield Cap(budget, scope)


def _scope(budget: Budget, row: UsageRow) -> Scope | None:
    """The words that a budget names, with the call's own values; None where they don't fit."""
    scope = {}
    for word, column in _COLUMNS.items():
        wanted, value = getattr(budget, word), stored(getattr(row, column) or "")
        if wanted is None:
            continue
        if not value or wanted not in (EACH, value):
            return None
        scope[column] = value
    return scope


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands."""

    cap: Cap
    spent: Counter[str]
    """Nano-units per currency."""
    reserved: Counter[str]
    """What calls in flight can cost, likewise."""
    left: int | None
    """In nano-units of the cap's currency, below 0 where more was spent; None where a rate is missing."""
    renews_at: datetime | None


def standings(log: UsageLog, project: Project, now: datetime | None = None) -> Iterator[Standing]:
    """How each of a project's budgets stands; of one that holds for each user on their own, who has spent of it.

    Raises:
        UsageLogError: The log cannot be read.
    """
    now = now or datetime.now(UTC)
    exchange = Exchange(project)
    for budget in project.config.budgets:
        if budget.per == "run":
            continue
        for cap in _each(log, budget, now):
            yield _standing(log, cap, exchange, now)


def _each(log: UsageLog, budget: Budget, now: datetime) -> Iterator[Cap]:
    """A cap for each value that calls of the span have; of a budget without `*`, one."""
    fixed = {
        column: str(name) for word, column in _COLUMNS.items() if (name := getattr(budget, word)) not in (None, EACH)
    }
    each = tuple(word for word in _COLUMNS if getattr(budget, word) == EACH)
    if not each:
        yield Cap(budget, fixed)
        return
    term = Cap(budget, fixed).term(now)
    where = {word: (getattr(budget, word),) for word in _COLUMNS if _COLUMNS[word] in fixed}
    found = report(log, Query(each, term.begin if term else None, where=where, marks=False))
    for group in found.groups:
        if all(group.keys):
            yield Cap(budget, fixed | {_COLUMNS[word]: key for word, key in zip(each, group.keys, strict=True)})


def _standing(log: UsageLog, cap: Cap, exchange: Exchange, now: datetime) -> Standing:
    term = cap.term(now)
    since = term.begin if term else None
    found, held = Counter[str](), Counter[str]()
    if log.query("SELECT 1"):  # there is a log
        found = log.run(lambda connection: spent(connection, cap.scope, since))
        held = log.run(lambda connection: reserved(connection, cap.scope, since, now))
    try:
        left = cap.nanos - exchange.total(found + held, cap.budget.currency)
    except (NoRateError, UntrustedError):
        left = None
    return Standing(cap, found, held, left, term.end if term else None)
