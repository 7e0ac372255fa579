"""A suite that can be run, and its cases."""

from dataclasses import dataclass
from pathlib import Path

from llmtask.documents import Image
from llmtask.testing.checks import AnyCheck
from llmtask.testing.suite.file import CaseFile, SuiteFile


@dataclass(frozen=True)
class Case:
    """A case, its inputs read."""

    file: CaseFile
    inputs: dict[str, str]
    """Text per variable, planted text included."""
    sources: dict[str, str]
    """Text per variable without what is planted: what an answer may rest on."""
    images: tuple[Image, ...]
    locales: tuple[str, ...]
    checks: tuple[AnyCheck, ...]
    """The suite's, then its own."""


@dataclass(frozen=True)
class Suite:
    """A suite that can be run: every file of it is there, and every name in it is known."""

    path: Path
    file: SuiteFile
    task: str
    models: tuple[str, ...]
    cases: tuple[Case, ...]
    """Those in the file, then those that its `cases_from` leads to."""
