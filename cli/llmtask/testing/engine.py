"""Runs the items of suites: many runs of tasks through the service, their answers examined. Knows no pytest."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmtask.errors import AnswerInvalidError, CallError, Failure, UsageError
from llmtask.money import Cost, sums
from llmtask.project import Project
from llmtask.providers import Chats, require_key
from llmtask.service import Plan, ResultEvent, RetryEvent, RunOptions, TaskResult, aexecute, plan
from llmtask.testing.checks import CheckResult, Subject, examine
from llmtask.testing.suite import Case, Suite
from llmtask.tokens import Tokens
from llmtask.usage import Ledger, UsageLog, UsageRow

_BAD_ANSWERS = frozenset(
    {Failure.SCHEMA_INVALID, Failure.LENGTH, Failure.BLANK, Failure.REASONING_ONLY, Failure.FILTERED}
)
_FINAL = frozenset({Failure.REFUSED_KEY, Failure.NO_BALANCE})  # of a model: what it is asked next fails alike
_DEFAULT_CONCURRENCY = 8  # calls at once of a model without a queue


class Outcome(StrEnum):
    """What came of an item, or of one time that it was asked."""

    PASSED = "passed"
    FAILED = "failed"
    """A bad answer: a check failed, or it does not fit the schema."""
    ERROR = "error"
    """No answer: network, limits, time."""
    CAPPED = "capped"
    """Not asked: the money was spent."""
    SKIPPED = "skipped"
    """Not asked: its model had been stopped."""


@dataclass(frozen=True)
class Item:
    """A case for one model, in one locale, with one version of the prompt."""

    suite: Suite
    case: Case
    model_id: str
    locale: str
    prompt: str

    @property
    def name(self) -> str:
        """What it is called in its suite, such as `senior@deepseek-chat-zh`."""
        version = "" if self.prompt == "current" else f"-{self.prompt}"
        return f"{self.case.file.name}@{self.model_id}-{self.locale}{version}"


@dataclass(frozen=True)
class Sample:
    """One time that an item was asked."""

    repeat: int
    """From 1."""
    outcome: Outcome
    answer: Any = None
    """JSON values; None where there is no valid answer."""
    text: str | None = None
    """The raw answer that does not fit the schema."""
    failure: Failure | None = None
    reason: str | None = None
    """Why there is no valid answer, or why it was not asked."""
    checks: tuple[CheckResult, ...] = ()
    result: TaskResult[Any] | None = None
    rows: tuple[UsageRow, ...] = ()
    """The usage rows of its calls, failed ones included."""

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What its calls cost, an amount per currency."""
        return sums(row.price for row in self.rows)

    @property
    def score(self) -> float | None:
        """The weighted mean of its checks' scores, from 0 to 1; None where nothing was answered."""
        if self.outcome is Outcome.FAILED and not self.checks:
            return 0.0
        weight = sum(check.weight for check in self.checks)
        return sum(check.score * check.weight for check in self.checks) / weight if weight else None


@dataclass(frozen=True)
class ItemResult:
    """What came of an item."""

    item: Item
    samples: tuple[Sample, ...]

    @property
    def outcome(self) -> Outcome:
        """Passed where enough repeats passed; failed where too many failed; else what kept it from a verdict."""
        suite = self.item.suite.file
        wanted = suite.passes.at_least if suite.passes else suite.repeats
        outcomes = [sample.outcome for sample in self.samples]
        if outcomes.count(Outcome.PASSED) >= wanted:
            return Outcome.PASSED
        if outcomes.count(Outcome.FAILED) > len(outcomes) - wanted:
            return Outcome.FAILED
        kinds = (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED)
        return next(kind for kind in kinds if kind in outcomes)


@dataclass
class _Gate:
    """How many calls of a model may go on at once: fewer after a refusal for being too many, slowly more again."""

    most: int
    limit: float = 0
    active: int = 0
    stopped: str | None = None
    """Why the model is asked no more."""
    free: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.limit = self.most

    async def enter(self) -> None:
        async with self.free:
            await self.free.wait_for(lambda: self.active < max(int(self.limit), 1))
            self.active += 1

    async def leave(self) -> None:
        async with self.free:
            self.active -= 1
            self.limit = min(self.limit + 1 / max(self.limit, 1), self.most)
            self.free.notify_all()

    def slow_down(self) -> None:
        self.limit = max(self.limit / 2, 1)


class _Tally:
    """A usage log that keeps a sample's rows as it hands them on."""

    def __init__(self, log: Ledger | None) -> None:
        self.rows: list[UsageRow] = []
        self._log = log

    def begin(self, row: UsageRow) -> None:
        if self._log is not None:
            self._log.begin(row)

    def finish(self, row: UsageRow) -> None:
        self.rows.append(row)
        if self._log is not None:
            self._log.finish(row)


def items_of(suites: Iterable[Suite]) -> Iterator[Item]:
    """Every item of suites: cases by models by locales by versions of the prompt."""
    for suite in suites:
        for case in suite.cases:
            for model_id in suite.models:
                for locale in case.locales:
                    for prompt in suite.file.prompts:
                        yield Item(suite, case, model_id, locale, prompt)


class Engine:
    """One run of items."""

    def __init__(
        self,
        project: Project,
        items: Sequence[Item],
        *,
        log: UsageLog | None,
        concurrency: int | None = None,
        max_cost: Cost | None = None,
    ) -> None:
        """Decide every item, before the first call.

        Args:
            project: The project of the suites.
            items: What to ask. `unmoved` fails where the case that its own is based on is not among them.
            log: The usage log; None for none.
            concurrency: Calls of one model at once; its queue's where it is left out.
            max_cost: Ask no more once so much is spent; what is in flight then is still paid for.

        Raises:
            UsageError: An item cannot be asked, or cannot be held to the amount.
            KeyMissingError, UntrustedError, ProjectError: As for a run.
        """
        self._project, self._log, self._max_cost = project, log, max_cost
        self._items = list(items)
        self._plans = {item.name + str(item.suite.path): self._planned(item) for item in self._items}
        self._gates: dict[str, _Gate] = {}
        self._concurrency = concurrency
        self._chats = Chats()
        self._spent: list[Cost] = []
        self._answers: dict[tuple[str, int], asyncio.Future[Any]] = {}

    def _planned(self, item: Item) -> Plan:
        options = RunOptions(
            project=self._project, locale=item.locale, model_id=item.model_id, fall_back=False, images=item.case.images
        )
        if item.prompt != "current":
            options["prompt_version"] = item.prompt
        decided = plan(item.suite.task, item.case.inputs, options)
        require_key(self._project, decided.model.provider)
        if self._max_cost is not None:
            self._require_price(decided, self._max_cost)
        return decided

    def _require_price(self, decided: Plan, most: Cost) -> None:
        price = decided.highest_cost
        if price is None or price.currency != most.currency:
            priced = f"is priced in {price.currency}" if price else "has no price"
            message = f"--max-cost is in {most.currency}, and {decided.route.model_id} {priced}; leave one of them out"
            raise UsageError(message)

    @property
    def highest_cost(self) -> tuple[Cost, ...]:
        """About the most that the run can cost without retries, an amount per currency."""
        return sums(
            Cost(cost.nanos * item.suite.file.repeats, cost.currency)
            for item in self._items
            if (cost := self._plan_of(item).highest_cost)
        )

    async def run(self, tell: Callable[[ItemResult], None] = lambda _: None) -> list[ItemResult]:
        """Ask everything.

        Args:
            tell: Is called with each item's result when it is there.

        Returns:
            A result per item, in the items' order.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._item(item, tell)) for item in self._items]
            return [task.result() for task in tasks]
        finally:
            await self._chats.aclose()

    def _plan_of(self, item: Item) -> Plan:
        return self._plans[item.name + str(item.suite.path)]

    async def _item(self, item: Item, tell: Callable[[ItemResult], None]) -> ItemResult:
        repeats = range(1, item.suite.file.repeats + 1)
        samples = await asyncio.gather(*(self._sample(item, repeat) for repeat in repeats))
        result = ItemResult(item, tuple(samples))
        tell(result)
        return result

    async def _sample(self, item: Item, repeat: int) -> Sample:
        answered = self._answer_of(item, repeat)
        try:
            sample = await self._asked(item, repeat)
        except BaseException:
            answered.cancel()
            raise
        if not answered.done():
            answered.set_result(sample.answer)
        if sample.result is None:
            return sample
        return await self._examined(item, sample)

    def _answer_of(self, item: Item, repeat: int) -> asyncio.Future[Any]:
        key = (item.name + str(item.suite.path), repeat)
        if key not in self._answers:
            self._answers[key] = asyncio.get_running_loop().create_future()
        return self._answers[key]

    async def _asked(self, item: Item, repeat: int) -> Sample:
        gate = self._gate(item)
        await gate.enter()
        try:
            if gate.stopped:
                return Sample(repeat, Outcome.SKIPPED, reason=gate.stopped)
            if self._max_cost is not None and sum(cost.nanos for cost in self._spent) >= self._max_cost.nanos:
                return Sample(repeat, Outcome.CAPPED, reason="the amount of --max-cost is spent")
            return await self._called(item, repeat, gate)
        finally:
            await gate.leave()

    async def _called(self, item: Item, repeat: int, gate: _Gate) -> Sample:
        tally = _Tally(self._log)
        result: TaskResult[Any] | None = None
        error: CallError | None = None
        try:
            async for event in aexecute(self._plan_of(item), tally, live=True, chats=self._chats):
                if isinstance(event, RetryEvent) and event.failure is Failure.RATE_LIMITED:
                    gate.slow_down()
                if isinstance(event, ResultEvent):
                    result = event.result
        except CallError as caught:
            error = caught
        rows = tuple(tally.rows)
        self._spent += [row.price for row in rows if row.price]
        if result is not None:
            return Sample(repeat, Outcome.PASSED, answer=result.to_json(), result=result, rows=rows)
        if error is not None and error.failure in _FINAL:
            gate.stopped = f"{item.model_id} was stopped: {error}"
        return _failed(repeat, error, rows)

    async def _examined(self, item: Item, sample: Sample) -> Sample:
        clean = None
        if item.case.file.based_on:
            base = next((one for one in self._items if _is_base(one, item)), None)
            clean = await asyncio.shield(self._answer_of(base, sample.repeat)) if base else None
        subject = self._subject(item, sample, clean)
        checks = [check for check in item.case.checks if not check.locales or item.locale in check.locales]
        results = tuple(examine(check, subject) for check in checks)
        outcome = Outcome.PASSED if all(result.passed for result in results) else Outcome.FAILED
        return Sample(sample.repeat, outcome, sample.answer, checks=results, result=sample.result, rows=sample.rows)

    def _subject(self, item: Item, sample: Sample, clean: Any) -> Subject:
        result = sample.result
        return Subject(
            answer=sample.answer,
            inputs=item.case.inputs,
            locale=item.locale,
            project=self._project,
            latency_ms=result.latency_ms if result else None,
            first_token_ms=result.first_token_ms if result else None,
            tokens=result.tokens if result else Tokens(),
            costs=sample.costs,
            unpriced_calls=result.unpriced_calls if result else 0,
            finish_reason=sample.rows[-1].finish_reason if sample.rows else None,
            repair_level=result.repair_level.value if result else None,
            clean=clean,
        )

    def _gate(self, item: Item) -> _Gate:
        if item.model_id not in self._gates:
            queue = self._project.config.queues.get(self._project.model(item.model_id).queue or "")
            most = self._concurrency or (queue.concurrency if queue else _DEFAULT_CONCURRENCY)
            self._gates[item.model_id] = _Gate(most)
        return self._gates[item.model_id]


def _failed(repeat: int, error: CallError | None, rows: tuple[UsageRow, ...]) -> Sample:
    failure = error.failure if error else Failure.BUG
    outcome = Outcome.FAILED if failure in _BAD_ANSWERS else Outcome.ERROR
    text = error.text if isinstance(error, AnswerInvalidError) else None
    return Sample(repeat, outcome, text=text, failure=failure, reason=str(error), rows=rows)


def _is_base(one: Item, item: Item) -> bool:
    return one.case.file.name == item.case.file.based_on and (one.suite, one.model_id, one.locale, one.prompt) == (
        item.suite,
        item.model_id,
        item.locale,
        item.prompt,
    )
