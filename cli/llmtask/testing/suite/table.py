"""Cases from a CSV file: a row each, its columns the parts of a case."""

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from llmtask.documents import any_length, decode
from llmtask.errors import UsageError, did_you_mean
from llmtask.project.yaml_file import ValuePath
from llmtask.testing.checks import Check
from llmtask.testing.checks.answer import ValueCheck
from llmtask.testing.suite.place import InRow, line_error
from llmtask.testing.suite.shape import NowhereError, Shape
from llmtask.testing.suite.values import BadJsonError, NoJsonError, json_type, parse_json

_OWN = ("name", "based_on", "locales", "tags")
"""Columns that are parts of a case, whatever the prompt's variables."""
_OF_VARIABLES = ("input", "file", "plant")
_EXPECT = "expect"
_TESTS = sorted(set(ValueCheck.model_fields) - set(Check.model_fields) - {"check", "at"})
_ENCODINGS = ("utf-8", "utf-16", "utf-32", "gb18030")
_LISTS = re.compile(r"[;；]")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column says of a case."""

    header: str
    part: str
    """`name`, `input`, `expect` ..."""
    of: str = ""
    """The variable, or the path."""
    test: str = ""
    """Of a path: what is said of the value there."""
    kinds: frozenset[str] | None = None
    """The JSON types that the value may have; None where that is not certain."""

    @property
    def where(self) -> ValuePath:
        """The part of a case that it says."""
        if self.part == _EXPECT:
            return ("checks", self.of, self.test)
        place = "inputs" if self.part in ("input", "file") else self.part
        return (place, self.of) if self.of else (place,)


def table_cases(
    data: bytes, path: Path, variables: Collection[str], shape: Shape
) -> Iterator[tuple[dict[str, Any], InRow]]:
    """The cases of a CSV file, not validated yet, each with its place.

    Args:
        data: The file's content.
        path: The file, for names and messages.
        variables: The variables of the task's prompts: a column of such a name is an input.
        shape: The task's answers: how an expected value is read depends on what may stand there.

    Raises:
        ProjectError: It is no table of cases; names the file and the line.
    """
    rows = _rows(data, path)
    line, names = next(((line, row) for _, line, row in rows if any(row)), (1, []))
    columns = _Header(path, line, variables, shape).columns(names)
    headers = {column.where: column.header for column in columns if column.part != _EXPECT}
    stem = _NOT_IN_NAMES.sub("-", path.stem)[:80]
    for number, begin, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue  # spreadsheets write rows of commas below a table
        if len(cells) != len(columns):
            message = f"the row has {len(cells)} cells, and the header has {len(columns)}"
            raise line_error(path, begin, message)
        said = [(column, cell) for column, cell in zip(columns, cells, strict=True) if cell.strip()]
        place = InRow(path, begin, headers, tuple(column.header for column, _ in said if column.part == _EXPECT))
        yield {**({} if ("name",) in headers else {"name": f"{stem}-{number}"}), **_case(said, place)}, place


def _case(said: list[tuple[_Column, str]], place: InRow) -> dict[str, Any]:
    """A row's cells in the shape of a case; an empty one says nothing."""
    case: dict[str, Any] = {}
    for column, cell in said:
        match column.part:
            case "expect":
                checks = case.setdefault("checks", [])
                checks.append({"check": "value", "at": column.of, column.test: _value(column, cell.strip(), place)})
            case "locales" | "tags":
                case[column.part] = [word for part in _LISTS.split(cell) if (word := part.strip())]
            case "name" | "based_on":
                case[column.part] = cell.strip()
            case _:
                value = {"file": cell.strip()} if column.part == "file" else cell
                case.setdefault(str(column.where[0]), {})[column.of] = value
    return case


def _value(column: _Column, cell: str, place: InRow) -> Any:
    """An expected value: the JSON in the cell if it may stand there, else the cell's text."""
    if column.test == "matches":
        return cell
    try:
        value = parse_json(cell)
    except NoJsonError:
        value = cell
    except BadJsonError as error:
        raise place.error((), f"column {column.header!r}: {error}") from error
    if column.test != "equals" or column.kinds is None or json_type(value) in {*column.kinds, "null"}:
        return value
    if "string" in column.kinds:
        return cell
    if "boolean" in column.kinds and cell.lower() in ("true", "false"):  # spreadsheets write TRUE
        return cell.lower() == "true"
    return value


class _Header:
    """Reads the first row of a table."""

    def __init__(self, path: Path, line: int, variables: Collection[str], shape: Shape) -> None:
        self._path, self._line, self._variables, self._shape = path, line, variables, shape

    def columns(self, names: list[str]) -> list[_Column]:
        """What each column says.

        Raises:
            ProjectError: One says nothing that a case has, or two say the same.
        """
        if not names:
            self._refuse("the file is empty; its first row names the columns")
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            self._refuse(f"there is one column, {names[0]!r}; columns are told apart by commas: save it as `CSV UTF-8`")
        known: dict[ValuePath, _Column] = {}
        for position, name in enumerate(names, start=1):
            column = self._column(name.strip(), position)
            if column.where in known:
                self._refuse(f"columns {known[column.where].header!r} and {column.header!r} say the same; keep one")
            known[column.where] = column
        for name in _OWN:
            if (name,) in known and name in self._variables and ("inputs", name) not in known:
                self._refuse(f"column {name!r} is the case's own; name that of the variable {name!r} 'input:{name}'")
        return list(known.values())

    def _column(self, name: str, position: int) -> _Column:
        part, colon, of = name.partition(":")
        if colon and part == _EXPECT:
            return self._expectation(name, of.strip())
        if colon and part in _OF_VARIABLES:
            if of.strip() not in self._variables:
                self._refuse(f"column {name!r}: no variable {of.strip()!r}{did_you_mean(of.strip(), self._variables)}")
            return _Column(name, part, of.strip())
        if name in _OWN:
            return _Column(name, name)
        if name in self._variables:
            return _Column(name, "input", name)
        known = did_you_mean(name, [*_OWN, *self._variables])
        return self._refuse(f"unknown column {name!r}{known}" if name else f"column {position} has no name")

    def _expectation(self, name: str, of: str) -> _Column:
        path, _, test = of.rpartition(":")
        if not path or test not in _TESTS:
            path, test = of, "equals"
        try:
            ValueCheck.model_validate({"check": "value", "at": path, "exists": True})
            return _Column(name, _EXPECT, path, test, self._shape.kinds(path))
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            self._refuse(f"column {name!r}: {path!r} {said}; a test may follow: expect:PATH:{'|'.join(_TESTS)}")
        except NowhereError as error:
            self._refuse(f"column {name!r}: {error}")

    def _refuse(self, message: str) -> NoReturn:
        raise line_error(self._path, self._line, message)


def _rows(data: bytes, path: Path) -> Iterator[tuple[int, int, list[str]]]:
    """Each row with its number, as a spreadsheet counts, and the line on which it begins."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding=_encoding(data, path), newline="")
    reader = csv.reader(lines, strict=True)
    begin, number = 1, 0
    while True:
        try:
            with any_length(len(data)):
                row = next(reader, None)
        except csv.Error as error:
            quoted = "; a quote that opens here is not closed" if "end of data" in str(error) else ""
            raise line_error(path, begin, f"the row is not valid CSV ({error}){quoted}") from error
        if row is None:
            return
        number += 1
        yield number, begin, row
        begin = reader.line_num + 1


def _encoding(data: bytes, path: Path) -> str:
    """UTF-8, or what Excel writes: GB18030 in China, UTF-16 as "Unicode text".

    Raises:
        ProjectError: It is in another, or is no text.
    """
    try:
        encoding = decode(data, "the file").encoding
    except UsageError as error:
        at = data.find(b"\x00")
        message = f"{str(error).partition(';')[0]}; save it as `CSV UTF-8`"
        raise line_error(path, _line(data, at if at >= 0 else _first_odd(data)), message) from error
    if encoding in _ENCODINGS:
        return "utf-8-sig" if encoding == "utf-8" else encoding
    message = f"the file is not UTF-8 (it looks like {encoding}); save it as `CSV UTF-8`"
    raise line_error(path, _line(data, _first_odd(data)), message)


def _first_odd(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1
