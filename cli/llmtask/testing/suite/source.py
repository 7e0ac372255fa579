"""Cases that stand elsewhere than in the suite: tables, JSON lines, and what a function of the project's gives."""

import contextlib
import dataclasses
import inspect
import io
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from llmtask.errors import ProjectError
from llmtask.project import Project, shown
from llmtask.project.yaml_file import first_problem
from llmtask.schemas import load_object
from llmtask.testing.suite.file import CaseFile, CaseSource
from llmtask.testing.suite.place import InLine, InSuite, Place, line_error, placed
from llmtask.testing.suite.shape import Shape
from llmtask.testing.suite.table import table_cases
from llmtask.testing.suite.values import BadJsonError, NoJsonError, parse_json

_MOST_BYTES = 64 * 1024 * 1024
_MOST_CASES = 100_000  # a function may give cases without end


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A case, and where it stands."""

    file: CaseFile
    place: Place
    folder: Path
    """From where the paths in it lead."""


def found_cases(
    project: Project, place: InSuite, source: CaseSource, variables: Collection[str], shape: Shape
) -> Iterator[Found]:
    """The cases that an entry of `cases_from` leads to.

    Args:
        project: The suite's project.
        place: Where the entry stands.
        source: The entry.
        variables: The variables of the task's prompts.
        shape: The task's answers.

    Raises:
        ProjectError: It gives something else than cases, or none; names the file and the line.
        UntrustedError: It is a function, and the project is not trusted.
    """
    folder = place.source.path.parent
    if source.call is not None:
        given: Iterator[tuple[Any, Place]] = _called(project, place, source.call, source.args)
    else:
        path = folder / (source.file or "")
        folder = path.parent
        with placed(place, ("file",)):
            data = _read(path)
        given = table_cases(data, path, variables, shape) if path.suffix.lower() == ".csv" else _lines(data, path)
    count = 0
    for case, where in given:
        count += 1
        if count > _MOST_CASES:
            message = f"{source.file or source.call} has more than {_MOST_CASES:,} cases; make them several suites"
            raise place.error((), message)
        yield Found(_validated(case, where), where, folder)
    if not count:
        message = f"{source.file or source.call} has no case"
        raise place.error((), message)


def _validated(case: Any, place: Place) -> CaseFile:
    if isinstance(case, CaseFile):
        return case
    try:
        return CaseFile.model_validate(case)
    except ValidationError as error:
        where, message = first_problem(error, CaseFile, case)
        raise place.error(where, message) from error


def _read(path: Path) -> bytes:
    """The content of a file of cases.

    Raises:
        ProjectError: It cannot be read, or is none.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe may never end
            message = f"{shown(path)} is no file"
            raise ProjectError(message)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        message = f"there is no file {shown(path)}"
        raise ProjectError(message) from error
    except (OSError, ValueError) as error:
        message = f"{shown(path)} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise ProjectError(message) from error
    if len(data) > _MOST_BYTES:
        message = f"{shown(path)} is larger than {_MOST_BYTES // 2**20} MiB; split it, or give long inputs as files"
        raise ProjectError(message)
    return data


def _lines(data: bytes, path: Path) -> Iterator[tuple[Any, InLine]]:
    """The cases of a file with a JSON object on each line; a blank line is none."""
    for number, raw in enumerate(io.BytesIO(data), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            if not line.strip():
                continue
            case = parse_json(line.rstrip())
        except UnicodeDecodeError as error:
            raise line_error(path, number, "is not UTF-8 text; save it as UTF-8") from error
        except (NoJsonError, BadJsonError) as error:
            raise line_error(path, number, f"{error}; a case stands on one line, as a JSON object") from error
        if not isinstance(case, dict):
            raise line_error(path, number, "a JSON object is expected on each line, a case each")
        yield case, InLine(path, number)


def _called(project: Project, place: InSuite, call: str, args: dict[str, Any]) -> Iterator[tuple[Any, InSuite]]:
    """The cases that a function of the project's gives."""
    with placed(place, ("call",)):
        function = load_object(project, "checks", call)
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        what = "is no function" if not callable(function) else "is async; make it a plain function"
        raise place.error(("call",), f"{call} {what}")
    given = _guarded(place, call, lambda: function(**args))
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        message = f"{call} gives {type(given).__name__}, not cases: a list of mappings is expected, or a generator"
        raise place.error(("call",), message)
    cases, end, number = _guarded(place, call, lambda: iter(given)), object(), 0
    while (case := _guarded(place, call, lambda: next(cases, end))) is not end:
        number += 1
        where = InSuite(place.source, (*place.root, "call"), f"{call}, case {number}")
        yield _mapping(case, where), where


def _guarded(place: InSuite, call: str, step: Callable[[], Any]) -> Any:
    """What a step of the user's own code gives; what it prints is no part of an answer."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return step()
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
        at = f", {shown(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else ""
        raise place.error(("call",), f"{call} fails ({type(error).__name__}: {error}{at})") from error


def _mapping(case: Any, place: InSuite) -> Any:
    """A case in the shape of a mapping; objects by their fields."""
    if isinstance(case, BaseModel):
        return case if isinstance(case, CaseFile) else case.model_dump(by_alias=True, exclude_unset=True)
    if dataclasses.is_dataclass(case) and not isinstance(case, type):
        return {name: value for name, value in dataclasses.asdict(case).items() if value is not None}
    if isinstance(case, Mapping):
        return dict(case)
    raise place.error((), f"is {type(case).__name__}; a mapping in the shape of a case is expected")
