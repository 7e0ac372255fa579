"""Writes the generated parts: README's commands and exit codes, testing.md's tables, JSON Schemas of project files.

python docs/generate.py          writes them
python docs/generate.py --check  exits 1 where one is stale (a test does the same)
"""

import importlib
import json
import re
import sys
from collections.abc import Collection, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from llmtask.commands.schema import FILE_KINDS, file_schema
from llmtask.errors import ExitCode
from llmtask.main import COMMANDS
from llmtask.testing.checks import CHECKS, Check, JudgeCheck

ROOT = Path(__file__).parents[1]
MARKUP = re.compile(r"\[/?(?:bold|dim)?\]|\\(?=\[)")


def generated() -> dict[Path, str]:
    """The content of every file that is generated, or has generated parts."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = _replaced(readme, "commands", "\n".join(_commands()))
    readme = _replaced(readme, "exit codes", "\n".join(_exit_codes()))
    testing = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    for name, table in _suite_tables().items():
        testing = _replaced(testing, name, "\n".join(table))
    files = {ROOT / "README.md": readme, ROOT / "docs/testing.md": testing}
    for kind in FILE_KINDS:
        text = json.dumps(file_schema(kind), ensure_ascii=False, indent=2) + "\n"
        files[ROOT / "schemas" / f"{kind}.schema.json"] = text
    return files


def stale() -> list[str]:
    """The names of the files whose generated parts are not what they should be."""
    return [path.name for path, text in generated().items() if path.read_text(encoding="utf-8") != text]


def _replaced(document: str, name: str, text: str) -> str:
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        message = f"a document has no part 'generated: {name}'"
        raise ValueError(message)
    return f"{before}{begin}\n{text.strip()}\n\n{end}{after}"


def _commands() -> Iterator[str]:
    for name, line in COMMANDS.items():
        command = typer.main.get_command(importlib.import_module(f"llmtask.commands.{name}").app)
        children = getattr(command, "commands", {})
        if children:
            yield f"\n### `llmtask {name}`\n\n{line}"
        for child, one in (children or {"": command}).items():
            full = f"llmtask {name} {child}".strip()
            yield f"\n{'####' if child else '###'} `{full}{_arguments(one)}`\n\n{_help(one)}\n"
            yield from _options(one)


def _arguments(command: Any) -> str:
    names = [one.metavar or one.name.upper() for one in command.params if one.param_type_name == "argument"]
    return "".join(f" {name}" for name in names)


def _help(command: Any) -> str:
    """The docstring, its examples as code."""
    paragraphs = [MARKUP.sub("", " ".join(part.split())) for part in (command.help or "").split("\n\n")]
    return "\n\n".join(f"`{text}`" if text.startswith("llmtask ") else text for text in paragraphs)


def _options(command: Any) -> Iterator[str]:
    for one in command.params:
        if one.param_type_name != "option" or one.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        value = "" if one.is_flag else f" `{one.metavar or _type_name(one.type_descriptor.annotation)}`"
        default = f" (default: {getattr(one.default, 'value', one.default)})" if one.default and not one.is_flag else ""
        yield f"- {names}{value}: {MARKUP.sub('', one.help or '')}{default}"


def _type_name(annotation: Any) -> str:
    """The choices of an enum, else the type's name in capitals."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(one.value) for one in annotation)
    return str(getattr(annotation, "__name__", annotation)).upper()


def _exit_codes() -> Iterator[str]:
    """The table of exit codes, in the words of the enum."""
    yield "| code | name | meaning |"
    yield "|---|---|---|"
    source = (ROOT / "cli/llmtask/errors.py").read_text(encoding="utf-8")
    for code in ExitCode:
        found = re.search(rf'    {code.name} = {code.value}\n    """(.+?)"""', source)
        meaning = found[1].replace("|", r"\|") if found else ""
        yield f"| {code.value} | {code.name} | {meaning} |"


def _suite_tables() -> dict[str, Iterator[str]]:
    """What may stand in a suite, by the name of the table that says so."""
    suite: dict[str, Any] = file_schema("suite")
    definitions = suite["$defs"]
    common = [field.alias or name for name, field in Check.model_fields.items()]
    return {
        "suite keys": _keys(suite, definitions),
        "case keys": _keys(definitions["CaseFile"], definitions),
        "check keys": _keys(definitions[CHECKS[0].__name__], definitions, common),
        "checks": _checks(definitions, common),
    }


def _checks(definitions: dict[str, Any], common: list[str]) -> Iterator[str]:
    """The table of checks: a row each, and below it a row for each parameter of its own."""
    yield "| check | parameter | value | what it asks |"
    yield "|---|---|---|---|"
    for check in CHECKS:
        schema = definitions[check.__name__]
        place = "asks a model" if check is JudgeCheck else "offline"
        yield f"| **`{check.kind}`** | | {place} | {_cell(schema['description'])} |"
        for name, field in check.model_fields.items():
            if name not in ("check", *common) and name not in Check.model_fields:
                if field.default_factory:  # a JSON Schema leaves it out
                    schema["properties"][name]["default"] = field.get_default(call_default_factory=True)
                yield f"| | {_key(schema, name, definitions)} |"


def _keys(schema: dict[str, Any], definitions: dict[str, Any], names: Collection[str] = ()) -> Iterator[str]:
    yield "| key | value | |"
    yield "|---|---|---|"
    for name in names or schema["properties"]:
        yield f"| {_key(schema, name, definitions)} |"


def _key(schema: dict[str, Any], name: str, definitions: dict[str, Any]) -> str:
    """A key's name, what it takes, and what it says."""
    one = schema["properties"][name]
    default = "required" if name in schema.get("required", ()) else _default(one.get("default"))
    value = ", ".join(filter(None, (_words(one, definitions), default)))
    return f"`{name}` | {_cell(value)} | {_cell(one['description'].removesuffix(' A JMESPath.'))}"


def _default(value: Any) -> str:
    if value in (None, [], {}):
        return ""
    return f"default `{_flow(value)}`"


def _flow(value: Any) -> str:
    """A value as YAML has it on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return str(value) if isinstance(value, str) else json.dumps(value)


_WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def _words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may stand in a place, in a few words: `list of text`."""
    if "$ref" in schema:
        return _words(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in schema:
        words = [_words(one, definitions) for one in schema["anyOf"] if one.get("type") != "null"]
        return "number" if words == ["whole number", "number"] else " or ".join(dict.fromkeys(words))
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "oneOf" in schema:
        return "check" if "discriminator" in schema else "mapping"
    if schema.get("type") == "array":
        inside = [_words(one, definitions) for one in schema.get("prefixItems", [])]
        return f"[{', '.join(inside)}]" if inside else f"list of {_words(schema['items'], definitions)}"
    if schema.get("description", "").endswith("A JMESPath."):
        return "JMESPath"
    return _WORDS.get(schema.get("type", ""), "mapping" if schema.get("type") == "object" else "any value")


def _cell(text: str) -> str:
    """A text fit for a table: on one line, and no HTML but in code."""
    parts = " ".join(text.split()).replace("|", r"\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"stale, run `python docs/generate.py`: {', '.join(stale())}" if stale() else 0)
    for file, content in generated().items():
        file.write_text(content, encoding="utf-8")
