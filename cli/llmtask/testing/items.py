"""What is asked of suites: an item per case, model, locale and version of the prompt."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmtask.project import Project
from llmtask.testing.checks import AnyCheck, UnmovedCheck
from llmtask.testing.run import ItemKey, ItemResult, Sample
from llmtask.testing.suite import Case, Suite


@dataclass(frozen=True)
class Selection:
    """What is asked of suites, where that is not all that they say."""

    models: tuple[str, ...] = ()
    """Asked instead of the suites' own models."""
    locales: tuple[str, ...] = ()
    """Only cases in these."""
    tasks: tuple[str, ...] = ()
    """Only suites of these."""
    prompts: tuple[str, ...] = ()
    """Versions of the prompt instead of the suites' own."""
    repeats: int | None = None
    """Instead of the suites' own."""
    keys: frozenset[ItemKey] | None = None
    """Only these items, of what is left."""


@dataclass(frozen=True)
class Item:
    """A case for one model, in one locale, with one version of the prompt."""

    suite: Suite
    case: Case
    key: ItemKey
    repeats: int

    @property
    def wanted(self) -> int:
        """How many repeats must pass: the suite's share of them."""
        rule, own = self.suite.file.passes, self.suite.file.repeats
        return -(-rule.at_least * self.repeats // own) if rule else self.repeats

    @property
    def checks(self) -> tuple[AnyCheck, ...]:
        """What an answer is checked for."""
        return tuple(check for check in self.case.checks if not check.locales or self.key.locale in check.locales)

    @property
    def base(self) -> ItemKey | None:
        """The item whose answers `unmoved` compares with; None where it is not asked for."""
        name = self.case.file.based_on if any(isinstance(check, UnmovedCheck) for check in self.checks) else None
        key = self.key
        return ItemKey(key.suite, name, key.model_id, key.locale, key.prompt) if name else None

    def result(self, samples: Sequence[Sample] = ()) -> ItemResult:
        """What came of it."""
        tags = tuple(self.case.file.tags)
        return ItemResult(self.key, self.suite.task, self.wanted, tuple(samples), self.case.inputs, tags)


def items_of(project: Project, suites: Iterable[Suite], selection: Selection | None = None) -> Iterator[Item]:
    """Every item of suites: cases by models by locales by versions of the prompt.

    Raises:
        UsageError: The selection names a model, locale or task that there is not.
    """
    selection = selection or Selection()
    for model in selection.models:
        project.model(model)
    tasks = {project.task_id(task) for task in selection.tasks}
    for suite in suites:
        if not tasks or suite.task in tasks:
            for item in _items(project.root, suite, selection):
                if selection.keys is None or item.key in selection.keys:
                    yield item


def _items(root: Path, suite: Suite, selection: Selection) -> Iterator[Item]:
    path = suite.path.relative_to(root).as_posix() if suite.path.is_relative_to(root) else suite.path.as_posix()
    for case in suite.cases:
        for model_id in dict.fromkeys(selection.models or suite.models):
            for locale in case.locales:
                if not selection.locales or locale in selection.locales:
                    for prompt in dict.fromkeys(selection.prompts or suite.file.prompts):
                        key = ItemKey(path, case.file.name, model_id, locale, prompt)
                        yield Item(suite, case, key, selection.repeats or suite.file.repeats)
