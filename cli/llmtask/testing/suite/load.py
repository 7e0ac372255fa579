"""Reads suites: every file, name and value in one is looked at before a model is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmtask.documents import Image, read_document
from llmtask.errors import did_you_mean
from llmtask.project import Project, YamlFile, read_yaml
from llmtask.router import Router
from llmtask.testing.suite.case import Case, Suite
from llmtask.testing.suite.file import CaseFile, SuiteFile
from llmtask.testing.suite.place import InSuite, Place, placed
from llmtask.testing.suite.shape import shape_of
from llmtask.testing.suite.source import Found, found_cases
from llmtask.testing.suite.variables import Variables
from llmtask.testing.suite.vetting import Vetting


def load_suite(project: Project, path: Path) -> Suite:
    """A suite from its file.

    Raises:
        ProjectError: Something in it is wrong; names the file and the line. No model has been asked.
        UntrustedError: It names Python code of the project's, and the project is not trusted.
    """
    source = read_yaml(path)
    return _Reader(project, source, source.validate_as(SuiteFile)).suite()


@dataclass(frozen=True, slots=True)
class _Read:
    """A case that was read: what is told of it to those that follow."""

    place: Place
    locales: tuple[str, ...]
    documents: Mapping[str, str | Image]
    """Per variable, without what is planted."""


class _Reader:
    """Reads a suite's parts and says on which line one is wrong."""

    def __init__(self, project: Project, source: YamlFile, file: SuiteFile) -> None:
        self._project, self._source, self._file = project, source, file
        self._place = InSuite(source)
        with placed(self._place, ("task",)):
            self._task = project.task_id(file.task)
            self._shape = shape_of(project, self._task)
        self._locales = tuple(file.locales or [project.config.defaults.locale])
        self._variables = Variables(project, self._task, self._place, file)
        self._vetting = Vetting(project, self._shape)
        self._read: dict[str, _Read] = {}
        self._files: dict[tuple[str, Path], str | Image] = {}

    def suite(self) -> Suite:
        models = self._models()
        self._require_locales(self._locales, self._place)
        self._vetting.require(self._file.checks, self._place)
        cases = tuple(self._case(found) for found in self._found())
        asked = {locale for case in cases for locale in case.locales}
        for position, locale in enumerate(self._file.locales or []):
            if locale not in asked:
                message = f"nothing is asked in {locale!r}: every case has locales of its own"
                raise self._place.error(("locales", position), message)
        self._vetting.require_looked(self._file.checks, asked, self._place)
        return Suite(self._source.path, self._file, self._task, models, cases)

    def _models(self) -> tuple[str, ...]:
        for index, model in enumerate(self._file.models or []):
            with placed(self._place, ("models", index)):
                self._project.model(model)
        if self._file.models:
            return tuple(self._file.models)
        is_paid = self._project.config.defaults.tier == "paid"
        return (Router(self._project).route_task(self._task, is_paid).model_id,)

    def _found(self) -> Iterator[Found]:
        """The cases of the file, then those that it leads to."""
        for index, case in enumerate(self._file.cases):
            yield Found(case, InSuite(self._source, ("cases", index)), self._source.path.parent)
        for index, source in enumerate(self._file.cases_from):
            place = InSuite(self._source, ("cases_from", index))
            names = self._variables.names(self._locales)
            yield from found_cases(self._project, place, source, names, self._shape)

    def _case(self, found: Found) -> Case:
        case, place = found.file, found.place
        self._require_sense(case, place)
        locales = tuple(dict.fromkeys(case.locales)) if case.locales else self._locales
        self._require_locales(locales, place)
        self._variables.require_used(case.inputs, locales, place)
        documents = {**self._inherited(case, place, locales), **self._documents(found)}
        self._variables.require_all(documents, locales, place)
        self._read[case.name] = _Read(place, locales, documents)
        images = tuple(document for document in documents.values() if isinstance(document, Image))
        checks = (*self._file.checks, *case.checks)
        texts = {name: document for name, document in documents.items() if isinstance(document, str)}
        read = Case(case, _planted(case, place, texts), texts, images, locales, checks)
        self._vetting.require(case.checks, place)
        self._vetting.require_looked(case.checks, locales, place, f"case {case.name!r} is not")
        self._vetting.require_for(read, self._place, place)
        return read

    def _require_sense(self, case: CaseFile, place: Place) -> None:
        if case.name in self._read:
            other = self._read[case.name].place.line_of(("name",))
            message = f"there are two cases {case.name!r}; a name is one case's (the other: {other})"
            raise place.error(("name",), message)
        if not self._file.checks and not case.checks:
            message = f"case {case.name!r} has no check: add `checks:` to it, or to the suite"
            raise place.error(("name",), message)

    def _require_locales(self, locales: tuple[str, ...], place: Place) -> None:
        for position, locale in enumerate(locales):
            if locale not in self._project.locales:
                known = did_you_mean(locale, self._project.locales)
                raise place.error(("locales", position), f"unknown locale {locale!r}{known}")

    def _inherited(self, case: CaseFile, place: Place, locales: tuple[str, ...]) -> Mapping[str, str | Image]:
        """The inputs of the case that it is based on."""
        if case.based_on is None:
            return {}
        base = self._read.get(case.based_on)
        if base is None:
            known = did_you_mean(case.based_on, self._read)
            message = f"based_on: no case {case.based_on!r} stands above{known}"
            raise place.error(("based_on",), message)
        missing = next((locale for locale in locales if locale not in base.locales), None)
        if missing is not None:
            message = f"case {case.name!r} is asked in {missing}, and {case.based_on!r}, its base, is not"
            raise place.error((), message)
        return base.documents

    def _documents(self, found: Found) -> dict[str, str | Image]:
        """The inputs of a case, files read."""
        documents: dict[str, str | Image] = {}
        for name, value in found.file.inputs.items():
            with placed(found.place, ("inputs", name)):
                documents[name] = value if isinstance(value, str) else self._document(name, found.folder / value.file)
        return documents

    def _document(self, name: str, path: Path) -> str | Image:
        """What a file holds; many cases may name the same one."""
        if (name, path) not in self._files:
            document = read_document(name, str(path))
            self._files[name, path] = document if isinstance(document, Image) else document.text
        return self._files[name, path]


def _planted(case: CaseFile, place: Place, sources: Mapping[str, str]) -> dict[str, str]:
    """The texts of a case, with what is planted in them."""
    texts = dict(sources)
    for name, text in case.plant.items():
        if name not in texts:
            message = f"plant: the case has no text {name!r}{did_you_mean(name, texts)}"
            raise place.error(("plant", name), message)
        texts[name] = f"{texts[name].rstrip()}\n\n{text}"
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"input {name!r} holds half a character ({text[error.start]!r}), which cannot be sent"
            raise place.error(("inputs", name), message) from error
    return texts
