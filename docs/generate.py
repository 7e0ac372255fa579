"""Writes the generated parts: README's commands and exit codes, and the JSON Schemas of project files.

python docs/generate.py          writes them
python docs/generate.py --check  exits 1 where one is stale (a test does the same)
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main

from llmtask.commands.schema import FILE_KINDS, file_schema
from llmtask.errors import ExitCode
from llmtask.main import COMMANDS

ROOT = Path(__file__).parents[1]
MARKUP = re.compile(r"\[/?(?:bold|dim)?\]|\\(?=\[)")


def generated() -> dict[Path, str]:
    """The content of every file that is generated, or has generated parts."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    readme = _replaced(readme, "commands", "\n".join(_commands()))
    readme = _replaced(readme, "exit codes", "\n".join(_exit_codes()))
    files = {ROOT / "README.md": readme}
    for kind in FILE_KINDS:
        text = json.dumps(file_schema(kind), ensure_ascii=False, indent=2) + "\n"
        files[ROOT / "schemas" / f"{kind}.schema.json"] = text
    return files


def stale() -> list[str]:
    """The names of the files whose generated parts are not what they should be."""
    return [path.name for path, text in generated().items() if path.read_text(encoding="utf-8") != text]


def _replaced(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    before, _, rest = readme.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        message = f"README.md has no part 'generated: {name}'"
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


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"stale, run `python docs/generate.py`: {', '.join(stale())}" if stale() else 0)
    for file, content in generated().items():
        file.write_text(content, encoding="utf-8")
