"""What a run of suites gave: its items, every time that each was asked, and what it cost; as JSON and back."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmtask.errors import Failure, UsageError
from llmtask.money import Cost, sums
from llmtask.testing.checks import CheckResult
from llmtask.tokens import Tokens

FORMAT = 1
"""The version of the run document: another one is refused, not guessed at."""


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
    """Not asked: its model had been stopped, or the run was."""


ANSWERED = (Outcome.PASSED, Outcome.FAILED)
"""The outcomes that count in a rate: errors are in no average, and never vanish."""


class Source(StrEnum):
    """Where an answer came from."""

    CALLED = "called"
    """The model, in this run; it was paid for."""
    CACHED = "cached"
    """An earlier run that asked the same; nothing was paid now."""
    REPLAYED = "replayed"
    """A cassette; nothing was paid now."""


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Which item: a case for one model, in one locale, with one version of the prompt."""

    suite: str
    """The suite file's path from the project's folder, such as `tests/job_match.llm.yaml`."""
    case: str
    model_id: str
    locale: str
    prompt: str = "current"

    @property
    def name(self) -> str:
        """What it is called in its suite, such as `senior@deepseek-chat-zh`."""
        version = "" if self.prompt == "current" else f"-{self.prompt}"
        return f"{self.case}@{self.model_id}-{self.locale}{version}"

    @property
    def suite_name(self) -> str:
        """The suite file's name without its endings, such as `job_match`."""
        return PurePosixPath(self.suite).name.removesuffix(".llm.yaml")


@dataclass(frozen=True, slots=True)
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
    source: Source = Source.CALLED
    tokens: Tokens = field(default_factory=Tokens)
    costs: tuple[Cost, ...] = ()
    """What its calls cost when they were made, failed ones included, an amount per currency."""
    judge_costs: tuple[Cost, ...] = ()
    """What judging it cost."""
    unpriced_calls: int = 0
    """Calls of a model without a price; they are in no amount."""
    calls: int = 0
    """Model calls, failed ones included."""
    latency_ms: int | None = None
    """From the first call's begin to the last one's end, as measured when they were made."""
    first_token_ms: int | None = None
    finish_reason: str | None = None
    repair_level: str | None = None
    upstream_model: str | None = None
    """The model's name, as the response carried it."""

    def slim(self) -> "Sample":
        """The same without what only pages and documents show: thousands are held in memory."""
        return replace(self, answer=None, text=None, checks=tuple(check.slim() for check in self.checks))

    @property
    def score(self) -> float | None:
        """The weighted mean of its checks' scores, from 0 to 1; None where nothing was answered."""
        if self.outcome not in ANSWERED:
            return None
        weight = sum(check.weight for check in self.checks)
        return sum(check.score * check.weight for check in self.checks) / weight if weight else 0.0

    @property
    def paid(self) -> tuple[Cost, ...]:
        """What this run paid for it, judging included."""
        return sums((*(self.costs if self.source is Source.CALLED else ()), *self.judge_costs))


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came of an item."""

    key: ItemKey
    task: str
    wanted: int
    """How many of its samples must pass."""
    samples: tuple[Sample, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What was asked: text per variable."""
    tags: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Passed where enough repeats passed; failed where too many failed; else what kept it from a verdict."""
        outcomes = [sample.outcome for sample in self.samples]
        if outcomes.count(Outcome.PASSED) >= self.wanted:
            return Outcome.PASSED
        if outcomes.count(Outcome.FAILED) > max(len(outcomes), self.wanted) - self.wanted:
            return Outcome.FAILED
        kinds = (Outcome.CAPPED, Outcome.ERROR)
        return next((kind for kind in kinds if kind in outcomes), Outcome.SKIPPED)

    @property
    def answered(self) -> tuple[Sample, ...]:
        """The samples with an answer, good or bad."""
        return tuple(sample for sample in self.samples if sample.outcome in ANSWERED)

    @property
    def passed(self) -> int:
        """How many samples passed."""
        return sum(sample.outcome is Outcome.PASSED for sample in self.samples)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of suites."""

    id: str
    """Sorts by time, such as `20261124-205901-3fa2`."""
    began_at: str
    """ISO 8601 in UTC, to the second."""
    items: tuple[ItemResult, ...]
    name: str | None = None
    """What it was called with `--name`."""
    ended_at: str | None = None
    """None where it was broken off."""
    paid: tuple[Cost, ...] = ()
    """What was paid in it, an amount per currency: calls that led to no sample included."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What it was started with, for people."""

    def to_json(self) -> dict[str, Any]:
        """The run document, with what follows from it (outcomes, scores) for whoever reads it without this library."""
        document: dict[str, Any] = {"format": FORMAT, **_adapter().dump_python(self, mode="json")}
        for item, written in zip(self.items, document["items"], strict=True):
            written["name"], written["outcome"] = item.key.name, item.outcome.value
            for sample, one in zip(item.samples, written["samples"], strict=True):
                one["score"] = sample.score
        return document


def counts(items: Iterable[ItemResult]) -> Counter[Outcome]:
    """How many items came to each outcome; every outcome is there."""
    outcomes = [item.outcome for item in items]
    return Counter({outcome: outcomes.count(outcome) for outcome in Outcome})


def run_from_json(document: Any, what: str) -> Run:
    """A run from its document.

    Args:
        document: As `Run.to_json` gives it.
        what: What it is, for the message: `baseline.json`.

    Raises:
        UsageError: It is no run document, or one of another format.
    """
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        said = f"has format {version!r}, not {FORMAT}" if version is not None else "is no run document"
        message = f"{what} {said}; `llmtask test --json FILE` writes one"
        raise UsageError(message)
    try:
        return _adapter().validate_python(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = f"{what} is no run document ({where}: {problem['msg']}); `llmtask test --json FILE` writes one"
        raise UsageError(message) from error


@cache
def _adapter() -> TypeAdapter[Run]:
    return TypeAdapter(Run)
