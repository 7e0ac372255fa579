"""The results of test runs: one SQLite file in the project, a row per sample as it arrives.

An answered call and what it cost are written together, and a sample in one piece: a process that is killed loses what
was in flight and nothing else. Unlike the usage log it holds content: inputs and answers.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from llmtask.errors import UsageError
from llmtask.money import Cost, Currency
from llmtask.project import Project, shown
from llmtask.store import ProjectStore, now, project_file
from llmtask.testing.run import ItemKey, ItemResult, Run, Sample
from llmtask.testing.tape import Recording, sound
from llmtask.usage import UsageRow

_MOST_AT_ONCE = 500  # items whose inputs are held as JSON
_VERSION = 1
_TABLES = """
CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT, began_at TEXT NOT NULL, ended_at TEXT, likeness TEXT NOT NULL,
  settings TEXT NOT NULL);
CREATE TABLE inputs (digest TEXT PRIMARY KEY, texts TEXT NOT NULL);
CREATE TABLE items (run_id TEXT NOT NULL, position INTEGER NOT NULL, suite TEXT NOT NULL, case_name TEXT NOT NULL,
  model_id TEXT NOT NULL, locale TEXT NOT NULL, prompt TEXT NOT NULL, task TEXT NOT NULL, wanted INTEGER NOT NULL,
  inputs TEXT NOT NULL, tags TEXT NOT NULL, PRIMARY KEY (run_id, suite, case_name, model_id, locale, prompt));
CREATE TABLE samples (run_id TEXT NOT NULL, suite TEXT NOT NULL, case_name TEXT NOT NULL, model_id TEXT NOT NULL,
  locale TEXT NOT NULL, prompt TEXT NOT NULL, repeat INTEGER NOT NULL, outcome TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (run_id, suite, case_name, model_id, locale, prompt, repeat));
CREATE TABLE calls (key TEXT NOT NULL, run_id TEXT NOT NULL, item TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (key, run_id, item));
CREATE TABLE payments (run_id TEXT NOT NULL, row_id TEXT NOT NULL, nanos INTEGER NOT NULL, currency TEXT NOT NULL,
  PRIMARY KEY (run_id, row_id)) WITHOUT ROWID;
"""
_KEY = "suite = ? AND case_name = ? AND model_id = ? AND locale = ? AND prompt = ?"


def store_path(project: Project) -> Path:
    """Where a project's results are: .llmtask/runs.db in its folder; the starter's are in the user's data folder."""
    return project_file(project, "runs.db")


def latest_runs(project: Project, path: Path | None = None, count: int = 20) -> list[Run]:
    """A project's last runs, the newest first, without their items; none where there are no results yet.

    Raises:
        ProjectError: The results cannot be read.
    """
    path = path or store_path(project)
    if not path.exists():
        return []
    store = Store(path)
    try:
        return store.runs(count)
    finally:
        store.close()


class Store(ProjectStore):
    """The results of a project's test runs. Safe to use from several threads, one at a time."""

    def __init__(self, path: Path) -> None:
        """Open it; made where there is none.

        Raises:
            ProjectError: It cannot be opened.
        """
        super().__init__(path, _TABLES, _VERSION, "move it away, or name another with --results")

    def begin(self, run_id: str, likeness: str, settings: Mapping[str, str], name: str | None) -> Run:
        """A new run, owned by this process.

        Args:
            run_id: Its id, as `new_run_id` gives it.
            likeness: Equal for runs that ask the same.
            settings: What it was started with, for people.
            name: What it is called; None for nothing.
        """
        began_at = now()
        self.own(run_id)
        with self.errors_named():
            values = (run_id, name, began_at, likeness, json.dumps(settings))
            self._db.execute("INSERT INTO runs (id, name, began_at, likeness, settings) VALUES (?, ?, ?, ?, ?)", values)
        return Run(run_id, began_at, (), name=name, settings=settings)

    def broken_off(self, likeness: str) -> Run | None:
        """The last run that asked the same, where it was broken off and its process is gone: now it is ours."""
        with self.errors_named():
            found = self._db.execute(
                "SELECT id, ended_at FROM runs WHERE likeness = ? ORDER BY rowid DESC LIMIT 1", (likeness,)
            ).fetchone()
        if found is None or found[1] is not None or not self.own(found[0]):
            return None
        return self.run(found[0])

    def end(self, run_id: str) -> None:
        """The run is over: the next one begins anew."""
        with self.errors_named():
            self._db.execute("UPDATE runs SET ended_at = ? WHERE id = ?", (now(), run_id))

    def plan(self, run_id: str, items: Sequence[ItemResult]) -> None:
        """Write down what a run asks; results of items that it no longer asks are dropped from it."""
        with self.together():
            self._db.execute("DELETE FROM items WHERE run_id = ?", (run_id,))
            for begin in range(0, len(items), _MOST_AT_ONCE):
                self._plan(run_id, begin, items[begin : begin + _MOST_AT_ONCE])

    def _plan(self, run_id: str, begin: int, items: Sequence[ItemResult]) -> None:
        rows: list[tuple[Any, ...]] = []
        inputs: dict[str, str] = {}
        for position, item in enumerate(items, begin):
            texts = json.dumps(dict(item.inputs))
            digest = hashlib.sha256(texts.encode()).hexdigest()[:32]
            inputs[digest] = texts
            key, tags = _values(item.key), json.dumps(item.tags)
            rows.append((run_id, position, *key, item.task, item.wanted, digest, tags))
        self._db.executemany("INSERT OR IGNORE INTO inputs VALUES (?, ?)", inputs.items())
        self._db.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def keep(self, run_id: str, key: ItemKey, recording: Recording | None, row: UsageRow) -> None:
        """Write down what a call cost, and its answer where it has one."""
        price = row.price
        with self.together():
            if price is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO payments VALUES (?, ?, ?, ?)", (run_id, row.id, price.nanos, price.currency)
                )
            if recording is not None:
                document = _text(_recordings(), recording)
                values = (recording.key, run_id, json.dumps(_values(key)), document)
                self._db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", values)

    def add(self, run_id: str, samples: Iterable[tuple[ItemKey, Sample]]) -> None:
        """Write down samples."""
        values = [
            (run_id, *_values(key), sample.repeat, sample.outcome.value, _text(_samples(), sample))
            for key, sample in samples
        ]
        with self.together():
            self._db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def find(self, key: str) -> Recording | None:
        """The last recording under a key, of whatever run and item."""
        return self._recording("SELECT document FROM calls WHERE key = ? ORDER BY run_id DESC LIMIT 1", (key,))

    def find_of(self, run_id: str, item: ItemKey, key: str) -> Recording | None:
        """The recording under a key that a run made for an item: another's may be another answer to the same."""
        sql = "SELECT document FROM calls WHERE key = ? AND run_id = ? AND item = ?"
        return self._recording(sql, (key, run_id, json.dumps(_values(item))))

    def _recording(self, sql: str, values: tuple[str, ...]) -> Recording | None:
        with self.errors_named():
            found = self._db.execute(sql, values).fetchone()
        return _recordings().validate_json(found[0]) if found else None

    def sample(self, run_id: str, key: ItemKey, repeat: int) -> Sample | None:
        """A sample of a run."""
        with self.errors_named():
            found = self._db.execute(
                f"SELECT document FROM samples WHERE run_id = ? AND {_KEY} AND repeat = ?",  # noqa: S608  # our own words
                (run_id, *_values(key), repeat),
            ).fetchone()
        return _samples().validate_json(found[0]) if found else None

    def runs(self, count: int) -> list[Run]:
        """The last runs, the newest first, without their items."""
        with self.errors_named():
            ids = self._db.execute("SELECT id FROM runs ORDER BY rowid DESC LIMIT ?", (count,)).fetchall()
        return [self.head(run_id) for (run_id,) in ids]

    def named(self, name: str, before: str | None = None) -> Run:
        """The run of an id, the beginning of one, or a name; `latest` is the last one. Of a name, the last run.

        Args:
            name: What it is called.
            before: A run's id: only older ones count.

        Raises:
            UsageError: There is no such run.
        """
        with self.errors_named():
            found = self._db.execute(
                "SELECT id FROM runs WHERE (? = 'latest' OR name = ? OR substr(id, 1, length(?)) = ?) AND rowid < "
                "coalesce((SELECT rowid FROM runs WHERE id = ?), 1e18) "
                "ORDER BY coalesce(name = ?, 0) DESC, rowid DESC LIMIT 1",
                (name, name, name, name, before, name),
            ).fetchone()
        if found is None:
            known = ", ".join(f"{run.name} ({run.id})" if run.name else run.id for run in self.runs(5))
            message = f"no run {name!r} in {shown(self.path)}; " + (
                f"the last ones are {known}" if known else "it is empty"
            )
            raise UsageError(message)
        return self.run(found[0])

    def run(self, run_id: str) -> Run:
        """A run with its items, in the order in which they were asked; those without a sample are left out."""
        head = self.head(run_id)
        with self.errors_named():
            by_item: dict[tuple[Any, ...], list[Sample]] = {}
            for *key, document in self._db.execute(
                "SELECT suite, case_name, model_id, locale, prompt, document FROM samples "
                "WHERE run_id = ? ORDER BY repeat",
                (run_id,),
            ):
                by_item.setdefault(tuple(key), []).append(_samples().validate_json(document))
            items = [
                ItemResult(
                    ItemKey(*key), task, wanted, tuple(by_item[tuple(key)]), json.loads(texts), tuple(json.loads(tags))
                )
                for *key, task, wanted, tags, texts in self._db.execute(
                    "SELECT suite, case_name, model_id, locale, prompt, task, wanted, tags, texts FROM items "
                    "JOIN inputs ON inputs.digest = items.inputs WHERE run_id = ? ORDER BY position",
                    (run_id,),
                )
                if tuple(key) in by_item
            ]
        return Run(head.id, head.began_at, tuple(items), head.name, head.ended_at, head.paid, head.settings)

    def paid(self, run_id: str) -> tuple[Cost, ...]:
        """What was paid in a run, an amount per currency."""
        with self.errors_named():
            sums = self._db.execute(
                "SELECT currency, sum(nanos) FROM payments WHERE run_id = ? GROUP BY 1 ORDER BY 1", (run_id,)
            ).fetchall()
        return tuple(Cost(nanos, cast("Currency", currency)) for currency, nanos in sums)

    def head(self, run_id: str) -> Run:
        """A run without its items."""
        with self.errors_named():
            name, began_at, ended_at, settings = self._db.execute(
                "SELECT name, began_at, ended_at, settings FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
        return Run(run_id, began_at, (), name, ended_at, self.paid(run_id), json.loads(settings))


def _text(adapter: TypeAdapter[Any], value: Any) -> str:
    """As JSON; what is no Unicode, such as half a surrogate pair, is written as an escape."""
    try:
        return adapter.dump_json(value).decode()
    except PydanticSerializationError:
        return json.dumps(sound(adapter.dump_python(value)), default=str)


def _values(key: ItemKey) -> tuple[str, ...]:
    return key.suite, key.case, key.model_id, key.locale, key.prompt


@cache
def _samples() -> TypeAdapter[Sample]:
    return TypeAdapter(Sample)


@cache
def _recordings() -> TypeAdapter[Recording]:
    return TypeAdapter(Recording)
