"""What follows a failed call: the rules in config.yaml, and what they can add up to. Decides; waits for nothing."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmtask.errors import AnswerInvalidError, CallError, Failure
from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.project import FailureRule
from llmtask.providers import Turn
from llmtask.service.plan import Candidate, Plan
from llmtask.tokens import Tokens, estimate_all


@dataclass(frozen=True, slots=True)
class Retry:
    """The model is asked again."""

    candidate: Candidate
    """What it is asked now."""
    wait_s: float


class Recovery:
    """The rules, applied to one model's failures in one run."""

    def __init__(self, plan: Plan) -> None:
        """Begin with a model that has not failed."""
        self._plan = plan
        self._failed: Counter[Failure] = Counter()

    def retry(self, candidate: Candidate, error: CallError, *, has_thought: bool, left_s: float) -> Retry | None:
        """How the model is asked again; None where it is not.

        Args:
            candidate: What it was asked.
            error: How that failed.
            has_thought: Whether it reasoned before it failed.
            left_s: Seconds that are left of the run.
        """
        defaults = self._plan.project.config.defaults
        rule = rule_of(self._plan, error.failure)
        self._failed[error.failure] += 1
        nth = self._failed[error.failure]
        if nth > rule.retry or self._failed.total() >= defaults.calls:
            return None
        wait_s = _wait_s(rule, nth, error.retry_after_s, defaults.longest_wait_s)
        if (error.retry_after_s or 0) > defaults.longest_wait_s or wait_s >= left_s:
            return None
        changed = self._changed(candidate, rule, error, has_thought=has_thought)
        return Retry(changed, wait_s) if changed else None

    def _changed(
        self, candidate: Candidate, rule: FailureRule, error: CallError, *, has_thought: bool
    ) -> Candidate | None:
        """What is asked now, by the rule's `how`; None where there is nothing that could go better."""
        if rule.how == "more_room":
            return _with_more_room(candidate) if has_thought else None
        if rule.how == "reask" and isinstance(error, AnswerInvalidError):
            said = Turn("assistant", error.text)
            asked = Turn("user", self._plan.prompt.reask(error.problems))
            request = replace(candidate.request, turns=(*candidate.request.turns, said, asked))
            more = estimate_all((said.text, asked.text), self._plan.project.config.defaults.token_estimate)
            return replace(candidate, request=request, input_tokens=candidate.input_tokens + more)
        return candidate


def rule_of(plan: Plan, failure: Failure) -> FailureRule:
    """The rule for a failure class."""
    return plan.project.config.rules.get(failure) or FailureRule()


def takes_over(plan: Plan, failed: Candidate, following: Candidate, failure: Failure) -> bool:
    """Whether a fallback goes on after such a failure."""
    if rule_of(plan, failure).then != "fall_back":
        return False
    return failure is not Failure.CONTEXT_TOO_LONG or following.model.context > failed.model.context


def _wait_s(rule: FailureRule, nth: int, asked_s: float | None, longest_s: float) -> float:
    """Before the nth retry: doubled each time, less a random part of up to half, so that not all come back at once."""
    own_s: float = min(rule.wait_s * 2 ** (nth - 1), longest_s)
    return max(own_s * random.uniform(0.5, 1), asked_s or 0)  # noqa: S311  # no secret


def _with_more_room(candidate: Candidate) -> Candidate | None:
    """Twice the `max_tokens`, as far as vendor and context allow; else without thinking; None where neither is left."""
    model = candidate.model
    most = min(model.most_tokens or 0, model.context - candidate.input_tokens)
    if model.max_tokens and model.max_tokens < most:
        return replace(candidate, model=model.model_copy(update={"max_tokens": min(2 * model.max_tokens, most)}))
    if model.thinking == "enabled":
        quiet = {"thinking": "disabled", "reasoning_effort": None}
        return replace(candidate, model=model.model_copy(update=quiet))
    return None


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that one of a run's models can be asked, and about what that costs."""

    model_id: str
    calls: int
    cost: Cost | None
    """None where the model is unpriced."""


def ceilings(plan: Plan) -> Iterator[Ceiling]:
    """The worst case of each model that the run may come to: every rule used up, every answer as long as allowed."""
    config = plan.project.config
    rules = [rule for failure, rule in config.rules.items() if failure not in (Failure.INTERRUPTED, Failure.BUG)]
    for candidate in plan.candidates:
        calls = min(config.defaults.calls, 1 + sum(rule.retry for rule in rules))
        reasks = min(calls - 1, sum(rule.retry for rule in rules if rule.how == "reask"))
        widest = candidate.output_tokens
        for _ in range(sum(rule.retry for rule in rules if rule.how == "more_room")):
            more = _with_more_room(candidate)
            candidate = more or candidate
            widest = max(widest, candidate.output_tokens)
        one = Tokens(candidate.input_tokens + reasks * widest, widest, is_estimate=True)
        cost = get_cost(candidate.route.model_id, one, project=plan.project)
        yield Ceiling(candidate.route.model_id, calls, Cost(cost.nanos * calls, cost.currency) if cost else None)
