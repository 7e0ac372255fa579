"""view.usage.figures: numbers, amounts and curves in words; view.fitting: what a width has room for."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rich.cells import cell_len
from rich.console import Console

from llmtask.view.fitting import Column, fitted, one_line
from llmtask.view.usage.figures import (
    amount,
    amounts,
    bar,
    changed,
    exact,
    figure,
    percent,
    seconds,
    share,
    shorter,
    spark,
)
from llmtask.view.usage.measures import Change, change

AMOUNTS = some.decimals(min_value=0, max_value=10**9, places=9)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (10**9, "1.00G"),
        (10**12, "1.00T"),
        (10**15, "1000T"),
        (-12_345, "-12.3k"),
    ],
)
def test_a_count_in_short_keeps_three_digits(value: int, text: str) -> None:
    assert shorter(value) == text


@given(some.integers(min_value=0, max_value=10**15 - 10**12))
def test_a_count_in_short_has_five_characters_and_is_half_a_percent_off(value: int) -> None:
    text = shorter(value)
    assert len(text) <= 5
    size = float(text.rstrip("kMGT").replace(",", "")) * 1000 ** " kMGT".index(text[-1] if text[-1] in "kMGT" else " ")
    assert abs(size - value) <= value * 0.00501


@given(some.integers(min_value=0, max_value=10**7), some.integers(min_value=1, max_value=10**7))
def test_a_share_is_all_or_nothing_only_where_it_is(part: int, whole: int) -> None:
    part = min(part, whole)
    text = share(part / whole)
    assert (text == "100") == (part == whole)
    assert (text == "0") == (part == 0)
    assert abs(float(text) - part / whole * 100) <= 0.1


@given(AMOUNTS, some.one_of(some.none(), some.integers(min_value=2, max_value=6)))
def test_an_amount_is_0_only_where_nothing_was_spent(value: Decimal, digits: int | None) -> None:
    text = amount(value, "CNY", digits)
    assert (text == "¥0") == (value == 0)
    if text[0] == "<":
        assert value < Decimal(text[2:]) / 2
    else:
        assert abs(Decimal(text[1:].replace(",", "")) - value) <= Decimal("0.005")


@given(some.lists(some.one_of(some.none(), AMOUNTS), min_size=1), some.booleans())
def test_amounts_of_a_column_have_their_points_below_each_other(values: list[Decimal | None], short: bool) -> None:
    texts = amounts(values, "USD", short=short)
    assert len({len(text.partition(".")[2]) for text in texts if "." in text}) <= 1
    assert [text == "-" for text in texts] == [value is None for value in values]


@given(AMOUNTS)
def test_what_programs_read_is_exact(value: Decimal) -> None:
    assert Decimal(exact(value)) == value
    assert "E" not in exact(value)
    assert Decimal(exact(-value)) == -value


def test_what_was_converted_is_rounded_to_a_billionth() -> None:
    assert exact(Decimal(1) / Decimal(3)) == "0.333333333"
    assert exact(Decimal("-1e-12")) == "0"


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0.00"), (420, "0.42"), (9_994, "9.99"), (9_996, "10.0"), (420_000, "420")]
)
def test_seconds_have_three_digits(milliseconds: int, text: str) -> None:
    assert seconds(milliseconds) == text


@pytest.mark.parametrize(
    ("now", "before", "kind", "full", "short"),
    [
        (12, 10, "count", "+2 +20.0%", "+20.0%"),
        (0, 10, "count", "-10 -100%", "-100%"),
        (5, 0, "count", "+5 new", "+5 new"),
        (5, 5, "count", "=", "="),
        (30, 1, "count", "+29 +2,900%", "+2,900%"),
        (0.93, 0.94, "share", "-1.0pt", "-1.0pt"),
        (1500, 1000, "ms", "+0.50 +50.0%", "+50.0%"),
        (None, 5, "ms", "", ""),
        (5, None, "ms", "", ""),
    ],
)
def test_a_change_is_a_difference_and_a_percentage(
    now: float | None, before: float | None, kind: str, full: str, short: str
) -> None:
    found = change(now, before)
    assert (changed(found, kind), changed(found, kind, short=True)) == (full, short)  # type: ignore[arg-type]


def test_a_change_of_money_is_exact() -> None:
    assert change(Decimal("0.3"), Decimal("0.1")) == Change(Decimal("0.2"), pytest.approx(200))
    assert percent(None) == "new"


def test_what_is_not_known_is_a_dash() -> None:
    assert figure(None, "ms") == figure(None, "count") == "-"


@pytest.mark.parametrize(
    ("values", "cells", "curve"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 8, "▂▃▄▅▅▆▇█"),
        ([0, 5, 0], 8, " █ "),
        ([0, 0], 8, "  "),
        ([], 8, ""),
        ([1, 1, 4, 4], 2, "▃█"),
        ([1000, 1], 8, "█▁"),
    ],
)
def test_a_curve_has_a_block_per_value_or_per_some_of_them(values: list[int], cells: int, curve: str) -> None:
    assert spark(values, cells) == curve


@given(some.lists(some.integers(min_value=0, max_value=10**12), max_size=400), some.integers(min_value=1, max_value=30))
def test_a_curve_is_as_long_as_it_has_values_and_room(values: list[int], cells: int) -> None:
    assert len(spark(values, cells)) == min(len(values), cells)


@given(some.integers(min_value=0, max_value=1000), some.integers(min_value=1, max_value=1000))
def test_a_bar_is_no_longer_than_the_longest_and_shows_the_least(value: int, most: int) -> None:
    found = bar(min(value, most), most, 12)
    assert len(found) <= 12
    assert bool(found) == (value > 0)
    assert bar(most, most, 12) == "█" * 12


TEXTS = some.text(some.characters(codec="utf-8"), max_size=60)


@given(TEXTS)
def test_a_cell_is_one_line_that_no_terminal_obeys(text: str) -> None:
    found = one_line(text)
    assert not [letter for letter in found if letter < " " or "\x7f" <= letter <= "\x9f"]


@given(
    some.lists(some.tuples(TEXTS, some.integers(min_value=0, max_value=10**9)), min_size=1, max_size=6),
    some.integers(min_value=30, max_value=200),
    some.booleans(),
)
def test_a_table_fits_whatever_is_in_it(rows: list[tuple[str, int]], room: int, total: bool) -> None:
    counts = [count for _, count in rows]
    columns = [
        Column("name", [one_line(name) for name, _ in rows], is_number=False),
        Column("calls", [f"{count:,}" for count in counts], [shorter(count) for count in counts], rank=1),
        *(Column(f"n{rank}\n%", [str(count) for count in counts], rank=rank) for rank in range(2, 9)),
    ]
    found = fitted(columns, room, total=total)
    assert found.width <= room
    console = Console(width=room, file=None, color_system=None)
    with console.capture() as captured:
        console.print(found.table)
    assert max(cell_len(line) for line in captured.get().splitlines()) <= room
    everything = fitted(columns, None)
    assert everything.left_out == []


def test_what_has_to_go_goes_by_its_rank_and_keeps_its_place() -> None:
    columns = [Column(name, ["1234567"], rank=rank) for name, rank in (("a", 0), ("b", 9), ("c", 1), ("d", 5))]
    assert fitted(columns, 25).left_out == ["b"]
    assert fitted(columns, 16).left_out == ["b", "d"]
    assert fitted(columns, 5).left_out == ["b", "c", "d"]
    assert fitted(columns, 34).left_out == []
