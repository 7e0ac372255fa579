"""Runs the items of suites: many runs of tasks through the service, their answers examined. Knows no pytest."""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtask.errors import Failure, UsageError
from llmtask.money import Cost, sums
from llmtask.project import Project
from llmtask.providers import Chats, require_key
from llmtask.service import Plan, RunOptions, plan
from llmtask.testing.answers import Answers, Given
from llmtask.testing.checks import AnyCheck, CheckResult, JudgeCheck, Judgement, SchemaCheck, Subject, examine
from llmtask.testing.gate import Gate
from llmtask.testing.run import ItemKey, ItemResult, Outcome, Sample
from llmtask.testing.suite import Case, Suite
from llmtask.testing.tape import Recording

_FINAL = frozenset({Failure.REFUSED_KEY, Failure.NO_BALANCE})  # of a model: what it is asked next fails alike
_DEFAULT_CONCURRENCY = 8  # calls at once of a model without a queue
_MOST_PLANS = 2_000  # that are kept from the first look at the items; more would take more memory than time
_SHOWN = 400  # characters of an invalid answer that stand with the reason

JUDGE = "judge"
"""The task that judges answers: its prompts, schema and route are the project's, as any task's."""
MOST_POINTS = 10
"""What its schema gives at most."""


@dataclass(frozen=True)
class Selection:
    """What is asked of suites, where that is not all that they say."""

    models: tuple[str, ...] = ()
    """Asked instead of the suites' own models."""
    locales: tuple[str, ...] = ()
    """Only cases in these."""
    tasks: tuple[str, ...] = ()
    """Only suites of these."""
    prompts: tuple[str, ...] = ()
    """Versions of the prompt instead of the suites' own."""
    repeats: int | None = None
    """Instead of the suites' own."""


@dataclass(frozen=True)
class Item:
    """A case for one model, in one locale, with one version of the prompt."""

    suite: Suite
    case: Case
    key: ItemKey
    repeats: int

    @property
    def wanted(self) -> int:
        """How many repeats must pass: the suite's share of them."""
        rule, own = self.suite.file.passes, self.suite.file.repeats
        return math.ceil(rule.at_least / own * self.repeats) if rule else self.repeats

    @property
    def checks(self) -> tuple[AnyCheck, ...]:
        """What an answer is checked for."""
        return tuple(check for check in self.case.checks if not check.locales or self.key.locale in check.locales)

    @property
    def base(self) -> ItemKey | None:
        """The item whose answers `unmoved` compares with."""
        name = self.case.file.based_on
        key = self.key
        return ItemKey(key.suite, name, key.model_id, key.locale, key.prompt) if name else None

    def result(self, samples: Sequence[Sample] = ()) -> ItemResult:
        """What came of it."""
        tags = tuple(self.case.file.tags)
        return ItemResult(self.key, self.suite.task, self.wanted, tuple(samples), self.case.inputs, tags)


def items_of(project: Project, suites: Iterable[Suite], selection: Selection | None = None) -> Iterator[Item]:
    """Every item of suites: cases by models by locales by versions of the prompt.

    Raises:
        UsageError: The selection names a model, locale or task that there is not.
    """
    selection = selection or Selection()
    for model in selection.models:
        project.model(model)
    tasks = {project.task_id(task) for task in selection.tasks}
    for suite in suites:
        if not tasks or suite.task in tasks:
            yield from _items(project.root, suite, selection)


def _items(root: Path, suite: Suite, selection: Selection) -> Iterator[Item]:
    path = suite.path.relative_to(root).as_posix() if suite.path.is_relative_to(root) else suite.path.as_posix()
    for case in suite.cases:
        for model_id in selection.models or suite.models:
            for locale in case.locales:
                if not selection.locales or locale in selection.locales:
                    for prompt in selection.prompts or suite.file.prompts:
                        key = ItemKey(path, case.file.name, model_id, locale, prompt)
                        yield Item(suite, case, key, selection.repeats or suite.file.repeats)


@dataclass
class _Judged:
    """What judges said of a sample."""

    judgements: dict[Any, list[Judgement]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    problem: str | None = None
    """Why there is no judgement."""

    def add(self, check: JudgeCheck, given: Given) -> None:
        """Take what came of asking a judge."""
        self.costs += given.paid
        self.recordings += given.recordings
        if given.answer is None:
            self.problem = f"cannot be judged: {given.reason}"
        else:
            score = given.answer["points"] / MOST_POINTS
            self.judgements.setdefault(check.question, []).append(Judgement(score, given.answer["reason"]))


class Engine:
    """One run of items."""

    def __init__(
        self,
        project: Project,
        items: Sequence[Item],
        answers: Answers,
        *,
        concurrency: int | None = None,
        max_cost: Cost | None = None,
        spent: Iterable[Cost] = (),
    ) -> None:
        """Decide every item, before the first call.

        Args:
            project: The project of the suites.
            items: What to ask. `unmoved` gives an error where the case that its own is based on is not among them.
            answers: Where answers come from, and who keeps them.
            concurrency: The most calls of one model at once; its queue's where that is less.
            max_cost: Ask no more once so much is spent; what is in flight then is still paid for.
            spent: What was spent of it before.

        Raises:
            UsageError: An item cannot be asked, or cannot be held to the amount.
            KeyMissingError, UntrustedError, ProjectError: As for a run.
        """
        self._project, self._answers, self._max_cost = project, answers, max_cost
        self._items = list(items)
        self._concurrency = concurrency
        self._gates: dict[str, Gate] = {}
        self._chats = Chats()
        self._opening: dict[str, asyncio.Task[Any]] = {}
        self.spent = [*spent]
        """What was spent so far."""
        self._stopped: str | None = None
        known = {item.key for item in self._items}
        self._bases = {item.base for item in self._items if item.base in known}
        self._clean: dict[tuple[ItemKey, int], asyncio.Future[Any]] = {}
        self._plans: dict[ItemKey, Plan] = {}
        costs = [cost for item in self._items for cost in self._priced(item)]
        self.highest_cost = sums(costs)
        """About the most that the run can cost without retries, an amount per currency."""
        self.is_partly_unpriced = None in costs
        """Whether that leaves calls out whose model has no price."""

    @property
    def notes(self) -> list[str]:
        """What is worth saying of how it went."""
        return [
            f"{model_id} refused calls for being too many: down to {gate.lowest} at once, of {gate.most}"
            for model_id, gate in self._gates.items()
            if gate.lowest < gate.most
        ]

    def stop(self, why: str) -> None:
        """Ask nothing more; what is in flight comes to its end."""
        self._stopped = why

    async def run(self, tell: Callable[[ItemResult], None] = lambda _: None) -> list[ItemResult]:
        """Ask everything.

        Args:
            tell: Is called with each item's result when it is there.

        Returns:
            A result per item, in the items' order.

        Raises:
            LlmtaskError: The run cannot go on; what came until then is kept.
        """
        results: dict[ItemKey, ItemResult] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for model_id in dict.fromkeys(item.key.model_id for item in self._items):
                    own = [item for item in self._items if item.key.model_id == model_id]
                    jobs = iter([(item, repeat) for item in own for repeat in range(1, item.repeats + 1)])
                    collected: dict[ItemKey, list[Sample]] = {}
                    for _ in range(self._gate(model_id).most):
                        group.create_task(self._work(jobs, collected, results, tell))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            await self._chats.aclose()
        return [results[item.key] for item in self._items]

    async def _work(
        self,
        jobs: Iterator[tuple[Item, int]],
        collected: dict[ItemKey, list[Sample]],
        results: dict[ItemKey, ItemResult],
        tell: Callable[[ItemResult], None],
    ) -> None:
        """Take one sample after another, as long as there are any."""
        for item, repeat in jobs:
            sample, recordings = await self._sample(item, repeat)
            self._answers.done(item.key, sample, recordings)
            samples = collected.setdefault(item.key, [])
            samples.append(sample)
            if len(samples) == item.repeats:
                del collected[item.key]
                self._answers.close(item.key)
                results[item.key] = item.result(sorted(samples, key=lambda one: one.repeat))
                tell(results[item.key])

    async def _sample(self, item: Item, repeat: int) -> tuple[Sample, list[Recording]]:
        """Ask an item once, and examine the answer."""
        answer: Any = None
        try:
            decided = self._plans.get(item.key) or self._planned(item)
            given = await self._given(decided, item.key, repeat)
            given = self._answers.as_kept(item.key, repeat, given)
            answer = given.answer
        finally:
            if item.key in self._bases:
                self._clean_answer(item.key, repeat).set_result(answer)
        if answer is None:
            return _sample(repeat, given, given.outcome, _no_answer(given)), [*given.recordings]
        return await self._examined(item, repeat, given)

    def _clean_answer(self, key: ItemKey, repeat: int) -> asyncio.Future[Any]:
        """The answer of an item on which another is based, when it is there."""
        if (key, repeat) not in self._clean:
            self._clean[key, repeat] = asyncio.get_running_loop().create_future()
        return self._clean[key, repeat]

    def _planned(self, item: Item) -> Plan:
        key = item.key
        options = RunOptions(
            project=self._project,
            locale=key.locale,
            model_id=key.model_id,
            prompt_version=None if key.prompt == "current" else key.prompt,
            fall_back=False,
            images=item.case.images,
            service_id=self._answers.service_id,
        )
        return plan(item.suite.task, item.case.inputs, options)

    def _judging(self, item: Item, check: JudgeCheck, answer: Any) -> Plan:
        said = "\n\n".join(f"{name}:\n{text}" for name, text in item.case.inputs.items())
        variables = {"rubric": check.rubric, "input": said, "answer": check.judged_text(answer)}
        options = RunOptions(
            project=self._project,
            locale=item.key.locale,
            model_id=check.model,
            fall_back=False,
            service_id=self._answers.service_id,
        )
        return plan(JUDGE, variables, options)

    def _priced(self, item: Item) -> Iterator[Cost | None]:
        """The most that an item can cost, judging included; sees to it that it can be asked at all."""
        decided = self._planned(item)
        if len(self._items) <= _MOST_PLANS:
            self._plans[item.key] = decided
        plans = [(decided, item.repeats)]
        for check in item.checks:
            if isinstance(check, JudgeCheck):
                plans.append((self._judging(item, check, {}), item.repeats * check.repeats))
        for decided, calls in plans:
            if not self._answers.replays:
                require_key(self._project, decided.model.provider)
                if self._max_cost is not None:
                    _require_price(decided, self._max_cost)
            cost = decided.highest_cost
            yield Cost(cost.nanos * calls, cost.currency) if cost else None

    async def _given(self, decided: Plan, key: ItemKey, repeat: int) -> Given:
        """The answer that is held, or else the model's, or why it was not asked."""
        held = self._answers.held(decided, key, repeat)
        if held is not None:
            return held
        if self._answers.replays:
            return Given(Outcome.ERROR, reason=self._answers.complaint(decided, key, repeat))
        model_id = decided.route.model_id
        await self._opened(decided)
        async with self._gate(model_id) as gate:
            if why := self._stopped or gate.stopped:
                return Given(Outcome.SKIPPED, reason=why)
            if self._max_cost is not None and sum(cost.nanos for cost in self.spent) >= self._max_cost.nanos:
                return Given(Outcome.CAPPED, reason="the amount of --max-cost is spent")
            given = await self._answers.asked(decided, repeat, self._chats, gate.slow_down)
            self.spent += given.costs
            if given.failure in _FINAL:
                gate.stopped = f"{model_id} was stopped: {given.reason}"
        return given

    async def _opened(self, decided: Plan) -> None:
        """Open the line to a model once: it brings LangChain in, which takes seconds, and not in the loop."""
        model_id = decided.route.model_id
        if model_id not in self._opening:
            self._opening[model_id] = asyncio.create_task(
                asyncio.to_thread(self._chats.open, self._project, decided.model)
            )
        await asyncio.shield(self._opening[model_id])

    async def _examined(self, item: Item, repeat: int, given: Given) -> tuple[Sample, list[Recording]]:
        judged = await self._judged(item, repeat, given)
        clean = await asyncio.shield(self._clean_answer(item.base, repeat)) if item.base in self._bases else None
        why = judged.problem
        if item.base is not None and clean is None:
            why = f"cannot be compared: {item.base.case!r}, which it is based on, gave no answer"
        results: tuple[CheckResult, ...] = ()
        outcome = Outcome.ERROR
        if why is None:
            results = _results(item.checks, self._subject(item, given, clean, judged))
            outcome = Outcome.PASSED if all(result.passed for result in results) else Outcome.FAILED
        sample = _sample(repeat, given, outcome, results, sums(judged.costs), why)
        return sample, [*given.recordings, *judged.recordings]

    async def _judged(self, item: Item, repeat: int, given: Given) -> _Judged:
        judged = _Judged()
        for check in item.checks:
            if isinstance(check, JudgeCheck):
                decided = self._judging(item, check, given.answer)
                first = (repeat - 1) * check.repeats + 1
                for nth in range(first, first + check.repeats):
                    judged.add(check, await self._given(decided, item.key, nth))
        return judged

    def _subject(self, item: Item, given: Given, clean: Any, judged: _Judged) -> Subject:
        return Subject(
            answer=given.answer,
            inputs=item.case.inputs,
            locale=item.key.locale,
            project=self._project,
            latency_ms=given.latency_ms,
            first_token_ms=given.first_token_ms,
            tokens=given.tokens,
            costs=given.costs,
            unpriced_calls=given.unpriced_calls,
            finish_reason=given.finish_reason,
            repair_level=given.repair_level,
            clean=clean,
            judgements=judged.judgements,
        )

    def _gate(self, model_id: str) -> Gate:
        if model_id not in self._gates:
            queue = self._project.config.queues.get(self._project.model(model_id).queue or "")
            most = queue.concurrency if queue else self._concurrency or _DEFAULT_CONCURRENCY
            self._gates[model_id] = Gate(min(most, self._concurrency or most))
        return self._gates[model_id]


def _require_price(decided: Plan, most: Cost) -> None:
    """Stop where an amount cannot hold what a plan costs.

    Raises:
        UsageError: Its model has no price, or one in another currency.
    """
    price = decided.highest_cost
    if price is None or price.currency != most.currency:
        priced = f"is priced in {price.currency}" if price else "has no price"
        message = f"--max-cost is in {most.currency}, and {decided.route.model_id} {priced}; leave one of them out"
        raise UsageError(message)


def _results(checks: Sequence[AnyCheck], subject: Subject) -> tuple[CheckResult, ...]:
    """What came of the checks on a valid answer; that it is valid is among them in any case."""
    found = tuple(examine(check, subject) for check in checks)
    if any(isinstance(check, SchemaCheck) for check in checks):
        return found
    return examine(SchemaCheck(check="schema"), subject).unweighted(), *found


def _no_answer(given: Given) -> tuple[CheckResult, ...]:
    """What came of the one check that an answer without a valid object fails."""
    if given.outcome is not Outcome.FAILED:
        return ()
    shown = given.text[:_SHOWN] if given.text else None
    return (CheckResult("schema", "schema", False, 1, 0, given.reason or "", None, shown),)


def _sample(
    repeat: int,
    given: Given,
    outcome: Outcome,
    checks: tuple[CheckResult, ...],
    judge_costs: tuple[Cost, ...] = (),
    why: str | None = None,
) -> Sample:
    return Sample(
        repeat,
        outcome,
        answer=given.answer,
        text=given.text,
        failure=given.failure,
        reason=why or given.reason,
        checks=checks,
        source=given.source,
        tokens=given.tokens,
        costs=given.costs,
        judge_costs=judge_costs,
        unpriced_calls=given.unpriced_calls,
        calls=given.calls,
        latency_ms=given.latency_ms,
        first_token_ms=given.first_token_ms,
        finish_reason=given.finish_reason,
        repair_level=given.repair_level,
        upstream_model=given.upstream_model,
    )


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The first error of those that ended a run together."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
