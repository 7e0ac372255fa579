"""What the prompts of a suite take as input."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from llmtask.documents import Image
from llmtask.errors import did_you_mean
from llmtask.project import Project, shown
from llmtask.prompts import Prompt, load_prompt
from llmtask.testing.suite.file import SuiteFile
from llmtask.testing.suite.place import InSuite, Place, placed


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a prompt takes."""

    prompt: Prompt
    used: frozenset[str]
    """The variables that its templates use."""


class Variables:
    """The variables of a task's prompts, in the locales and versions that are asked for; each prompt is read once."""

    def __init__(self, project: Project, task: str, suite: InSuite, file: SuiteFile) -> None:
        """Take the suite."""
        self._project, self._task, self._suite, self._file = project, task, suite, file
        self._known: dict[tuple[str, str], _Taken] = {}

    def names(self, locales: Collection[str]) -> list[str]:
        """The variables of the prompts in these locales.

        Raises:
            ProjectError: There is no such prompt, or a file of it is wrong.
        """
        prompts = self._prompts(locales, self._suite)
        return list(dict.fromkeys(name for one in prompts for name in one.prompt.file.variables))

    def require_used(self, given: Collection[str], locales: Collection[str], place: Place) -> None:
        """Stop at an input that a prompt does not take.

        Args:
            given: The names of a case's inputs.
            locales: The locales that it is asked in.
            place: Where the case stands.

        Raises:
            ProjectError: There is one.
        """
        for one in self._prompts(locales, place):
            variables = one.prompt.file.variables
            for name in given:
                if name not in variables:
                    message = f"task {self._task!r} has no variable {name!r}{did_you_mean(name, variables)}"
                    raise place.error(("inputs", name), message)
                if name not in one.used:
                    message = f"input {name!r} is used nowhere in {shown(one.prompt.source.path)}"
                    raise place.error(("inputs", name), message)

    def require_all(self, given: Mapping[str, str | Image], locales: Collection[str], place: Place) -> None:
        """Stop where an input is missing that a prompt needs.

        Args:
            given: A case's inputs.
            locales: The locales that it is asked in.
            place: Where the case stands.

        Raises:
            ProjectError: One is missing, or empty.
        """
        for one in self._prompts(locales, place):
            for name, variable in one.prompt.file.variables.items():
                if variable.required and name not in given:
                    message = f"the case needs {name!r} under `inputs:` ({variable.description})"
                    raise place.error((), message)
                document = given.get(name)
                if variable.required and isinstance(document, str) and not document.strip():
                    raise place.error(("inputs", name), f"input {name!r} is empty ({variable.description})")

    def _prompts(self, locales: Collection[str], place: Place) -> Iterator[_Taken]:
        for position, version in enumerate(self._file.prompts):
            is_said = "prompts" in self._file.model_fields_set
            for locale in locales:
                if (locale, version) not in self._known:
                    with placed(self._suite if is_said else place, ("prompts", position) if is_said else ()):
                        self._known[locale, version] = self._load(locale, version)
                yield self._known[locale, version]

    def _load(self, locale: str, version: str) -> _Taken:
        prompt = load_prompt(self._project, self._task, locale, None if version == "current" else version)
        return _Taken(prompt, _used(prompt))


def _used(prompt: Prompt) -> frozenset[str]:
    """The variables that a prompt's templates use."""
    from jinja2 import Environment, TemplateSyntaxError, nodes

    parser = Environment(autoescape=True)  # parses and renders nothing
    used: set[str] = set()
    for part in ("system", "user"):
        try:
            names = parser.parse(getattr(prompt.file, part)).find_all(nodes.Name)
        except TemplateSyntaxError as error:
            raise prompt.source.error((part,), f"{part}: {error.message}", error.lineno) from error
        used |= {name.name for name in names if name.ctx == "load"}
    return frozenset(used)
