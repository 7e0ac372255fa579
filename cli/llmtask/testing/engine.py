"""Runs the items of suites: many runs of tasks through the service, their answers examined. Knows no pytest."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmtask.apart import apart
from llmtask.errors import LlmtaskError
from llmtask.money import Cost, sums
from llmtask.project import Project
from llmtask.providers import Chats, require_key
from llmtask.service import Lane, Plan, Planner, RunOptions, StoppedError, asking, plan, require_price
from llmtask.service.lanes import DEFAULT_CONCURRENCY, FINAL
from llmtask.testing.answers import Answers, Given, Line
from llmtask.testing.checks import (
    AnyCheck,
    CheckResult,
    FunctionCheck,
    JudgeCheck,
    Judgement,
    LatencyCheck,
    SchemaCheck,
    Subject,
    examine,
)
from llmtask.testing.items import Item
from llmtask.testing.run import ANSWERED, ItemKey, ItemResult, Outcome, Sample
from llmtask.testing.tape import Recording

_MOST_PLANS = 2_000  # that are kept from the first look at the items; more would take more memory than time
_SHOWN = 400  # characters of an invalid answer that stand with the reason

JUDGE = "judge"
"""The task that judges answers: its prompts, schema and route are the project's, as any task's."""
MOST_POINTS = 10
"""What its schema gives at most."""


@dataclass
class _Judged:
    """What judges said of a sample."""

    judgements: dict[Any, list[Judgement]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    problem: Sample | None = None
    """What kept a judge from judging."""

    def add(self, check: JudgeCheck, given: Given) -> None:
        """Take what came of asking a judge."""
        self.costs += given.sample.paid
        self.recordings += given.recordings
        answer = given.sample.answer
        if answer is None:
            self.problem = given.sample
        else:
            found = Judgement(answer["points"] / MOST_POINTS, answer["reason"])
            self.judgements.setdefault(check.question, []).append(found)


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
        streams: bool | None = None,
    ) -> None:
        """Decide every item, before the first call.

        Args:
            project: The project of the suites.
            items: What to ask. `unmoved` gives an error where the case that its own is based on is not among them.
            answers: Where answers come from, and who keeps them.
            concurrency: The most calls of one model at once; its queue's where that is less.
            max_cost: Ask no more once so much is spent; what is in flight then is still paid for.
            streams: Whether answers stream; where it is left out, those whose first token is looked at, and those of
                models that think. Whole answers cost half the processor's time.

        Raises:
            UsageError: An item cannot be asked, or cannot be held to the amount.
            KeyMissingError, UntrustedError, ProjectError: As for a run.
        """
        self._project, self._answers, self._max_cost = project, answers, max_cost
        self._items = _bases_first(items)
        self._streams = streams
        self._examining = asyncio.Lock()
        self._concurrency = concurrency
        self._lanes: dict[str, Lane] = {}
        self._chats = Chats()
        self.spent: list[Cost] = []
        """What was spent so far, an amount per currency."""
        self._stopped: str | None = None
        known = {item.key for item in self._items}
        self._bases = {item.base for item in self._items if item.base in known}
        self._clean: dict[tuple[ItemKey, int], asyncio.Future[Any]] = {}
        self._planners: dict[tuple[str, ...], Planner] = {}
        self._plans: dict[ItemKey, Plan] = {}
        self._likeness = 0
        costs = [cost for item in self._items for cost in self._priced(item)]
        self.highest_cost = sums(costs)
        """About the most that the run can cost without retries, an amount per currency."""
        self.is_partly_unpriced = None in costs
        """Whether that leaves calls out whose model has no price."""

    @property
    def notes(self) -> list[str]:
        """What is worth saying of how it went."""
        return [
            f"{model_id} refused calls for being too many: down to {lane.lowest} at once, of {lane.most}"
            for model_id, lane in self._lanes.items()
            if lane.lowest < lane.most
        ]

    @property
    def likeness(self) -> str:
        """Equal for runs that ask the same: the same items, as often, with the same messages and parameters."""
        return f"{self._likeness:032x}"

    def stop(self, why: str) -> None:
        """Ask nothing more; what is in flight comes to its end."""
        self._stopped = why

    async def run(self, tell: Callable[[ItemResult], None]) -> None:
        """Ask everything.

        Args:
            tell: Is called with each item's result when it is there; nobody else keeps it.

        Raises:
            LlmtaskError: The run cannot go on; what came until then is kept.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for model_id in dict.fromkeys(item.key.model_id for item in self._items):
                    own = [item for item in self._items if item.key.model_id == model_id]
                    jobs = iter([(item, repeat) for item in own for repeat in range(1, item.repeats + 1)])
                    collected: dict[ItemKey, list[Sample]] = {}
                    for _ in range(self._lane(model_id).most):
                        group.create_task(self._work(jobs, collected, tell))
            self._answers.flush()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            await self._chats.aclose()

    async def _work(
        self,
        jobs: Iterator[tuple[Item, int]],
        collected: dict[ItemKey, list[Sample]],
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
                self._answers.close(item.key, is_whole=all(one.outcome in ANSWERED for one in samples))
                tell(item.result(sorted(samples, key=lambda one: one.repeat)))

    async def _sample(self, item: Item, repeat: int) -> tuple[Sample, list[Recording]]:
        """Ask an item once, and examine the answer."""
        answer: Any = None
        try:
            decided = self._plans.get(item.key) or self._planned(item)
            given = await self._given(decided, item.key, repeat, is_live=self._is_live(item, decided))
            answer = given.sample.answer
        finally:
            if item.key in self._bases:
                self._clean_answer(item.key, repeat).set_result(answer)
        if answer is None:
            return replace(given.sample, checks=_no_answer(given.sample)), [*given.recordings]
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
        )
        if item.case.images:
            return plan(item.suite.task, item.case.inputs, options)
        name = (item.suite.task, key.locale, key.model_id, key.prompt)
        if name not in self._planners:
            self._planners[name] = Planner(item.suite.task, options)
        return self._planners[name].plan(item.case.inputs)

    def _judging(self, item: Item, check: JudgeCheck, answer: str) -> Plan:
        said = "\n\n".join(f"{name}:\n{text}" for name, text in item.case.inputs.items())
        variables = {"rubric": check.rubric, "input": said, "answer": answer}
        options = RunOptions(
            project=self._project,
            locale=item.key.locale,
            model_id=check.model,
            fall_back=False,
        )
        return plan(JUDGE, variables, options)

    def _priced(self, item: Item) -> Iterator[Cost | None]:
        """The most that an item can cost, judging included; sees to it that it can be asked at all."""
        decided = self._planned(item)
        if len(self._items) <= _MOST_PLANS:
            self._plans[item.key] = decided
        key = item.key
        where = (key.suite, key.case, key.model_id, key.locale, key.prompt)
        asked = [*where, item.repeats, asking(decided.model, decided.request).key(1, 0)]
        self._likeness ^= int.from_bytes(hashlib.sha256(json.dumps(asked).encode()).digest()[:16])
        plans = [(decided, item.repeats)]
        for check in item.checks:
            if isinstance(check, JudgeCheck):
                plans.append((self._judging(item, check, "{}"), item.repeats * check.repeats))
        for decided, calls in plans:
            if not self._answers.replays:
                require_key(self._project, decided.model.provider)
                if self._max_cost is not None:
                    require_price(decided.route.model_id, self._project, self._max_cost)
            cost = decided.highest_cost
            yield Cost(cost.nanos * calls, cost.currency) if cost else None

    def _is_live(self, item: Item, decided: Plan) -> bool:
        """Whether an item's answers stream."""
        if self._streams is not None:
            return self._streams
        looks = any(isinstance(check, LatencyCheck) and check.first_token_ms for check in item.checks)
        return looks or decided.model.thinking == "enabled"

    async def _given(
        self, decided: Plan, key: ItemKey, repeat: int, *, is_live: bool = False, is_sample: bool = True
    ) -> Given:
        """The answer that is held, or else the model's, or why it was not asked."""
        held = self._answers.held(decided, key, repeat, is_sample=is_sample)
        if held is not None:
            return held
        if self._answers.replays:
            return Given(Sample(repeat, Outcome.ERROR, reason=self._answers.complaint(decided, key, repeat)))
        try:
            await self._chats.aopen(self._project, decided.model)
        except LlmtaskError as error:  # this model cannot be asked, others can
            return Given(Sample(repeat, Outcome.ERROR, reason=str(error)))
        try:
            async with self._lane(decided.route.model_id).place() as lane:
                return await self._asked(decided, key, repeat, lane, is_live=is_live)
        except StoppedError as error:
            return Given(Sample(repeat, Outcome.SKIPPED, reason=str(error)))

    async def _asked(self, decided: Plan, key: ItemKey, repeat: int, lane: Lane, *, is_live: bool) -> Given:
        """The model's answer, or why it was not asked after all."""
        if self._stopped:
            return Given(Sample(repeat, Outcome.SKIPPED, reason=self._stopped))
        if self._max_cost is not None and sum(cost.nanos for cost in self.spent) >= self._max_cost.nanos:
            return Given(Sample(repeat, Outcome.CAPPED, reason="the amount of --max-cost is spent"))
        decided = replace(decided, service_id=self._answers.service_id)
        given = await self._answers.asked(decided, key, repeat, Line(self._chats, lane, is_live))
        self.spent = [*sums((*self.spent, *given.sample.costs))]
        if given.sample.failure in FINAL:
            lane.stop(f"{lane.name} was stopped: {given.sample.reason}")
        return given

    async def _examined(self, item: Item, repeat: int, given: Given) -> tuple[Sample, list[Recording]]:
        judged = await self._judged(item, repeat, given)
        clean = await asyncio.shield(self._clean_answer(item.base, repeat)) if item.base in self._bases else None
        sample = replace(given.sample, judge_costs=sums(judged.costs))
        if judged.problem is not None:
            kind = Outcome.ERROR if judged.problem.outcome is Outcome.FAILED else judged.problem.outcome
            sample = replace(sample, outcome=kind, reason=f"cannot be judged: {judged.problem.reason}")
        elif item.base is not None and clean is None:
            reason = f"cannot be compared: {item.base.case!r}, which it is based on, has no valid answer"
            sample = replace(sample, outcome=Outcome.ERROR, reason=reason)
        else:
            results = await self._looked(item, self._subject(item, sample, clean, judged))
            sample = replace(sample, outcome=_outcome(results), checks=results)
            if sample.outcome is Outcome.ERROR:
                reason = next(f"{result.name}: {result.reason}" for result in results if result.is_broken)
                sample = replace(sample, reason=reason)
        return sample, [*given.recordings, *judged.recordings]

    async def _looked(self, item: Item, subject: Subject) -> tuple[CheckResult, ...]:
        """What came of the checks; functions of the user's run one at a time, and no call waits for them."""
        if not any(isinstance(check, FunctionCheck) for check in item.checks):
            return _results(item.checks, subject)
        async with self._examining:
            return await apart(lambda: _results(item.checks, subject))

    async def _judged(self, item: Item, repeat: int, given: Given) -> _Judged:
        judged = _Judged()
        for check in item.checks:
            if not isinstance(check, JudgeCheck) or check.question in judged.judgements:
                continue
            answer = check.judged_text(given.sample.answer)
            if answer is None:  # the check says so
                continue
            decided = self._judging(item, check, answer)
            first = (repeat - 1) * check.repeats + 1
            for nth in range(first, first + check.repeats):
                judged.add(check, await self._given(decided, item.key, nth, is_sample=False))
        return judged

    def _subject(self, item: Item, sample: Sample, clean: Any, judged: _Judged) -> Subject:
        return Subject(
            answer=sample.answer,
            inputs=item.case.inputs,
            sources=item.case.sources,
            locale=item.key.locale,
            project=self._project,
            latency_ms=sample.latency_ms,
            first_token_ms=sample.first_token_ms,
            tokens=sample.tokens,
            costs=sample.costs,
            unpriced_calls=sample.unpriced_calls,
            finish_reason=sample.finish_reason,
            repair_level=sample.repair_level,
            clean=clean,
            judgements=judged.judgements,
        )

    def _lane(self, model_id: str) -> Lane:
        if model_id not in self._lanes:
            queue = self._project.config.queues.get(self._project.model(model_id).queue or "")
            most = queue.concurrency if queue else self._concurrency or DEFAULT_CONCURRENCY
            self._lanes[model_id] = Lane(model_id, min(most, self._concurrency or most))
        return self._lanes[model_id]


def _bases_first(items: Sequence[Item]) -> list[Item]:
    """The items in their order, but each behind the one that it is compared with: who waits must not keep it away."""
    by_key = {item.key: item for item in items}
    ordered: dict[ItemKey, Item] = {}
    for item in items:
        chain = [item]
        while (base := chain[-1].base) in by_key and base not in ordered and base is not None:
            chain.append(by_key[base])
        ordered |= {one.key: one for one in reversed(chain)}
    return list(ordered.values())


def _results(checks: Sequence[AnyCheck], subject: Subject) -> tuple[CheckResult, ...]:
    """What came of the checks on a valid answer; that it is valid is among them in any case."""
    found = tuple(examine(check, subject) for check in checks)
    if any(isinstance(check, SchemaCheck) for check in checks):
        return found
    return examine(SchemaCheck(check="schema"), subject).unweighted(), *found


def _outcome(results: Sequence[CheckResult]) -> Outcome:
    """Failed where a check on the answer failed; an error where only a check itself did."""
    if any(not result.passed and not result.is_broken for result in results):
        return Outcome.FAILED
    return Outcome.ERROR if any(result.is_broken for result in results) else Outcome.PASSED


def _no_answer(sample: Sample) -> tuple[CheckResult, ...]:
    """What came of the one check that an answer without a valid object fails."""
    if sample.outcome is not Outcome.FAILED:
        return ()
    shown = sample.text[:_SHOWN] if sample.text else None
    return (CheckResult("schema", "schema", False, 1, 0, sample.reason or "", None, shown),)


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The first error of those that ended a run together."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
