"""Where a part of a suite stands, for the messages about it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmtask.errors import ProjectError, UsageError
from llmtask.project import YamlFile, shown
from llmtask.project.yaml_file import ValuePath


class Place(Protocol):
    """Where a case stands."""

    def line_of(self, where: ValuePath) -> str:
        """The file and the line of a part of the case, such as `tests/cases.csv:4`."""

    def error(self, where: ValuePath, message: str) -> ProjectError:
        """What is wrong with a part of the case, after the file and the line of it."""


@dataclass(frozen=True, slots=True)
class InSuite:
    """In the suite file itself."""

    source: YamlFile
    root: ValuePath = ()
    label: str = ""
    """What a message begins with, such as `make:cases, case 3`."""

    def line_of(self, where: ValuePath) -> str:
        """The suite and the line of the value."""
        return f"{shown(self.source.path)}:{self.source.line_of((*self.root, *where)) or 1}"

    def error(self, where: ValuePath, message: str) -> ProjectError:
        """Name the line of the value."""
        return ProjectError(f"{self.line_of(where)}: {f'{self.label}: ' if self.label else ''}{message}")


@dataclass(frozen=True, slots=True)
class InLine:
    """On a line of a file of cases."""

    path: Path
    line: int

    def line_of(self, where: ValuePath) -> str:  # noqa: ARG002  # a line is as near as it gets
        """The file and the line."""
        return f"{shown(self.path)}:{self.line}"

    def error(self, where: ValuePath, message: str) -> ProjectError:
        """Name the line."""
        return ProjectError(f"{self.line_of(where)}: {message}")


@dataclass(frozen=True, slots=True)
class InRow:
    """In a row of a table."""

    path: Path
    line: int
    columns: Mapping[ValuePath, str]
    """The column of each part of a case, such as `("inputs", "job"): "file:job"`."""
    checks: tuple[str, ...]
    """The column of each check."""

    def line_of(self, where: ValuePath) -> str:  # noqa: ARG002  # a row may have several: the first
        """The file and the row's line."""
        return f"{shown(self.path)}:{self.line}"

    def error(self, where: ValuePath, message: str) -> ProjectError:
        """Name the line and the column."""
        column = self._column(where)
        return ProjectError(f"{self.line_of(where)}: {f'column {column!r}: ' if column else ''}{message}")

    def _column(self, where: ValuePath) -> str | None:
        if len(where) > 1 and where[0] == "checks" and isinstance(where[1], int):
            return self.checks[where[1]]
        return next((self.columns[where[:end]] for end in (2, 1) if where[:end] in self.columns), None)


def line_error(path: Path, line: int, message: str) -> ProjectError:
    """What is wrong on a line of a file."""
    return ProjectError(f"{shown(path)}:{line}: {message}")


@contextmanager
def placed(place: Place, where: ValuePath) -> Iterator[None]:
    """Puts file and line before what is said of a value; what is not trusted stays that."""
    try:
        yield
    except (ProjectError, UsageError) as error:
        raise place.error(where, str(error)) from error
