"""The files that a run leaves: an HTML page, its record as JSON, Markdown; and records, found again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmtask.errors import UsageError
from llmtask.project import Project, shown
from llmtask.testing.run import ItemKey, Outcome, Run, run_from_json
from llmtask.testing.store import Store, store_path

if TYPE_CHECKING:
    from llmtask.testing.compare import Comparison


@dataclass(frozen=True)
class Outputs:
    """The files that are wanted."""

    report: Path | None = None
    """A page for people."""
    json: Path | None = None
    """The run document."""
    markdown: Path | None = None
    """For a pull request."""
    baseline: str | None = None
    """The run that page and Markdown compare with."""

    def check(self) -> None:
        """Refuse, before anything is paid for, what could not be written.

        Raises:
            UsageError: A folder is missing.
        """
        for path in (self.report, self.json, self.markdown):
            if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
                problem = "is a folder" if path.is_dir() else "its folder is missing"
                message = f"{str(path)!r} cannot be written: {problem}"
                raise UsageError(message)

    @property
    def is_any(self) -> bool:
        """Whether a file is wanted."""
        return bool(self.report or self.json or self.markdown)

    def before(self, project: Project, results: Path | None = None) -> Run | None:
        """The run to compare with, looked for before anything is paid; None where there is none.

        Args:
            project: The project.
            results: The file of results, where it is another than the project's.

        Raises:
            UsageError: It is not there.
        """
        return found_run(self.baseline, project, results) if self.baseline else None

    def compared(self, run: Run, baseline: Run | None) -> "Comparison | None":
        """The run against its baseline; None where there is none, or no file shows it.

        Raises:
            UsageError: They have nothing in common.
        """
        if baseline is None or not (self.report or self.markdown):
            return None
        from llmtask.testing.compare import compare  # only for the files that need it

        return compare(baseline, run)

    def write(self, run: Run, project: Project, comparison: "Comparison | None" = None) -> Iterator[str]:
        """Write them; gives the path of each.

        Args:
            run: The run.
            project: Its project: people read its language.
            comparison: The run against another.

        Raises:
            UsageError: A file cannot be written.
        """
        if self.json:
            yield _written(self.json, json.dumps(run.to_json(), indent=1))
        if not (self.report or self.markdown):
            return
        from llmtask.testing.report import html_page, markdown  # only for the files that need it

        language: Literal["zh", "en"] = "zh" if project.config.defaults.locale.startswith("zh") else "en"
        if self.report:
            yield _written(self.report, html_page(run, comparison=comparison, language=language))
        if self.markdown:
            yield _written(self.markdown, markdown(run, comparison=comparison, language=language))


def found_run(name: str, project: Project, results: Path | None = None, before: str | None = None) -> Run:
    """A run's record: a JSON file, or a run of the project's by its id, the beginning of one, its name, or `latest`.

    Args:
        name: What it is called.
        project: Where runs are kept.
        results: The file of results, where it is another than the project's.
        before: A run's id: only older ones count.

    Raises:
        UsageError: There is no such run.
    """
    path = Path(name).expanduser()
    if path.suffix == ".json":
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not JSON"
            message = f"{name!r} cannot be read ({reason}); `llmtask test --json FILE` writes a run document"
            raise UsageError(message) from error
        return run_from_json(document, name)
    results = results or store_path(project)
    if not results.exists():
        message = f"no run {name!r}: there are no results in {shown(results)} yet; `llmtask test` makes some"
        raise UsageError(message)
    store = Store(results)
    try:
        return store.named(name, before)
    finally:
        store.close()


def _written(path: Path, text: str) -> str:
    """Write a file; gives its path."""
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return str(path)
    except OSError as error:
        message = f"{str(path)!r} cannot be written ({error.strerror})"
        raise UsageError(message) from error


def not_passed(project: Project, results: Path | None = None) -> frozenset[ItemKey]:
    """The items of the last run that did not pass.

    Raises:
        UsageError: There is no run, or all of it passed.
    """
    run = found_run("latest", project, results)
    keys = frozenset(item.key for item in run.items if item.outcome is not Outcome.PASSED)
    if not keys:
        message = f"all of the last run, {run.id}, passed"
        raise UsageError(message)
    return keys
