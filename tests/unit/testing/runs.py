"""Runs as an engine would give them, made up from known rates: for tests of whatever reads runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp
from random import Random
from typing import Any

from llmtask.errors import Failure
from llmtask.money import Cost
from llmtask.testing.checks import CheckResult
from llmtask.testing.run import ItemKey, ItemResult, Outcome, Run, Sample
from llmtask.tokens import Tokens

SUITE = "tests/job_match.llm.yaml"


@cache
def check(name: str, passed: bool = True, score: float | None = None) -> CheckResult:
    """What came of a check."""
    kind = name.split()[0]
    reason = "as it should be" if passed else f"{name} does not hold"
    score = float(passed) if score is None else score
    return CheckResult(kind, name, passed, 1.0, score, reason, None if passed else "summary", None if passed else "bad")


def sample(repeat: int = 1, passed: bool = True, **changes: Any) -> Sample:
    """An answered sample; `checks` may be given as titles that hold or don't."""
    checks = changes.pop("checks", {"schema": True, "language": passed})
    if isinstance(checks, Mapping):
        checks = tuple(check(name, holds) for name, holds in checks.items())
    values: dict[str, Any] = {
        "outcome": Outcome.PASSED if passed else Outcome.FAILED,
        "answer": {"summary": "…"},
        "checks": checks,
        "tokens": Tokens(900, 300),
        "costs": (Cost(2_000_000, "CNY"),),
        "calls": 1,
        "latency_ms": 1200,
        "first_token_ms": 300,
    }
    return Sample(repeat, **values | changes)


def invalid(repeat: int = 1) -> Sample:
    """A sample whose answer does not fit the schema."""
    return sample(
        repeat, False, checks=(), answer=None, text="Sorry!", failure=Failure.SCHEMA_INVALID, reason="not an object"
    )


def unanswered(repeat: int = 1, outcome: Outcome = Outcome.ERROR) -> Sample:
    """A sample that gave no answer."""
    calls = 3 if outcome is Outcome.ERROR else 0
    failure = Failure.OVERLOADED if outcome is Outcome.ERROR else None
    return Sample(repeat, outcome, failure=failure, reason="no answer", calls=calls)


def item(case: str, samples: Sequence[Sample], **changes: Any) -> ItemResult:
    """An item of which every sample must pass; `model_id`, `locale`, `prompt` and `suite` go into its key."""
    names = {"suite": SUITE, "model_id": "deepseek-chat", "locale": "zh", "prompt": "current"}
    key = {name: changes.pop(name, value) for name, value in names.items()}
    return ItemResult(
        ItemKey(case=case, **key), "job_match", changes.pop("wanted", len(samples)), tuple(samples), **changes
    )


def run(items: Sequence[ItemResult], id_: str = "20261124-205901-3fa2", **changes: Any) -> Run:
    """A run that ended."""
    return Run(id_, "2026-11-24T20:59:01Z", tuple(items), ended_at="2026-11-24T21:09:01Z", **changes)


@dataclass
class World:
    """What is asked, and how hard each case is: the same for both runs of a comparison."""

    seed: int
    cases: int = 30
    models: Sequence[str] = ("deepseek-chat", "glm-4.5-flash")
    locales: Sequence[str] = ("zh", "en")
    checks: Sequence[str] = ("schema", "language", "grounded strengths[].evidence")
    repeats: int = 2
    spread: float = 1.5
    """How unlike the cases are: the deviation of the log-odds that a case's check holds."""
    error_rate: float = 0.03
    _traits: list[tuple[float, float]] = field(init=False)
    """Per case: how much easier it is than others, in deviations, and how long its answer, from about 0.5 to 2."""

    def __post_init__(self) -> None:
        random = Random(f"world {self.seed}")  # noqa: S311 - to be the same every time, and no secret
        self._traits = [(random.gauss(0, 1), random.lognormvariate(0, 0.3)) for _ in range(self.cases)]

    def run(self, seed: int, *, rate: float = 0.9, pace: float = 1.0, length: float = 1.0) -> Run:
        """Ask everything.

        Args:
            seed: Of this run's luck.
            rate: The share of samples that each check holds of, over all cases.
            pace: Factor on the latency.
            length: Factor on the output tokens, and so on the cost.
        """
        random = Random(f"run {self.seed} {seed}")  # noqa: S311 - as above
        items = [
            item(
                f"case-{index}",
                [self._sample(random, repeat, rates, size, (pace, length)) for repeat in range(1, self.repeats + 1)],
                model_id=model_id,
                locale=locale,
            )
            for index, (rates, size) in enumerate(self._cases(rate))
            for model_id in self.models
            for locale in self.locales
        ]
        return run(items, f"run-{self.seed}-{seed}")

    def _cases(self, rate: float) -> list[tuple[float, float]]:
        """Per case: how often a check holds, and how long its answer is; the mean of the first is the rate, exactly."""
        low, high = -20.0, 20.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            rates = [1 / (1 + exp(-middle - self.spread * ease)) for ease, _ in self._traits]
            low, high = (middle, high) if sum(rates) < rate * len(rates) else (low, middle)
        return [(one, size) for one, (_, size) in zip(rates, self._traits, strict=True)]

    def _sample(self, random: Random, repeat: int, rate: float, size: float, factors: tuple[float, float]) -> Sample:
        if random.random() < self.error_rate:
            return unanswered(repeat)
        checks = tuple(check(name, random.random() < rate) for name in self.checks)
        pace, length = factors
        output = round(300 * size * length * random.lognormvariate(0, 0.2))
        return Sample(
            repeat,
            Outcome.PASSED if all(one.passed for one in checks) else Outcome.FAILED,
            checks=checks,
            tokens=Tokens(900, output),
            costs=(Cost(900_000 + 3_000 * output, "CNY"),),
            calls=1,
            latency_ms=round(4 * output * pace * random.lognormvariate(0, 0.4)),
            first_token_ms=300,
        )
