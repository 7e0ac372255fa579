"""The schema classes of a project's tasks, imported by path from schemas/*.py, from source alone."""

import contextlib
import hashlib
import importlib
import sys
import traceback
import weakref
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pydantic import BaseModel

from llmtask.errors import ProjectError, did_you_mean
from llmtask.project import Project, is_starters, python_files, require_trust, shown, starter_root

_PACKAGE = "_llmtask_schemas_"
_known: "weakref.WeakKeyDictionary[type[BaseModel], dict[str, Any]]" = weakref.WeakKeyDictionary()


def load_schema(project: Project, task: str) -> type[BaseModel]:
    """The pydantic class of a task's answer.

    Raises:
        UsageError: There is no such task.
        UntrustedError: The file is the project's own, and the project is not trusted.
        ProjectError: The file or the class is missing, or the file fails to import.
    """
    reference = project.config.tasks[project.task_id(task)].schema_
    file, _, name = reference.partition(":")
    path = project.find("schemas", f"{file}.py")
    if path is None:
        missing = f"{shown(project.root)}/schemas/{file}.py"
        message = f"config.yaml: tasks.{task}.schema is {reference!r}, and there is no {missing}"
        raise ProjectError(message)
    module = _module(_vetted(project, path))
    schema = getattr(module, name, None)
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and value is not BaseModel]
        message = f"{shown(path)}: has no pydantic class {name!r}{did_you_mean(name, classes)}"
        raise ProjectError(message)
    return schema


def load_object(project: Project, folder: str, reference: str) -> Any:
    """What a reference such as `tone:is_polite` names in a project's own Python: is_polite in <folder>/tone.py.

    Raises:
        UntrustedError: The project is not trusted.
        ProjectError: The file or the name is missing, or the file fails to import.
    """
    file, _, name = reference.partition(":")
    path = project.root / folder / f"{file}.py"
    if not path.is_file():
        message = f"{reference!r} is not there: there is no {shown(path)}"
        raise ProjectError(message)
    require_trust(project)
    module = _module(path)
    if not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        message = f"{shown(path)}: has no {name!r}{did_you_mean(name, known)}"
        raise ProjectError(message)
    return getattr(module, name)


def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a task's answer, references inlined.

    GLM-5.3 returns nested arguments behind a `$ref` as strings (pydantic-ai#10243), so there are none where the schema
    is not recursive. It is made once per class: read it, do not change it.
    """
    if schema not in _known:
        _known[schema] = _inlined(schema)
    return _known[schema]


def _inlined(schema: type[BaseModel]) -> dict[str, Any]:
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


def _vetted(project: Project, path: Path) -> Path:
    """The file to import: the starter's own where it is the same to the byte, so that its neighbours are too.

    Raises:
        UntrustedError: It is another, and the project is not trusted.
    """
    starters = starter_root() / "schemas" / path.name
    if path == starters or is_starters(path):
        return starters
    require_trust(project)
    return path


class _SourceLoader(SourceFileLoader):
    """Compiles what the source says: a `.pyc` beside it may say anything, and nobody who trusts the source sees it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder(MetaPathFinder):
    """Finds what schema files import of their neighbours: the source that trust covers, nothing compiled."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002  # as Python calls it
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith(_PACKAGE):
            return None
        covered = {str(file) for file in python_files(Path(sys.modules[fullname.partition(".")[0]].__path__[0]))}
        for folder in path:
            spec = FileFinder(folder, (_SourceLoader, [".py"])).find_spec(fullname)
            if spec is not None and (spec.origin is None or spec.origin in covered):
                return spec
        message = f"No module named {fullname!r}"
        raise ModuleNotFoundError(message, name=fullname)


def _module(path: Path) -> ModuleType:
    """The module of a schema file, under a private package named after its folder: two projects never mix.

    Raises:
        ProjectError: It fails to import; names the file and the line.
    """
    package_name = _PACKAGE + hashlib.sha256(str(path.parent).encode()).hexdigest()[:12]
    if package_name not in sys.modules:
        package = ModuleType(package_name)
        package.__path__ = [str(path.parent)]
        sys.modules[package_name] = package
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
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
