"""The usage log behind budgets: what has no room for a call refuses it, in the transaction that would open its row."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import cast

from llmtask.budgets.caps import Cap, caps_of
from llmtask.errors import CappedError, LlmtaskError, NoRateError, UntrustedError, UsageLogError
from llmtask.interrupts import held
from llmtask.money import NANOS, Cost, Currency, amount_text
from llmtask.prices import get_cost
from llmtask.project import Budget, Project
from llmtask.rates.exchange import Exchange
from llmtask.terms import when
from llmtask.tokens import Tokens
from llmtask.usage import UsageLog, UsageRow
from llmtask.usage.database import Connection
from llmtask.usage.spent import release, release_expired, reserve, reserved, spent

_MARGIN_S = 60.0  # from the time at which a run must be over to the end of what it holds
_OPTION = "--max-cost"


class BudgetedLog:
    """A ledger that lets no call begin that could pass a budget.

    What a call can cost at most is held from its begin to its end. So calls that begin at the same time, in whatever
    processes, see each other, and what is spent passes a budget by no more than the estimates of calls in flight are
    too low by. What a killed process held counts until its run would have been over.
    """

    def __init__(
        self, project: Project, log: UsageLog | None, *, max_cost: Cost | None = None, total_s: float | None = None
    ) -> None:
        """Take the project whose budgets hold, and the log; see `budgeted`."""
        self._project, self._log = project, log
        option = _budget_of(max_cost)
        self._option = option
        self._budgets = (*project.config.budgets, *([option] if option else []))
        self._life = timedelta(seconds=(total_s or project.config.defaults.timeouts.total_s) + _MARGIN_S)
        self._exchange = Exchange(project)
        self._held: set[str] = set()
        self._runs: dict[str, Counter[str]] = {}

    def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Open the row of a call that every budget has room for, and hold what it can cost.

        Raises:
            CappedError: One has none; nothing is written.
        """
        caps = list(caps_of(self._budgets, row))
        cost = self._most(row, most) if caps else None
        if cost is None:
            self._require_price(caps, row)
        elif cost.nanos:  # what costs nothing passes no budget, however much was spent
            self._check_run([cap for cap in caps if cap.budget.per == "run"], row, cost)
            lasting = [cap for cap in caps if cap.budget.per != "run"]
            if lasting and self._has_reserved(lasting, row, cost):
                return
        if self._log is not None:
            self._log.begin(row, most)

    def finish(self, row: UsageRow) -> None:
        """Close the row of a call that has ended, and hold no more for it."""
        price = row.price
        if price and price.nanos and any(budget.per == "run" for budget in self._budgets):
            self._runs.setdefault(row.run_id, Counter())[price.currency] += price.nanos
        if self._log is None:
            return
        if row.id not in self._held:
            self._log.finish(row)
            return
        self._held.discard(row.id)
        log = self._log

        def close(connection: Connection) -> None:
            log.write(connection, row)
            release(connection, row.id)

        try:
            log.atomic(close)
        except UsageLogError:  # what it held counts until it expires; the row waits in the spool
            log.finish(row)
        else:
            log.drain()

    def _most(self, row: UsageRow, most: Tokens | None) -> Cost | None:
        """The most that a call can cost."""
        if most is None:
            model = self._project.model(row.model_id)
            most = Tokens(row.input_tokens, model.max_tokens or max(model.context - row.input_tokens, 0))
        at = datetime.fromisoformat(row.created_at)
        return get_cost(row.model_id, most, at=at, project=self._project, images=row.images)

    def _require_price(self, caps: list[Cap], row: UsageRow) -> None:
        """Refuse a call that no amount can hold.

        Raises:
            CappedError: A budget refuses such calls.
        """
        strict = [cap for cap in caps if cap.budget.unpriced == "refuse"]
        if strict:
            message = (
                f"{row.model_id} has no price, so that {self._name(strict[0])} cannot hold it; "
                f"give it one under `prices` in config.yaml{self._or('unpriced: allow', strict[0])}"
            )
            raise CappedError(message, falls_to_free=_all_fall(strict))

    def _check_run(self, caps: list[Cap], row: UsageRow, cost: Cost) -> None:
        """Refuse a call that could make its run cost more than a run may.

        Raises:
            CappedError: It could.
        """
        before = self._runs.get(row.run_id, Counter())
        self._require_room([(cap, before, Counter()) for cap in caps], cost, datetime.now(UTC))

    def _has_reserved(self, caps: list[Cap], row: UsageRow, cost: Cost) -> bool:
        """Check what the log holds, hold what the call can cost, and open its row, all at once.

        Returns:
            False where the log cannot be used, and config lets such calls through.

        Raises:
            CappedError: There is no room, or the log cannot be used.
        """
        log = self._log
        if log is None:
            self._require_leave(caps, "without the usage log")
            return False
        log.drain()
        self._bring_rates(caps, cost)

        def check_and_open(connection: Connection) -> None:
            now = datetime.now(UTC)
            found = []
            for cap in caps:
                term = cap.term(now)
                since = term.begin if term else None
                held_now = reserved(connection, cap.scope, since, now)
                found.append((cap, spent(connection, cap.scope, since), held_now))
            self._require_room(found, cost, now)
            release_expired(connection, now)
            reserve(connection, row, cost, now + self._life)
            log.write(connection, row.opened())

        self._held.add(row.id)  # first: an interrupt may come right after
        try:
            with held():
                log.atomic(check_and_open)
        except CappedError:
            self._held.discard(row.id)
            raise
        except UsageLogError as error:
            self._held.discard(row.id)
            log.close()  # what is wrong with the file may have been put right by the next time
            self._require_leave(caps, str(error))
            return False
        return True

    def _bring_rates(self, caps: list[Cap], cost: Cost) -> None:
        """Have the rates at hand that may be needed, so that nothing is read or fetched while others wait."""
        billed = {provider.currency for provider in self._project.config.providers.values() if provider.currency}
        for cap in caps:
            for currency in {cost.currency, *billed} - {cap.budget.currency}:
                with suppress(LlmtaskError):  # said where it turns out to be needed
                    self._exchange.nanos(Cost(NANOS, currency), cap.budget.currency)

    def _require_room(self, caps: list[tuple[Cap, Counter[str], Counter[str]]], cost: Cost, now: datetime) -> None:
        """Refuse a call that could pass a budget.

        Args:
            caps: Each with what was spent and what is held, per currency.
            cost: The most that the call can cost.
            now: Now.

        Raises:
            CappedError: It could.
        """
        full: list[tuple[Cap, str]] = []
        for cap, before, in_flight in caps:
            currency = cap.budget.currency
            try:
                amounts = [self._exchange.total(one, currency) for one in (before, in_flight)]
                amounts.append(self._exchange.nanos(cost, currency))
            except (NoRateError, UntrustedError) as error:
                message = f"{self._name(cap)} cannot be held: {error}"
                raise CappedError(message, falls_to_free=cap.budget.then == "free") from error
            if sum(amounts) > cap.nanos:
                full.append((cap, self._complaint(cap, amounts, now)))
        if full:
            raise CappedError(full[0][1], falls_to_free=_all_fall([cap for cap, _ in full]))

    def _complaint(self, cap: Cap, amounts: list[int], now: datetime) -> str:
        """What is left of a cap that has no room for a call, when there is more, and the way out."""
        before, in_flight, call = (_shown(one, cap.budget.currency) for one in amounts)
        flying = f", {in_flight} held by calls in flight" if amounts[1] else ""
        term = cap.term(now)
        renews = f"; it renews at {when(term.end, cap.zone)}" if term else ""
        raised = "give it more" if cap.budget is self._option else "raise it under `budgets` in config.yaml"
        return (
            f"{self._name(cap)} has no room for this call: {before} spent{flying}, and it can cost {call}{renews}; "
            f"{raised}, or take a cheaper --model"
        )

    def _require_leave(self, caps: list[Cap], problem: str) -> None:
        """Refuse a call where a budget cannot be checked.

        Raises:
            CappedError: A budget refuses such calls.
        """
        strict = [cap for cap in caps if cap.budget.unreachable == "refuse"]
        if strict:
            how = problem if problem.startswith("without") else f"({problem})"
            message = (
                f"{self._name(strict[0])} cannot be checked {how}, so no call is made; "
                "`unreachable: allow` on it in config.yaml lets calls through"
            )
            raise CappedError(message, falls_to_free=_all_fall(strict))

    def _name(self, cap: Cap) -> str:
        if cap.budget is self._option:
            return f"{_OPTION} {_shown(cap.nanos, cap.budget.currency)}"
        return f"the budget of {cap.words}"

    def _or(self, setting: str, cap: Cap) -> str:
        return f", leave {_OPTION} out" if cap.budget is self._option else f", or say `{setting}` on the budget"


def _shown(nanos: int, currency: str) -> str:
    return amount_text(Cost(nanos, cast("Currency", currency)).amount, currency)


def _budget_of(max_cost: Cost | None) -> Budget | None:
    """`--max-cost` as a budget of each run."""
    if max_cost is None:
        return None
    return Budget(amount=max_cost.amount, currency=max_cost.currency, per="run")


def _all_fall(caps: list[Cap]) -> bool:
    return all(cap.budget.then == "free" for cap in caps)
