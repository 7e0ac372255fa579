"""A suite as pytest sees it: a file, and an item per case, model, locale and version of the prompt.

No answer is an ERROR (in `setup`), a bad answer is a FAILURE (in `runtest`): in the terminal, in JUnit, under `--lf`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from llmtask.errors import LlmtaskError
from llmtask.testing.items import Item, items_of
from llmtask.testing.run import ItemKey, ItemResult, Outcome
from llmtask.testing.runner import Runner, runner_of
from llmtask.testing.suite import load_suite
from llmtask.testing.words import failure_text, properties

# Marks that mean something to pytest: a tag of such a name is no mark.
_PYTESTS = frozenset({"skip", "skipif", "xfail", "usefixtures", "parametrize", "filterwarnings"})


class NoAnswerError(Exception):
    """An item has no answer."""


class BadAnswerError(Exception):
    """An item's answers are bad."""


class SuiteNode(pytest.File):
    """A suite file."""

    def collect(self) -> Iterator["CaseNode"]:
        """Give the suite's items, as far as they are selected.

        Raises:
            CollectError: The suite cannot be run as it is.
        """
        if os.environ.get("PYTEST_XDIST_WORKER"):
            message = "suites make many calls at once by themselves: leave -n out, and say --llm-concurrency"
            raise self.CollectError(message)
        runner = runner_of(self.config)
        try:
            project = runner.project_of(self.path)
            for item in items_of(project, [load_suite(project, self.path)], runner.settings.selection):
                yield CaseNode.from_parent(self, item=item, runner=runner, root=project.root)
        except LlmtaskError as error:
            runner.errors.append(error)
            raise self.CollectError(str(error)) from error
        except Exception as error:
            runner.bugs.append(error)
            raise


class CaseNode(pytest.Item):
    """A case for one model, in one locale, with one version of the prompt."""

    result: ItemResult | None = None

    def __init__(self, *, item: Item, runner: Runner, root: Path, **arguments: Any) -> None:
        """Take the item."""
        super().__init__(_fit(item.key.name), **arguments)
        self.item, self.runner, self.root = item, runner, root
        marks = ["llm", item.suite.task, item.key.locale, item.key.model_id, *item.case.file.tags]
        for mark in dict.fromkeys(mark for mark in marks if mark not in _PYTESTS and not mark.startswith("_")):
            runner.declare(self.config, mark)
            self.add_marker(mark)

    @property
    def key(self) -> ItemKey:
        """Which item it is."""
        return self.item.key

    def reports(self) -> Iterator[pytest.TestReport]:
        """What pytest would report of it, without its machinery: that takes longer than the rest of an item's way."""
        when: Literal["setup", "call"] = "setup"
        try:
            self.setup()
            when = "call"
            self.runtest()
            yield self._report(when, "passed", None)
        except pytest.skip.Exception as skipped:
            yield self._report(when, "skipped", (str(self.path), 0, f"Skipped: {skipped.msg}"))
        except (NoAnswerError, BadAnswerError, LlmtaskError) as error:
            yield self._report(when, "failed", str(error))
        yield self._report("teardown", "passed", None)

    def _report(
        self,
        when: Literal["setup", "call", "teardown"],
        outcome: Literal["passed", "failed", "skipped"],
        why: Any,
    ) -> pytest.TestReport:
        return pytest.TestReport(
            self.nodeid, self.location, {}, outcome, why, when, user_properties=self.user_properties
        )

    def setup(self) -> None:
        """Wait for the answers.

        Raises:
            NoAnswerError: There are none.
        """
        self.result = result = self.runner.result(self)
        self.user_properties += properties(result)
        if result.outcome is Outcome.ERROR:
            raise NoAnswerError(failure_text(result))
        if result.outcome in (Outcome.CAPPED, Outcome.SKIPPED):
            pytest.skip(f"{result.outcome.value}: {failure_text(result)}")

    def runtest(self) -> None:
        """Say what is wrong with them.

        Raises:
            BadAnswerError: A check failed, or they do not fit the schema.
        """
        if self.result is not None and self.result.outcome is Outcome.FAILED:
            raise BadAnswerError(failure_text(self.result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what people need, without a traceback."""
        if isinstance(excinfo.value, NoAnswerError | BadAnswerError | LlmtaskError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where it stands."""
        return self.path, 0, self.name


def _fit(name: str) -> str:
    """A name without what pytest reads as its own: `--lf` would run everything again."""
    return name.replace("::", ":").replace("[", "(").replace("]", ")")
