"""`llmtask schema`: the JSON Schema of a task's answer, or of a project's own files."""

import ast
import inspect
import itertools
import textwrap
from typing import Annotated, Any

import typer

from llmtask.commands.options import ProjectFolder, TrustOnce, open_project, task_names
from llmtask.errors import UsageError, did_you_mean
from llmtask.project import Config, Strict
from llmtask.prompts import LocaleFile, PromptFile
from llmtask.schemas import json_schema, load_schema
from llmtask.testing.suite import SuiteFile
from llmtask.view.console import answer, json_text

FILE_KINDS: dict[str, type[Strict]] = {
    "config": Config,
    "prompt": PromptFile,
    "locale": LocaleFile,
    "suite": SuiteFile,
}
"""The files that people write, and their models."""
_EXACTLY_ONE = {  # of a suite: what the models hold by a validator, which no JSON Schema shows
    "CaseSource": ("file", "call"),
    "TextCheck": ("contains", "regex", "any", "all"),
    "ValueCheck": ("equals", "one_of", "between", "matches", "contains", "length", "exists"),
}

app = typer.Typer(add_completion=False)


@app.command()
def schema(
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="Task, or an alias.", autocompletion=task_names)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="KIND", help="Of a project file instead: config, prompt, locale, suite."),
    ] = None,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
) -> None:
    """Write the JSON Schema of a task's answer.

    [bold]llmtask schema job_match[/]

    [bold]llmtask schema --file config > schemas/config.schema.json[/]
    """
    if (task is None) == (file is None):
        message = "name a task, or a kind of file with --file config|prompt|locale|suite"
        raise UsageError(message)
    if task is not None:
        answer(json_text(json_schema(load_schema(open_project(project, trust), task))))
        return
    if file not in FILE_KINDS:
        message = f"unknown kind of file {file!r}{did_you_mean(str(file), FILE_KINDS)}"
        raise UsageError(message)
    answer(json_text(file_schema(file)))


def file_schema(kind: str) -> dict[str, object]:
    """The JSON Schema by which editors check and complete a kind of file.

    A user's config states only what differs from the starter's: nothing in it is required, and null removes a key.
    """
    document = FILE_KINDS[kind].model_json_schema()
    _describe(document, FILE_KINDS[kind])
    if kind == "config":
        for part in (document, *document["$defs"].values()):
            part.pop("required", None)
            if "properties" in part:
                part["properties"] = {name: _or_null(one) for name, one in part["properties"].items()}
    if kind == "suite":
        document["anyOf"] = [{"required": [name]} for name in ("cases", "cases_from")]
        for model, names in _EXACTLY_ONE.items():
            document["$defs"][model]["oneOf"] = [{"required": [name]} for name in names]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that may also be null, and so may the values in it by name."""
    inside = schema.get("additionalProperties")
    if isinstance(inside, dict):
        schema = {**schema, "additionalProperties": _or_null(inside)}
    told: dict[str, Any] = {name: schema[name] for name in ("description", "default") if name in schema}
    return {**told, "anyOf": [{key: value for key, value in schema.items() if key not in told}, {"type": "null"}]}


def _describe(document: dict[str, Any], model: type[Strict]) -> None:
    """Put the docstrings of a model's fields, and of the models inside it, into its JSON Schema."""
    by_name = {one.__name__: one for one in _with_parts(model)}
    for name, part in [(model.__name__, document), *document.get("$defs", {}).items()]:
        texts: dict[str, str] = {}
        for base in reversed(by_name[name].__mro__) if name in by_name else ():
            texts |= _field_docstrings(base)
        for field, text in texts.items():
            described = part["properties"][by_name[name].model_fields[field].alias or field]
            described["description"] = f"{text} {described.get('description', '')}".strip()


def _with_parts(model: type[Strict]) -> set[type[Strict]]:
    """All our file models: a schema holds those it needs."""
    found = {model}
    todo: list[type[Strict]] = [Strict]
    while todo:
        children = todo.pop().__subclasses__()
        found.update(children)
        todo += children
    return found


def _field_docstrings(model: type) -> dict[str, str]:
    """The string below each annotated field of a class."""
    if model is Strict or not issubclass(model, Strict):
        return {}
    [node] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = inspect.cleandoc(str(ast.literal_eval(text.value)))
    return found
