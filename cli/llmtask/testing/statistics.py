"""What a sample is worth: intervals of rates, exact paired tests, and how many more cases would tell.

Plain Python: scipy and statsmodels take 110 MB and half a second to import, and stand in the tests only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import ceil, erfc, gcd, log2, sqrt
from operator import itemgetter
from random import Random
from statistics import NormalDist
from typing import Any

CONFIDENCE = 0.95
"""Of every interval."""
POWER = 0.8
"""How surely a number of cases is to tell what there is to tell."""

_NORMAL = NormalDist()
_MOST_BITS = 4_000_000  # of a null distribution that is counted out, in 0.2 s at most
_DRAWS = 999  # of a bootstrap: the 25th from either end is then the 95 % interval's
_MOST_DRAWN = 500  # cases; with more the mean is as good as normal
_SEED = 20_260_101


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of samples, with its 95 % interval."""

    value: float
    """From 0 to 1."""
    low: float
    high: float
    hits: int
    of: int
    """Samples."""
    clusters: int
    """Cases. Samples of one case are alike, so the interval counts them for less than as many of other cases."""


def rate(cases: Iterable[tuple[int, int]]) -> Rate | None:
    """The share of hits and its Wilson interval for as many samples as the cases' samples are worth.

    Args:
        cases: Hits and samples of each case.

    Returns:
        None where there is no sample.
    """
    counted = [(hits, of) for hits, of in cases if of]
    hits, of = sum(hits for hits, _ in counted), sum(of for _, of in counted)
    if not of:
        return None
    low, high = wilson(hits / of, effective_samples(counted))
    return Rate(hits / of, low, high, hits, of, len(counted))


def wilson(value: float, of: float) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927, JASA 22).

    Args:
        value: From 0 to 1.
        of: Independent samples, or what the samples there are are worth.
    """
    square = _z(CONFIDENCE) ** 2
    middle = value + square / (2 * of)
    half = sqrt(square * (value * (1 - value) / of + square / (4 * of**2)))
    whole = 1 + square / of
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)


def effective_samples(cases: Sequence[tuple[int, int]]) -> float:
    """How many independent samples the cases' samples are worth (Korn & Graubard 1998, Survey Methodology 24).

    The design effect is the variance of the rate seen between cases over what independent samples would have; few
    cases show it badly, hence Student's t. It is never taken for better than independent samples, nor for worse than
    samples that only repeat their case (Kish 1965: as many as there are cases, where all have equally many). Where
    nothing varies, at a rate of 0 or 1, it is taken for the worst. Without repeats it is the number of samples.

    Args:
        cases: Hits and samples of each case; at least one sample.
    """
    count, of = len(cases), sum(of for _, of in cases)
    value = sum(hits for hits, _ in cases) / of
    fewest = of**2 / sum(of**2 for _, of in cases)
    independent = value * (1 - value) / of
    if count < 2 or not independent:
        return fewest
    between = count / (count - 1) * sum((hits - value * samples) ** 2 for hits, samples in cases) / of**2
    if not between:
        return float(of)
    return min(max(of * independent / between * (student(of - 1) / student(count - 1)) ** 2, fewest), of)


def student(degrees: int) -> float:
    """Student's two-sided 95 % quantile (Abramowitz & Stegun 1964, 26.7.5; 0.1 % too low at 3 degrees of freedom)."""
    z = _z(CONFIDENCE)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The smallest value that is at least as great as so many percent of all (nearest rank: always a value of them).

    Args:
        values: In any order.
        percent: From 1 to 100.

    Returns:
        None where there is no value.
    """
    if not values:
        return None
    return sorted(values)[-(-percent * len(values) // 100) - 1]


def sign_flip(differences: Sequence[int]) -> float:
    """The two-sided p of paired differences, were the sign of each a coin's (Fisher 1935, The Design of Experiments).

    Exact for any differences whose cases would come out alike with the sides swapped. Of ones it is McNemar's exact
    test, of signed ranks Wilcoxon's. Past some 2,000 changed cases or 200 ranks the sum is taken for normal, corrected
    for continuity, with the variance that these differences have, so ties are allowed for.

    Args:
        differences: A whole number per case; those that are 0 say nothing and are dropped.
    """
    sizes = [abs(difference) for difference in differences if difference]
    total = abs(sum(differences))
    if not total:
        return 1.0
    unit = gcd(*sizes)
    if sum(sizes) // unit * len(sizes) > _MOST_BITS:
        return erfc((total - unit) / sqrt(2 * sum(size**2 for size in sizes)))
    return min(2 * _ways([size // unit for size in sizes], total // unit) / (1 << len(sizes)), 1.0)


def _ways(sizes: Sequence[int], total: int) -> int:
    """In how many ways signs can be given to the sizes so that they come to the total or more.

    The counts of all sums are the digits of one great integer: giving a size its sign adds a shifted copy.
    """
    width = len(sizes) + 1  # bits of a digit, which no sum of counts overflows
    counts = 1
    for size in sizes:
        counts += counts << size * width
    fewest = (sum(sizes) + total) // 2  # that the positive ones must come to
    return (counts >> fewest * width) % ((1 << width) - 1)  # the sum of the digits


def smallest_p(changed: int) -> float:
    """The smallest p that a sign-flip test of so many differences can come to."""
    return float(0.5 ** (changed - 1)) if changed else 1.0


def signed_ranks(differences: Sequence[float]) -> list[int]:
    """Twice the rank of each difference's size among those that are not 0, signed (Wilcoxon 1945, Biometrics 1).

    Twice, because equals share the mean of their ranks; 0 stays 0. `sign_flip` of them is the signed-rank test.
    """
    order = sorted((abs(difference), index) for index, difference in enumerate(differences) if difference)
    ranks = [0] * len(differences)
    before = 0
    for _, equals in groupby(order, key=itemgetter(0)):
        indices = [index for _, index in equals]
        for index in indices:
            rank = 2 * before + len(indices) + 1
            ranks[index] = rank if differences[index] > 0 else -rank
        before += len(indices)
    return ranks


def holm(ps: Sequence[float]) -> list[float]:
    """The p of each of several tests, so that all together give no more false alarms than one (Holm 1979)."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(ps[index] * (len(ps) - rank), 1.0))
        adjusted[index] = highest
    return adjusted


def difference_interval(cases: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The interval of the difference of two paired rates (Bonett & Price 2012, J. Educ. Behav. Stat. 37).

    Two cases are added, one that changed for the better and one for the worse; with one sample a case that is theirs.
    With more, both change by as much as a single sample does by chance, or as the changed cases did, whichever is
    more: measured, this covers 95 % where a full change is far too wide and Student's interval too narrow.

    Args:
        cases: The difference in hits, and the samples on either side, of each case.

    Returns:
        From -1 to 1.
    """
    size = sum(of for _, of in cases) / len(cases)
    step = size * max(1 / sqrt(size), sqrt(_mean_square([hits / of for hits, of in cases if hits])))
    added = [*cases, (step, size), (-step, size)]
    whole = sum(of for _, of in added)
    effect = sum(hits for hits, _ in added) / whole
    half = _z(CONFIDENCE) * sqrt(sum((hits - effect * of) ** 2 for hits, of in added)) / whole
    return max(effect - half, -1.0), min(effect + half, 1.0)


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The interval of the mean over cases: percentiles of 999 draws of as many cases (Efron & Tibshirani 1993).

    Always the same for the same differences. It is too narrow below about ten cases. Past 500 the mean is taken for
    normal, which it then is.
    """
    count = len(differences)
    if count > _MOST_DRAWN:
        middle = sum(differences) / count
        half = _z(CONFIDENCE) * sqrt((_mean_square(differences) - middle**2) / count)
        return middle - half, middle + half
    if count < 2:
        return differences[0], differences[0]
    sums = sorted(sum(draw(differences)) for draw in _draws(count))
    edge = round((_DRAWS + 1) * (1 - CONFIDENCE) / 2)
    return sums[edge - 1] / count, sums[-edge] / count


@lru_cache(maxsize=8)
def _draws(count: int) -> list[Callable[[Any], tuple[float, ...]]]:
    random = Random(_SEED)  # noqa: S311 - to be the same every time, and no secret
    cases = range(count)
    return [itemgetter(*random.choices(cases, k=count)) for _ in range(_DRAWS)]


def cases_to_tell(differences: Sequence[float], alpha: float) -> int | None:
    """About how many cases like these would tell (Connor 1987, Biometrics 43), at a power of 80 %.

    For a sign-flip test of any differences: the mean square is Connor's share of discordant pairs. An exact test needs
    some changed cases whatever they say, and that many are asked for.

    Args:
        differences: One per case, zeros included; ranks for a test of ranks.
        alpha: Of the test, two-sided.

    Returns:
        None where no number would, because they even out.
    """
    effect = sum(differences) / len(differences)
    if not effect:
        return None
    square = _mean_square(differences)
    spread = sqrt(max(square - effect**2, 0.0))
    needed = ((_z(1 - alpha) * sqrt(square) + _NORMAL.inv_cdf(POWER) * spread) / effect) ** 2
    changed = sum(bool(difference) for difference in differences) / len(differences)
    return ceil(max(needed, fewest_changed(alpha) / changed) - 1e-9)


def detectable(mean_square: float, cases: int, alpha: float) -> float:
    """The smallest mean difference that so many cases would have shown, at a power of 80 %.

    Args:
        mean_square: Of the cases' differences.
        cases: How many there are.
        alpha: Of the test, two-sided.
    """
    return (_z(1 - alpha) + _NORMAL.inv_cdf(POWER)) * sqrt(mean_square / cases)


def fewest_changed(alpha: float) -> int:
    """How many cases must have changed before a sign-flip test can tell anything."""
    return ceil(1 - log2(alpha))


def _mean_square(values: Sequence[float]) -> float:
    return sum(value**2 for value in values) / len(values) if values else 0.0


def _z(confidence: float) -> float:
    return _NORMAL.inv_cdf((1 + confidence) / 2)
