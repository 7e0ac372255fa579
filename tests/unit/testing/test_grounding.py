"""A quote stands in the input, or the reason says what comes nearest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtask.testing.text.grounding import fold, nearest, ungrounded

SOURCE = (
    "## 经历\n\n- 主导订单库分库分表：32 库 512 表，双写迁移 4.6 亿条\n历史订单，全程不停机\n"
    "- Led **migration** of 4.6M\n  orders – “zero” downtime"
)

quick = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    "quote",
    [
        "双写迁移 4.6 亿条历史订单",
        "双写迁移4.6亿条历史订单，全程不停机。",
        "主导订单库分库分表:32库512表",
        "Led migration of 4.6M orders",
        'Led migration of 4.6M orders — "zero" downtime.',
        "“Led migration of 4.6M orders”",
        "Ｌｅｄ migration",
    ],
)
def test_a_quote_that_differs_by_typing_alone_is_grounded(quote: str) -> None:
    assert ungrounded(quote, ["another", SOURCE]) is None


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        ("Led a migration of 4.6M orders", "not in the input; nearest: 'Led migration of 4.6M orders' (2 edits)"),
        ("led migration", "not in the input; nearest: 'Led migration' (1 edit)"),
        ("双写迁移 4.8 亿条历史订单", "not in the input; nearest: '双写迁移4.6亿条历史订单' (1 edit)"),
        ("Speaks fluent Portuguese and Dutch", "not in the input"),
        ("…", "quotes nothing"),
        ("", "quotes nothing"),
    ],
)
def test_a_quote_that_is_not_there_is_told_with_what_comes_nearest(quote: str, reason: str) -> None:
    assert ungrounded(quote, [SOURCE]) == reason


def test_an_ellipsis_makes_a_quote_a_paraphrase_however_many_edits_are_allowed() -> None:
    for quote in ("Led migration ... downtime", "主导订单库分库分表……不停机"):
        reason = ungrounded(quote, [SOURCE], edits=50)
        assert reason is not None
        assert "ellipsis" in reason


def test_an_ellipsis_that_the_input_has_is_grounded() -> None:
    assert ungrounded("wait… what", ["So: wait... what now"]) is None


def test_edits_are_allowed_up_to_the_stated_number_and_a_quarter_of_the_quote() -> None:
    assert ungrounded("Led a migration of 4.6M orders", [SOURCE], edits=2) is None
    assert ungrounded("Led a migration of 4.6M orders", [SOURCE], edits=1) is not None
    assert ungrounded("xyz", [SOURCE], edits=3) is not None


def test_without_sources_nothing_is_grounded() -> None:
    assert ungrounded("a quote", []) == "not in the input"


def test_folding_may_take_case_as_the_same() -> None:
    assert fold("Straße\u200b  AND «x»", casefold=True) == 'strasse and"x"'


@quick
@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@quick
@given(st.text(alphabet="ab支", min_size=1, max_size=8), st.text(alphabet="ab支", max_size=14))
def test_the_nearest_passage_is_what_brute_force_finds(quote: str, source: str) -> None:
    passage, distance = nearest(quote, source)
    passages = {source[begin:end] for begin in range(len(source) + 1) for end in range(begin, len(source) + 1)}
    assert passage in passages
    assert distance == levenshtein(quote, passage) == min(levenshtein(quote, one) for one in passages)


def levenshtein(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        above, row = row, [at]
        for column, right in enumerate(other):
            row.append(min(above[column] + (left != right), above[column + 1] + 1, row[column] + 1))
    return row[-1]
