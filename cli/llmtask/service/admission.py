"""Asks a user's quota which tier a run goes to, holds what it can cost, and takes what it has cost.

What a run held is given back where no valid answer came of it; the money of its calls is in the usage log all the same.
"""

import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Self, cast

from pydantic import BaseModel

from llmtask.errors import CappedError, NoRateError, UntrustedError, UsageLogError
from llmtask.money import Cost, Currency
from llmtask.prices import get_cost
from llmtask.project import Project, QuotaRules, Tier
from llmtask.quota import Decision, Grant, Quota, decide, quantity_text, quotas_of
from llmtask.rates.exchange import Exchange
from llmtask.router import Router
from llmtask.service.decided import Decided, QuotaWarning
from llmtask.service.plan import Plan, RunOptions, plan
from llmtask.service.result import TaskResult
from llmtask.tokens import Tokens
from llmtask.usage import UsageLog

_MARGIN_S = 60.0  # from the time at which a run must be over to the end of what it holds


class Admission(Decided):
    """A run whose user's quota decides its tier. It holds something of the quota from `with` on, to its end."""

    def __init__(
        self,
        task: str,
        variables: Mapping[str, str],
        options: RunOptions,
        log: UsageLog,
        schema: type[BaseModel] | None = None,
    ) -> None:
        """Decide the run as a paid one; nothing is held yet.

        Raises:
            LlmtaskError: As `run_structured_task`.
        """
        self._task, self._variables, self._options, self._schema = task, variables, options, schema
        self._paid = self._planned("paid")
        super().__init__(self._paid)
        self._project = self._paid.project
        self._rules = self._project.config.quota or QuotaRules()
        self._user_id, self._service_id = options.get("user_id") or "", options.get("service_id")
        self._quotas = quotas_of(self._project, log)
        self._exchange = Exchange(self._project)
        self._grant: Grant | None = None

    def preview(self) -> Self:
        """Decide as things stand now, and hold nothing.

        Raises:
            CappedError: The quota refuses the run.
        """
        try:
            quota = self._quotas.find(self._user_id, self._service_id)
        except UsageLogError as error:
            return self._go_without(error)
        return self._go_unknown() if quota is None else self._go(self._allowed(quota))

    def __enter__(self) -> Self:
        """Decide, and hold what the run can cost, or a free run: all at once.

        Raises:
            CappedError: The quota refuses the run.
        """
        chosen: list[Decision] = []

        def choose(quota: Quota) -> tuple[Tier, int]:
            decision = self._allowed(quota)
            chosen.append(decision)
            return decision.tier or "free", self._need(quota)[0] or 0

        try:
            quota = self._quotas.find(self._user_id, self._service_id)
            if quota is not None:
                self._need(quota)  # brings exchange rates, while nobody waits
                life_s = self._paid.timeouts.total_s + _MARGIN_S
                self._grant = self._quotas.reserve(self.run_id, self._user_id, self._service_id, choose, life_s)
        except UsageLogError as error:
            return self._go_without(error)
        except CappedError:
            raise
        except BaseException as error:  # an interrupt may come when it is held already
            self._give_back(error)
            raise
        return self._go(chosen[-1]) if self._grant else self._go_unknown()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """Give back what was not settled."""
        if self._grant is not None:
            self._give_back(error)

    def settle(self, result: TaskResult) -> None:
        """Take what the run has cost: its valid answer is there."""
        grant, self._grant = self._grant, None
        if grant is None:
            return
        used, why = self._used(grant, result)
        try:
            self._quotas.settle(grant, used, why)
        except UsageLogError as problem:
            _warn(grant, "settled", problem)

    def _give_back(self, error: BaseException | None) -> None:
        grant, self._grant = self._grant, None
        try:
            self._quotas.give_back(self.run_id, f"no valid answer: {_reason(error)}")
        except UsageLogError as problem:
            if grant is not None:
                _warn(grant, "given back", problem)

    def _planned(self, tier: Tier) -> Plan:
        options = RunOptions(**{**self._options, "has_quota": tier == "paid"})
        return plan(self._task, self._variables, options, self._schema)

    def _allowed(self, quota: Quota) -> Decision:
        """What the quota says of the run.

        Raises:
            CappedError: It refuses it.
        """
        cost = self._paid.highest_cost
        names_costly = bool(self._options.get("model_id")) and (cost is None or cost.nanos > 0)
        decision = decide(quota, *self._need(quota), may_be_free=not names_costly)
        if decision.tier is None:
            raise CappedError(decision.why)
        return decision

    def _need(self, quota: Quota) -> tuple[int | None, str]:
        return need_of(quota, self._paid.route.model_id, self._paid.highest_cost, self._exchange)

    def _used(self, grant: Grant, result: TaskResult) -> tuple[int, str]:
        """What a run has used in the unit of what it held, and a word on it."""
        if grant.tier == "free":
            return 1, ""
        if grant.unit == "runs":  # a run that a budget sent to the free tier costs its user none
            return (1, "") if result.route.tier == "paid" else (0, "it went on in the free tier")
        unpriced = f"without {result.unpriced_calls} calls that have no price" if result.unpriced_calls else ""
        try:
            costs = (self._exchange.nanos(cost, cast("Currency", grant.unit)) for cost in result.costs)
            return sum(costs), unpriced
        except (NoRateError, UntrustedError) as error:
            return grant.amount, f"all that it held: {error}"

    def _go(self, decision: Decision) -> Self:
        if decision.tier == "free":
            try:
                self.plan = self._planned("free")
            except BaseException as error:
                self._give_back(error)
                raise
        self.why = decision.why
        return self

    def _go_unknown(self) -> Self:
        """Go where users go who have no quota.

        Raises:
            CappedError: Nowhere.
        """
        decision = unknown(self._project, self._user_id)
        if decision.tier is None:
            raise CappedError(decision.why)
        return self._go(decision)

    def _go_without(self, error: UsageLogError) -> Self:
        """Go on where the quota cannot be asked.

        Raises:
            CappedError: Config does not let it.
        """
        if self._rules.unreachable == "refuse":
            message = (
                f"the quota of user {self._user_id!r} cannot be asked ({error}), so the run is refused; --paid or "
                "--free does without it, and `quota: {unreachable: allow}` in config.yaml goes to the default tier"
            )
            raise CappedError(message) from error
        tier = self._project.config.defaults.tier
        why = f"the quota of user {self._user_id!r} cannot be asked ({error}): the {tier} tier"
        warnings.warn(why, QuotaWarning, stacklevel=4)
        return self._go(Decision(tier, why))


def tier_for(
    project: Project, log: UsageLog, task: str, user_id: str, service_id: str | None = None, *, has_image: bool = False
) -> Decision:
    """What a user's quota says of a run whose input nobody knows yet.

    Raises:
        UsageError: There is no such task, or it has no route for this kind of input.
        UsageLogError: The log cannot be read.
    """
    quota = quotas_of(project, log).find(user_id, service_id)
    if quota is None:
        return unknown(project, user_id)
    route = Router(project).route_task(task, True, has_image=has_image)
    model = project.model(route.model_id)
    least = get_cost(route.model_id, Tokens(0, model.max_tokens or 0), project=project)
    need = need_of(quota, route.model_id, least, Exchange(project))
    return decide(quota, *need, run="beside its input a run can cost up to")


def unknown(project: Project, user_id: str) -> Decision:
    """Where the runs of a user go who has no quota."""
    tier = (project.config.quota or QuotaRules()).unknown or project.config.defaults.tier
    if tier != "refuse":
        return Decision(tier, f"user {user_id!r} has no quota: the {tier} tier")
    way_out = "`llmtask quota set USER --credit 5CNY --free 5/day` gives one"
    return Decision(
        None, f"user {user_id!r} has no quota, and config.yaml says `quota: {{unknown: refuse}}`; {way_out}"
    )


def need_of(quota: Quota, model_id: str, cost: Cost | None, exchange: Exchange) -> tuple[int | None, str]:
    """What a run that costs so much holds of a quota's credit, in its unit, or why that cannot be told."""
    if quota.unit == "runs":
        return 1, ""
    if cost is None:
        return None, f"{model_id} has no price, so that no money can pay it"
    try:
        return exchange.nanos(cost, quota.unit), ""
    except (NoRateError, UntrustedError) as error:
        return None, f"a run in {cost.currency} cannot be paid from it ({error})"


def _reason(error: BaseException | None) -> str:
    if error is None or isinstance(error, GeneratorExit):
        return "it was left early"
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    failure = getattr(error, "failure", None)
    return str(failure or type(error).__name__)


def _warn(grant: Grant, what: str, error: UsageLogError) -> None:
    message = (
        f"the {quantity_text(grant.amount, grant.unit)} that this run held of the quota of user {grant.user_id!r} "
        f"could not be {what}, and will be given back when they expire: {error}"
    )
    warnings.warn(message, QuotaWarning, stacklevel=3)
