"""Suite files: what is asked, of which models, in which locales, and what the answers are checked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from llmtask.documents import Image, read_document
from llmtask.errors import ProjectError, UsageError, did_you_mean
from llmtask.project import Project, Strict, YamlFile, read_yaml
from llmtask.prompts import PromptFile, load_prompt
from llmtask.router import Router
from llmtask.testing.checks import AnyCheck, FunctionCheck, LanguageCheck, UnmovedCheck

SUFFIX = ".llm.yaml"

# pytest reads `[` and `::` in a name as its own; `@` and `/` divide ours.
Name = Annotated[str, Field(pattern=r"^[^\[\]:@/\s][^\[\]:@/]*$", max_length=100)]


class FileInput(Strict):
    """An input that stands in a file."""

    file: str = Field(min_length=1)
    """Its path, from the suite's folder."""


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
    plant: dict[str, str] = Field(default_factory=dict)
    """Text per variable that is put at the end of the input, such as an instruction to the model."""
    locales: list[str] | None = Field(default=None, min_length=1)
    """The locales that it is asked in; the suite's where it is left out."""
    tags: list[Name] = Field(default_factory=list)
    """Words to choose it by."""
    checks: list[AnyCheck] = Field(default_factory=list)
    """What its answer is checked for, besides what all answers are."""


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
    cases: list[CaseFile] = Field(min_length=1)
    """What is asked."""

    @model_validator(mode="after")
    def _rule_can_hold(self) -> "SuiteFile":
        if self.passes and self.passes.at_least > self.repeats:
            message = f"pass: at_least {self.passes.at_least} of {self.repeats} repeats can never be"
            raise ValueError(message)
        return self


@dataclass(frozen=True)
class Case:
    """A case, its inputs read."""

    file: CaseFile
    inputs: dict[str, str]
    """Text per variable, planted text included."""
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


def load_suite(project: Project, path: Path) -> Suite:
    """A suite from its file.

    Raises:
        ProjectError: Something in it is wrong; names the file and the line. No model has been asked.
        UntrustedError: It names Python code of the project's, and the project is not trusted.
    """
    source = read_yaml(path)
    file = source.validate_as(SuiteFile)
    return _Reader(project, source, file).suite()


class _Reader:
    """Reads a suite's parts and says on which line one is wrong."""

    def __init__(self, project: Project, source: YamlFile, file: SuiteFile) -> None:
        self._project, self._source, self._file = project, source, file
        with _placed(source, ("task",)):
            self._task = project.task_id(file.task)
        self._by_name: dict[str, CaseFile] = {}

    def suite(self) -> Suite:
        models = self._models()
        self._check_names()
        cases = tuple(self._case(index, case) for index, case in enumerate(self._file.cases))
        return Suite(self._source.path, self._file, self._task, models, cases)

    def _models(self) -> tuple[str, ...]:
        for index, model in enumerate(self._file.models or []):
            with _placed(self._source, ("models", index)):
                self._project.model(model)
        if self._file.models:
            return tuple(dict.fromkeys(self._file.models))
        is_paid = self._project.config.defaults.tier == "paid"
        return (Router(self._project).route_task(self._task, is_paid).model_id,)

    def _check_names(self) -> None:
        for index, case in enumerate(self._file.cases):
            where = ("cases", index, "name")
            if case.name in self._by_name:
                raise self._source.error(where, f"there are two cases {case.name!r}; a name is one case's")
            if not self._file.checks and not case.checks:
                message = f"case {case.name!r} has no check: add `checks:` to it, or to the suite"
                raise self._source.error(where, message)
            if case.based_on is not None and case.based_on not in self._by_name:
                known = did_you_mean(case.based_on, self._by_name)
                message = f"based_on: no case {case.based_on!r} stands above{known}"
                raise self._source.error(("cases", index, "based_on"), message)
            self._by_name[case.name] = case

    def _case(self, index: int, case: CaseFile) -> Case:
        locales = self._locales(index, case)
        self._check_base(index, case, locales)
        prompts = list(self._prompts(index, locales))
        given = self._inputs(case)
        texts: dict[str, str] = {}
        images: list[Image] = []
        for name, value in given.items():
            where = ("cases", index, "inputs", name)
            for prompt in prompts:
                if name not in prompt.variables:
                    known = did_you_mean(name, prompt.variables)
                    raise self._source.error(where, f"task {self._task!r} has no variable {name!r}{known}")
            with _placed(self._source, where):
                document = self._read(name, value)
            if isinstance(document, Image):
                images.append(document)
            else:
                texts[name] = document
        self._plant(index, case, texts)
        self._require_all(index, prompts, {*texts, *(image.name for image in images)})
        checks = (*self._file.checks, *case.checks)
        self._check_checks(index, case, checks, locales)
        return Case(case, texts, tuple(images), locales, checks)

    def _locales(self, index: int, case: CaseFile) -> tuple[str, ...]:
        named = case.locales or self._file.locales
        where = ("cases", index, "locales") if case.locales else ("locales",)
        for position, locale in enumerate(named or []):
            if locale not in self._project.locales:
                known = did_you_mean(locale, self._project.locales)
                raise self._source.error((*where, position), f"unknown locale {locale!r}{known}")
        return tuple(dict.fromkeys(named or [self._project.config.defaults.locale]))

    def _check_base(self, index: int, case: CaseFile, locales: tuple[str, ...]) -> None:
        if case.based_on is None:
            return
        base = self._by_name[case.based_on]
        missing = set(locales) - set(base.locales or self._file.locales or [self._project.config.defaults.locale])
        if missing:
            message = f"case {case.name!r} is asked in {sorted(missing)[0]}, and {base.name!r}, its base, is not"
            raise self._source.error(("cases", index), message)

    def _prompts(self, index: int, locales: tuple[str, ...]) -> Iterator[PromptFile]:
        for position, version in enumerate(self._file.prompts):
            where = ("prompts", position) if "prompts" in self._file.model_fields_set else ("cases", index)
            for locale in locales:
                with _placed(self._source, where):
                    prompt = load_prompt(self._project, self._task, locale, None if version == "current" else version)
                yield prompt.file

    def _inputs(self, case: CaseFile) -> dict[str, str | FileInput]:
        base = self._inputs(self._by_name[case.based_on]) if case.based_on else {}
        return {**base, **case.inputs}

    def _read(self, name: str, value: str | FileInput) -> str | Image:
        if isinstance(value, str):
            return value
        path = self._source.path.parent / Path(value.file).expanduser()
        document = read_document(name, str(path))
        return document if isinstance(document, Image) else document.text

    def _plant(self, index: int, case: CaseFile, texts: dict[str, str]) -> None:
        for name, text in case.plant.items():
            if name not in texts:
                message = f"plant: the case has no text {name!r}{did_you_mean(name, texts)}"
                raise self._source.error(("cases", index, "plant", name), message)
            texts[name] = f"{texts[name].rstrip()}\n\n{text}"

    def _require_all(self, index: int, prompts: list[PromptFile], given: set[str]) -> None:
        for prompt in prompts:
            for name, variable in prompt.variables.items():
                if variable.required and name not in given:
                    message = f"the case needs {name!r} under `inputs:` ({variable.description})"
                    raise self._source.error(("cases", index), message)

    def _check_checks(self, index: int, case: CaseFile, checks: tuple[AnyCheck, ...], locales: tuple[str, ...]) -> None:
        for position, check in enumerate(checks):
            shared = len(self._file.checks)
            where = ("checks", position) if position < shared else ("cases", index, "checks", position - shared)
            for name in getattr(check, "inputs", None) or []:
                if name not in self._inputs(case):
                    known = did_you_mean(name, self._inputs(case))
                    raise self._source.error(where, f"check {check.kind}: the case has no input {name!r}{known}")
            if isinstance(check, UnmovedCheck) and case.based_on is None:
                raise self._source.error(
                    where, f"check unmoved needs a case with `based_on`, which {case.name!r} is not"
                )
            with _placed(self._source, where):
                if isinstance(check, FunctionCheck):
                    check.require(self._project)
                if isinstance(check, LanguageCheck):
                    for locale in locales:
                        check.require(locale)


@contextmanager
def _placed(source: YamlFile, where: tuple[str | int, ...]) -> Iterator[None]:
    """Puts file and line before what is said of a value; what is not trusted stays that."""
    try:
        yield
    except (ProjectError, UsageError) as error:
        raise source.error(where, str(error)) from error
