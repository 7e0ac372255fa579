"""tokens: counts and estimates."""

import pytest

from llmtask.project import TokenEstimate
from llmtask.tokens import Tokens, estimate

RATE = TokenEstimate(cjk=0.6, other=0.3)


def test_the_total_is_input_and_output() -> None:
    assert Tokens(100, 20, cached=60, reasoning=15).total == 120


def test_two_calls_add_up_field_by_field() -> None:
    assert Tokens(1, 2, 3, 4) + Tokens(10, 20, 30, 40) == Tokens(11, 22, 33, 44)


@pytest.mark.parametrize(("left", "right"), [(True, False), (False, True), (True, True)])
def test_a_sum_with_an_estimate_in_it_is_an_estimate(left: bool, right: bool) -> None:
    assert (Tokens(is_estimate=left) + Tokens(is_estimate=right)).is_estimate


def test_a_sum_of_counts_is_no_estimate() -> None:
    assert not (Tokens(1) + Tokens(2)).is_estimate


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),  # 0.3, rounded up
        ("abcdefghij", 3),
        ("中文简历", 3),  # 2.4, rounded up
        ("中文简历ab", 3),  # 2.4 + 0.6
        ("，。！", 2),  # full-width punctuation counts as Chinese: 1.8
        ("한국어", 2),
    ],
)
def test_an_estimate_goes_by_script_and_rounds_up(text: str, tokens: int) -> None:
    assert estimate(text, RATE) == tokens


def test_the_rates_come_from_the_config() -> None:
    assert estimate("中a", TokenEstimate(cjk=5, other=7)) == 12
