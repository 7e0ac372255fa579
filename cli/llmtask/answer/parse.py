"""Reads the object out of a model's answer, and holds it to the schema."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

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
        problems: One line each, in the schema's words and without any of the answer's text.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Take what is wrong."""
        super().__init__("; ".join(problems))
        self.problems = problems


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
        raise InvalidError(_problems(error)) from error
    if not data.model_fields_set and schema.model_fields:
        # All that validates here are the schema's own defaults: the model said nothing.
        message = f"none of the keys of the schema is there: {', '.join(schema.model_fields)}"
        raise InvalidError((message,))
    return data


def _problems(error: ValidationError) -> tuple[str, ...]:
    """What does not fit, without the values: they are content."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(str(part) for part in one['loc']) or 'answer'}: {one['msg']}" for one in found]
    more = len(lines) - _MOST_PROBLEMS
    return tuple(lines[:_MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else []))
