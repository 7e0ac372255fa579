"""The lines of a comparison: what each says, and how surely."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import truediv
from typing import NamedTuple

from llmtask.money import NANOS
from llmtask.testing.compare.change import ALL, QUALITY, RATES, Change, Kind, Verdict
from llmtask.testing.compare.pairing import Pair, both
from llmtask.testing.run import ItemResult, Outcome, Sample
from llmtask.testing.statistics import (
    bootstrap_interval,
    cases_to_tell,
    detectable,
    difference_interval,
    fewest_changed,
    holm,
    sign_flip,
    signed_ranks,
    smallest_p,
)
from llmtask.testing.summary import case_of, mean, verdicts

_FAR = 10  # times the cases there are: what would take more is said as the change that would have shown
_SCALES = {Kind.PASSES: 100, Kind.CHECK: 100, Kind.SCORE: 1e-6, Kind.LATENCY: 1, Kind.COST: 1 / NANOS, Kind.TOKENS: 1}
"""Of the whole numbers that are added up, in a line's unit."""


class _Measure(NamedTuple):
    """What of a sample is compared."""

    kind: Kind
    what: str
    unit: str


_PASS = _Measure(Kind.PASSES, "pass", "points")
_SCORE = _Measure(Kind.SCORE, "score", "")
_LATENCY = _Measure(Kind.LATENCY, "latency", "ms")
_TOKENS = _Measure(Kind.TOKENS, "output tokens", "tokens")


def _measured(sample: Sample) -> Iterator[tuple[_Measure, int]]:
    """What an answered sample comes to, in whole numbers, so that equals are equal: see `_SCALES`."""
    yield _PASS, sample.outcome is Outcome.PASSED
    for title, holds in verdicts(sample).items():
        yield _Measure(Kind.CHECK, title, "points"), holds
    if sample.score is not None:
        yield _SCORE, round(sample.score / _SCALES[Kind.SCORE])
    if sample.latency_ms is not None:
        yield _LATENCY, sample.latency_ms
    if not sample.unpriced_calls:  # else it cost more than is known
        for cost in sample.costs:
            yield _Measure(Kind.COST, "cost", cost.currency), cost.nanos
    yield _TOKENS, sample.tokens.output


@dataclass(frozen=True, slots=True)
class _Line:
    """What the cases say about one thing."""

    measure: _Measure
    group: str
    cases: Sequence[Sequence[int]]
    """Of each: samples on either side, the baseline's sum, and the run's."""

    @property
    def is_rate(self) -> bool:
        return self.measure.kind in RATES

    @property
    def means(self) -> list[float]:
        """The mean difference of each case."""
        return [(run - baseline) / samples for samples, baseline, run in self.cases]

    @property
    def weights(self) -> list[int]:
        """What the test gives a sign: how many samples more passed in a case, or its rank."""
        return [run - baseline for _, baseline, run in self.cases] if self.is_rate else signed_ranks(self.means)

    @property
    def values(self) -> tuple[float, float]:
        """The baseline's and the run's."""
        sides = [[case[side] for case in self.cases] for side in (0, 1, 2)]
        if self.is_rate:
            return sum(sides[1]) / sum(sides[0]), sum(sides[2]) / sum(sides[0])
        baseline, run = (mean(map(truediv, side, sides[0])) for side in sides[1:])
        return baseline, run

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference of the two values."""
        if self.is_rate:
            return difference_interval([(run - baseline, samples) for samples, baseline, run in self.cases])
        return bootstrap_interval(self.means)

    @property
    def says_nothing(self) -> bool:
        """Whether it is about money or tokens that neither side has, as of a model without a price."""
        return self.measure.kind not in QUALITY and not any(baseline or run for _, baseline, run in self.cases)


def lines(answered: Sequence[Pair]) -> list[_Line]:
    """Every line, the whole before its parts, in the order of kinds."""
    several = len({_group(*pair) for pair in answered}) > 1
    cases: dict[tuple[_Measure, str], dict[tuple[str, str], list[int]]] = {}
    for one, other in answered:
        case, groups = case_of(one.key), _groups(one, other, several)
        for measure, baseline, run in _values(one, other):
            for group in groups[measure.kind]:
                sums = cases.setdefault((measure, group), {}).setdefault(case, [0, 0, 0])
                sums[0] += 1
                sums[1] += baseline
                sums[2] += run
    found = [_Line(measure, group, tuple(sums.values())) for (measure, group), sums in cases.items()]
    order = list(Kind)
    return sorted((line for line in found if not line.says_nothing), key=lambda line: order.index(line.measure.kind))


def _values(one: ItemResult, other: ItemResult) -> Iterator[tuple[_Measure, int, int]]:
    """What both sides of a repeat come to."""
    for sample, partner in both(one, other):
        theirs = dict(_measured(partner))
        for measure, value in _measured(sample):
            if measure in theirs:
                yield measure, value, theirs[measure]


def _groups(one: ItemResult, other: ItemResult, several: bool) -> dict[Kind, list[str]]:
    """Which lines of a kind an item is in."""
    part, model = _group(one, other), _arrow(one.key.model_id, other.key.model_id)
    return {kind: [model] for kind in Kind} | {Kind.CHECK: [ALL], Kind.PASSES: [ALL, part] if several else [part]}


def _group(one: ItemResult, other: ItemResult) -> str:
    ours, theirs = one.key, other.key
    names = [_arrow(ours.model_id, theirs.model_id), theirs.locale]
    if (ours.prompt, theirs.prompt) != ("current", "current"):
        names.append(_arrow(ours.prompt, theirs.prompt))
    return " · ".join(names)


def _arrow(ours: str, theirs: str) -> str:
    return theirs if ours == theirs else f"{ours} → {theirs}"


def changes(lines: Sequence[_Line], alpha: float) -> tuple[Change, ...]:
    """The lines judged together.

    A line with fewer changed cases than a test needs can't give a false alarm, so Holm doesn't count it (Tarone 1990):
    which ones these are follows from how many cases changed, not from which way they did.
    """
    weights = [line.weights for line in lines]
    telling = [smallest_p(sum(map(bool, one))) <= alpha for one in weights]
    ps = [sign_flip(one) for one in weights]
    adjusted = iter(holm([p for p, can_tell in zip(ps, telling, strict=True) if can_tell]))
    level = alpha / max(sum(map(any, weights)), 1)  # with more cases every line that has changes counts
    return tuple(
        _change(line, (p, next(adjusted) if can_tell else 1.0), alpha, level)
        for line, p, can_tell in zip(lines, ps, telling, strict=True)
    )


def _change(line: _Line, ps: tuple[float, float], alpha: float, level: float) -> Change:
    scale = _SCALES[line.measure.kind]
    p, p_adjusted = ps
    (baseline, run), (low, high) = line.values, line.interval
    verdict = _verdict(line, run - baseline) if p_adjusted <= alpha else Verdict.CANNOT_TELL
    more, smallest = _outlook(line, run - baseline, level) if verdict is Verdict.CANNOT_TELL else (None, None)
    differences = line.means
    return Change(
        kind=line.measure.kind,
        what=line.measure.what,
        group=line.group,
        unit=line.measure.unit,
        baseline=baseline * scale,
        run=run * scale,
        effect=(run - baseline) * scale,
        low=low * scale,
        high=high * scale,
        pairs=len(differences),
        up=sum(difference > 0 for difference in differences),
        down=sum(difference < 0 for difference in differences),
        p=p,
        p_adjusted=p_adjusted,
        verdict=verdict,
        more_cases=more,
        detectable=None if smallest is None else smallest * scale,
        is_split=p_adjusted <= alpha and verdict is Verdict.CANNOT_TELL,
    )


def _verdict(line: _Line, effect: float) -> Verdict:
    """Which way it goes; cannot tell where most cases go one way and the mean goes the other."""
    direction = sum(line.weights)
    if direction * effect <= 0:
        return Verdict.CANNOT_TELL
    return Verdict.BETTER if (direction > 0) is (line.measure.kind in QUALITY) else Verdict.WORSE


def _outlook(line: _Line, effect: float, level: float) -> tuple[int | None, float | None]:
    """How many more cases would tell; else what change these would have shown."""
    count = len(line.cases)
    shares = line.means if line.is_rate else line.weights
    needed = cases_to_tell(shares, level)
    if needed is not None and needed <= _FAR * count and sum(line.weights) * effect > 0:
        return max(needed - count, 1), None
    return None, _smallest(line, level)


def _smallest(line: _Line, level: float) -> float | None:
    """The smallest change that would have shown; None where there are too few cases for any."""
    count = len(line.cases)
    squares = [difference**2 for difference in line.means]
    if count < fewest_changed(level) or not (line.is_rate or any(squares)):
        return None
    smallest = detectable(mean(squares), count, level)
    if line.is_rate:  # a case changes by a sample or more, so that a change of the rate takes changed cases of its own
        step = count / sum(samples for samples, _, _ in line.cases)
        smallest = max(smallest, detectable(1, count, level) ** 2 * step)
    return None if line.is_rate and smallest > 1 else smallest
