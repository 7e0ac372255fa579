"""Mutations of values into what a schema takes only with help, and what they must be taken for."""

import copy
import json
from collections.abc import Iterator
from typing import NamedTuple

from tests.corpus.case import Json, Seed
from tests.corpus.syntax import syntax
from tests.corpus.tokens import strings
from tests.corpus.wrapping import compact, pretty, rival

_SCORES = {
    "number_as_string": '"85"',
    "number_with_point": "85.0",
    "number_with_point_as_string": '"85.0"',
    "number_out_of_100": '"85/100"',
    "number_out_of_100_spaced": '"85 / 100"',
    "number_with_percent": '"85%"',
    "number_with_points_zh": '"85分"',
    "number_with_points_zh_spaced": '"85 分"',
    "number_in_wide_digits": '"８５"',
    "number_in_spaces": '" 85 "',
}
_NUMBERS_FOR_STRINGS = {  # task: where, and the number that stands there for a string
    "resume_summary": (("header", "phone"), 13800000000),
    "detailed_resume_summary": (("education", 0, "duration"), 2018),
    "job_summary": (("company",), 360),
    "job_match": (("strengths", 0, "evidence"), 340),
    "resume_customize": (("customization_summary", 0, "section"), 1),
    "interview_prep": (("potential_questions", 0, "question"), 7),
}


class Text(NamedTuple):
    """A kind, a text of it, and the object that it says."""

    kind: str
    text: str
    expected: Json


def _set(value: Json, path: tuple[str | int, ...], new: Json) -> Json:
    """A copy of the value with another one in the place."""
    copied = copy.deepcopy(value)
    node = copied
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = new
    return copied


def _scores(seed: Seed) -> Iterator[Text]:
    if "match_score" not in seed.value:
        return
    expected = {**seed.value, "match_score": 85}
    for kind, score in _SCORES.items():
        yield Text(kind, pretty({**seed.value, "match_score": "@"}).replace('"@"', score), expected)


def _number_for_string(seed: Seed) -> Text:
    path, number = _NUMBERS_FOR_STRINGS[seed.task]
    return Text("number_for_string", pretty(_set(seed.value, path, number)), _set(seed.value, path, str(number)))


def _one_for_list(seed: Seed) -> Text:
    """The last list that stands at the top, cut to one item that stands there without its brackets."""
    key = [key for key, one in seed.value.items() if isinstance(one, list)][-1]
    first = seed.value[key][0]
    return Text("one_item_for_list", pretty({**seed.value, key: first}), {**seed.value, key: [first]})


def _raw_tabs(seed: Seed) -> Text:
    tabs = json.loads(json.dumps(seed.value).replace("\\n", "\\t"))
    return Text("raw_tabs", pretty(tabs).replace("\\t", "\t"), tabs)


def _combined(seed: Seed, nth: int) -> Iterator[Text]:
    mutate = syntax()
    value = seed.value

    def text(name: str) -> str:
        return mutate[name](value, nth) or pretty(value)

    yield Text("fence+trailing_commas", f"```json\n{text('trailing_commas')}\n```", value)
    yield Text("prose+wide_all", f"分析如下：\n{text('wide_all')}\n以上。", value)
    yield Text("fence+wide_colons", f"结果：\n```\n{text('wide_colons')}\n```", value)
    yield Text("think+fence+comments", f"<think>{{?}}</think>\n```json\n{text('line_comments')}\n```", value)
    yield Text("box+single_quotes", f"<|begin_of_box|>{text('single_quotes')}<|end_of_box|>", value)
    yield Text("prose+unquoted_keys", f"Here you are:\n\n{text('unquoted_keys')}\n\nGood luck!", value)
    yield Text("rival+trailing_commas", f"{compact(rival(seed))}\n\n{text('trailing_commas')}", value)
    yield Text("rival+wide_colons", f"简历里有：{compact(rival(seed))}\n\n{text('wide_colons')}", value)
    yield Text("rival+inner_quotes", f"{compact(rival(seed))}\n\n{text('inner_quotes')}", value)
    yield Text("fence+raw_newlines", f"```json\n{text('raw_newlines')}\n```", value)
    yield Text("think+output_formatter", f"<think>hm</think>{compact({'output_formatter': value})}", value)
    arguments = json.dumps(text("trailing_commas"), ensure_ascii=False)
    yield Text("tool_call_string+trailing_commas", f'{{"name": "output_formatter", "arguments": {arguments}}}', value)
    if "match_score" in value:
        score = json.dumps({**value, "match_score": "85/100"}, ensure_ascii=False, indent=2)
        expected = {**value, "match_score": 85}
        yield Text("think+fence+number", f"<think>{{}}</think>\n```json\n{score}\n```", expected)
        wide = syntax()["wide_colons"]({**value, "match_score": "85分"}, nth)
        yield Text("fence+wide_colons+number", f"```json\n{wide}\n```", expected)


def valued(seed: Seed, nth: int) -> Iterator[Text]:
    """Every text that says something like the seed's value, in other values or in several ways at once."""
    yield from _scores(seed)
    yield _number_for_string(seed)
    yield _one_for_list(seed)
    if any("\n" in one for one in strings(seed.value)):
        yield _raw_tabs(seed)
    yield from _combined(seed, nth)
