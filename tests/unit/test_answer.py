"""answer: model text -> validated object, and the object so far."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from llmtask.answer import InvalidError, Level, Partial, read
from llmtask.project import Project
from llmtask.schemas import load_schema


class Match(BaseModel):
    """An answer with bounds and a nested list."""

    score: int = Field(ge=0, le=100)
    points: list["Point"] = []


class Point(BaseModel):
    """A nested object."""

    text: str


class Loose(BaseModel):
    """An answer whose fields are all optional."""

    name: str | None = None
    skills: list[str] | None = None


class Empty(BaseModel):
    """An answer without fields."""


OBJECT = '{"score": 7, "points": [{"text": "中文 \\"x\\""}]}'
VALUE = Match(score=7, points=[Point(text='中文 "x"')])


def problems(text: str, schema: type[BaseModel] = Match) -> tuple[str, ...]:
    """What is said about a text that does not fit."""
    with pytest.raises(InvalidError) as caught:
        read(text, schema)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (OBJECT, Level.STRICT),
        (f"\n\n  {OBJECT}\n", Level.STRICT),
        (f"```json\n{OBJECT}\n```", Level.UNWRAPPED),
        (f"```\n{OBJECT}\n```\n", Level.UNWRAPPED),
        (f"  ```json  \n\n{OBJECT}\n\n  ```", Level.UNWRAPPED),
        (f"<think>Is {{}} an answer?</think>\n{OBJECT}", Level.UNWRAPPED),
        (f"<think>\nhm\n</think>\n```json\n{OBJECT}\n```", Level.UNWRAPPED),
        (f"Here it is: {OBJECT}", Level.LAST_OBJECT),
        (f"{OBJECT} {OBJECT}", Level.LAST_OBJECT),
        (OBJECT.replace(": ", "："), Level.PUNCTUATION),
        (OBJECT[:-1] + ",}", Level.REPAIRED),
        (OBJECT.replace("7", '"7"'), Level.COERCED),
    ],
)
def test_an_answer_says_how_much_it_had_to_be_helped(text: str, level: Level) -> None:
    answer = read(text, Match)
    assert (answer.data, answer.level) == (VALUE, level)


def test_strictly_takes_the_bare_object_alone() -> None:
    assert read(OBJECT, Match, strictly=True).level is Level.STRICT
    for text in (f"```json\n{OBJECT}\n```", f"Here it is: {OBJECT}", OBJECT[:-1] + ",}"):
        with pytest.raises(InvalidError):
            read(text, Match, strictly=True)


def test_an_earlier_object_never_stands_in_for_one_that_is_cut() -> None:
    assert problems(f"{OBJECT}\n{OBJECT[:-3]}")


@pytest.mark.parametrize("text", ["{" * 1_048_576, "{}" * 524_288, '{"a":"' + "\\\\" * 500_000, "“{" * 400_000])
def test_a_megabyte_of_nonsense_is_refused(text: str) -> None:
    assert problems(text)


def test_an_empty_string_does_not_keep_an_answer_from_being_mended() -> None:
    assert read('{"name": "", "skills": [],}', Loose).level is Level.REPAIRED


def test_an_answer_may_have_thousands_of_keys_of_its_own() -> None:
    keys = ",".join(f'"k{number}": 1' for number in range(5_000))
    assert read(f'{{"name": "x", {keys},}}', Loose).data.name == "x"


def test_an_object_in_a_mapping_is_the_answers_own_words_too() -> None:
    class Mapped(BaseModel):
        by_name: dict[str, Loose]

    assert problems('{"by_name": {"x": {}}}', Mapped) == (
        "by_name.*: none of the keys of the schema is there: name, skills",
    )


def test_a_fence_inside_a_string_is_left_alone() -> None:
    text = json.dumps({"name": "```json\n{}\n```"})
    answer = read(text, Loose)
    assert (answer.data.name, answer.level) == ("```json\n{}\n```", Level.STRICT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "Sorry, I cannot help with that.",
        OBJECT[:-1],
        "[]",
        "null",
        '"text"',
        "```json\n```",
        "<think>only a thought",
    ],
)
def test_what_is_no_object_of_the_schema_is_refused(text: str) -> None:
    assert problems(text)


def test_problems_name_the_place_and_not_the_value() -> None:
    secret = "SECRET-陈予安"
    found = problems(json.dumps({"score": secret, "points": [{"text": 5}, {"texts": secret}]}))
    assert [one.split(": ")[0] for one in found] == ["score", "points.0.text", "points.1.text"]
    assert secret not in str(found)
    assert found[2] == "points.1.text: Field required"


@pytest.mark.parametrize("score", [-1, 101])
def test_a_value_out_of_bounds_is_refused(score: int) -> None:
    [problem] = problems(json.dumps({"score": score}))
    assert problem.startswith("score: Input should be ")
    assert str(score) not in problem


def test_a_text_that_is_no_json_says_where_it_breaks_and_not_what_it_says() -> None:
    [problem] = problems("SECRET words")
    assert problem.startswith("answer: Invalid JSON: ")
    assert "SECRET" not in problem


def test_the_problems_of_a_fenced_answer_are_those_of_the_answer() -> None:
    assert problems('```json\n{"score": 101}\n```') == problems('{"score": 101}')


def test_no_more_than_ten_problems_are_listed() -> None:
    found = problems(json.dumps({"score": 1, "points": [{} for _ in range(13)]}))
    assert len(found) == 11
    assert found[-1] == "and 3 more"


@pytest.mark.parametrize("text", ["{}", '{"answer": "in a key of its own"}', "```json\n{}\n```"])
def test_an_answer_that_says_none_of_the_keys_is_refused_where_all_are_optional(text: str) -> None:
    assert problems(text, Loose) == ("none of the keys of the schema is there: name, skills",)


def test_one_key_is_enough_where_all_are_optional() -> None:
    assert read('{"name": null}', Loose).data == Loose()


def test_a_schema_without_fields_takes_the_empty_object() -> None:
    assert read("{}", Empty).level == Level.STRICT


def test_an_empty_profile_is_no_summary_of_a_resume(starter: Project) -> None:
    assert problems("{}", load_schema(starter, "resume_summary"))


# The object so far


def fed(text: str, size: int = 1) -> list[Any]:
    """What there is after each piece."""
    partial = Partial()
    return [partial.feed(text[start : start + size]) for start in range(0, len(text), size)]


def test_the_object_grows_with_the_stream_and_ends_whole() -> None:
    seen = fed('{"a": "xyz", "b": [1, 2]}')
    assert seen[0] == {}
    assert {"a": "xy"} in seen
    assert {"a": "xyz", "b": [1]} in seen
    assert seen[-1] == {"a": "xyz", "b": [1, 2]}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_the_pieces_may_be_cut_anywhere(size: int) -> None:
    assert fed(OBJECT, size)[-1] == json.loads(OBJECT)


def test_there_is_nothing_before_the_object_begins() -> None:
    assert fed("```json\n") == [None] * 8
    assert fed("```json\n" + OBJECT)[-1] == json.loads(OBJECT)


def test_what_is_no_json_so_far_is_nothing() -> None:
    assert fed("{nonsense}")[-1] is None


def test_an_escape_cut_in_two_does_no_harm() -> None:
    seen = fed('{"a": "\\u4e2d\\n"}')
    assert seen[-1] == {"a": "中\n"}
    assert all(one is None or isinstance(one, dict) for one in seen)
