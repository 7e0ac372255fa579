"""Prompt templates per locale: reads them, renders them, composes the messages of a call."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field, model_validator

from llmtask.errors import ProjectError, UsageError, did_you_mean
from llmtask.project import Project, Strict, YamlFile, read_yaml, shown

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

LOCALE_FILE = "_locale.yaml"

_instructions: dict[tuple[str, str], str] = {}
"""Rendered instructions, by template and schema: a project has few, and thousands of runs share them."""
_BOUNDARY = "document boundary"  # in a template's context, under a name that no variable can have
_FileModel = TypeVar("_FileModel", bound=BaseModel)


class Variable(Strict):
    """A variable of a prompt template."""

    description: str
    """What it holds, for people."""
    required: bool = True
    """Whether a run needs it; one that is not required and not given is the empty string."""
    input: bool = False
    """Whether a bare `--input` fills it; true for at most one."""


class PromptFile(Strict):
    """A prompt template: prompts/<locale>/<task>.yaml."""

    description: str
    """What the task gives, in one sentence."""
    variables: dict[str, Variable] = Field(default_factory=dict)
    """The variables that the templates may use."""
    system: str = Field(min_length=1)
    """Jinja2 template of the system message."""
    user: str = Field(min_length=1)
    """Jinja2 template of the user message. `{{ resume | document("resume") }}` fences a document off as data."""

    @model_validator(mode="after")
    def _one_input(self) -> "PromptFile":
        inputs = [name for name, variable in self.variables.items() if variable.input]
        if len(inputs) > 1:
            message = f"only one variable can have `input: true`, these have it: {', '.join(inputs)}"
            raise ValueError(message)
        return self

    @property
    def default_input(self) -> str | None:
        """The variable that a bare `--input` fills."""
        marked = [name for name, variable in self.variables.items() if variable.input]
        return marked[0] if marked else next(iter(self.variables), None)


class LocaleFile(Strict):
    """What a locale says around every task: prompts/<locale>/_locale.yaml."""

    language: str
    """The language's name in that language."""
    untrusted: str
    """Ends every system message: documents are data, and what language to answer in."""
    json_answer: str
    """Jinja2, {{ schema }} and {{ example }}: how to answer in JSON."""
    tool_answer: str
    """Jinja2, {{ tool }}: how to answer by a tool call."""
    invalid_answer: str
    """Jinja2, {{ errors }}: asks again after an answer that does not fit."""
    image: str
    """Jinja2, {{ name }}: stands in the text for a document that is attached as an image."""


@dataclass(frozen=True)
class Prompt:
    """The templates of a task in a locale, ready to be rendered."""

    task: str
    locale: str
    file: PromptFile
    locale_file: LocaleFile
    source: YamlFile

    @property
    def hash(self) -> str:
        """12 hex digits that change with every change of the templates: the prompt's version in the usage log."""
        return _version(self.file.system, self.file.user, *self.locale_file.model_dump().values())

    def render(self, values: Mapping[str, str], images: frozenset[str] = frozenset()) -> tuple[str, str]:
        """The system and the user message.

        Args:
            values: Text per variable. It is data: it is never rendered itself.
            images: The variables whose document is attached as an image.

        Raises:
            UsageError: A required variable is missing, or one is given that the prompt does not have.
            ProjectError: A template is wrong.
        """
        given = self._checked(values, images)
        boundary = _digest(*(f"{name}={text}" for name, text in sorted(given.items())))[:16]
        placeholders = {name: self._render(self.locale_file.image, "image", {"name": name}) for name in images}

        variables = {**given, **placeholders, _BOUNDARY: boundary}
        system = self._render(self.file.system, "system", variables)
        user = self._render(self.file.user, "user", variables)
        return f"{system.strip()}\n\n{self.locale_file.untrusted.strip()}", user.strip()

    def json_instruction(self, schema: str, example: str) -> str:
        """How to answer in JSON that fits a schema."""
        known = _instructions.get((self.locale_file.json_answer, schema))
        if known is None:
            values = {"schema": schema, "example": example}
            known = self._render(self.locale_file.json_answer, "json_answer", values).strip()
            _instructions[self.locale_file.json_answer, schema] = known
        return known

    def tool_instruction(self, tool: str) -> str:
        """How to answer by calling a tool."""
        return self._render(self.locale_file.tool_answer, "tool_answer", {"tool": tool}).strip()

    def reask(self, problems: tuple[str, ...]) -> str:
        """Asks again after an answer that does not fit."""
        errors = "\n".join(f"- {problem}" for problem in problems)
        return self._render(self.locale_file.invalid_answer, "invalid_answer", {"errors": errors}).strip()

    def _checked(self, values: Mapping[str, str], images: frozenset[str]) -> dict[str, str]:
        known = self.file.variables
        for name in [*values, *images]:
            if name not in known:
                message = f"task {self.task!r} has no variable {name!r}{did_you_mean(name, known)}"
                raise UsageError(message)
        missing = [
            name
            for name, one in known.items()
            if one.required and name not in images and not values.get(name, "").strip()
        ]
        if missing:
            message = (
                f"task {self.task!r} needs {missing[0]!r} ({known[missing[0]].description}); "
                f"give --input {missing[0]}=FILE or --var {missing[0]}=TEXT"
            )
            raise UsageError(message)
        return {name: values.get(name, "") for name in known if name not in images}

    def _render(self, template: str, part: str, values: Mapping[str, str]) -> str:
        import jinja2  # 60 ms that commands without a prompt save

        try:
            return str(_compiled(template).render(values))
        except jinja2.TemplateError as error:
            what = f"{part}: {error.message or type(error).__name__}"
            raise self.source.error((part,), what, getattr(error, "lineno", None)) from error
        except Exception as error:  # a template may fail in any way Python can
            raise self.source.error((part,), f"{part}: {error}") from error


def load_prompt(project: Project, task: str, locale: str, version: str | None = None) -> Prompt:
    """The prompt of a task in a locale.

    Args:
        project: The project.
        task: The task or an alias.
        locale: The locale.
        version: A draft beside the prompt that is in use: `v2` is prompts/<locale>/<task>@v2.yaml.

    Raises:
        UsageError: The task or the locale is unknown, or the task has no prompt in that locale.
        ProjectError: A file of it is wrong.
    """
    task = project.task_id(task)
    if locale not in project.locales:
        message = f"unknown locale {locale!r}{did_you_mean(locale, project.locales)}"
        raise UsageError(message)
    name = f"{task}@{version}" if version else task
    path = project.find("prompts", f"{locale}/{name}.yaml")
    if path is None:
        what = f"no prompt {version!r}" if version else "no prompt"
        message = (
            f"task {task!r} has {what} in locale {locale!r}; add {shown(project.root)}/prompts/{locale}/{name}.yaml"
        )
        raise UsageError(message)
    file, source = _read(path, PromptFile)
    return Prompt(task, locale, file, _load_locale(project, locale), source)


def _load_locale(project: Project, locale: str) -> LocaleFile:
    path = project.find("prompts", f"{locale}/{LOCALE_FILE}")
    if path is None:
        message = (
            f"locale {locale!r} has no prompts/{locale}/{LOCALE_FILE}; copy the one of another locale and translate it"
        )
        raise ProjectError(message)
    return _read(path, LocaleFile)[0]


def _read(path: Path, model: type[_FileModel]) -> tuple[_FileModel, YamlFile]:
    """A file's content, parsed again only where it has changed: thousands of runs share a prompt."""
    try:
        stat = path.stat()
    except OSError:
        return _parsed(path, 0, 0, model)
    return _parsed(path, stat.st_mtime_ns, stat.st_size, model)


@lru_cache(maxsize=256)
def _parsed(path: Path, _changed_ns: int, _size: int, model: type[_FileModel]) -> tuple[_FileModel, YamlFile]:
    source = read_yaml(path)
    return source.validate_as(model), source


def lint(project: Project) -> list[str]:
    """Everything that is wrong with the project's prompts, a sentence each; empty when all is well."""
    problems: list[str] = []
    default = project.config.defaults.locale
    if default not in project.locales:
        known = did_you_mean(default, project.locales)
        problems.append(f"config.yaml: defaults.locale is {default!r}, which has no prompts{known}")
    for task in project.config.tasks:
        prompts = [
            prompt
            for locale in project.locales
            for version in (None, *versions(project, task, locale))
            if (prompt := _try_load(project, task, locale, version, problems))
        ]
        for prompt in prompts:
            problems += _template_problems(prompt)
        problems += _differences(prompts)
    return problems + _strays(project)


def versions(project: Project, task: str, locale: str) -> list[str]:
    """The drafts of a task's prompt in a locale, sorted."""
    folders = project.folders("prompts")
    files = (file for folder in folders for file in (folder / locale).glob(f"{task}@*.yaml"))
    return sorted({file.stem.partition("@")[2] for file in files})


def _try_load(project: Project, task: str, locale: str, version: str | None, problems: list[str]) -> Prompt | None:
    try:
        return load_prompt(project, task, locale, version)
    except (ProjectError, UsageError) as error:
        problems.append(str(error))
        return None


def _template_problems(prompt: Prompt) -> list[str]:
    """Variables that a template uses and does not declare, or declares and does not use; templates that don't parse."""
    from jinja2 import TemplateSyntaxError, meta

    used: set[str] = set()
    for part in ("system", "user"):
        try:
            used |= meta.find_undeclared_variables(_environment().parse(getattr(prompt.file, part)))
        except TemplateSyntaxError as error:
            return [str(prompt.source.error((part,), f"{part}: {error.message}", error.lineno))]
    declared = set(prompt.file.variables)
    undeclared = [f"variable {name!r} is used and not declared" for name in sorted(used - declared)]
    unused = [f"variable {name!r} is declared and not used" for name in sorted(declared - used)]
    return [str(prompt.source.error(("variables",), text)) for text in undeclared + unused]


def _differences(prompts: list[Prompt]) -> list[str]:
    """Where the locales of one task declare different variables."""
    if not prompts:
        return []
    first, *others = prompts
    problems = []
    for other in others:
        for name in sorted(set(first.file.variables) | set(other.file.variables)):
            mine, theirs = (_signature(one.file.variables.get(name)) for one in (first, other))
            if mine != theirs:
                text = f"variable {name!r} is {theirs} here and {mine} in {shown(first.source.path)}"
                problems.append(str(other.source.error(("variables", name), text)))
    return problems


def _signature(variable: Variable | None) -> str:
    if variable is None:
        return "not declared"
    return ("required" if variable.required else "optional") + (" input" if variable.input else "")


def _strays(project: Project) -> list[str]:
    """Prompt files that no task owns."""
    problems = []
    own = project.root / "prompts"  # the starter's need no task in a project that removed it
    for path in sorted(own.glob("*/*.yaml")):
        task = path.stem.partition("@")[0]
        if path.name != LOCALE_FILE and task not in project.config.tasks:
            known = did_you_mean(task, project.config.tasks)
            problems.append(f"{shown(path)}: no task {task!r} under `tasks:` in config.yaml{known}")
    return problems


@lru_cache(maxsize=256)
def _compiled(template: str) -> Any:
    """A template, compiled once."""
    return _environment().from_string(template)


@cache
def _environment() -> "SandboxedEnvironment":
    """Jinja2 with nothing to reach for, and an error for every variable that is not there."""
    from jinja2 import StrictUndefined, pass_context
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    @pass_context
    def document(context: Any, text: str, label: str) -> str:
        boundary = context[_BOUNDARY]
        return f'<document name="{label}" id="{boundary}">\n{text}\n</document id="{boundary}">'

    environment: Any = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )  # prompts are not HTML
    environment.filters["document"] = document
    environment.globals.clear()
    return environment  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def _version(*templates: str) -> str:
    return _digest(*templates)[:12]


def _digest(*parts: str) -> str:
    """SHA-256 over the parts, each told apart from the next, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
