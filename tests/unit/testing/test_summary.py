from llmtask.money import Cost
from llmtask.testing.run import ItemResult, Outcome, Source
from llmtask.testing.summary import Column, summarise
from llmtask.tokens import Tokens
from tests.unit.testing.runs import invalid, item, run, sample, unanswered


def only_column(*items: ItemResult) -> Column:
    (column,) = summarise(run(items)).columns
    return column


def test_a_run_has_a_column_per_model_locale_and_prompt_in_its_order() -> None:
    names = [("glm-4.5-flash", "zh", "current"), ("deepseek-chat", "zh", "v2"), ("deepseek-chat", "en", "current")]
    items = [item("a", [sample()], model_id=model, locale=locale, prompt=prompt) for model, locale, prompt in names]

    summary = summarise(run([*items, *items[:1]]))

    assert [(one.model_id, one.locale, one.prompt) for one in summary.columns] == names
    assert [one.items for one in summary.columns] == [2, 1, 1]
    assert (summary.total.model_id, summary.total.items) == ("", 4)


def test_what_gave_no_answer_is_counted_and_in_no_rate_and_no_mean() -> None:
    kinds = (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED)
    column = only_column(
        item("good", [sample()]),
        item("bad", [sample(passed=False)]),
        *(item(k, [unanswered(outcome=k)]) for k in kinds),
    )

    assert column.outcomes == dict.fromkeys(Outcome, 1)
    assert column.samples == dict.fromkeys(Outcome, 1)
    assert column.passes is not None
    assert (column.passes.hits, column.passes.of) == (1, 2)
    assert column.score == 0.75
    assert column.latency_p50_ms == 1200
    assert {title: one.of for title, one in column.checks.items()} == {"schema": 2, "language": 2}


def test_a_run_without_an_answer_has_no_rates() -> None:
    column = only_column(item("a", [unanswered(), unanswered(2)]))

    assert (column.passes, column.all_passed, column.score, column.latency_p95_ms) == (None, None, None, None)
    assert column.checks == {}
    assert column.outcomes[Outcome.ERROR] == 1
    assert column.samples[Outcome.ERROR] == 2


def test_an_empty_run_has_a_total_of_nothing() -> None:
    summary = summarise(run([]))

    assert (summary.columns, summary.total.items, summary.total.passes) == ((), 0, None)


def test_the_schema_comes_first_and_counts_an_answer_without_an_object_as_failed() -> None:
    checks = {"language": True, "grounded": False}
    column = only_column(item("a", [sample(passed=False, checks=checks)]), item("b", [invalid()]))

    assert list(column.checks) == ["schema", "language", "grounded"]
    assert {title: (one.hits, one.of) for title, one in column.checks.items()} == {
        "schema": (1, 2),
        "language": (1, 1),
        "grounded": (0, 1),
    }


def test_a_schema_check_that_allows_less_help_is_the_schemas() -> None:
    column = only_column(item("a", [sample(passed=False, checks={"schema": False})]))

    assert column.checks["schema"].hits == 0


def test_repeats_of_a_case_count_for_less_than_as_many_cases() -> None:
    repeats = [sample(number, passed=True) for number in range(1, 6)]
    failures = [sample(number, passed=False) for number in range(1, 6)]
    cases = [item(f"case-{number}", repeats if number < 6 else failures) for number in range(8)]
    alone = [item(f"case-{number}", [sample(passed=number < 30)]) for number in range(40)]

    clustered, plain = only_column(*cases).passes, only_column(*alone).passes

    assert clustered is not None
    assert plain is not None
    assert clustered.value == plain.value == 0.75
    assert (clustered.of, clustered.clusters, plain.clusters) == (40, 8, 40)
    assert clustered.high - clustered.low > 1.8 * (plain.high - plain.low)


def test_models_and_locales_of_a_case_are_one_cluster_of_the_total() -> None:
    items = [
        item("a", [sample()], model_id=model, locale=locale) for model in ("one", "two") for locale in ("zh", "en")
    ]
    total = summarise(run([*items, item("a", [sample()], suite="tests/other.llm.yaml")])).total

    assert total.passes is not None
    assert (total.passes.of, total.passes.clusters) == (5, 2)


def test_all_passed_counts_items_with_every_repeat_answered() -> None:
    column = only_column(
        item("all", [sample(1), sample(2)]),
        item("half", [sample(1), sample(2, passed=False)], wanted=1),
        item("error", [sample(1), unanswered(2)]),
    )

    assert column.all_passed is not None
    assert (column.all_passed.hits, column.all_passed.of) == (1, 2)
    assert only_column(item("once", [sample()])).all_passed is None


def test_costs_are_per_currency_and_what_was_not_called_is_not_paid() -> None:
    column = only_column(
        item("a", [sample(judge_costs=(Cost(7, "USD"),)), sample(2, source=Source.CACHED)]),
        item("b", [sample(unpriced_calls=2, costs=()), unanswered(2)]),
    )

    assert column.costs == (Cost(4_000_000, "CNY"),)
    assert column.paid == (Cost(2_000_000, "CNY"), Cost(7, "USD"))
    assert column.unpriced_calls == 2
    assert column.tokens == Tokens(2700, 900)
    assert column.retries == 2


def test_the_score_is_the_mean_over_cases_however_often_each_was_asked() -> None:
    column = only_column(
        item("often", [sample(number) for number in range(1, 5)]),
        item("once", [sample(passed=False, checks={"a": False})]),
    )

    assert column.score == 0.5


def test_failures_are_grouped_by_check_most_first_with_a_few_examples() -> None:
    both = {"schema": True, "language": False, "grounded": False}
    summary = summarise(
        run(
            [item(f"case-{number}", [sample(passed=False)]) for number in range(4)]
            + [item("both", [sample(passed=False, checks=both)]), item("not json", [invalid()])]
        ),
        examples=2,
    )

    assert [(group.check, group.count, len(group.examples)) for group in summary.failures] == [
        ("language", 5, 2),
        ("grounded", 1, 1),
        ("schema", 1, 1),
    ]
    first = summary.failures[0].examples[0]
    assert (first.item, first.repeat, first.path, first.found) == ("case-0@deepseek-chat-zh", 1, "summary", "bad")
    assert first.reason == "language does not hold"
    last = summary.failures[2].examples[0]
    assert (last.reason, last.found, last.path) == ("not an object", "Sorry!", None)


def test_errors_are_no_failures() -> None:
    assert summarise(run([item("a", [unanswered()])])).failures == ()
