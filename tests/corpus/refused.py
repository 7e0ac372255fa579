"""Answers that hold no object of the schema, or not one that is surely meant."""

import copy
import json
from collections.abc import Iterator

from tests.corpus.case import Json, Seed, data, seeds
from tests.corpus.wrapping import compact, pretty, rival

_SCORES = {
    "score_negative": "-5",
    "score_negative_as_string": '"-5"',
    "score_too_high": "105",
    "score_too_high_as_string": '"105"',
    "score_too_high_out_of_100": '"120/100"',
    "score_too_high_points": '"850分"',
    "score_too_high_percent": '"101%"',
    "score_nan": "NaN",
    "score_nan_as_string": '"NaN"',
    "score_infinite": "Infinity",
    "score_overflow": "1e999",
    "score_about": '"about 85"',
    "score_about_zh": '"约85分"',
    "score_at_least": '"85分以上"',
    "score_range": '"85-90"',
    "score_range_zh": '"85~90分"',
    "score_in_words": '"eighty-five"',
    "score_in_words_zh": '"八十五"',
    "score_true": "true",
    "score_true_python": "True",
    "score_null": "null",
    "score_empty": '""',
    "score_two": '"85 90"',
    "score_out_of_nothing": '"85/"',
    "score_with_a_note": '"85 (would be 60 without the certificate)"',
    "score_date": '"2026-11-24"',
}


def _scores(seed: Seed) -> Iterator[tuple[str, str]]:
    if "match_score" in seed.value:
        for kind, score in _SCORES.items():
            yield kind, pretty({**seed.value, "match_score": "@"}).replace('"@"', score)


def _required(seed: Seed) -> list[str]:
    return [name for name, field in seed.schema.model_fields.items() if field.is_required()]


def _without(seed: Seed) -> Iterator[tuple[str, str]]:
    for key in _required(seed):
        rest = {name: one for name, one in seed.value.items() if name != key}
        yield "key_missing", pretty(rest)
        yield "key_missing_in_fence", f"```json\n{pretty(rest)}\n```"
        yield "key_missing_and_trailing_comma", pretty(rest)[:-2] + ",\n}"
        yield "key_misnamed", pretty({f"new_{name}" if name == key else name: one for name, one in seed.value.items()})
        if isinstance(seed.value[key], str):
            yield "null_for_string", pretty({**seed.value, key: None})
            yield "object_for_string", pretty({**seed.value, key: {"text": seed.value[key]}})
    yield from _nested_without(seed)


def _nested_without(seed: Seed) -> Iterator[tuple[str, str]]:
    """A nested object that lacks a required key."""
    for key in _required(seed):
        if isinstance(seed.value[key], list) and isinstance(seed.value[key][0], dict):
            value = copy.deepcopy(seed.value)
            value[key][-1].popitem()
            yield "nested_key_missing", pretty(value)


def _echoes(seed: Seed) -> Iterator[tuple[str, str]]:
    schema = seed.schema.model_json_schema()
    yield "schema_echo", pretty(schema)
    yield "schema_echo_in_fence", f"```json\n{pretty(schema)}\n```"
    yield "properties_echo", pretty({"properties": schema["properties"]})
    yield "properties_alone", pretty(schema["properties"])
    yield "input_echo", pretty({"resume": "陈予安\n8 年 Java", "job": {"title": "后端", "score": 100}})


def _other_schema(seed: Seed) -> Json:
    """An answer of the next task that has another schema."""
    others = [one for one in seeds() if one.schema is not seed.schema and one.locale == seed.locale]
    tasks = [one.task for one in seeds()]
    return others[tasks.index(seed.task) % len(others)].value


def _ambiguous(seed: Seed) -> Iterator[tuple[str, str]]:
    yield "candidates", pretty([seed.value, rival(seed)])
    yield "candidates_in_fence", f"```json\n{pretty([rival(seed), seed.value])}\n```"
    yield "candidates_of_three", pretty([seed.value, rival(seed), seed.value])
    yield "candidates_under_key", pretty({"candidates": [seed.value, rival(seed)]})
    yield "candidates_double_encoded", json.dumps(compact([seed.value, rival(seed)]))


def _thoughts(seed: Seed) -> Iterator[tuple[str, str]]:
    yield "think_only", f"<think>{pretty(seed.value)}</think>"
    yield "think_only_without_json", "<think>\n用户想要 JSON，我先想想……\n</think>\n"
    yield "think_unclosed", f"<think>\nLet me draft: {pretty(seed.value)}\nNo, that's too kind; I'd say"
    yield "think_unclosed_in_fence", f"<think>\n```json\n{pretty(seed.value)}\n```\n再检查一遍："
    yield "think_then_prose", f"<think>{compact(seed.value)}</think>\n抱歉，我无法完成这个任务。"


def _others(seed: Seed) -> Iterator[tuple[str, str]]:
    yield "other_schema", pretty(_other_schema(seed))
    yield "unknown_keys", pretty({f"my_{key}": one for key, one in seed.value.items()})
    yield "values_only", pretty(list(seed.value.values()))
    yield "keys_only", pretty(list(seed.value))


def refused(seed: Seed) -> Iterator[tuple[str, str]]:
    """Each kind, and a text of it made from the seed."""
    yield from _scores(seed)
    yield from _without(seed)
    yield from _echoes(seed)
    yield from _ambiguous(seed)
    yield from _thoughts(seed)
    yield from _others(seed)


def foreign() -> Iterator[tuple[str, str]]:
    """Kinds and texts that are no answer whatever was asked."""
    yield from data("foreign.yaml").items()
    yield "nested_200_objects", '{"a":' * 200 + "1" + "}" * 200
    yield "nested_200_lists", "[" * 200 + "]" * 200
    yield "nested_200_open", '{"header":[' * 200
    yield "repeated_brace", "{" * 500
    yield "repeated_fence", "```json\n" * 100
    yield "binary", bytes(range(256)).decode("latin-1") * 4
    yield "replacement_characters", "{\ufffd\ufffd\ufffd:\ufffd}\x00\x01"
