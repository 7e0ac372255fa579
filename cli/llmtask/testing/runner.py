"""Runs what pytest has collected of suites: the answers come in the background, pytest's items wait for their own."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from llmtask.errors import LlmtaskError
from llmtask.project import CONFIG, Project, load_project
from llmtask.service import read_most
from llmtask.testing.items import Item, Selection
from llmtask.testing.run import ItemKey, ItemResult, Run
from llmtask.testing.session import Options, Session
from llmtask.testing.store import Store, store_path
from llmtask.usage import UsageLog, place_of

if TYPE_CHECKING:
    from llmtask.testing.nodes import CaseNode


@dataclass(frozen=True)
class Settings:
    """What somebody asked for."""

    selection: Selection = field(default_factory=Selection)
    options: Options = field(default_factory=Options)
    max_cost: str | None = None
    """An amount, with its currency or without: 2.00, 2.00CNY."""
    project: Project | None = None
    """The project of every suite; the nearest config.yaml above each where it is left out."""
    results: Path | None = None
    """Where results are kept; in the project where it is left out."""
    log: UsageLog | None = field(default_factory=UsageLog)
    names_log: bool = True
    """Whether the log was asked for; a project's config may name another where it was not."""


class Runner:
    """A run of pytest's items: a pytest plugin, registered when the first suite is seen."""

    def __init__(
        self,
        settings: Settings,
        begun: Callable[[Session], None] = lambda _: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what was asked for, and whom to tell of each session before it asks anything, and of the end."""
        self.settings = settings
        self.errors: list[LlmtaskError] = []
        """What kept suites from being run, or from being run to the end."""
        self.bugs: list[BaseException] = []
        """What ended them that should not be."""
        self.is_interrupted = False
        self.sessions: dict[Path, Session] = {}
        self.runs: list[Run] = []
        """The records, when all is over."""
        self.chosen: list[Item] = []
        """What is asked."""
        self.notes: list[str] = []
        """What is worth saying of how it went."""
        self._begun, self._ended = begun, ended
        self._projects: dict[Path, Project] = {}
        self._stores: list[Store] = []

    def project_of(self, suite: Path) -> Project:
        """The project that a suite belongs to.

        Raises:
            LlmtaskError: A file of it is wrong.
        """
        if self.settings.project is not None:
            return self.settings.project
        folder = next((folder for folder in suite.parents if (folder / CONFIG).is_file()), None)
        if folder not in self._projects:
            project = load_project(folder)
            self._projects[folder or project.root] = project
        return self._projects[folder] if folder else load_project()

    def declare(self, config: pytest.Config, mark: str) -> None:
        """Make a mark known: pytest may be strict about them."""
        known = config.stash.setdefault(_MARKS, set())
        if mark not in known:
            known.add(mark)
            config.addinivalue_line("markers", f"{mark}: of a suite")

    def result(self, node: "CaseNode") -> ItemResult:
        """What came of an item; waits for it.

        Raises:
            LlmtaskError: The run could not go on.
        """
        return self.sessions[node.root].result(node.key)

    def pytest_keyboard_interrupt(self) -> None:
        """Remember that somebody broke it off."""
        self.is_interrupted = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Ask the case too that a selected one is compared with."""
        nodes = _nodes(session)
        chosen = {(node.root, node.key) for node in nodes}
        for node in nodes:
            base = node.item.base
            if base is not None and (node.root, base) not in chosen:
                chosen.add((node.root, base))
                session.items.insert(session.items.index(node), _sibling(node, base))
        self.chosen = [node.item for node in _nodes(session)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Let the answers come while pytest goes through its items."""
        nodes = _nodes(session)
        only_shows = session.config.getoption("setupplan", False) or session.config.getoption("setuponly", False)
        if (
            not nodes
            or only_shows
            or session.config.option.collectonly
            or (session.testsfailed and not _goes_on(session))
        ):
            return (yield)
        try:
            self._start(nodes, session.config.getoption("maxfail") or None)
            return (yield)
        except BaseException:
            for one in self.sessions.values():
                one.cancel()
            raise
        finally:
            self._close()

    def refuse(self, error: LlmtaskError) -> NoReturn:
        """End pytest, without a word: whoever has started it says why.

        Raises:
            Exit: Always.
        """
        self.errors.append(error)
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)

    def _start(self, nodes: "list[CaseNode]", most_failures: int | None) -> None:
        """Begin to ask; end pytest where something cannot be asked."""
        try:
            self._open(nodes, most_failures)
            for one in self.sessions.values():
                self._begun(one)
        except LlmtaskError as error:
            self.refuse(error)
        for one in self.sessions.values():
            one.start()

    def _open(self, nodes: "list[CaseNode]", most_failures: int | None) -> None:
        for root in dict.fromkeys(node.root for node in nodes):
            own = [node for node in nodes if node.root == root]
            project = self.project_of(own[0].path)
            items = [node.item for node in own]
            said = self.settings.max_cost
            max_cost = read_most(said, project, {item.key.model_id for item in items}) if said else None
            options = replace(self.settings.options, most_failures=most_failures, max_cost=max_cost)
            store = Store(self.settings.results or store_path(project))
            self._stores.append(store)
            self.sessions[root] = Session(project, items, options, store=store, log=self._log_of(project))

    def _log_of(self, project: Project) -> UsageLog | None:
        named = None if self.settings.names_log else place_of(project)
        return UsageLog(named) if named else self.settings.log

    def _close(self) -> None:
        """Take the records, and close what is open."""
        self.runs = [one.finish() for one in self.sessions.values()]
        self.notes = [note for one in self.sessions.values() for note in one.engine.notes]
        for error in filter(None, (one.error for one in self.sessions.values())):
            (self.errors if isinstance(error, LlmtaskError) else self.bugs).append(error)  # type: ignore[arg-type]
        self._ended()
        for store in self._stores:
            store.close()
        self._stores.clear()


def _nodes(session: pytest.Session) -> "list[CaseNode]":
    """Our own among the items, but for those that somebody marked to be skipped."""
    own = [item for item in session.items if isinstance(getattr(item, "item", None), Item)]
    return cast("list[CaseNode]", [item for item in own if item.get_closest_marker("skip") is None])


def _goes_on(session: pytest.Session) -> bool:
    return bool(session.config.option.continue_on_collection_errors)


def _sibling(node: "CaseNode", key: ItemKey) -> "CaseNode":
    """The item of the same suite under another key."""
    case = next(case for case in node.item.suite.cases if case.file.name == key.case)
    item = replace(node.item, case=case, key=key)
    parent = cast("pytest.Collector", node.parent)
    return type(node).from_parent(parent, item=item, runner=node.runner, root=node.root)


_MARKS = pytest.StashKey[set[str]]()
_RUNNER = "llmtask-runner"


def runner_of(config: pytest.Config) -> Runner:
    """The runner of a pytest run; made from its options where nobody has registered one."""
    found = next((one for one in config.pluginmanager.get_plugins() if isinstance(one, Runner)), None)
    if found is None:
        from llmtask.testing.alone import Alone  # what `llmtask test` does without: options, summary, files

        found = Alone.of(config)
        config.pluginmanager.register(found, _RUNNER)
    return found
