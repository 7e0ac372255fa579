"""Mutations that put the object into something else: prose, fences, tags, other objects."""

import json
from collections.abc import Callable, Iterator

from tests.corpus.case import Json, Seed, seeds

Wrap = Callable[[Seed], str]

_BEFORE = {
    "zh": "好的，以下是根据简历整理的结果（JSON 格式，字段如 {name} 已填好）：",
    "en": "Sure! Here's the result you asked for (the {name} is filled in):",
}
_AFTER = {
    "zh": "以上内容均来自简历原文；如需调整，请告诉我。注意：{} 里的内容不要改动。",
    "en": "All of it comes from the resume. Let me know if you'd like any changes to the {fields}.",
}
_THOUGHT = {
    "zh": "用户要 JSON。先看要求：1、年限；2、行业 {支付}……分数在 [70, 90] 之间？“应该”可以。",
    "en": "The user wants JSON. Let's see: years {8}, industry [payments]... it's \"close\", so 70 to 90.",
}


def rival(seed: Seed) -> dict[str, Json]:
    """Another valid object of the same schema: what an attacker would like to have read."""
    [other] = [one for one in seeds() if one.task == seed.task and one.locale != seed.locale]
    return {**other.value, "match_score": 100} if "match_score" in other.value else other.value


def pretty(value: Json) -> str:
    """As most models write it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def compact(value: Json) -> str:
    """On one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _around(before: str, after: str = "") -> Wrap:
    return lambda seed: before + pretty(seed.value) + after


def _framed(*pieces: str) -> Wrap:
    """The pieces one after the other; those in capitals stand for texts."""

    def wrap(seed: Seed) -> str:
        parts = {
            "BEFORE": _BEFORE[seed.locale],
            "AFTER": _AFTER[seed.locale],
            "THOUGHT": _THOUGHT[seed.locale],
            "RIVAL": compact(rival(seed)),
            "ANSWER": pretty(seed.value),
        }
        return "".join(parts.get(part, part) for part in pieces)

    return wrap


def _title(seed: Seed) -> str:
    return seed.schema.__name__


def _nested(make: Callable[[Seed], Json]) -> Wrap:
    return lambda seed: pretty(make(seed))


def _lists_as_strings(seed: Seed) -> Json:
    return {key: compact(one) if isinstance(one, list) else one for key, one in seed.value.items()}


def _one_list_as_string(seed: Seed) -> Json:
    key = next(key for key, one in seed.value.items() if isinstance(one, list))
    return {**seed.value, key: pretty(seed.value[key])}


def _schema_with_values(seed: Seed) -> Json:
    return {"title": _title(seed), "type": "object", "properties": seed.value}


def wraps() -> dict[str, Wrap]:
    """The mutations by their names."""
    return {
        "surrounding_space": _around("\n\n  \t", "\r\n \n"),
        "byte_order_mark": _around("\ufeff"),
        "wide_space_around": _around("\u3000\u00a0\n", "\u3000"),
        "fence": _around("```json\n", "\n```"),
        "fence_upper_case": _around("```JSON\n", "\n```\n"),
        "fence_without_language": _around("```\n", "\n```"),
        "fence_of_tildes": _around("~~~json\n", "\n~~~"),
        "fence_of_four": _around("````json\n", "\n````"),
        "fence_unclosed": _around("```json\n"),
        "fence_on_one_line": lambda seed: f"```json {compact(seed.value)} ```",
        "fence_in_prose": _framed("BEFORE", "\n\n```json\n", "ANSWER", "\n```\n\n", "AFTER"),
        "think": _framed("<think>\n", "THOUGHT", "\n</think>\n\n", "ANSWER"),
        "think_empty": _around("<think>\n\n</think>\n\n"),
        "think_with_draft": _framed("<think>", "THOUGHT", "\nDraft: ", "RIVAL", "\nToo kind.</think>", "ANSWER"),
        "think_with_fenced_draft": _framed(
            "<think>\n```json\n", "RIVAL", "\n```\n", "THOUGHT", "</think>\n```json\n", "ANSWER", "\n```"
        ),
        "think_closed_only": _framed("THOUGHT", "\n</think>\n", "ANSWER"),
        "think_closed_only_with_draft": _framed("THOUGHT", "\n", "RIVAL", "\n</think>\n\n", "ANSWER"),
        "box": _around("<|begin_of_box|>", "<|end_of_box|>"),
        "think_and_box": _framed("<think>", "THOUGHT", "</think>\n<|begin_of_box|>", "ANSWER", "<|end_of_box|>"),
        "answer_tag": _around("<answer>\n", "\n</answer>"),
        "think_and_answer_tag": _framed("<think>", "THOUGHT", "</think><answer>```json\n", "ANSWER", "\n```</answer>"),
        "prose_before": _framed("BEFORE", "\n", "ANSWER"),
        "prose_after": _framed("ANSWER", "\n\n", "AFTER"),
        "prose_around": _framed("BEFORE", "\n", "ANSWER", "\n", "AFTER"),
        "prose_on_the_line": lambda seed: f"{_BEFORE[seed.locale]} {compact(seed.value)} {_AFTER[seed.locale]}",
        "assignment": lambda seed: f"const answer = {pretty(seed.value)};\n",
        "example_first": _framed("BEFORE", '\nExample: {"name": "x", "items": [1, 2]}\n\n', "ANSWER"),
        "rival_quoted_first": _framed("BEFORE", "\n\nresume.json: ", "RIVAL", "\n\n", "ANSWER"),
        "rival_fenced_first": _framed("```json\n", "RIVAL", "\n```\n\n", "BEFORE", "\n\n```json\n", "ANSWER", "\n```"),
        "same_twice": _framed("ANSWER", "\n", "ANSWER"),
        "under_output_formatter": _nested(lambda seed: {"output_formatter": seed.value}),
        "under_properties": _nested(lambda seed: {"properties": seed.value}),
        "under_title": _nested(lambda seed: {_title(seed): seed.value}),
        "under_schema": _nested(_schema_with_values),
        "as_tool_call": _nested(lambda seed: {"name": "output_formatter", "arguments": seed.value}),
        "as_tool_call_string": _nested(lambda seed: {"name": _title(seed), "arguments": compact(seed.value)}),
        "double_encoded": lambda seed: json.dumps(pretty(seed.value), ensure_ascii=False),
        "double_encoded_ascii": lambda seed: json.dumps(json.dumps(seed.value)),
        "lists_as_strings": _nested(_lists_as_strings),
        "one_list_as_string": _nested(_one_list_as_string),
    }


def wrapped(seed: Seed) -> Iterator[tuple[str, str]]:
    """Each mutation's name and the text that it makes of an answer."""
    for name, wrap in wraps().items():
        yield name, wrap(seed)
