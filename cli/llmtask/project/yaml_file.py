"""A YAML file that remembers on which line each value stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from llmtask.errors import ProjectError, did_you_mean

ValuePath = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it, such as `("routes", "job_match", "paid")`."""

FileModel = TypeVar("FileModel", bound=BaseModel)

_QUOTED = re.compile(r"'([^']+)'")
_BLOCK = "|"  # below the path of a text that is written as a block: the line of its first line
_MOST_NODES = 50_000  # aliases can make a small file expand without end
_DEEPEST = 100  # levels; an alias inside its own anchor has no last one
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file, with the line of every value."""

    path: Path
    data: dict[str, Any]
    lines: dict[ValuePath, int] = field(default_factory=dict)

    def line_of(self, where: ValuePath) -> int | None:
        """The line of a value, or of the nearest value around it; None where the file has neither."""
        for end in range(len(where), 0, -1):
            if where[:end] in self.lines:
                return self.lines[where[:end]]
        return None

    def error(self, where: ValuePath, message: str, line_in_text: int | None = None) -> ProjectError:
        """A ProjectError that begins with this file and the line of `where`, or of a line in the text there."""
        begin = self.lines.get((*where, _BLOCK))
        line = begin + line_in_text - 1 if begin and line_in_text else self.line_of(where) or 1
        return ProjectError(f"{shown(self.path)}:{line}: {message}")

    def validate_as(self, model: type[FileModel]) -> FileModel:
        """The file's content as `model`.

        Raises:
            ProjectError: The content does not fit; names the file, the line and the way out.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            where, message = first_problem(error, model, self.data)
            raise self.error(where, message) from error


def shown(path: Path) -> str:
    """The path as it is shown to people: relative to the working folder where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read_yaml(path: Path) -> YamlFile:
    """The file, parsed.

    Raises:
        ProjectError: It cannot be read, is not YAML, is not a mapping, or says a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{shown(path)}: is not UTF-8 text; save it as UTF-8"
        raise ProjectError(message) from error
    except OSError as error:
        message = f"{shown(path)}: cannot be read ({error.strerror})"
        raise ProjectError(message) from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> YamlFile:
    """The text of a YAML file, parsed; `path` is for messages.

    Raises:
        ProjectError: As `read_yaml`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return YamlFile(path, {})
        if not isinstance(node, MappingNode):
            message = f"{shown(path)}:1: a mapping is expected here (`key: value` lines)"
            raise ProjectError(message)
        lines = {where: line for where, line in _walk(node, (), path)}
        return YamlFile(path, loader.construct_document(node), lines)
    except yaml.YAMLError as error:
        raise ProjectError(_yaml_message(error, path)) from error
    except (ValueError, RecursionError) as error:
        message = f"{shown(path)}: holds a value that cannot be read ({error})"
        raise ProjectError(message) from error


def _walk(root: Node, where: ValuePath, path: Path) -> Iterator[tuple[ValuePath, int]]:
    """Every value below `root` with its line, counted from 1; refuses keys that are said twice."""
    todo: list[tuple[Node, ValuePath]] = [(root, where)]
    seen = 0
    while todo:
        node, at = todo.pop()
        seen += 1
        if seen > _MOST_NODES or len(at) > _DEEPEST:
            size = f"{_MOST_NODES} values" if seen > _MOST_NODES else f"{_DEEPEST} levels"
            place = f"{shown(path)}:{node.start_mark.line + 1}"
            message = f"{place}: expands to more than {size}; remove the nested aliases"
            raise ProjectError(message)
        for name, line, child in _children(node, path):
            yield (*at, name), line
            if isinstance(child, ScalarNode) and child.style in ("|", ">"):
                yield (*at, name, _BLOCK), child.start_mark.line + 2
            todo.append((child, (*at, name)))


def _children(node: Node, path: Path) -> Iterator[tuple[str | int, int, Node]]:
    """The key, line and value of each entry of a mapping or list."""
    if isinstance(node, SequenceNode):
        for index, child in enumerate(node.value):
            yield index, child.start_mark.line + 1, child
    if not isinstance(node, MappingNode):
        return
    keys: set[str] = set()
    for key, child in node.value:
        name = key.value if isinstance(key, ScalarNode) else repr(key.value)
        line = key.start_mark.line + 1
        if name in keys and name != "<<":
            message = f"{shown(path)}:{line}: {name!r} is said twice in the same mapping; keep one"
            raise ProjectError(message)
        keys.add(name)
        yield name, line, child


_ADVICE = {
    "mapping values are not allowed": "put a text that holds a colon in quotes",
    "found unexpected ':'": "put a text that holds a colon in quotes",
    "cannot start any token": "indent with spaces, not with tabs; put a text that begins so in quotes",
    "could not find expected ':'": "a key ends with a colon and a space; put a text of several lines behind `|`",
    "found undefined alias": "put a text that begins with * in quotes",
}


def _yaml_message(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    line = f":{mark.line + 1}" if mark is not None else ""
    hint = next((f"; {advice}" for sign, advice in _ADVICE.items() if sign in problem), "")
    return f"{shown(path)}{line}: is not valid YAML ({problem}){hint}"


def first_problem(error: ValidationError, model: type[BaseModel], data: Any) -> tuple[ValuePath, str]:
    """Where the first problem of a validation error stands, unknown keys before all else, and what it is in words.

    Args:
        error: What pydantic says.
        model: What the data should fit.
        data: What the file says.
    """
    problems = error.errors(include_url=False)
    # A misspelt key is unknown here and missing there: the unknown one has a line.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    where = _in_file(problem["loc"], data, is_missing=problem["type"] == "missing")
    dotted = ".".join(str(part) for part in where) or "the file"
    if problem["type"] == "extra_forbidden":
        parent = ".".join(str(part) for part in where[:-1])
        known = _fields_at(model, where[:-1], data)
        place = f" in {parent}" if parent else ""
        return where, f"unknown key {str(where[-1])!r}{place}{did_you_mean(str(where[-1]), known)}"
    if problem["type"] == "union_tag_invalid":
        context = problem.get("ctx", {})
        key, tag = context["discriminator"].strip("'"), context["tag"]
        return (*where, key), f"unknown {key} {tag!r}{did_you_mean(tag, re.findall(_QUOTED, context['expected_tags']))}"
    if problem["type"] == "union_tag_not_found":
        return where, f"{dotted}: {problem['ctx']['discriminator'].strip(chr(39))} is missing"
    if problem["type"] == "missing":
        return where, f"{dotted} is missing"
    given = "" if isinstance(problem["input"], dict | list) else f", got {problem['input']!r}"
    if problem["type"] in ("dict_type", "model_type"):
        return where, f"{dotted}: a mapping (`key: value` lines) is expected{given}"
    return where, f"{dotted}: {_lower_first(problem['msg'].removeprefix('Value error, '))}{given}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _in_file(where: ValuePath, data: Any, *, is_missing: bool) -> ValuePath:
    """The path without what pydantic puts in of its own: the names of a union's members."""
    kept: list[str | int] = []
    for index, part in enumerate(where):
        if isinstance(data, list) and isinstance(part, int):
            data = data[part]
        elif isinstance(data, dict) and (key := next((key for key in data if str(key) == str(part)), None)) is not None:
            data = data[key]
        elif not (is_missing and index == len(where) - 1):
            continue
        kept.append(part)
    return tuple(kept)


def _fields_at(model: type[BaseModel], where: ValuePath, data: Any) -> list[str]:
    """The keys that may stand at a path of a model: walks its JSON Schema, and the data where that must choose."""
    schema = model.model_json_schema()
    node: dict[str, Any] = schema
    for part in where:
        node = _child(_resolved(node, schema, data), part)
        data = data.get(part) if isinstance(data, dict) else data[part]
    return list(_resolved(node, schema, data).get("properties", {}))


def _child(node: dict[str, Any], part: str | int) -> dict[str, Any]:
    if isinstance(part, int):
        return dict(node.get("items", {}))
    properties = node.get("properties", {})
    return dict(properties.get(part) or node.get("additionalProperties") or {})


def _resolved(node: dict[str, Any], schema: dict[str, Any], data: Any) -> dict[str, Any]:
    """The object schema behind references, `X | None`, and unions that the data chooses from."""
    while True:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        elif "discriminator" in node:
            chosen = data.get(node["discriminator"]["propertyName"]) if isinstance(data, dict) else None
            reference = node["discriminator"]["mapping"].get(chosen)
            node = {"$ref": reference} if reference else {}
        elif "anyOf" in node:
            options = [one for one in node["anyOf"] if one.get("type") != "null"]
            # A mapping in the file is one of the schema's; text is none.
            node = next((one for one in options if "$ref" in one), options[0]) if options else {}
        else:
            return node
