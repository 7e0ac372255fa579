"""What `--input` and `--var` give: text and images per variable of the prompt."""

import sys
from dataclasses import dataclass, field

from llmtask.documents import Image, Text, read_document
from llmtask.errors import UsageError
from llmtask.project import Project
from llmtask.prompts import PromptFile, load_prompt


@dataclass
class Given:
    """The documents of a run."""

    texts: dict[str, str] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    encodings: dict[str, str] = field(default_factory=dict)
    """What was read in another encoding than UTF-8: encoding by variable."""

    def take(self, name: str, document: Text | Image) -> None:
        """Keep a document.

        Raises:
            UsageError: The variable has one already.
        """
        if name in self.texts or any(image.name == name for image in self.images):
            message = f"{name!r} is given twice; give it once"
            raise UsageError(message)
        if isinstance(document, Image):
            self.images.append(document)
            return
        self.texts[name] = document.text
        if document.encoding != "utf-8":
            self.encodings[name] = document.encoding


def gather(project: Project, task: str, locale: str | None, inputs: list[str], variables: list[str]) -> Given:
    """Read everything that was given.

    Args:
        project: The project.
        task: The task; its prompt says which variable a bare input fills.
        locale: The prompt's locale; None for the config's default.
        inputs: `[NAME=]PATH` or `-`, each.
        variables: `NAME=VALUE`, each.

    Raises:
        UsageError: Something cannot be read, or is given twice.
    """
    prompt = load_prompt(project, task, locale or project.config.defaults.locale).file
    given = Given()
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals:
            message = f"--var {variable!r} is not of the form NAME=VALUE"
            raise UsageError(message)
        given.take(name, Text(value, "utf-8"))
    named = [_named(one, prompt) for one in inputs] or _piped(prompt, given)
    if [path for _, path in named].count("-") > 1:
        message = "standard input can fill one variable only; name files for the others"
        raise UsageError(message)
    for name, path in named:
        given.take(name, read_document(name, path))
    return given


def _named(argument: str, prompt: PromptFile) -> tuple[str, str]:
    """The variable and the path of an `--input`; a name before `=` counts where it is a variable's."""
    name, equals, path = argument.partition("=")
    if equals and (name in prompt.variables or name.isidentifier()):
        return name, path
    if prompt.default_input is None:
        message = f"this task takes no --input; {argument!r} has nowhere to go"
        raise UsageError(message)
    return prompt.default_input, argument


def _piped(prompt: PromptFile, given: Given) -> list[tuple[str, str]]:
    """Standard input for the default variable, where nothing else fills it and somebody pipes."""
    name = prompt.default_input
    wanted = name is not None and name not in given.texts and prompt.variables[name].required
    if not wanted or sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return []
    return [(str(name), "-")]
