"""The journal of a batch: one SQLite file with its records, jobs and outcomes, so that nothing is lost or done twice.

It holds content: inputs and answers. One process writes it at a time, and holds its lock until it ends.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtask.batch.job import BAD_INPUT, Job, Outcome, Record, State, refused_key
from llmtask.errors import UsageError
from llmtask.money import Cost, Currency
from llmtask.project import Project, shown
from llmtask.store import ProjectStore, new_run_id, now, project_file

_VERSION = 1
_TABLES = """
CREATE TABLE run (id TEXT PRIMARY KEY, began_at TEXT NOT NULL, ended_at TEXT, note TEXT, settings TEXT NOT NULL,
  is_read INTEGER NOT NULL DEFAULT 0, spent TEXT NOT NULL DEFAULT '{}', calls INTEGER NOT NULL DEFAULT 0,
  tokens INTEGER NOT NULL DEFAULT 0, unpriced INTEGER NOT NULL DEFAULT 0);
CREATE TABLE records (position INTEGER PRIMARY KEY, id TEXT NOT NULL, job INTEGER NOT NULL);
CREATE INDEX records_of_job ON records(job);
CREATE TABLE jobs (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, queue TEXT NOT NULL, state TEXT NOT NULL);
CREATE INDEX jobs_by_state ON jobs(state, queue, number);
CREATE TABLE inputs (job INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE outcomes (job INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE told (message TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_NO_QUEUE = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a batch stands."""

    run_id: str
    settings: Mapping[str, Any]
    began_at: str
    ended_at: str | None
    note: str | None
    """Why it ended before all was done; None where it did not, or goes on."""
    is_read: bool
    """Whether all of its input is in the journal."""
    records: int
    done: int
    """Jobs; duplicates are one."""
    failed: int
    pending: int
    calls: int
    """Model calls whose ends it has seen."""
    tokens: int
    spent: tuple[Cost, ...]
    unpriced_calls: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed jobs by error class."""

    @property
    def jobs(self) -> int:
        """Different ones, so far as they are read."""
        return self.done + self.failed + self.pending

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.is_read and not self.pending


@dataclass(slots=True)
class Added:
    """What records brought in."""

    jobs: int = 0
    """New ones; a record like one before brings none."""
    failed: int = 0
    """Those of them that cannot be asked."""
    over: list[tuple[str, Outcome]] = field(default_factory=list)
    """The ids of records whose jobs are over already, with what came of them."""


@dataclass(slots=True)
class Settled:
    """What outcomes brought."""

    outcomes: list[Outcome] = field(default_factory=list)
    """Those that it had not: a broker may tell one again after its client was killed."""
    over: list[tuple[str, Outcome]] = field(default_factory=list)
    """The ids of records whose jobs are over now, with what came of them."""


def folder_of(project: Project) -> Path:
    """Where a project's journals are."""
    return project_file(project, "batches")


def run_ids(project: Project) -> list[str]:
    """The ids of a project's batches, the newest first."""
    return sorted((file.stem for file in folder_of(project).glob("*.db")), reverse=True)


def find_journal(project: Project, name: str) -> Path:
    """The journal of a batch: its id, the beginning of it, or `latest`.

    Raises:
        UsageError: There is none, or several begin so.
    """
    ids = run_ids(project)
    found = ids[:1] if name == "latest" else [one for one in ids if one.startswith(name)]
    if name in ids:
        found = [name]
    if len(found) == 1:
        return folder_of(project) / f"{found[0]}.db"
    known = f"the last ones are {', '.join(ids[:5])}" if ids else "there is none yet"
    message = (
        f"{'several batches begin with' if found else 'no batch'} {name!r} in {shown(folder_of(project))}; {known}"
    )
    raise UsageError(message)


def new_journal(project: Project, settings: Mapping[str, Any]) -> "Journal":
    """The journal of a new batch, owned by this process."""
    run_id = new_run_id()
    journal = Journal(folder_of(project) / f"{run_id}.db")
    journal.begin(run_id, settings)
    return journal


class Journal(ProjectStore):
    """An open journal. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open it; made where there is none.

        Raises:
            ProjectError: It cannot be opened.
        """
        super().__init__(
            path, _TABLES, _VERSION, "nothing that it holds is lost; see to it, then `llmtask batch resume`"
        )
        self._lock = threading.RLock()
        self.run_id = path.stem
        with self.errors_named():
            self._db.execute("PRAGMA synchronous = FULL")  # answers were paid for: a power cut may not cost them
            self._db.execute("PRAGMA cache_size = -16000")

    def close(self) -> None:
        """Close it, when nobody writes any more."""
        with self._lock:
            super().close()

    def begin(self, run_id: str, settings: Mapping[str, Any]) -> None:
        """Write down what the batch is."""
        self.require_own()
        with self._lock, self.together():
            self._db.execute(
                "INSERT INTO run (id, began_at, settings) VALUES (?, ?, ?)", (run_id, now(), json.dumps(settings))
            )

    def require_own(self) -> None:
        """Hold the journal as long as this process lives.

        Raises:
            UsageError: Another process does.
        """
        if not self.own(self.run_id):
            message = f"batch {self.run_id} is being run by another process; `llmtask batch status` shows how far it is"
            raise UsageError(message)
        with self.errors_named():
            self._stop_file.unlink(missing_ok=True)

    def reopen(self, settings: Mapping[str, Any]) -> None:
        """Go on with the batch."""
        with self._lock, self.together():
            self._db.execute("UPDATE run SET ended_at = NULL, note = NULL, settings = ?", (json.dumps(settings),))

    def retry(self) -> None:
        """Put the failed jobs back, but for those that cannot be asked."""
        with self._lock, self.together():
            found = self._db.execute("SELECT number FROM jobs WHERE state = 'failed' AND queue != ''").fetchall()
            self._db.executemany("DELETE FROM outcomes WHERE job = ?", found)
            self._db.executemany("UPDATE jobs SET state = 'pending' WHERE number = ?", found)

    def request_stop(self) -> None:
        """Ask the process that runs the batch to stop.

        Raises:
            UsageError: None does.
        """
        if self.own(self.run_id):
            message = f"batch {self.run_id} is not being run; there is nothing to stop"
            raise UsageError(message)
        with self.errors_named():
            self._stop_file.touch()

    def is_stop_requested(self) -> bool:
        """Whether another process asked for a stop."""
        return self._stop_file.exists()

    @property
    def _stop_file(self) -> Path:
        return self.path.with_suffix(".stop")

    def end(self, note: str | None) -> None:
        """The batch is over, or was stopped for a reason."""
        with self._lock, self.together():
            self._db.execute("UPDATE run SET ended_at = ?, note = ?", (now(), note))

    def add(self, records: Iterable[tuple[int, Record, Job | None]], *, digest: str) -> "Added":
        """Write down records, and the jobs that are new with them.

        Args:
            records: Each with its position from 1, and its job; None where it cannot be asked.
            digest: Of what all jobs of the batch share.
        """
        added = Added()
        with self._lock, self.together():
            for position, record, job in records:
                number, state = self._refused(position, record, digest, added) if job is None else self._of(job, added)
                self._db.execute("INSERT INTO records VALUES (?, ?, ?)", (position, record.id, number))
                if state != State.PENDING:
                    added.over.append((record.id, self._outcome(number)))
        return added

    def _of(self, job: Job, added: "Added") -> tuple[int, str]:
        """The number and the state of a job, which is new or was given before."""
        key = bytes.fromhex(job.key)
        found = self._db.execute("SELECT number, state FROM jobs WHERE key = ?", (key,)).fetchone()
        if found:
            return found[0], found[1]
        number = self._insert(key, job.queue_id, State.PENDING)
        self._db.execute("INSERT INTO inputs VALUES (?, ?)", (number, job.inputs))
        added.jobs += 1
        return number, State.PENDING

    def _refused(self, position: int, record: Record, digest: str, added: "Added") -> tuple[int, str]:
        """As `_of`, of a record that cannot be asked: a job that has failed already."""
        key = refused_key(digest, position)
        number = self._insert(bytes.fromhex(key), _NO_QUEUE, State.FAILED)
        document = Outcome(key, State.FAILED, reason=record.problem).to_json()
        self._db.execute("INSERT INTO outcomes VALUES (?, ?)", (number, document))
        added.jobs += 1
        added.failed += 1
        return number, State.FAILED

    def _insert(self, key: bytes, queue_id: str, state: State) -> int:
        inserted = self._db.execute(
            "INSERT INTO jobs (key, queue, state) VALUES (?, ?, ?)", (key, queue_id, state.value)
        )
        return int(inserted.lastrowid or 0)

    def _outcome(self, number: int) -> Outcome:
        (document,) = self._db.execute("SELECT document FROM outcomes WHERE job = ?", (number,)).fetchone()
        return Outcome.from_json(document)

    def end_reading(self) -> None:
        """All of the input is in the journal."""
        with self._lock, self.together():
            self._db.execute("UPDATE run SET is_read = 1")

    def last_position(self) -> int:
        """How many records it has."""
        return int(self._one("SELECT coalesce(max(position), 0) FROM records"))

    def record_at(self, position: int) -> tuple[str, str]:
        """The id of a record that it has, and the key of its job."""
        with self._lock, self.errors_named():
            found = self._db.execute(
                "SELECT records.id, key FROM records JOIN jobs ON number = job WHERE position = ?", (position,)
            ).fetchone()
        return found[0], found[1].hex()

    def queues(self) -> list[str]:
        """The queues in which jobs wait."""
        with self._lock, self.errors_named():
            found = self._db.execute("SELECT DISTINCT queue FROM jobs WHERE state = 'pending'").fetchall()
        return [queue for (queue,) in found]

    def pending(self, queue_id: str, after: int, count: int) -> list[tuple[int, Job]]:
        """The next jobs of a queue that are to be done, behind one that was given before, with their numbers."""
        with self._lock, self.errors_named():
            found = self._db.execute(
                "SELECT number, key, document FROM jobs JOIN inputs ON job = number "
                "WHERE state = 'pending' AND queue = ? AND number > ? ORDER BY number LIMIT ?",
                (queue_id, after, count),
            ).fetchall()
        return [(number, Job(key.hex(), queue_id, document)) for number, key, document in found]

    def settle(self, outcomes: Sequence[Outcome]) -> "Settled":
        """Write down what came of jobs, all of it or nothing; on disk when this returns.

        What came back pending adds its calls and costs, and stays to be done.

        Returns:
            What was new in it. Records that are added later are told by `add`: each record once.
        """
        settled = Settled()
        with self._lock, self.together():
            spent = json.loads(self._db.execute("SELECT spent FROM run").fetchone()[0])
            calls = tokens = unpriced = 0
            for outcome in outcomes:
                key = bytes.fromhex(outcome.key)
                found = self._db.execute("SELECT number, state FROM jobs WHERE key = ?", (key,)).fetchone()
                if found is None or found[1] != State.PENDING:
                    continue  # it was told twice
                settled.outcomes.append(outcome)
                if outcome.told:
                    self._db.executemany("INSERT OR IGNORE INTO told VALUES (?)", [(one,) for one in outcome.told])
                calls, tokens = calls + outcome.calls, tokens + outcome.tokens.total
                unpriced += outcome.unpriced_calls
                for cost in outcome.costs:
                    spent[cost.currency] = spent.get(cost.currency, 0) + cost.nanos
                if outcome.state is not State.PENDING:
                    settled.over += self._end(found[0], outcome)
            self._db.execute(
                "UPDATE run SET spent = ?, calls = calls + ?, tokens = tokens + ?, unpriced = unpriced + ?",
                (json.dumps(spent), calls, tokens, unpriced),
            )
        return settled

    def was_told(self, message: str) -> bool:
        """Whether what a broker's message says of calls and costs is in the sum already."""
        with self._lock, self.errors_named():
            found = self._db.execute("SELECT 1 FROM told WHERE message = ?", (message,)).fetchone()
        return found is not None

    def is_over(self, key: str) -> bool:
        """Whether a job is done, or has failed."""
        with self._lock, self.errors_named():
            found = self._db.execute("SELECT state FROM jobs WHERE key = ?", (bytes.fromhex(key),)).fetchone()
        return found is not None and found[0] != State.PENDING

    def _end(self, number: int, outcome: Outcome) -> list[tuple[str, Outcome]]:
        """Write down that a job is over; its records."""
        self._db.execute("UPDATE jobs SET state = ? WHERE number = ?", (outcome.state.value, number))
        self._db.execute("INSERT INTO outcomes VALUES (?, ?)", (number, outcome.to_json()))
        found = self._db.execute("SELECT id FROM records WHERE job = ? ORDER BY position", (number,)).fetchall()
        return [(name, outcome) for (name,) in found]

    def finished(self, after: int, count: int) -> list[tuple[int, str, Outcome]]:
        """The next records in the order of the input, up to the first whose job is not over."""
        with self._lock, self.errors_named():
            found = self._db.execute(
                "SELECT position, id, document FROM records LEFT JOIN outcomes USING (job) "
                "WHERE position > ? ORDER BY position LIMIT ?",
                (after, count),
            ).fetchall()
        return list(_until_open(found))

    def all_finished(self) -> Iterator[list[tuple[str, Outcome]]]:
        """All records whose jobs are over, in the order of the input, some at a time."""
        after = 0
        while True:
            with self._lock, self.errors_named():
                found = self._db.execute(
                    "SELECT position, id, document FROM records JOIN outcomes USING (job) "
                    "WHERE position > ? ORDER BY position LIMIT 500",
                    (after,),
                ).fetchall()
            if not found:
                return
            after = found[-1][0]
            yield [(name, Outcome.from_json(document)) for _, name, document in found]

    def standing(self) -> Standing:
        """How the batch stands."""
        with self._lock, self.errors_named():
            run = self._db.execute(
                "SELECT id, settings, began_at, ended_at, note, is_read, calls, tokens, spent, unpriced FROM run"
            ).fetchone()
            counts = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
            failures = self._db.execute(
                "SELECT coalesce(json_extract(document, '$.failure'), ?), count(*) FROM jobs "
                "JOIN outcomes ON job = number WHERE state = 'failed' GROUP BY 1 ORDER BY 2 DESC",
                (BAD_INPUT,),
            ).fetchall()
        if run is None:
            message = f"{shown(self.path)} holds no batch: it was broken off before it began; delete it"
            raise UsageError(message)
        run_id, settings, began_at, ended_at, note, is_read, calls, tokens, spent, unpriced = run
        return Standing(
            run_id=run_id,
            settings=json.loads(settings),
            began_at=began_at,
            ended_at=ended_at,
            note=note,
            is_read=bool(is_read),
            records=self.last_position(),
            done=counts.get(State.DONE, 0),
            failed=counts.get(State.FAILED, 0),
            pending=counts.get(State.PENDING, 0),
            calls=calls,
            tokens=tokens,
            spent=costs_of(json.loads(spent)),
            unpriced_calls=unpriced,
            failures=dict(failures),
        )

    def _one(self, sql: str) -> Any:
        with self._lock, self.errors_named():
            return self._db.execute(sql).fetchone()[0]


def costs_of(nanos: Mapping[Currency, int]) -> tuple[Cost, ...]:
    """An amount per currency."""
    return tuple(Cost(amount, currency) for currency, amount in sorted(nanos.items()))


def _until_open(found: Iterable[tuple[int, str, str | None]]) -> Iterator[tuple[int, str, Outcome]]:
    for position, name, document in found:
        if document is None:
            return
        yield position, name, Outcome.from_json(document)
