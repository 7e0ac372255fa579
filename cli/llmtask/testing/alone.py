"""What suites have in `pytest` alone: options under `--llm-`, a few lines at the end, the files that were asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from llmtask.errors import LlmtaskError, UsageError
from llmtask.project import load_project
from llmtask.testing.items import Selection
from llmtask.testing.outputs import Outputs, found_run
from llmtask.testing.run import Outcome, Run, counts
from llmtask.testing.runner import Runner, Settings
from llmtask.testing.session import Options
from llmtask.usage import UsageLog

if TYPE_CHECKING:
    from llmtask.testing.nodes import CaseNode

_CAPPED = 8  # the exit code of `llmtask test` for it: that cases were not asked is no success


class Alone(Runner):
    """The runner of suites that pytest came across."""

    outputs = Outputs()
    _before: Run | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> "Alone":
        """The runner that pytest's options ask for.

        Raises:
            UsageError: They rule each other out.
        """

        def given(name: str) -> Any:
            return config.getoption(f"llm_{name}")

        def many(name: str) -> tuple[str, ...]:
            return tuple(given(name) or ())

        try:
            repeats = given("repeat")
            if repeats is not None and repeats < 1:
                message = f"--llm-repeat {repeats}: say 1 or more"
                raise UsageError(message)
            selection = Selection(many("model"), many("locale"), many("task"), many("prompt"), repeats)
            options = Options(
                record=given("record"),
                replay=_from(config.rootpath, given("replay")),
                caches=given("cache"),
                fresh=given("fresh"),
                concurrency=given("concurrency"),
                name=given("name"),
            )
            project = load_project(given("project")) if given("project") else None
        except LlmtaskError as error:
            raise pytest.UsageError(str(error)) from error
        log, names_log = UsageLog(given("db")), given("db") is not None
        found = cls(Settings(selection, options, given("max_cost"), project, log=log, names_log=names_log))
        found.outputs = Outputs(given("report"), given("json"), given("markdown"), given("baseline"))
        return found

    def _open(self, nodes: "list[CaseNode]", most_failures: int | None) -> None:
        self.outputs.check()
        self._before = self.outputs.before(self.project_of(nodes[0].path))
        super()._open(nodes, most_failures)

    def refuse(self, error: LlmtaskError) -> NoReturn:
        """End pytest in its own words.

        Raises:
            UsageError: Always.
        """
        raise pytest.UsageError(str(error)) from error

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let a run that did not ask everything be no success."""
        items = [item for run in self.runs for item in run.items]
        if counts(items)[Outcome.CAPPED] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = _CAPPED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what came of the suites, and write the files that were asked for."""
        for run in self.runs:
            terminalreporter.write_line(_line(run))
        for line in (*self.notes, *self._written()):
            terminalreporter.write_line(line)

    def _written(self) -> Sequence[str]:
        try:
            if not self.outputs.is_any or not self.runs:
                return []
            project = next(iter(self.sessions.values())).project  # files have one name: they hold the first project
            run = found_run(self.runs[0].id, project)
            written = self.outputs.write(run, project, self.outputs.compared(run, self._before))
            return [f"wrote {path}" for path in written]
        except LlmtaskError as error:
            return [f"llmtask: {error}"]


def _line(run: Run) -> str:
    """What came of a run: `llmtask run 20261124-205901-3fa2: 46 passed, 2 failed, 1 error; paid 0.42 CNY`."""
    found = ", ".join(f"{count} {outcome.value}" for outcome, count in counts(run.items).items() if count)
    paid = " + ".join(f"{cost.amount.normalize():f} {cost.currency}" for cost in run.paid if cost.nanos) or "nothing"
    return f"llmtask run {run.id}: {found or 'nothing was asked'}; paid {paid}"


def _from(root: Path, folder: Path | None) -> Path | None:
    """A folder named in pytest's configuration, wherever pytest is started below it."""
    return folder if folder is None or folder.is_absolute() or folder.is_dir() else root / folder
