"""Starts pytest for suites alone: nothing of the user's own pytest set-up is read, nothing but suites is collected."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmtask.errors import ExitCode, ProjectError, UsageError
from llmtask.project import Project, shown
from llmtask.store import make_folder
from llmtask.testing import plugin
from llmtask.testing.nodes import CaseNode
from llmtask.testing.plugin import SUFFIX
from llmtask.testing.run import Outcome, counts
from llmtask.testing.runner import Runner
from llmtask.testing.store import store_path

_FOLDER = "tests"
_NOT_OURS = frozenset({"node_modules", "site-packages", "venv"})  # folders of other people's suites
# What it would do beside: the last two would speak up for an interrupt that comes in a destructor.
_UNWANTED = ("doctest", "unittest", "faulthandler", "logging", "warnings", "unraisableexception", "threadexception")
# What a user's environment would add to pytest.
_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


def launch(project: Project, paths: Sequence[str], arguments: Sequence[str], runner: Runner) -> int:
    """Run suites.

    Args:
        project: Their project.
        paths: Suite files, folders of them, or `file::item`; the project's tests/ where there are none.
        arguments: Of pytest's own, such as `-k`.
        runner: Who runs them.

    Returns:
        pytest's exit code.

    Raises:
        UsageError: There is no suite.
    """
    suites = [*_suites(project, paths)]
    folder = (runner.settings.results or store_path(project)).absolute().parent
    ini = folder / "pytest.ini"
    try:
        make_folder(folder)
        ini.write_text("[pytest]\n", encoding="utf-8")
    except OSError as error:
        message = f"{shown(folder)}: cannot be written ({error.strerror}); name a file elsewhere with --results"
        raise ProjectError(message) from error
    own = ["-c", str(ini), "--rootdir", str(project.root), "-o", f"cache_dir={folder / 'pytest'}", "--noconftest"]
    own += ["--capture=no", "--assert=plain", *(word for name in _UNWANTED for word in ("-p", f"no:{name}"))]
    with _without_the_users():
        return int(pytest.main([*own, *arguments, *suites], [plugin, _Quiet(), runner]))


class _Quiet:
    """Takes pytest's own terminal away, and its long way through an item: nothing here has fixtures or output."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Report an item."""
        if not isinstance(item, CaseNode):
            return None
        for report in item.reports():
            item.ihook.pytest_runtest_logreport(report=report)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Take it away, when its options are there."""
        config.pluginmanager.unregister(name="terminalreporter")


def verdict(runner: Runner, code: int) -> ExitCode:
    """The exit code of a run of suites: failures before all else, then what was not asked, then missing answers.

    Args:
        runner: Who ran them.
        code: pytest's exit code.

    Raises:
        LlmtaskError: What kept the suites from being run, or a usage error where nothing was chosen.
        Exception: A bug ended them.
        KeyboardInterrupt: They were broken off.
    """
    for error in (*runner.errors, *runner.bugs):
        raise error
    if runner.is_interrupted:
        raise KeyboardInterrupt
    if code == pytest.ExitCode.NO_TESTS_COLLECTED and not runner.chosen:
        message = "nothing was chosen; `llmtask test --dry-run` lists what there is"
        raise UsageError(message)
    if code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):  # pytest has said it itself
        return ExitCode.BUG if code == pytest.ExitCode.INTERNAL_ERROR else ExitCode.USAGE
    found = counts(item for run in runner.runs for item in run.items)
    codes = {
        Outcome.FAILED: ExitCode.FAILED,
        Outcome.CAPPED: ExitCode.CAPPED,
        Outcome.ERROR: ExitCode.PROVIDER,
        Outcome.SKIPPED: ExitCode.PROVIDER,
    }
    is_whole = found.total() == len(runner.chosen)  # else it was stopped, and nothing that came of it is bad
    otherwise = ExitCode.DONE if is_whole else ExitCode.PROVIDER
    return next((exit_code for outcome, exit_code in codes.items() if found[outcome]), otherwise)


def _suites(project: Project, paths: Sequence[str]) -> Iterator[str]:
    """The suite files that paths stand for."""
    found = False
    for name in paths or [str(project.root / _FOLDER)]:
        file, mark, item = name.partition("::")
        path = Path(file).expanduser().absolute()
        if path.is_file() and path.name.endswith(SUFFIX):
            found = True
            yield f"{path}{mark}{item}"
        elif path.is_dir():
            for suite in sorted(path.rglob(f"*{SUFFIX}")):
                if not any(part in _NOT_OURS or part.startswith(".") for part in suite.relative_to(path).parts):
                    found = True
                    yield str(suite)
        elif paths:
            problem = f"is no suite: their names end in {SUFFIX}" if path.exists() else "is not there"
            message = f"{name!r} {problem}"
            raise UsageError(message)
    if not found:
        place = " ".join(paths) or shown(project.root / _FOLDER)
        message = f"no suite in {place}: write one, such as tests/match{SUFFIX} (docs/testing.md shows how)"
        raise UsageError(message)


@contextmanager
def _without_the_users() -> Iterator[None]:
    """Keep the environment's own plugins and options out of this run of pytest."""
    before = {name: os.environ.pop(name, None) for name in _VARIABLES}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update({name: value for name, value in before.items() if value is not None})
