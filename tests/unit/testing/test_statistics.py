# ruff: noqa: S311 - simulations, the same every time
"""Every formula against published numbers, and against scipy and statsmodels where they are installed."""

from itertools import product
from math import ceil, comb, sqrt
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtask.testing.statistics import (
    bootstrap_interval,
    cases_to_tell,
    detectable,
    difference_interval,
    effective_samples,
    fewest_changed,
    holm,
    percentile,
    rate,
    sign_flip,
    signed_ranks,
    smallest_p,
    student,
    wilson,
)

# Darwin's crossed and self-fertilised maize, eighths of an inch: Fisher (1935), The Design of Experiments, 21.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Hamilton depression scores before and after a tranquilliser: Hollander & Wolfe (1973), p. 29; R's ?wilcox.test.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]

quick = settings(deadline=None, derandomize=True, database=None)
counts = st.lists(st.integers(1, 6).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), min_size=1)
differences = st.lists(st.integers(-6, 6), min_size=1, max_size=9)


def pairs(worse: int, better: int, same: int) -> list[int]:
    return [-1] * worse + [1] * better + [0] * same


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_an_interval_is_that_of_newcombe_1998_table_1_method_3(hits: int, of: int, low: float, high: float) -> None:
    found = rate([(hit, 1) for hit in [1] * hits + [0] * (of - hits)])

    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (found.hits, found.of, found.clusters) == (hits, of, of)


@pytest.mark.parametrize(("hits", "of"), [(0, 5), (3, 7), (50, 50), (199, 1000)])
def test_an_interval_is_that_of_statsmodels(hits: int, of: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")

    assert wilson(hits / of, of) == pytest.approx(proportion.proportion_confint(hits, of, method="wilson"), abs=1e-12)


def test_a_rate_of_nothing_is_none() -> None:
    assert rate([]) is None
    assert rate([(0, 0)]) is None


def test_the_variance_between_cases_is_the_cluster_robust_one_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    cases = [(5, 5), (4, 5), (0, 4), (5, 5), (3, 5), (5, 5), (1, 3), (5, 5), (5, 5), (2, 5), (5, 5), (4, 5)]
    answers = [float(index < hits) for hits, of in cases for index in range(of)]
    case = [number for number, (_, of) in enumerate(cases) for _ in range(of)]

    fitted = api.OLS(answers, [1.0] * len(answers)).fit(cov_type="cluster", cov_kwds={"groups": case})

    mean = sum(answers) / len(answers)
    worth = mean * (1 - mean) / fitted.bse[0] ** 2 * (student(len(answers) - 1) / student(len(cases) - 1)) ** 2
    assert effective_samples(cases) == pytest.approx(worth)
    assert len(cases) < worth < len(answers)


def test_students_quantile_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")

    for degrees in (3, 4, 9, 29, 499):
        assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.002)


@quick
@given(counts)
def test_repeats_are_worth_no_more_than_samples_and_no_less_than_their_cases(cases: list[tuple[int, int]]) -> None:
    of = sum(of for _, of in cases)
    fewest = of**2 / sum(of**2 for _, of in cases)

    assert fewest - 1e-9 <= effective_samples(cases) <= of + 1e-9
    assert fewest <= len(cases) + 1e-9


def test_repeats_that_only_repeat_their_case_are_worth_one_each() -> None:
    cases = [(5, 5)] * 8 + [(0, 5)] * 4

    assert effective_samples(cases) == pytest.approx(12)
    assert effective_samples([(5, 5)] * 12) == pytest.approx(12)


def test_an_interval_over_repeats_holds_the_true_rate_where_a_plain_one_does_not() -> None:
    random = Random(1)
    held, plain = 0, 0
    for _ in range(1000):
        chances = [random.betavariate(0.9, 0.6) for _ in range(20)]
        cases = [(sum(random.random() < chance for _ in range(5)), 5) for chance in chances]
        found = rate(cases)
        assert found is not None
        low, high = wilson(found.value, found.of)
        held += found.low <= 0.6 <= found.high
        plain += low <= 0.6 <= high
    assert held >= 930
    assert plain <= 800


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([15, 20, 35, 40, 50], 30, 20), ([15, 20, 35, 40, 50], 40, 20), ([15, 20, 35, 40, 50], 50, 35), ([7], 95, 7)],
)
def test_a_percentile_is_the_nearest_rank(values: list[int], percent: int, expected: int) -> None:
    assert percentile(values, percent) == expected
    assert percentile([], percent) is None


@pytest.mark.parametrize("percent", [1, 50, 95, 100])
def test_a_percentile_is_numpys_inverted_cdf(percent: int) -> None:
    numpy = pytest.importorskip("numpy")
    random = Random(percent)
    for count in range(1, 60):
        values = [random.randint(0, 99) for _ in range(count)]
        assert percentile(values, percent) == numpy.percentile(values, percent, method="inverted_cdf")


def test_the_sign_flip_test_is_fishers_of_darwins_maize() -> None:
    assert sign_flip(MAIZE) == 1726 / 2**15  # 5.267 %: Fisher (1935), 21


@pytest.mark.parametrize(("worse", "better"), [(7, 1), (1, 7), (0, 6), (10, 10), (86, 150), (0, 0)])
def test_with_one_repeat_the_sign_flip_test_is_mcnemars_exact_test(worse: int, better: int) -> None:
    fewer, changed = min(worse, better), worse + better
    binomial = 2 * sum(comb(changed, count) for count in range(fewer + 1)) / 2**changed

    assert sign_flip(pairs(worse, better, 30)) == pytest.approx(min(binomial, 1.0), rel=1e-12)


def test_mcnemars_exact_test_is_the_published_one() -> None:
    # Airway hyper-responsiveness: Fagerland, Lydersen & Laake (2013), BMC Med. Res. Methodol. 13:91.
    assert round(sign_flip(pairs(7, 1, 13)), 3) == 0.070


@pytest.mark.parametrize(("worse", "better"), [(7, 1), (86, 150), (300, 260)])
def test_mcnemars_exact_test_is_statsmodels(worse: int, better: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    expected = tables.mcnemar([[40, worse], [better, 20]], exact=True).pvalue

    assert sign_flip(pairs(worse, better, 60)) == pytest.approx(expected, rel=1e-9)


@quick
@given(differences)
def test_the_sign_flip_test_is_the_count_of_all_flips(found: list[int]) -> None:
    flips = [sum(map(int.__mul__, found, signs)) for signs in product((-1, 1), repeat=len(found))]
    as_far = sum(abs(total) >= abs(sum(found)) for total in flips)

    assert sign_flip(found) == pytest.approx(as_far / len(flips), rel=1e-12)


@quick
@given(differences, st.integers(2, 50))
def test_the_sign_flip_test_knows_no_side_no_unit_and_no_unchanged_case(found: list[int], unit: int) -> None:
    assert sign_flip(found) == sign_flip([-one for one in found]) == sign_flip([*found, 0, 0])
    assert sign_flip(found) == sign_flip([one * unit for one in found])


@quick
@given(st.lists(st.integers(-6, 6), min_size=1))
def test_no_p_is_smaller_than_the_smallest(found: list[int]) -> None:
    assert smallest_p(sum(map(bool, found))) <= sign_flip(found) + 1e-15
    assert sign_flip([abs(one) for one in found]) == pytest.approx(smallest_p(sum(map(bool, found))), rel=1e-12)


def test_the_signed_rank_test_is_the_published_one() -> None:
    depression = [before - after for before, after in zip(BEFORE, AFTER, strict=True)]
    ranks = signed_ranks(depression)

    assert sum(rank for rank in ranks if rank > 0) / 2 == 40  # V = 40, p = 0.01953 one-sided: R's ?wilcox.test
    assert round(sign_flip(ranks), 4) == 0.0391


def test_equals_share_their_mean_rank_and_zeros_are_dropped() -> None:
    assert signed_ranks([3, 0, -1, 1, 2]) == [8, 0, -3, 3, 6]
    assert signed_ranks([]) == []


@pytest.mark.parametrize("count", [6, 20, 120])
def test_the_signed_rank_test_is_scipys_exact_one(count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    random = Random(count)
    found = [random.gauss(0.3, 1) for _ in range(count)]

    assert sign_flip(signed_ranks(found)) == pytest.approx(stats.wilcoxon(found, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize("count", [250, 1000])
def test_the_signed_rank_test_of_many_cases_is_scipys_approximate_one(count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    random = Random(count)
    found = [random.gauss(0.1, 1) for _ in range(count)]
    expected = stats.wilcoxon(found, method="asymptotic", correction=True).pvalue

    assert sign_flip(signed_ranks(found)) == pytest.approx(expected, rel=1e-9)


def test_ties_of_many_cases_are_allowed_for_as_scipy_does() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = Random(8)
    found = [random.randint(-3, 4) for _ in range(400)]
    rough, careful = (
        stats.wilcoxon(found, method="asymptotic", correction=correction, zero_method="wilcox").pvalue
        for correction in (False, True)
    )

    assert rough < sign_flip(signed_ranks(found)) < careful
    assert careful < 1.01 * rough


def test_the_approximation_goes_on_where_the_exact_test_ends() -> None:
    binomial = 2 * sum(comb(2011, count) for count in range(941)) / (1 << 2011)

    assert sign_flip(pairs(1071, 940, 0)) == pytest.approx(binomial, rel=0.005)


def test_holm_asks_most_of_the_smallest_p_and_never_turns_the_order() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.03, 0.005, 0.04, 0.01]) == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert holm([]) == []


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = Random(count)
    ps = [random.random() ** 4 for _ in range(count)]

    assert holm(ps) == pytest.approx(list(multitest.multipletests(ps, method="holm")[1]), abs=1e-12)


@pytest.mark.parametrize(("worse", "better", "same"), [(7, 1, 13), (16, 6, 139), (0, 0, 40), (5, 0, 0)])
def test_with_one_repeat_the_interval_is_bonett_and_prices(worse: int, better: int, same: int) -> None:
    # The first two tables are Bentur et al.'s and Cavo et al.'s, of Fagerland, Lydersen & Laake (2014).
    of = worse + better + same + 2
    up, down = (better + 1) / of, (worse + 1) / of
    half = 1.959964 * sqrt((up + down - (up - down) ** 2) / of)

    low, high = difference_interval([(one, 1) for one in pairs(worse, better, same)])

    assert (low, high) == pytest.approx((max(up - down - half, -1), min(up - down + half, 1)), abs=1e-6)


@pytest.mark.parametrize("repeats", [3, 5])
def test_over_repeats_the_interval_holds_the_true_difference(repeats: int) -> None:
    random = Random(repeats)
    held = 0
    for _ in range(1000):
        chances = [random.betavariate(9, 1) for _ in range(30)]
        cases = [
            (
                sum(random.random() < chance * 0.8 for _ in range(repeats))
                - sum(random.random() < chance for _ in range(repeats)),
                repeats,
            )
            for chance in chances
        ]
        low, high = difference_interval(cases)
        held += low <= -0.18 <= high
    assert held >= 935


def test_the_bootstrap_is_about_scipys_and_always_the_same() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = Random(4)
    found = [random.lognormvariate(0, 0.6) - 0.8 for _ in range(60)]
    theirs = stats.bootstrap((found,), lambda values, axis: values.mean(axis), method="percentile", random_state=1)

    assert bootstrap_interval(found) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)
    assert bootstrap_interval(found) == bootstrap_interval(list(found))


def test_the_bootstrap_of_many_cases_is_the_normal_interval() -> None:
    random = Random(5)
    found = [random.gauss(2, 1) for _ in range(900)]
    low, high = bootstrap_interval(found)
    few_low, few_high = bootstrap_interval(found[:500])

    assert low < 2 < high
    assert high - low == pytest.approx((few_high - few_low) * sqrt(500 / 900), rel=0.1)


def test_the_bootstrap_of_one_case_is_that_case() -> None:
    assert bootstrap_interval([3.0]) == (3.0, 3.0)


def test_the_number_of_cases_is_connors() -> None:
    # p10 = 0.45, p01 = 0.05 at 5 % and a power of 80 %: 23 pairs, powerandsamplesize.com after Connor (1987), p. 209.
    assert cases_to_tell(pairs(5, 45, 50), 0.05) == 23


def test_so_many_cases_do_tell_four_times_in_five() -> None:
    random = Random(6)
    shares = pairs(8, 20, 72)
    needed = cases_to_tell(shares, 0.05)
    assert needed is not None

    told = sum(sign_flip(random.choices(shares, k=needed)) <= 0.05 for _ in range(1000))

    assert 720 <= told <= 860  # an exact test takes a little more than Connor's


def test_ranks_say_how_many_cases_a_signed_rank_test_needs() -> None:
    random = Random(7)
    shown = [random.gauss(0.3, 1) for _ in range(2000)]
    needed = cases_to_tell(signed_ranks(shown), 0.05)
    assert needed is not None

    told = sum(sign_flip(signed_ranks([random.gauss(0.3, 1) for _ in range(needed)])) <= 0.05 for _ in range(500))

    assert 360 <= told <= 440


def test_cases_that_even_out_never_tell() -> None:
    assert cases_to_tell([1, -1, 0], 0.05) is None
    assert cases_to_tell([0, 0], 0.05) is None


def test_no_fewer_cases_are_asked_for_than_an_exact_test_needs() -> None:
    assert fewest_changed(0.05) == 6
    assert smallest_p(6) <= 0.05 < smallest_p(5)
    assert cases_to_tell([1, 1, 1], 0.05) == 6
    assert cases_to_tell([1, 1, 1], 0.05 / 16) == 10


def test_what_can_be_detected_is_what_connor_would_ask_that_many_cases_for() -> None:
    shares = pairs(8, 20, 72)
    effect, needed = 0.12, cases_to_tell(shares, 0.05)
    assert needed is not None

    assert detectable(0.28, needed, 0.05) == pytest.approx(effect, rel=0.03)
    assert ceil(detectable(0.28, 4 * needed, 0.05) * 1000) == ceil(detectable(0.28, needed, 0.05) * 500)
