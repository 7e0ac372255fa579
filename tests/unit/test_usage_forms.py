"""view.usage.forms: whatever groups are called, CSV and Markdown keep their form and run nothing."""

import csv
import io
import re

from hypothesis import example, given
from hypothesis import strategies as some

from llmtask.usage import Line, Query, Statement, Summary
from llmtask.view.usage.forms import as_csv, as_json, as_markdown

NAMES = some.text(some.characters(codec="utf-8"), min_size=1, max_size=30)
TRAPS = some.text(
    some.sampled_from("=+-@＝＋－＠\t\r\n \u3000\xa0\ufeff\u200b\"',;|`\\<>1a陈"), min_size=1, max_size=12
)
FORMULA = tuple("=+-@＝＋－＠\t\r\n")


def stated(name: str) -> Statement:
    sums = Summary((name, "b"), calls=1)
    sums.errors[name] = 1
    return Statement(Query(("user", "model")), [Line(sums, {}, {})], Line(sums, {}, {}))


@given(some.one_of(NAMES, TRAPS))
@example("-1+1")
@example("\ufeff=1")
@example('"\n=1')
def test_csv_is_read_back_as_one_row_and_its_text_is_no_formula(name: str) -> None:
    text = as_csv(stated(name))
    head, row = csv.reader(io.StringIO(text, newline=""))
    assert len(head) == len(row)
    for cell in (row[0], row[head.index("errors")]):
        assert not cell.lstrip(" \u3000\xa0\ufeff\u200b").startswith(FORMULA) or re.fullmatch(r"-?[0-9.e]+", cell), cell
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


@given(NAMES)
def test_csv_changes_no_name_that_is_harmless(name: str) -> None:
    if re.fullmatch(r"[^\x00-\x1f\x7f-\x9f=+\-@＝＋－＠]+", name):
        assert next(csv.reader(io.StringIO(as_csv(stated(name)).split("\n", 1)[1], newline="")))[0] == name


@given(some.one_of(NAMES, TRAPS))
@example("a\\|b")
@example("a\\\\|b`")
def test_markdown_has_a_line_per_group_and_as_many_cells_in_each(name: str) -> None:
    head, rule, row = as_markdown(stated(name)).split("\n\n")[0].split("\n")
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in (head, rule, row)]
    assert len(set(cells)) == 1


def test_json_says_a_groups_values_one_by_one() -> None:
    assert as_json(stated("a / b"))["groups"][0]["keys"] == {"user": "a / b", "model": "b"}
