"""What a run comes to: rates with intervals, costs and times per model, locale and prompt; failures by check."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmtask.money import Cost, sums
from llmtask.testing.run import ANSWERED, ItemKey, ItemResult, Outcome, Run, Sample, counts
from llmtask.testing.statistics import Rate, percentile, rate
from llmtask.tokens import Tokens

SCHEMA = "schema"
"""The title under which an answer without a valid object counts as failed."""


@dataclass(frozen=True, slots=True)
class Column:
    """One model in one locale with one version of the prompt; or all of a run, with empty names."""

    model_id: str
    locale: str
    prompt: str
    items: int
    outcomes: Mapping[Outcome, int]
    """Of items; every outcome is there."""
    samples: Mapping[Outcome, int]
    """Of samples; every outcome is there."""
    passes: Rate | None
    """Samples that passed, of those answered; None where none was."""
    all_passed: Rate | None
    """Items of which every repeat passed, of those with every repeat answered; None where there are no repeats."""
    checks: Mapping[str, Rate]
    """Per check's title, of the answers that it looked at; `schema` first, then as they come."""
    score: float | None
    """The mean over cases of their answered samples' mean, from 0 to 1."""
    costs: tuple[Cost, ...]
    """What the calls of all its samples cost when they were made."""
    paid: tuple[Cost, ...]
    """What this run paid for them."""
    unpriced_calls: int
    tokens: Tokens
    """Of all its samples."""
    latency_p50_ms: int | None
    """Of answered samples, like the next two."""
    latency_p95_ms: int | None
    first_token_p50_ms: int | None
    retries: int
    """Calls beyond the first of each sample."""


@dataclass(frozen=True, slots=True)
class Example:
    """An item's first failed sample, as one check saw it."""

    item: str
    """The item's name, such as `senior@deepseek-chat-zh`."""
    suite: str
    repeat: int
    reason: str
    path: str | None = None
    found: str | None = None
    times: int = 1
    """How many of the item's answers failed the check."""
    of: int = 1
    """How often the item was asked."""
    """The offending part of the answer, or the raw answer that does not fit the schema."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The samples that one check failed, an example per item."""

    check: str
    """Its title."""
    count: int
    """Samples."""
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run comes to."""

    run: Run
    columns: tuple[Column, ...]
    """In the order in which they come in the run."""
    total: Column
    failures: tuple[FailureGroup, ...]
    """The check that most samples failed comes first; a sample counts for every check that it failed."""


def summarise(run: Run, examples: int = 3) -> Summary:
    """What a run comes to. Samples without an answer are counted, and in no rate and no mean.

    Args:
        run: Any run, also one that was broken off.
        examples: Items named per failed check, at most.
    """
    columns: dict[tuple[str, str, str], list[ItemResult]] = {}
    for item in run.items:
        columns.setdefault((item.key.model_id, item.key.locale, item.key.prompt), []).append(item)
    return Summary(
        run,
        tuple(_column(names, items) for names, items in columns.items()),
        _column(("", "", ""), run.items),
        _failures(run.items, examples),
    )


def verdicts(sample: Sample) -> dict[str, bool]:
    """Whether an answered sample holds, per check's title; checks of one title hold together or not at all."""
    found = {SCHEMA: sample.outcome is Outcome.PASSED or bool(sample.checks)}
    for check in sample.checks:
        found[check.name] = found.get(check.name, True) and check.passed
    return found


def failures_of(item: ItemResult, sample: Sample) -> dict[str, Example]:
    """What the sample failed: an example per check's title."""
    if sample.outcome is not Outcome.FAILED:
        return {}
    where = item.key.name, item.key.suite, sample.repeat
    if not sample.checks:
        return {SCHEMA: Example(*where, sample.reason or "no valid answer", found=sample.text)}
    failed = [check for check in reversed(sample.checks) if not check.passed]  # of one title the first is told
    return {check.name: Example(*where, check.reason, check.path, check.found) for check in failed}


def case_of(key: ItemKey) -> tuple[str, str]:
    """What makes samples alike: the case, whatever the model, locale and prompt."""
    return key.suite, key.case


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean of at least one value."""
    listed = list(values)
    return sum(listed) / len(listed)


def _column(names: tuple[str, str, str], items: Sequence[ItemResult]) -> Column:
    samples = [sample for item in items for sample in item.samples]
    answered = [sample for sample in samples if sample.outcome in ANSWERED]
    latencies = [sample.latency_ms for sample in answered if sample.latency_ms is not None]
    first_tokens = [sample.first_token_ms for sample in answered if sample.first_token_ms is not None]
    outcomes = [sample.outcome for sample in samples]
    return Column(
        *names,
        items=len(items),
        outcomes=counts(items),
        samples={outcome: outcomes.count(outcome) for outcome in Outcome},
        passes=_rate(items, lambda item: [sample.outcome is Outcome.PASSED for sample in item.answered]),
        all_passed=_rate(items, _all_passed) if any(len(item.samples) > 1 for item in items) else None,
        checks=_check_rates(items),
        score=_score(items),
        costs=sums(cost for sample in samples for cost in sample.costs),
        paid=sums(cost for sample in samples for cost in sample.paid),
        unpriced_calls=sum(sample.unpriced_calls for sample in samples),
        tokens=sum((sample.tokens for sample in samples), Tokens()),
        latency_p50_ms=percentile(latencies, 50),
        latency_p95_ms=percentile(latencies, 95),
        first_token_p50_ms=percentile(first_tokens, 50),
        retries=sum(max(sample.calls - 1, 0) for sample in samples),
    )


def _all_passed(item: ItemResult) -> list[bool]:
    is_complete = bool(item.samples) and len(item.answered) == len(item.samples)
    return [item.passed == len(item.samples)] if is_complete else []


def _rate(items: Iterable[ItemResult], hits_of: Callable[[ItemResult], Sequence[bool]]) -> Rate | None:
    cases: dict[tuple[str, str], list[bool]] = {}
    for item in items:
        cases.setdefault(case_of(item.key), []).extend(hits_of(item))
    return rate((sum(hits), len(hits)) for hits in cases.values())


def _check_rates(items: Iterable[ItemResult]) -> dict[str, Rate]:
    """Whatever looked at an answer, by title and case."""
    seen: dict[str, dict[tuple[str, str], list[bool]]] = {}
    for item in items:
        for sample in item.answered:
            for title, holds in verdicts(sample).items():
                seen.setdefault(title, {}).setdefault(case_of(item.key), []).append(holds)
    rates = {title: rate((sum(hits), len(hits)) for hits in cases.values()) for title, cases in seen.items()}
    return {title: found for title, found in rates.items() if found}


def _score(items: Iterable[ItemResult]) -> float | None:
    cases: dict[tuple[str, str], list[float]] = {}
    for item in items:
        scores = [sample.score for sample in item.answered if sample.score is not None]
        if scores:
            cases.setdefault(case_of(item.key), []).extend(scores)
    return mean(mean(scores) for scores in cases.values()) if cases else None


def _failures(items: Iterable[ItemResult], most: int) -> tuple[FailureGroup, ...]:
    found: dict[str, list[Example]] = {}
    for item in items:
        of_item: dict[str, list[Example]] = {}
        for sample in item.samples:
            for title, example in failures_of(item, sample).items():
                of_item.setdefault(title, []).append(example)
        for title, examples in of_item.items():
            first = replace(examples[0], times=len(examples), of=len(item.samples))
            found.setdefault(title, []).append(first)
    groups = [
        FailureGroup(title, sum(one.times for one in examples), tuple(examples[:most]))
        for title, examples in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.check)))
