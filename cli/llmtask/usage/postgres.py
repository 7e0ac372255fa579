"""The usage log in PostgreSQL: the team's. Nobody waits for it longer than they said, and it costs no answer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from llmtask.errors import UsageLogError
from llmtask.usage.address import Address, address
from llmtask.usage.database import Connection
from llmtask.usage.postgres_tables import IDENTITY, POSTGRES, TABLES, migrate

if TYPE_CHECKING:
    from llmtask.usage.postgres_connection import PostgresConnection

_CALL_S = 2.0
"""Up to this patience somebody waits for an answer: what the server does within it must be done, too."""
_LEAST_S = 0.2
"""How long any answer is waited for: networks are slower than the impatient."""
_WORK_S = 600.0
"""How long a statement of a report or of a command may take."""
_UNCLAIMED_S = 10.0
"""How long a connection that came too late is kept for the next one who needs it."""

_Found = TypeVar("_Found")


class PostgresDatabase:
    """A usage log's database on a server."""

    def __init__(self, url: str) -> None:
        """Name the server and the database.

        Raises:
            UsageLogError: It is no URL of PostgreSQL.
        """
        self._address = address(url)
        self.place = self._address.place
        self.sql = POSTGRES
        self.identity = IDENTITY
        self._connection: PostgresConnection | None = None
        self._attempt: _Attempt | None = None
        self._has_tables = False
        self._lock = threading.RLock()

    @property
    def exists(self) -> bool:
        """Whether there is a table to read.

        Raises:
            UsageLogError: Nobody answers.
        """
        return self._has_tables or self._do(_has_rows, 5.0, makes=False)

    def run(self, work: Callable[[Connection], _Found], patience_s: float) -> _Found:
        """Do something with the database, trying again for so long while another program holds it.

        Raises:
            UsageLogError: It cannot be done.
        """
        return self._do(work, patience_s, makes=True)

    def atomic(self, work: Callable[[Connection], _Found], patience_s: float) -> _Found:
        """As `run`, in one transaction that keeps other writers out.

        Raises:
            UsageLogError: It cannot be done.
        """

        def together(connection: "PostgresConnection") -> _Found:
            with connection.alone():
                return work(connection)

        return self._do(together, patience_s, makes=True)

    @property
    def files(self) -> tuple[()]:
        """The files that hold it: none that anybody here can look at."""
        return ()

    def compact(self, patience_s: float) -> bool:
        """Write the tables anew, without what was deleted; others wait meanwhile.

        Returns:
            True: nothing reads what was there before.

        Raises:
            UsageLogError: It cannot be done.
        """

        def rewrite(connection: Connection) -> bool:
            for table in TABLES:
                connection.execute(f"VACUUM FULL {table}")
            return True

        return self.run(rewrite, patience_s)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _do(self, work: "Callable[[PostgresConnection], _Found]", patience_s: float, *, makes: bool) -> _Found:
        until = time.monotonic() + patience_s
        with self._errors_named(), self._locked(patience_s):
            from llmtask.usage.postgres_connection import TRANSIENT  # psycopg, where there is a log that needs it

            while True:
                connection = self._opened(until)
                try:
                    connection.wait_for(patience_s, max(patience_s, _LEAST_S) if patience_s <= _CALL_S else _WORK_S)
                    if makes and not self._has_tables:
                        migrate(connection)
                        self._has_tables = True
                    return work(connection)
                except TRANSIENT:
                    if time.monotonic() > until:
                        raise
                finally:
                    if connection.is_lost:
                        self.close()

    def _opened(self, until: float) -> "PostgresConnection":
        """The connection; a new one where there is none, or the server closed it."""
        if self._connection is not None and self._connection.is_gone():
            self.close()
        while self._connection is None:
            if self._attempt is None:
                self._attempt = _Attempt(self._address)
            self._connection = self._claimed(self._attempt, until)
        return self._connection

    def _claimed(self, attempt: "_Attempt", until: float) -> "PostgresConnection | None":
        """The connection that an attempt brought; None where it has been closed again meanwhile."""
        found = attempt.result(until - time.monotonic())
        self._attempt = None
        if isinstance(found, BaseException):
            raise found
        return found

    @contextmanager
    def _locked(self, patience_s: float) -> Iterator[None]:
        """Keep other threads out."""
        if not self._lock.acquire(timeout=patience_s):
            message = "another thread waits for it; try again"
            raise UsageLogError(message)
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """All errors as UsageLogError, with the place and the way out."""
        try:
            yield
        except UsageLogError as error:
            message = f"usage log {self.place}: {error}"
            raise type(error)(message) from error
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "psycopg":
                raise
            message = f"usage log {self.place}: needs psycopg; pip install 'llmtask[postgres]'"
            raise UsageLogError(message) from error
        except ImportError as error:  # psycopg without its binary and without libpq
            message = f"usage log {self.place}: psycopg cannot be loaded; pip install 'llmtask[postgres]'"
            raise UsageLogError(message) from error
        except Exception as error:
            from llmtask.usage.postgres_connection import explained  # psycopg is there

            ours = explained(error, self.place)
            if ours is None:
                raise
            raise ours from error


class _Attempt:
    """A connection that is being made, in a thread: a name server or a server that hangs is not waited for.

    What comes too late for whoever began it is there for the next one, for a while.
    """

    def __init__(self, where: Address) -> None:
        self._address = where
        self._found: PostgresConnection | BaseException | None = None
        self._is_done, self._is_claimed, self._lock = threading.Event(), threading.Event(), threading.Lock()
        threading.Thread(target=self._make, name="llmtask-connect", daemon=True).start()

    def result(self, timeout_s: float) -> "PostgresConnection | BaseException | None":
        """The connection, or the error that came instead; None where nobody claimed it in time.

        Raises:
            UsageLogError: Nobody has answered so far.
        """
        if not self._is_done.wait(max(timeout_s, 0.001)):
            message = f"the server has not answered so far; try again, or {WAY_OUT}"
            raise UsageLogError(message)
        with self._lock:
            self._is_claimed.set()
            return self._found

    def _make(self) -> None:
        try:
            from llmtask.usage.postgres_connection import connected

            self._found = connected(self._address)
        except BaseException as error:  # noqa: BLE001  # it is raised where the connection is asked for
            self._found = error
        self._is_done.set()
        self._is_claimed.wait(_UNCLAIMED_S)
        with self._lock:
            found = None if self._is_claimed.is_set() else self._found
            if found is not None and not isinstance(found, BaseException):
                found.close()
                self._found = None


WAY_OUT = "name another log with --db or LLMTASK_DB"


def _has_rows(connection: Connection) -> bool:
    return bool(connection.execute("SELECT to_regclass('llm_usage_logs') IS NOT NULL").fetchone()[0])
