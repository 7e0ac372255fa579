"""SQLite files of a project's own: opened by one release or the next, each run of theirs owned by one process.

They hold content: inputs and answers. A process that is killed loses what was in flight and nothing else.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from llmtask.errors import ProjectError
from llmtask.project import Project, shown

_FOLDER = ".llmtask"
_BUSY_S = 10.0
_CHECKPOINT_PAGES = 8_000  # 32 MB; each takes a while, and SQLite's own 1,000 are a hundred answers


def project_file(project: Project, name: str) -> Path:
    """A file in .llmtask/ in a project's folder; the starter's are in the user's data folder."""
    if not project.is_starter:
        return project.root / _FOLDER / name
    from platformdirs import user_data_path  # only for the starter, whose folder may be nobody's to write to

    return user_data_path("llmtask", appauthor=False) / "starter" / name


class ProjectStore:
    """Such a file, open. Safe to use from several threads, one at a time."""

    def __init__(self, path: Path, tables: str, version: int, way_out: str) -> None:
        """Open it; made where there is none.

        Args:
            path: The file.
            tables: SQL that makes its tables, statement by statement.
            version: Of the tables.
            way_out: What to do when it cannot be read or written, as the end of a sentence.

        Raises:
            ProjectError: It cannot be opened.
        """
        self.path = path
        self._way_out = way_out
        self._owned: list[tuple[sqlite3.Connection, Path]] = []
        with self.errors_named():
            make_folder(path.parent)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare(tables, version)

    def _prepare(self, tables: str, newest: int) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last results, a kill none
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._db.execute("BEGIN IMMEDIATE")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in tables.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {newest}")
        self._db.execute("COMMIT")
        if version > newest:
            message = f"{shown(self.path)} was written by a newer llmtask; upgrade this one, or move the file away"
            raise ProjectError(message)

    def close(self) -> None:
        """Close it, and give up the runs that this process owns."""
        for lock, path in self._owned:
            with suppress(OSError):
                path.unlink()
            lock.close()
        self._owned.clear()
        self._db.close()

    def errors_named(self) -> AbstractContextManager[None]:
        """SQLite's and the system's errors as ProjectError."""
        return _errors_named(self.path, self._way_out)

    def own(self, run_id: str) -> bool:
        """Hold a run's lock as long as this process lives; False where another process does.

        It is SQLite's own lock on a file of its own: released whatever ends the process, on every system.
        """
        path = self.path.parent / f"{run_id}.lock"
        lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            lock.close()
            return False
        self._owned.append((lock, path))
        return True

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing of what is written in the block."""
        with self.errors_named():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


def new_run_id() -> str:
    """An id that sorts by time, such as `20261124-205901-3fa2`."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03x}{secrets.randbelow(16):x}"


def now() -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def make_folder(folder: Path) -> None:
    """A folder that its owner alone can read, and that git leaves alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# Made by llmtask: results hold inputs and answers.\n*\n", encoding="utf-8")


@contextmanager
def _errors_named(path: Path, way_out: str) -> Iterator[None]:
    """SQLite's and the system's errors as ProjectError."""
    try:
        yield
    except sqlite3.Error as error:
        message = f"{shown(path)}: {error}; {way_out}"
        raise ProjectError(message) from error
    except OSError as error:
        message = f"{shown(path)}: {error.strerror}; {way_out}"
        raise ProjectError(message) from error
