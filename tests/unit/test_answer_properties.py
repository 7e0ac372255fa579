"""What holds for every text: the answer parser neither crashes nor takes what is not there."""

import itertools
import json
import string
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from llmtask.answer import InvalidError, Level, Partial, read
from llmtask.project import load_project
from llmtask.schemas import load_schema

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
text = st.text(max_size=60)
plain = st.text(alphabet=string.ascii_letters + "支付经验 ", min_size=1, max_size=30).filter(str.strip)
noise = st.text(alphabet='{}[]":,\\ \n，：“”｛｝<think>/`1e9-nult支付', max_size=400)


class Point(BaseModel):
    """An element."""

    point: str
    evidence: str


class Match(BaseModel):
    """A small answer with every kind of value."""

    score: int
    summary: str
    points: list[Point]
    tags: list[str]


matches = st.builds(
    Match,
    score=st.integers(0, 100),
    summary=text,
    points=st.lists(st.builds(Point, point=text, evidence=text), max_size=4),
    tags=st.lists(text, max_size=4),
)


def written(match: Match, *, ensure_ascii: bool = False) -> str:
    return json.dumps(match.model_dump(), ensure_ascii=ensure_ascii)


@quick
@given(matches, st.booleans())
def test_a_valid_answer_is_taken_as_it_is(match: Match, ensure_ascii: bool) -> None:
    answer = read(written(match, ensure_ascii=ensure_ascii), Match)
    assert (answer.data, answer.level) == (match, Level.STRICT)


@quick
@given(
    matches,
    st.sampled_from(["```json\n{}\n```", "好的，如下：\n{}", '<think>{{"score": 1}}</think>{}', "{}\n\n以上。"]),
)
def test_what_stands_around_an_answer_does_not_change_it(match: Match, around: str) -> None:
    assert read(around.format(written(match)), Match).data == match


@quick
@given(matches, st.data())
def test_an_answer_that_was_cut_is_refused(match: Match, data: st.DataObject) -> None:
    whole = written(match)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(InvalidError):
        read(cut, Match)


@quick
@given(noise | text)
def test_no_text_crashes_it(answer: str) -> None:
    with suppress(InvalidError):
        assert isinstance(read(answer, Match).data, Match)


@quick
@given(matches, noise)
def test_strict_takes_the_bare_object_alone(match: Match, around: str) -> None:
    answer = around + written(match)
    try:
        bare = isinstance(json.loads(answer), dict)
    except ValueError:
        bare = False
    if bare:
        assert read(answer, Match, strictly=True).data == match
    else:
        with pytest.raises(InvalidError):
            read(answer, Match, strictly=True)


def fed(pieces: list[str]) -> Any:
    """The last thing that a partial parser shows of an answer that comes in pieces."""
    partial, value = Partial(), None
    for piece in pieces:
        value = partial.feed(piece) or value
    return value


@quick
@given(matches, st.lists(st.integers(0, 300), max_size=12))
def test_the_pieces_do_not_change_what_is_shown_at_the_end(match: Match, cuts: list[int]) -> None:
    whole = written(match)
    at = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    assert fed([whole[a:b] for a, b in itertools.pairwise(at)]) == match.model_dump()


@quick
@given(st.lists(noise, max_size=8))
def test_no_pieces_crash_the_preview(pieces: list[str]) -> None:
    fed(pieces)


@pytest.mark.parametrize("task", ["job_match", "resume_summary", "interview_prep"])
def test_no_text_becomes_a_task_s_answer(task: str) -> None:
    schema = load_schema(load_project(), task)

    @quick
    @given(noise)
    def never(answer: str) -> None:
        with pytest.raises(InvalidError):
            read(answer, schema)

    never()
