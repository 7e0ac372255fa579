"""The shape of a suite file, and of the cases in it and in the files that it names."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from llmtask.project import Strict
from llmtask.testing.checks import AnyCheck

SUFFIX = ".llm.yaml"
"""How a suite file's name ends."""
CASE_FILES = (".csv", ".jsonl")
"""The files that cases may come from."""

# pytest reads `[` and `::` in a name as its own; `@` and `/` divide ours; reports have a line for each.
_BARRED = r"\[\]:@/\x00-\x1f\x7f"
Name = Annotated[str, Field(pattern=rf"^[^{_BARRED}\s](?:[^{_BARRED}]*[^{_BARRED}\s])?$", max_length=100)]


class FileInput(Strict):
    """An input that stands in a file."""

    file: str = Field(min_length=1)
    """Its path, from the folder of the file that names it."""


class Rule(Strict):
    """How many repeats of a case must pass."""

    at_least: int = Field(ge=1)
    """So many of them; all where no rule is said."""


class CaseFile(Strict):
    """One case of a suite."""

    name: Name
    """Its name, of its own in the suite."""
    inputs: dict[str, str | FileInput] = Field(default_factory=dict)
    """Text, or `{file: PATH}`, per variable of the prompt. It is data: never a template."""
    based_on: str | None = None
    """A case whose inputs it takes where it has none of its own, and with whose answer `unmoved` compares."""
    plant: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    """Text per variable that is put at the end of the input, such as an instruction to the model."""
    locales: list[str] | None = Field(default=None, min_length=1)
    """The locales that it is asked in; the suite's where it is left out."""
    tags: list[Name] = Field(default_factory=list)
    """Words to choose it by."""
    checks: list[AnyCheck] = Field(default_factory=list)
    """What its answer is checked for, besides what all answers are."""


class CaseSource(Strict):
    """Where more cases come from: a file, or a function of your own."""

    file: str | None = Field(default=None, min_length=1)
    """A `.csv` or `.jsonl` file, its path from the suite's folder."""
    call: str | None = Field(default=None, pattern=r"^\w+:\w+$")
    """`file:function`: a function in checks/<file>.py that gives mappings in the shape of a case."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for it."""

    @model_validator(mode="after")
    def _one_source(self) -> "CaseSource":
        message = ""
        if (self.file is None) == (self.call is None):
            message = "say exactly one of file and call"
        elif self.file is not None and PurePosixPath(self.file).suffix.lower() not in CASE_FILES:
            message = f"cases come from {' and '.join(CASE_FILES)} files, and {self.file!r} is none"
        elif self.file is not None and self.args:
            message = "args are a function's; a file takes none"
        if message:
            raise ValueError(message)
        return self


class SuiteFile(Strict):
    """A suite: tests/*.llm.yaml in a project."""

    task: str
    """The task, or one of its aliases."""
    models: list[str] | None = Field(default=None, min_length=1)
    """Model ids; the route's where it is left out."""
    locales: list[str] | None = Field(default=None, min_length=1)
    """Locales of the prompts; the config's default where it is left out."""
    prompts: list[str] = Field(default=["current"], min_length=1)
    """Versions of the prompt: `current`, or `v2` for prompts/LOCALE/TASK@v2.yaml."""
    repeats: int = Field(default=1, ge=1, le=1000)
    """How often each case is asked."""
    passes: Rule | None = Field(default=None, alias="pass")
    """How many repeats must pass; all where it is left out."""
    checks: list[AnyCheck] = Field(default_factory=list)
    """What every answer is checked for."""
    cases: list[CaseFile] = Field(default_factory=list, min_length=1)
    """What is asked."""
    cases_from: list[CaseSource] = Field(default_factory=list, min_length=1)
    """Where more cases come from; they follow those of `cases`."""

    @field_validator("models", "locales", "prompts")
    @classmethod
    def _each_once(cls, names: list[str] | None) -> list[str] | None:
        twice = next((name for index, name in enumerate(names or []) if name in (names or [])[:index]), None)
        if twice is not None:
            message = f"{twice!r} is said twice; keep one"
            raise ValueError(message)
        return names

    @model_validator(mode="after")
    def _can_be_asked(self) -> "SuiteFile":
        if self.passes and self.passes.at_least > self.repeats:
            message = f"pass: at_least {self.passes.at_least} of {self.repeats} repeats can never be"
            raise ValueError(message)
        if not self.cases and not self.cases_from:
            message = "has no case; say `cases:`, `cases_from:` or both"
            raise ValueError(message)
        return self
