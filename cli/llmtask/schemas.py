"""The schema classes of a project's tasks, imported by path from schemas/*.py."""

import contextlib
import hashlib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from llmtask.errors import ProjectError, did_you_mean
from llmtask.project import Project, shown


def load_schema(project: Project, task: str) -> type[BaseModel]:
    """The pydantic class of a task's answer.

    Raises:
        UsageError: There is no such task.
        ProjectError: The file or the class is missing, or the file fails to import.
    """
    reference = project.config.tasks[project.task_id(task)].schema_
    file, _, name = reference.partition(":")
    path = project.find("schemas", f"{file}.py")
    if path is None:
        missing = f"{shown(project.root)}/schemas/{file}.py"
        message = f"config.yaml: tasks.{task}.schema is {reference!r}, and there is no {missing}"
        raise ProjectError(message)
    module = _module(path)
    schema = getattr(module, name, None)
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and value is not BaseModel]
        message = f"{shown(path)}: has no pydantic class {name!r}{did_you_mean(name, classes)}"
        raise ProjectError(message)
    return schema


def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a task's answer, references inlined.

    GLM-5.3 returns nested arguments behind a `$ref` as strings (pydantic-ai#10243), so there are none where the schema
    is not recursive.
    """
    document = schema.model_json_schema()
    definitions = document.pop("$defs", {})
    inlined = _inline(document, definitions, ())
    if _refers(inlined):
        inlined["$defs"] = definitions
    return dict(inlined)


def example(schema: dict[str, Any]) -> Any:
    """A skeleton of an answer: every key with a value that shows its type.

    Args:
        schema: A JSON Schema as `json_schema` gives it.

    Returns:
        Such as `{"match_score": 0, "strengths": [{"point": "...", "evidence": "..."}]}`.
    """
    if "anyOf" in schema:
        options = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return example(options[0]) if options else None
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: example(one) for name, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    return {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": True}.get(
        kind or "", "..."
    )


def _inline(node: Any, definitions: dict[str, Any], open_names: tuple[str, ...]) -> Any:
    """The node with references replaced by what they mean, but for those inside themselves."""
    if isinstance(node, list):
        return [_inline(one, definitions, open_names) for one in node]
    if not isinstance(node, dict):
        return node
    name = str(node.get("$ref", "")).rsplit("/", 1)[-1]
    if name and name in definitions and name not in open_names:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {**_inline(definitions[name], definitions, (*open_names, name)), **rest}
    return {key: _inline(value, definitions, open_names) for key, value in node.items()}


def _refers(node: Any) -> bool:
    if isinstance(node, dict):
        return "$ref" in node or any(_refers(one) for one in node.values())
    return isinstance(node, list) and any(_refers(one) for one in node)


def _module(path: Path) -> ModuleType:
    """The module of a schema file, under a private package named after its folder: two projects never mix.

    Raises:
        ProjectError: It fails to import; names the file and the line.
    """
    package_name = "_llmtask_schemas_" + hashlib.sha256(str(path.parent).encode()).hexdigest()[:12]
    if package_name not in sys.modules:
        package = ModuleType(package_name)
        package.__path__ = [str(path.parent)]
        sys.modules[package_name] = package
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the answer
            return importlib.import_module(f"{package_name}.{path.stem}")
    except (Exception, SystemExit) as error:
        raise ProjectError(_import_message(error, path)) from error


def _import_message(error: BaseException, path: Path) -> str:
    """Where a schema file failed and why."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename) == path:
            line = frame.lineno
    return f"{shown(path)}:{line or 1}: fails to import ({type(error).__name__}: {error})"
