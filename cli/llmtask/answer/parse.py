"""Reads the object out of a model's answer, and holds it to the schema."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

Schema = TypeVar("Schema", bound=BaseModel)

_THINK = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_MOST_PROBLEMS = 10  # that a re-ask lists


class Level(StrEnum):
    """How much an answer had to be helped, cheapest first."""

    STRICT = "strict"
    """It was the JSON object and nothing else."""
    UNWRAPPED = "unwrapped"
    """The object stood in a Markdown fence or behind a think block."""


class InvalidError(Exception):
    """The text holds no object that fits the schema.

    Attributes:
        problems: One line each, for the model that is asked again and for people.
        kinds: One line each, for the log: free of anything that the answer says.
    """

    def __init__(self, problems: tuple[str, ...], kinds: tuple[str, ...] | None = None) -> None:
        """Take what is wrong; the kinds are the problems themselves where these are free of content."""
        super().__init__("; ".join(problems))
        self.problems = problems
        self.kinds = problems if kinds is None else kinds


@dataclass(frozen=True, slots=True)
class Answer(Generic[Schema]):
    """A valid answer, and how it was come by."""

    data: Schema
    level: Level


def read(text: str, schema: type[Schema]) -> Answer[Schema]:
    """The object in a model's answer.

    Args:
        text: The whole answer.
        schema: What it must fit.

    Raises:
        InvalidError: It holds none that fits.
    """
    try:
        return Answer(_validated(text.strip(), schema), Level.STRICT)
    except InvalidError as error:
        unwrapped = _unwrapped(text)
        if unwrapped == text.strip():
            raise
        first = error
    try:
        return Answer(_validated(unwrapped, schema), Level.UNWRAPPED)
    except InvalidError as error:
        raise error from first


def _unwrapped(text: str) -> str:
    bare = _THINK.sub("", text, count=1)
    fence = _FENCE.match(bare)
    return (fence[1] if fence else bare).strip()


def _validated(text: str, schema: type[Schema]) -> Schema:
    try:
        data = schema.model_validate_json(text)
    except ValidationError as error:
        raise InvalidError(_problems(error), _kinds(error, schema)) from error
    if not data.model_fields_set and schema.model_fields:
        # All that validates here are the schema's own defaults: the model said nothing.
        message = f"none of the keys of the schema is there: {', '.join(schema.model_fields)}"
        raise InvalidError((message,))
    return data


def _problems(error: ValidationError) -> tuple[str, ...]:
    """What does not fit, without the values."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(str(part) for part in one['loc']) or 'answer'}: {one['msg']}" for one in found]
    return _at_most(lines)


def _kinds(error: ValidationError, schema: type[BaseModel]) -> tuple[str, ...]:
    """What does not fit, in words that are the schema's and pydantic's alone."""
    known = _names(schema.model_json_schema())
    lines = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) if isinstance(part, int) or part in known else "*" for part in one["loc"]]
        lines.append(f"{'.'.join(parts) or 'answer'}: {one['type']}")
    return _at_most(lines)


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
