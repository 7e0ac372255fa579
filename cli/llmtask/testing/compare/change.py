"""What a comparison says: a line per thing compared, in numbers and in words."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from llmtask.testing.run import Run

ALL = "all"
"""The group of a line over all models and locales."""


class Kind(StrEnum):
    """What a line compares."""

    PASSES = "pass"
    CHECK = "check"
    SCORE = "score"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"


QUALITY = (Kind.PASSES, Kind.CHECK, Kind.SCORE)
"""The kinds of which more is better; of the others less is."""
RATES = (Kind.PASSES, Kind.CHECK)


class Verdict(StrEnum):
    """What a line says."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Change:
    """A line of a comparison."""

    kind: Kind
    what: str
    """`pass`, a check's title, `score`, `latency`, `cost` or `output tokens`."""
    group: str
    """Which items: `deepseek-chat · zh`, `deepseek-chat → glm-4.5-flash`, or `all`."""
    unit: str
    """Of the numbers below: `points` (a rate's 0 to 100), `ms`, a currency, `tokens`; empty for a score's 0 to 1."""
    baseline: float
    """A rate over the paired samples; of other things the mean over cases of their mean."""
    run: float
    effect: float
    """`run` less `baseline`."""
    low: float
    """Of the effect's 95 % interval, which is this line's alone: it knows nothing of the others."""
    high: float
    pairs: int
    """Cases with an answer on both sides."""
    up: int
    """Cases with more in the run."""
    down: int
    p: float
    """Two-sided: of the sign-flip test of a rate, or of the signed-rank test."""
    p_adjusted: float
    """By Holm over all lines that can tell at all; 1 for a line with too few changed cases to."""
    verdict: Verdict
    more_cases: int | None = None
    """About how many more would tell, where it cannot be told and some number would."""
    detectable: float | None = None
    """Where it would not: the change that so many cases would have shown; None where not even the greatest."""
    is_split: bool = False
    """Whether most cases, as they rank, go one way and the mean goes the other."""

    @property
    def in_words(self) -> str:
        """The verdict for people."""
        if self.verdict is not Verdict.CANNOT_TELL:
            return self.verdict.value
        if self.more_cases is not None:
            return f"cannot tell; about {self.more_cases:,} more case{'s' if self.more_cases > 1 else ''} would"
        cases = "1 case" if self.pairs == 1 else f"{self.pairs:,} cases"
        if self.is_split:
            return "cannot tell; most go one way and the mean goes the other"
        if self.kind not in RATES and not self.up and not self.down:
            return f"cannot tell; none of {cases} differs"
        if self.detectable is None:
            return f"cannot tell; {cases} {'is' if self.pairs == 1 else 'are'} too few"
        return f"cannot tell; with {cases} a change of {_said(self.detectable)} {self.unit}".rstrip() + " would show"


@dataclass(frozen=True, slots=True)
class Moved:
    """An item that passed on one side and failed on the other."""

    item: str
    """Its name in the run."""
    suite: str
    baseline: tuple[int, int]
    """Samples passed, and answered."""
    run: tuple[int, int]
    reasons: Mapping[str, str]
    """What the failed side failed: a reason per check's title."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """What was compared, and what was not; items by their names."""

    items: int
    """Pairs of items with an answer on both sides."""
    cases: int
    only_in_baseline: tuple[str, ...]
    only_in_run: tuple[str, ...]
    unanswered: tuple[str, ...]
    """In both, without an answer on at least one side."""
    samples_left_out: int
    """Answers of paired items whose repeat has none on the other side."""
    changed_inputs: tuple[str, ...]
    """Compared all the same, though asked something else."""
    checks_left_out: tuple[str, ...]
    """Titles of checks that only one side has; `pass` and `score` are then not quite the same on both."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run against its baseline."""

    baseline: Run
    run: Run
    alpha: float
    """The share of comparisons of equals in which any line may say better or worse."""
    names: Mapping[str, str]
    """Which of the baseline's models and prompt versions stood against another's."""
    changes: tuple[Change, ...]
    broken: tuple[Moved, ...]
    """Passed in the baseline, failed in the run; those that changed most come first. Of equals some do, too."""
    mended: tuple[Moved, ...]
    pairing: Pairing

    @property
    def is_regression(self) -> bool:
        """Whether quality is worse: passes, a check, or the score."""
        return any(change.kind in QUALITY for change in self.all_of(Verdict.WORSE))

    @property
    def is_slower(self) -> bool:
        """Whether a model takes longer."""
        return any(change.kind is Kind.LATENCY for change in self.all_of(Verdict.WORSE))

    @property
    def is_dearer(self) -> bool:
        """Whether a model costs more, or writes more tokens."""
        return any(change.kind in (Kind.COST, Kind.TOKENS) for change in self.all_of(Verdict.WORSE))

    @property
    def in_words(self) -> str:
        """The whole of it in a sentence."""
        if not self.changes:
            return "Nothing to compare: no item has an answer on both sides."
        found = [one for one in (Verdict.WORSE, Verdict.BETTER) if self.all_of(one)]
        if not found:
            first = self.changes[0]
            said = first.in_words.removeprefix("cannot tell; ")
            return f"No difference can be told; {first.what} ({first.group}): {said}."
        text = "; ".join(f"{one.value}: {_named(self.all_of(one))}" for one in found)
        return f"{text[:1].upper()}{text[1:]}."

    def all_of(self, verdict: Verdict) -> list[Change]:
        """The lines that say this."""
        return [change for change in self.changes if change.verdict is verdict]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "baseline": {"id": self.baseline.id, "name": self.baseline.name},
            "run": {"id": self.run.id, "name": self.run.name},
            "alpha": self.alpha,
            "names": dict(self.names),
            "is_regression": self.is_regression,
            "is_slower": self.is_slower,
            "is_dearer": self.is_dearer,
            "in_words": self.in_words,
            "changes": [{**asdict(change), "in_words": change.in_words} for change in self.changes],
            "broken": [asdict(moved) for moved in self.broken],
            "mended": [asdict(moved) for moved in self.mended],
            "pairing": asdict(self.pairing),
        }


def _said(value: float) -> str:
    return f"{Decimal(f'{value:.2g}'):f}"


def _named(changes: Iterable[Change]) -> str:
    groups: dict[str, list[str]] = {}
    for change in changes:
        groups.setdefault(change.what, []).append(change.group)
    return ", ".join(f"{what} ({', '.join(listed)})" for what, listed in groups.items())
