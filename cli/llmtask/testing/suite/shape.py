"""What can stand where in a task's answer, as far as its class says so for certain.

Pydantic's own word is taken, not the JSON Schema's: that one leaves out what is hidden from the model
(`SkipJsonSchema`) and is anything that `json_schema_extra` makes of it. What is not certain is not judged.
"""

import datetime
import decimal
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from pydantic import BaseModel, RootModel
from pydantic.functional_validators import BeforeValidator

from llmtask.errors import UntrustedError, did_you_mean
from llmtask.project import Project
from llmtask.schemas import load_schema
from llmtask.testing.suite.values import json_type

Spot: TypeAlias = tuple[Any, ...] | None
"""The types of which one stands at a place; None where it may be anything."""

_SCALARS: dict[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    datetime.date: "string",
    datetime.datetime: "string",
    decimal.Decimal: "string",
    uuid.UUID: "string",
}
_LISTS = (list, set, frozenset, abc.Sequence)
_MAPPINGS = (dict, abc.Mapping)


@dataclass(frozen=True, slots=True)
class _ListOf:
    """A list, as a projection of JMESPath makes it."""

    entries: Spot


class NowhereError(Exception):
    """A path leads to nothing that an answer can have."""


class Shape:
    """The shape of a task's answers."""

    def __init__(self, schema: type[BaseModel] | None) -> None:
        """Take the class of the answers; None where it is not known."""
        is_plain = schema is not None and schema.model_dump is BaseModel.model_dump
        self._root: Spot = _options(schema) if is_plain else None
        self._known: dict[str, frozenset[str] | None] = {}  # thousands of cases look at the same paths

    def kinds(self, path: str) -> frozenset[str] | None:
        """The JSON types that may stand at a JMESPath besides null; None where that is not certain.

        Raises:
            NowhereError: None may: there is no such field.
        """
        if path not in self._known:
            import jmespath  # as the checks do: where a path is there to be read

            spot = _walk(jmespath.compile(path).parsed, self._root)
            found = [_kinds(one) for one in spot or (Any,)]
            self._known[path] = None if None in found else frozenset().union(*filter(None, found))
        return self._known[path]


def shape_of(project: Project, task: str) -> Shape:
    """The shape of a task's answers; unknown where its class would have to be trusted first.

    Raises:
        ProjectError: The class fails to import.
    """
    try:
        return Shape(load_schema(project, task))
    except UntrustedError:
        return Shape(None)


def _walk(node: Mapping[str, Any], spot: Spot) -> Spot:
    """What stands where a JMESPath leads from a place; None also for what is more than a plain path.

    Raises:
        NowhereError: Nothing does.
    """
    step = _STEPS.get(node["type"])
    return None if spot is None or step is None else step(node, spot)


def _to_field(node: Mapping[str, Any], spot: Spot) -> Spot:
    return _each(spot, lambda one: _field(one, node["value"]))


def _to_entry(_: Mapping[str, Any], spot: Spot) -> Spot:
    return _each(spot, _entries)


def _to_slice(_: Mapping[str, Any], spot: Spot) -> Spot:
    return (_ListOf(_each(spot, _entries)),)


def _on(node: Mapping[str, Any], spot: Spot) -> Spot:
    for child in node["children"]:
        spot = _walk(child, spot)
    return spot


def _to_flat(node: Mapping[str, Any], spot: Spot) -> Spot:
    return (_ListOf(_flat(_each(_walk(node["children"][0], spot), _entries))),)


def _to_projection(node: Mapping[str, Any], spot: Spot) -> Spot:
    first, second = node["children"][:2]  # a filter's condition is left alone
    return (_ListOf(_walk(second, _each(_walk(first, spot), _entries))),)


_STEPS: dict[str, Callable[[Mapping[str, Any], Spot], Spot]] = {
    "current": lambda _, spot: spot,
    "field": _to_field,
    "filter_projection": _to_projection,
    "flatten": _to_flat,
    "identity": lambda _, spot: spot,
    "index": _to_entry,
    "index_expression": _on,
    "projection": _to_projection,
    "slice": _to_slice,
    "subexpression": _on,
}
"""The parts of a plain path, by JMESPath's names for them: pipes, functions and the rest are not judged."""


def _each(spot: Spot, step: Callable[[Any], Spot]) -> Spot:
    """Where a step leads from each type that may stand at a place.

    Raises:
        NowhereError: From none of them does it lead anywhere.
    """
    if spot is None:
        return None
    found: list[Any] = []
    problem: NowhereError | None = None
    for one in spot:
        try:
            there = step(one)
        except NowhereError as error:
            problem = problem or error
        else:
            if there is None:
                return None
            found += there
    if problem and not found:
        raise problem
    return tuple(found) or None


def _field(one: Any, name: str) -> Spot:
    origin = _outer(one)
    if _is_model(one):
        return _member(one, name)
    if origin in _MAPPINGS:
        arguments = typing.get_args(one)
        return _options(arguments[1]) if arguments else None
    if isinstance(one, _ListOf) or origin in _LISTS:
        message = f"{name!r} is looked for in a list; write [].{name} for that of each entry"
        raise NowhereError(message)
    if one in _SCALARS:
        message = f"{name!r} is looked for in a {_SCALARS[one]}"
        raise NowhereError(message)
    return None


def _entries(one: Any) -> Spot:
    if isinstance(one, _ListOf):
        return one.entries
    if _outer(one) in _LISTS:
        arguments = typing.get_args(one)
        return _options(arguments[0]) if arguments else None
    if one in _SCALARS or _is_model(one):
        message = f"an entry is looked for in what is no list but {_called(one)}"
        raise NowhereError(message)
    return None


def _called(one: Any) -> str:
    return f"a {_SCALARS[one]}" if one in _SCALARS else f"one {one.__name__}"


def _flat(entries: Spot) -> Spot:
    """The entries of a list whose entries may be lists: `[]` takes those apart, too."""
    found: list[Any] = []
    for one in entries or ():
        is_list = isinstance(one, _ListOf) or _outer(one) in _LISTS
        inside = _entries(one) if is_list else (one,)
        if inside is None:
            return None
        found += inside
    return tuple(found) or None


def _outer(annotation: Any) -> Any:
    """What stands before the brackets: `list` of `list[str]`."""
    origin: Any = typing.get_origin(annotation)
    return annotation if origin is None else origin


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _member(model: type[BaseModel], name: str) -> Spot:
    """What stands in a field of an object, under the name that the answer has for it."""
    members = _members(model)
    if members is None:
        return None
    if name not in members:
        message = f"{model.__name__} has no field {name!r}{did_you_mean(name, members)}"
        raise NowhereError(message)
    return _options(members[name])


def _members(model: type[BaseModel]) -> dict[str, Any] | None:
    """The fields of an object by name, as `model_dump` gives them; None where it may give others."""
    decorators = model.__pydantic_decorators__
    if model.model_config.get("extra") == "allow" or decorators.model_serializers or _is_made_otherwise(model):
        return None
    rewritten = {name for one in decorators.field_serializers.values() for name in one.info.fields}
    members: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.exclude:
            is_plain = not rewritten & {name, "*"} and not _is_rewritten(field.metadata)
            members[field.serialization_alias or name] = field.annotation if is_plain else Any
    for name, computed in model.model_computed_fields.items():
        members[computed.alias or name] = Any if rewritten & {name, "*"} else computed.return_type
    return members


def _is_made_otherwise(model: type[BaseModel]) -> bool:
    """Whether pydantic is told to make another object of it: then its fields say nothing."""
    own: Any = model.__get_pydantic_core_schema__
    return issubclass(model, RootModel) or own.__func__ is not BaseModel.__get_pydantic_core_schema__.__func__  # type: ignore[attr-defined]


def _is_rewritten(metadata: Iterable[Any]) -> bool:
    """Whether an annotation says how to serialize, or anything that is not known here to leave the type alone."""
    hooked = [one for one in metadata if hasattr(one, "__get_pydantic_core_schema__")]
    return any(not isinstance(one, BeforeValidator) for one in hooked)


def _options(annotation: Any) -> Spot:
    """The types that an annotation allows besides None; None where it may be anything."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inside, *metadata = typing.get_args(annotation)
        return None if _is_rewritten(metadata) else _options(inside)
    if origin in (typing.Union, types.UnionType):
        options = [_options(one) for one in typing.get_args(annotation) if one is not type(None)]
        return None if None in options else tuple(one for option in options for one in option or ())
    if _is_model(annotation) and issubclass(annotation, RootModel):
        return _options(annotation.model_fields["root"].annotation)
    return (annotation,)


def _kinds(one: Any) -> frozenset[str] | None:
    """The JSON types that a type may be written as; None where that is not certain."""
    origin = _outer(one)
    if isinstance(one, _ListOf) or origin in _LISTS:
        return frozenset({"array"})
    if origin in _MAPPINGS or (_is_model(one) and _members(one) is not None):
        return frozenset({"object"})
    if origin is typing.Literal:
        return frozenset(json_type(value) for value in typing.get_args(one))
    if isinstance(one, type) and issubclass(one, Enum):
        return frozenset(json_type(member.value) for member in one)
    return frozenset({_SCALARS[one]}) if one in _SCALARS else None
