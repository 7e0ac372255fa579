"""Reads the object out of a model's answer, and holds it to the schema: a cascade, cheapest first."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from llmtask.answer.coerce import coerced
from llmtask.answer.errors import InvalidError
from llmtask.answer.punctuation import halved
from llmtask.answer.repair import BEYOND_REPAIR, repaired
from llmtask.answer.repair import MOST_CHARS as MOST_MENDED_CHARS
from llmtask.answer.scan import MOST_CHARS, WRAPPERS, Found, Shape, answer_in, unwrapped
from llmtask.schemas import json_schema

Schema = TypeVar("Schema", bound=BaseModel)

_MOST_PROBLEMS = 10  # that a re-ask lists
_NOT_JSON = "answer: is not one complete JSON object"


class Level(StrEnum):
    """How much an answer had to be helped, cheapest first; the `repair_level` of its usage row."""

    STRICT = "strict"
    """It was the JSON object and nothing else."""
    UNWRAPPED = "unwrapped"
    """The object stood in a Markdown fence, behind a think block, or in box or answer tags."""
    LAST_OBJECT = "last_object"
    """Text stood around it: the last complete object that looks like an answer was taken."""
    PUNCTUATION = "punctuation"
    """Its brackets, colons, commas or quotes were full-width."""
    REPAIRED = "repaired"
    """Its JSON was broken and could be mended without making anything up."""
    COERCED = "coerced"
    """Values were read as the schema has them, such as "85/100" as 85."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Schema]):
    """A valid answer, and how it was come by."""

    data: Schema
    level: Level


def read(text: str, schema: type[Schema], *, strictly: bool = False) -> Answer[Schema]:
    """The object in a model's answer.

    Args:
        text: The whole answer.
        schema: What it must fit.
        strictly: Take nothing but the bare JSON object.

    Raises:
        InvalidError: It holds none that fits, or none that surely is the answer.
    """
    if len(text) > MOST_CHARS:
        message = f"answer: longer than {MOST_CHARS:,} characters"
        raise InvalidError((message,))
    found: InvalidError | None = None
    try:
        for level, candidate in _candidates(text, schema):
            try:
                return Answer(_validated(candidate, schema), level)
            except InvalidError as error:
                found = _the_better(found, error)
            if strictly:
                break
    except InvalidError as error:  # no further level has anything to go on
        found = _the_better(found, error)
    raise found or InvalidError((_NOT_JSON,))


def _candidates(text: str, schema: type[BaseModel]) -> Iterator[tuple[Level, str]]:
    """What might be the answer, as JSON text, with the level that it takes."""
    whole = text.strip()
    yield Level.STRICT, whole
    bare = unwrapped(text)
    if bare != whole:
        yield Level.UNWRAPPED, bare
    document = json_schema(schema)
    title = str(document.get("title", ""))
    value = _value(bare)
    if value is None:
        level, span = _located(bare, Shape.of(document.get("properties", {}), title))
        value = _value(span)
        if value is not None:
            yield level, span
        else:
            value = repaired(span, document, bare)
            yield Level.REPAIRED, _dumped(value)
    if len(bare) <= MOST_MENDED_CHARS:
        yield Level.COERCED, _dumped(coerced(value, document, (*WRAPPERS, title)))


def _value(text: str) -> Any:
    """The value of a text that is JSON as a whole, also a list or a string with the object inside; else None."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _located(text: str, shape: Shape) -> tuple[Level, str]:
    """Where the answer stands in a text, and whether its punctuation had to be halved.

    Raises:
        InvalidError: Nowhere, or it is cut.
    """
    half = halved(text) if len(text) <= MOST_MENDED_CHARS else text
    found: Found | None = None
    problem: InvalidError | None = None
    try:
        found = answer_in(text, shape)
    except InvalidError as error:
        problem = error
    if found and ("｛" not in text[found.end :] and (half == text or _value(found.text) is not None)):
        return Level.LAST_OBJECT, found.text
    if half != text:
        halved_found = answer_in(half, shape)
        if halved_found and (_value(halved_found.text) is not None or found is None or "｛" in text[found.end :]):
            return Level.PUNCTUATION, halved_found.text
    if found:
        return Level.LAST_OBJECT, found.text
    raise problem or InvalidError((_NOT_JSON,))


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _validated(text: str, schema: type[Schema]) -> Schema:
    """The object in a JSON text.

    Strict: what pydantic would read as something else ("82" as 82, true as 1) is for the last level to judge.
    """
    if ("NaN" in text or "Infinity" in text) and _value(text) is None:  # pydantic would take them, JSON does not
        raise InvalidError((_NOT_JSON,))
    try:
        data = schema.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise InvalidError(_problems(error), _kinds(error, schema)) from error
    _check_is_said(data, ())
    return data


def _check_is_said(value: Any, place: tuple[str, ...]) -> None:
    """Refuse objects of the answer in which none of the schema's keys was there: the schema's defaults are not said.

    Raises:
        InvalidError: There is one.
    """
    if isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            _check_is_said(one, (*place, "*"))
    if not isinstance(value, BaseModel):
        return
    said = value.model_fields_set & set(type(value).model_fields)
    if type(value).model_fields and not said:
        where = f"{'.'.join(place)}: " if place else ""
        message = f"{where}none of the keys of the schema is there: {', '.join(type(value).model_fields)}"
        raise InvalidError((message,))
    for name in said:
        _check_is_said(getattr(value, name), (*place, name))


def _the_better(first: InvalidError | None, second: InvalidError) -> InvalidError:
    """The one that tells more: of an object that does not fit, over there being none."""
    if first is None:
        return second
    is_object = second.problems[0] not in (_NOT_JSON, BEYOND_REPAIR)
    return second if "json_invalid" in first.kinds[0] and is_object else first


def _problems(error: ValidationError) -> tuple[str, ...]:
    """What does not fit, without the values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(str(part) for part in one['loc']) or 'answer'}: {one['msg']}" for one in found]
    return _at_most(lines)


def _kinds(error: ValidationError, schema: type[BaseModel]) -> tuple[str, ...]:
    """What does not fit, in words that are the schema's and pydantic's alone."""
    known = _names_of(schema)
    lines = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) if isinstance(part, int) or part in known else "*" for part in one["loc"]]
        lines.append(f"{'.'.join(parts) or 'answer'}: {one['type']}")
    return _at_most(lines)


@lru_cache(maxsize=64)  # a schema takes milliseconds to write out, and each level may ask
def _names_of(schema: type[BaseModel]) -> frozenset[str]:
    return frozenset(_names(schema.model_json_schema()))


def _at_most(lines: list[str]) -> tuple[str, ...]:
    more = len(lines) - _MOST_PROBLEMS
    return tuple(lines[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else []))


def _names(node: Any) -> set[str]:
    """The property names anywhere in a JSON Schema."""
    if isinstance(node, list):
        return {name for one in node for name in _names(one)}
    if not isinstance(node, dict):
        return set()
    own = node.get("properties")
    return set(own if isinstance(own, dict) else ()) | {name for one in node.values() for name in _names(one)}
