"""The pytest plugin: `pytest` alone runs suites. Loaded in every run of pytest, it is idle until it sees one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

SUFFIX = ".llm.yaml"

# Of `llmtask test`, the options that pytest has not got itself: name -> what add_argument takes.
_OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"action": "append", "metavar": "ID", "help": "Ask this model instead of the suites' own. Repeatable."},
    "locale": {"action": "append", "metavar": "LOCALE", "help": "Only cases in this locale. Repeatable."},
    "task": {"action": "append", "metavar": "TASK", "help": "Only suites of this task. Repeatable."},
    "prompt": {
        "action": "append",
        "metavar": "VERSION",
        "help": "This version of the prompt instead of the suites' own.",
    },
    "repeat": {"type": int, "metavar": "N", "help": "Ask each case so often."},
    "concurrency": {
        "type": int,
        "metavar": "N",
        "help": "The most calls of one model at once; its queue's where that is less.",
    },
    "max-cost": {"metavar": "AMOUNT", "help": "Ask no more once so much is spent: 2.00, 2.00CNY or 0.30USD."},
    "record": {"type": Path, "metavar": "DIR", "help": "Write cassettes."},
    "replay": {"type": Path, "metavar": "DIR", "help": "Play cassettes; a miss is an error."},
    "cache": {"action": "store_true", "help": "Take answers of earlier runs where the very same was asked."},
    "fresh": {"action": "store_true", "help": "Begin anew, though the last run of the same items was broken off."},
    "name": {"metavar": "NAME", "help": "What to call the run."},
    "report": {"type": Path, "metavar": "FILE", "help": "Write an HTML page."},
    "json": {"type": Path, "metavar": "FILE", "help": "Write the run document."},
    "markdown": {"type": Path, "metavar": "FILE", "help": "Write Markdown for a pull request."},
    "baseline": {"metavar": "RUN", "help": "A run to compare with in the reports: id, name, latest, or a JSON file."},
    "project": {
        "metavar": "DIR",
        "help": "Project folder; the nearest config.yaml above a suite where it is left out.",
    },
    "db": {"metavar": "FILE|URL", "help": "Usage log: a file, or postgresql://..."},
}


def pytest_addoption(parser: "pytest.Parser") -> None:
    """Add what `llmtask test` has, under names that are ours."""
    group = parser.getgroup("llmtask", "suites of LLM tasks (*.llm.yaml)")
    for name, arguments in _OPTIONS.items():
        group.addoption(f"--llm-{name}", dest=f"llm_{name.replace('-', '_')}", **arguments)


def pytest_configure(config: "pytest.Config") -> None:
    """Make the mark known that every item of a suite has."""
    config.addinivalue_line("markers", "llm: an item of a suite (*.llm.yaml): asks a model, unless it is replayed")


def pytest_collect_file(file_path: Path, parent: "pytest.Collector") -> "pytest.Collector | None":
    """Collect a suite."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from llmtask.testing.nodes import SuiteNode  # brings pydantic and the rest, only where there is a suite

    return SuiteNode.from_parent(parent, path=file_path)
