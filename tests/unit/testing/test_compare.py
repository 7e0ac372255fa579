import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from llmtask.errors import UsageError
from llmtask.money import Cost
from llmtask.testing.compare import ALL, QUALITY, Change, Comparison, Kind, Verdict, compare
from llmtask.testing.run import ItemResult, Outcome, Run
from llmtask.tokens import Tokens
from llmtask.view.comparison import show_comparison
from tests.unit.testing.runs import World, invalid, item, run, sample, unanswered

MOST_FALSE_ALARMS = 71
"""Of 1,000: with an error rate of 5 %, more come up in one of 600 experiments (binomial)."""


def runs(before: list[ItemResult], after: list[ItemResult]) -> tuple[Run, Run]:
    return run(before, "baseline"), run(after, "run")


def answered(passes: int, fails: int, **changes: object) -> list[ItemResult]:
    outcomes = [True] * passes + [False] * fails
    return [item(f"case-{number}", [sample(passed=passed)], **changes) for number, passed in enumerate(outcomes)]


def the(comparison: Comparison, kind: Kind, group: str | None = None) -> Change:
    (found,) = [one for one in comparison.changes if one.kind is kind and group in (None, one.group)]
    return found


@pytest.fixture(scope="module")
def worlds() -> list[Comparison]:
    """A thousand comparisons of a run with another of the same: every better and worse is a false alarm."""
    none = run([])
    compared = (compare(world.run(1), world.run(2)) for world in map(World, range(1000)))
    return [replace(one, baseline=none, run=none, broken=(), mended=()) for one in compared]  # 480,000 samples less


def test_equals_are_called_better_or_worse_no_more_often_than_alpha_says(worlds: list[Comparison]) -> None:
    told = [[one for one in world.changes if one.verdict is not Verdict.CANNOT_TELL] for world in worlds]

    assert sum(bool(lines) for lines in told) <= MOST_FALSE_ALARMS
    assert sum(any(one.kind in QUALITY for one in lines) for lines in told) <= MOST_FALSE_ALARMS
    assert sum(world.is_regression for world in worlds) <= MOST_FALSE_ALARMS / 2
    assert {len(world.changes) for world in worlds} == {16}


@pytest.mark.parametrize("kind", [Kind.PASSES, Kind.LATENCY])
def test_a_single_line_without_holm_gives_as_many_false_alarms_as_it_says(worlds: list[Comparison], kind: Kind) -> None:
    lines = [next(one for one in world.changes if one.kind is kind) for world in worlds]

    assert 25 <= sum(one.p <= 0.05 for one in lines) <= MOST_FALSE_ALARMS


def test_the_interval_of_equals_holds_zero_nineteen_times_in_twenty(worlds: list[Comparison]) -> None:
    lines = [next(one for one in world.changes if one.kind is Kind.PASSES) for world in worlds]

    assert 930 <= sum(one.low <= 0 <= one.high for one in lines) <= 990


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [({"rate": 0.9}, {"rate": 0.7}, lambda one: one.is_regression), ({}, {"pace": 1.3}, lambda one: one.is_slower)],
)
def test_a_real_drop_is_told(before: dict[str, float], after: dict[str, float], told: Callable[..., bool]) -> None:
    worlds = (
        World(seed, cases=100, models=("deepseek-chat",), locales=("zh",), checks=("schema",), repeats=1)
        for seed in range(100)
    )
    comparisons = [compare(world.run(1, **before), world.run(2, **after)) for world in worlds]

    assert sum(map(told, comparisons)) >= 80
    assert sum(one.verdict is Verdict.BETTER for found in comparisons for one in found.changes) <= 10


def test_fewer_passes_are_worse_and_fewer_milliseconds_better() -> None:
    before = [replace(one, samples=(sample(latency_ms=900 + 7 * n),)) for n, one in enumerate(answered(20, 0))]
    after = [
        replace(one, samples=(sample(passed=n > 9, latency_ms=700 + 7 * n),)) for n, one in enumerate(answered(20, 0))
    ]

    comparison = compare(*runs(before, after))

    passes, latency = the(comparison, Kind.PASSES), the(comparison, Kind.LATENCY)
    assert (passes.verdict, passes.unit, passes.baseline, passes.run) == (Verdict.WORSE, "points", 100, 50)
    assert (passes.effect, passes.up, passes.down, passes.pairs) == (-50, 0, 10, 20)
    assert passes.p == 2 / 2**10
    assert passes.low < -50 < passes.high < 0
    assert (latency.verdict, latency.unit, latency.effect) == (Verdict.BETTER, "ms", -200)
    assert (latency.low, latency.high) == (-200, -200)
    assert (comparison.is_regression, comparison.is_slower, comparison.is_dearer) == (True, False, False)
    assert passes.in_words == "worse"
    assert comparison.in_words == (
        "Worse: pass (deepseek-chat · zh), language (all), score (deepseek-chat); better: latency (deepseek-chat)."
    )


def test_a_dearer_and_longer_run_is_no_regression_of_quality() -> None:
    before = [replace(one, samples=(sample(),)) for one in answered(12, 0)]
    after = [
        replace(one, samples=(sample(tokens=Tokens(900, 400), costs=(Cost(2_500_000, "CNY"),)),)) for one in before
    ]

    comparison = compare(*runs(before, after))

    assert (the(comparison, Kind.COST).verdict, the(comparison, Kind.COST).unit) == (Verdict.WORSE, "CNY")
    assert the(comparison, Kind.COST).effect == pytest.approx(0.0005)
    assert the(comparison, Kind.TOKENS).effect == 100
    assert (comparison.is_regression, comparison.is_dearer) == (False, True)


def test_the_rest_of_a_comparison_is_told_with_p_and_more_cases() -> None:
    after = answered(14, 6)

    passes = the(compare(*runs(answered(20, 0), after)), Kind.PASSES)

    assert (passes.verdict, passes.p, passes.p_adjusted) == (Verdict.CANNOT_TELL, 2 / 2**6, pytest.approx(6 / 2**6))
    assert passes.more_cases is not None
    assert passes.in_words == f"cannot tell; about {passes.more_cases} more cases would"
    assert 5 <= passes.more_cases <= 30


def test_where_nothing_changed_the_change_that_would_have_shown_is_told() -> None:
    few, many = (the(compare(*runs(answered(n, 0), answered(n, 0))), Kind.PASSES) for n in (30, 300))

    assert few.more_cases is None
    assert few.in_words == "cannot tell; with 30 cases a change of 26 points would show"
    assert many.detectable is not None
    assert many.detectable < 3
    assert (few.p, few.p_adjusted) == (1, 1)
    assert few.low < 0 < few.high


def test_too_few_cases_are_called_so() -> None:
    comparison = compare(*runs(answered(2, 0), answered(2, 0)))

    assert the(comparison, Kind.PASSES).in_words == "cannot tell; 2 cases are too few"
    assert the(comparison, Kind.LATENCY).in_words == "cannot tell; none of 2 cases differs"
    assert comparison.in_words == "No difference can be told; pass (deepseek-chat · zh): 2 cases are too few."


def test_numbers_whose_ranks_and_mean_disagree_are_not_told() -> None:
    before = [replace(one, samples=(sample(latency_ms=1000),)) for one in answered(30, 0)]
    after = [
        replace(one, samples=(sample(latency_ms=90_000 if number == 0 else 990 - number),))
        for number, one in enumerate(before)
    ]

    latency = the(compare(*runs(before, after)), Kind.LATENCY)

    assert latency.p_adjusted < 0.05
    assert latency.effect > 0
    assert latency.in_words == "cannot tell; most go one way and the mean goes the other"


def test_all_locales_and_models_of_a_case_are_one_case_of_the_whole() -> None:
    def items(passed: bool) -> list[ItemResult]:
        return [
            item(f"case-{number}", [sample(passed=passed or number > 2)], model_id=model, locale=locale)
            for number in range(5)
            for model in ("one", "two")
            for locale in ("zh", "en")
        ]

    comparison = compare(*runs(items(True), items(False)))

    whole = the(comparison, Kind.PASSES, ALL)
    assert (whole.pairs, whole.down, whole.p) == (5, 3, 2 / 2**3)
    groups = [one.group for one in comparison.changes if one.kind is Kind.PASSES]
    assert groups == [ALL, "one · zh", "one · en", "two · zh", "two · en"]
    assert [one.group for one in comparison.changes if one.kind is Kind.LATENCY] == ["one", "two"]


def test_cases_of_the_same_name_in_two_suites_are_two() -> None:
    items = [item("a", [sample()]), item("a", [sample()], suite="tests/other.llm.yaml")]

    assert the(compare(*runs(items, items)), Kind.PASSES).pairs == 2


def test_repeats_count_where_both_sides_answered_them() -> None:
    before = [item("a", [sample(1), sample(2, passed=False), unanswered(3)])]
    after = [item("a", [sample(1), unanswered(2), sample(3)])]

    comparison = compare(*runs(before, after))

    assert (the(comparison, Kind.PASSES).baseline, the(comparison, Kind.PASSES).run) == (100, 100)
    assert comparison.pairing.samples_left_out == 2


def test_what_is_left_out_is_told() -> None:
    before = [item("gone", [sample()]), item("silent", [sample()]), item("other", [sample()], inputs={"text": "a"})]
    after = [
        item("new", [sample(checks={"schema": True, "tone": True})]),
        item("silent", [unanswered(outcome=Outcome.CAPPED)]),
        item("other", [sample(checks={"schema": True, "tone": True})], inputs={"text": "b"}),
    ]

    pairing = compare(*runs(before, after)).pairing

    assert (pairing.items, pairing.cases) == (1, 1)
    assert pairing.only_in_baseline == ("gone@deepseek-chat-zh",)
    assert pairing.only_in_run == ("new@deepseek-chat-zh",)
    assert pairing.unanswered == ("silent@deepseek-chat-zh",)
    assert pairing.changed_inputs == ("other@deepseek-chat-zh",)
    assert pairing.checks_left_out == ("language", "tone")


def test_currencies_are_never_compared_with_each_other() -> None:
    after = [replace(one, samples=(sample(costs=(Cost(1, "USD"),)),)) for one in answered(9, 0)]

    comparison = compare(*runs(answered(9, 0), after))

    assert Kind.COST not in [one.kind for one in comparison.changes]


def test_an_amount_with_unpriced_calls_is_not_compared() -> None:
    after = [replace(one, samples=(sample(unpriced_calls=1),)) for one in answered(9, 0)]

    assert Kind.COST not in [one.kind for one in compare(*runs(answered(9, 0), after)).changes]


def test_models_and_prompts_are_paired_as_said() -> None:
    before = answered(5, 0) + answered(5, 0, model_id="glm-4.5-flash", prompt="v1")
    after = answered(5, 0, model_id="deepseek-v4") + answered(5, 0, model_id="glm-4.5-flash", prompt="v2")

    comparison = compare(*runs(before, after), pairs={"deepseek-chat": "deepseek-v4", "v1": "v2"})

    groups = [one.group for one in comparison.changes if one.kind is Kind.PASSES]
    assert groups == [ALL, "deepseek-chat → deepseek-v4 · zh", "glm-4.5-flash · zh · v1 → v2"]
    assert comparison.pairing.items == 10


def test_two_models_of_one_run_are_compared_and_no_item_with_itself() -> None:
    one = run([*answered(9, 0), *answered(1, 8, model_id="glm-4.5-flash"), *answered(9, 0, model_id="third")])

    comparison = compare(one, one, pairs={"deepseek-chat": "glm-4.5-flash"})

    assert [line.group for line in comparison.changes if line.kind is Kind.PASSES] == [
        "deepseek-chat → glm-4.5-flash · zh"
    ]
    assert the(comparison, Kind.PASSES).verdict is Verdict.WORSE
    assert len(comparison.pairing.only_in_baseline) == 9
    assert comparison.pairing.only_in_run == ()


def test_runs_of_one_model_each_are_paired_by_themselves() -> None:
    comparison = compare(*runs(answered(9, 0), answered(9, 0, model_id="glm-4.5-flash", prompt="v2")))

    assert comparison.names == {"deepseek-chat": "glm-4.5-flash", "current": "v2"}
    assert comparison.pairing.items == 9


def test_runs_with_nothing_in_common_are_refused_with_the_way_out() -> None:
    two = answered(3, 0, model_id="one") + answered(3, 0, model_id="two")
    with pytest.raises(UsageError, match="'run' has no item in common with run 'baseline', or which model"):
        compare(*runs(answered(3, 0), two))
    with pytest.raises(UsageError, match="would be compared with itself"):
        compare(run(two), run(two))
    with pytest.raises(UsageError, match="'run' has no model or prompt version 'glm'; it has current, deepseek-chat"):
        compare(*runs(answered(3, 0), answered(3, 0)), pairs={"deepseek-chat": "glm"})


def test_a_comparison_without_an_answer_has_no_lines_and_says_so() -> None:
    comparison = compare(*runs([item("a", [unanswered()])], [item("a", [sample()])]))

    assert comparison.changes == ()
    assert comparison.in_words == "Nothing to compare: no item has an answer on both sides."
    assert not comparison.is_regression


def test_items_that_changed_sides_are_named_with_what_failed() -> None:
    before = [item("a", [sample(1), sample(2)]), item("b", [sample()]), item("c", [invalid()])]
    after = [
        item("a", [sample(1), sample(2, passed=False)]),
        item("b", [sample(passed=False)]),
        item("c", [sample()]),
    ]

    comparison = compare(*runs(before, after))

    assert [(one.item, one.baseline, one.run) for one in comparison.broken] == [
        ("b@deepseek-chat-zh", (1, 1), (0, 1)),
        ("a@deepseek-chat-zh", (2, 2), (1, 2)),
    ]
    assert comparison.broken[0].reasons == {"language": "language does not hold"}
    assert [(one.item, one.reasons) for one in comparison.mended] == [
        ("c@deepseek-chat-zh", {"schema": "not an object"})
    ]


def test_lines_that_cannot_tell_do_not_make_the_others_harder_to_tell() -> None:
    checks = {f"check {number}": True for number in range(30)}
    before = [item(f"case-{n}", [sample(checks={"schema": True, "grounded": True, **checks})]) for n in range(20)]
    after = [
        item(f"case-{n}", [sample(passed=n > 9, checks={"schema": True, "grounded": n > 9, **checks})])
        for n in range(20)
    ]

    comparison = compare(*runs(before, after))

    assert len(comparison.changes) == 37
    assert the(comparison, Kind.PASSES).p_adjusted == pytest.approx(3 * 2 / 2**10)  # pass, grounded and score


def test_alpha_is_kept_to() -> None:
    before, after = runs(answered(30, 0), answered(22, 8))

    assert compare(before, after, alpha=0.05).is_regression
    assert not compare(before, after, alpha=0.01).is_regression


def test_a_comparison_is_json_with_its_words() -> None:
    comparison = compare(*runs(answered(20, 0), answered(8, 12)))

    document = json.loads(json.dumps(comparison.to_json()))

    assert document["baseline"] == {"id": "baseline", "name": None}
    assert document["is_regression"] is True
    assert document["changes"][0] | {"what": "pass", "verdict": "worse", "unit": "points"} == document["changes"][0]
    assert document["changes"][0]["in_words"] == "worse"
    assert document["broken"][0]["reasons"] == {"language": "language does not hold"}
    assert document["pairing"]["cases"] == 20


def test_the_terminal_shows_lines_then_items_then_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    before = [*answered(20, 0), item("gone", [sample()])]
    show_comparison(compare(*runs(before, answered(8, 12))))

    out, err = capsys.readouterr()
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "pass deepseek-chat · zh 100.0 % 40.0 % -60.0 [-78.9, -30.2] 0.001 worse" in lines
    assert "latency deepseek-chat 1,200 ms 1,200 ms +0 [+0, +0] 1.000 cannot tell; none of 20 cases differs" in lines
    assert "cost deepseek-chat ¥0.002 ¥0.002 +0.000000 [+0.000000, +0.000000] 1.000" in " ".join(lines)
    assert "broken: passed in the baseline, failed now (12)" in lines
    assert "case-8@deepseek-chat-zh language: language does not hold" in lines
    assert "and 7 more" in lines
    assert lines[-1] == ("Worse: pass (deepseek-chat · zh), language (all), score (deepseek-chat). 20 cases, 20 items.")
    assert err == "left out: 1 item only in the baseline: gone@deepseek-chat-zh\n"


def test_a_line_feed_or_an_escape_in_a_reason_reaches_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = sample(passed=False)
    bad = replace(bad, checks=(replace(bad.checks[1], reason="a\nb \x1b[31m" + "long " * 60),))
    show_comparison(compare(*runs([item("a", [sample()])], [item("a", [bad])])))

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "language: a b \\x1b[31mlong long" in out
    assert "…" in out


def test_what_was_asked_otherwise_and_what_did_not_count_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    before = [replace(one, inputs={"text": "a"}) for one in answered(5, 0)]
    after = [item("case-0", [sample(), unanswered(2)]), *answered(5, 0)[1:], item("silent", [unanswered()])]
    show_comparison(compare(*runs([*before, item("silent", [sample()])], after)))

    notes = capsys.readouterr().err.splitlines()
    assert notes == [
        "left out: 1 item without an answer on a side: silent@deepseek-chat-zh",
        "compared, though asked something else: 5 items: "
        "case-0@deepseek-chat-zh, case-1@deepseek-chat-zh, case-2@deepseek-chat-zh, …",
    ]


def test_a_comparison_without_lines_is_shown_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison(compare(*runs([item("a", [unanswered()])], [item("a", [unanswered()])])))

    assert capsys.readouterr().out == "Nothing to compare: no item has an answer on both sides. 0 cases, 0 items.\n"


def test_repeats_are_shown_as_counts(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = runs([item("a", [sample(1), sample(2)])], [item("a", [sample(1), sample(2, passed=False)])])
    show_comparison(compare(before, after))

    assert "  a@deepseek-chat-zh  2/2 -> 1/2  language: language does not hold" in capsys.readouterr().out
