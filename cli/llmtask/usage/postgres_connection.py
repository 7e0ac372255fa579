"""The one door to psycopg: a connection that takes the usage log's SQL, and psycopg's errors as ours.

Imported where there is a log in PostgreSQL, and only then.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Loader
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.types.numeric import Int8Dumper

from llmtask.errors import UsageLogError
from llmtask.usage.address import Address
from llmtask.usage.database import Cursor, RowRefusedError
from llmtask.usage.postgres_tables import LOCK

TRANSIENT = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
"""What a second try may well carry out: nothing of the first one was."""

_CONNECT_S = 10
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_SESSION = (
    "SET TimeZone = 'UTC'; SET client_min_messages = 'error'; "
    # A program that is stopped in a transaction must not keep the whole team's rows out.
    "SET idle_in_transaction_session_timeout = '20s'"
)


# A network that is gone is noticed within half a minute, by reports too.
_KEPT_ALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class _Number(Loader):
    """Sums of whole numbers come as NUMERIC: whole they stay."""

    def load(self, data: Buffer) -> int | Decimal:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else Decimal(text)


class _Patient(psycopg.Connection[Any]):
    """A connection whose server has so long to answer each statement."""

    answer_s = float(_CONNECT_S)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:
            message = "the server does not answer"
            raise psycopg.OperationalError(message) from error


class PostgresConnection:
    """An open connection; statements have `?` for their values, as SQLite has them."""

    def __init__(self, connection: _Patient) -> None:
        """Take it, in autocommit mode."""
        self._connection = connection
        self._lock_s: float | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it can be used no more, or is in a state that nobody knows."""
        busy = self._connection.pgconn.transaction_status != TransactionStatus.IDLE
        return self._connection.closed or self._connection.broken or busy

    def is_gone(self) -> bool:
        """Whether the server closed it while nobody asked anything; looks, and waits for nothing."""
        try:
            for _ in range(2):  # a server's last words, and the end behind them
                self._connection.pgconn.consume_input()
        except psycopg.Error:
            return True
        return self._connection.pgconn.status == ConnStatus.BAD

    def wait_for(self, lock_s: float, answer_s: float) -> None:
        """Say how long the next statements may wait for other writers, and for an answer."""
        self._connection.answer_s = answer_s
        if self._lock_s != lock_s:
            # A little less, so that it is the server who says that somebody holds the log, and the connection lives.
            self._connection.execute(f"SET lock_timeout = {max(int(lock_s * 800), 1)}")
            self._lock_s = lock_s

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Carry a statement out."""
        return self._connection.execute(_translated(sql), _bound(parameters))

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Carry a statement out for each of many rows, without waiting for the answer to each."""
        cursor = self._connection.cursor()
        cursor.executemany(_translated(sql), [_bound(one) for one in parameters])
        return cursor

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A transaction that keeps all other writers of the log out.

        Raises:
            UsageLogError: A statement in it had failed, so that nothing of it was done.
        """
        self._connection.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK})")
        try:
            yield
            outcome = self._connection.execute("COMMIT").statusmessage
        except BaseException:
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")
            raise
        if outcome != "COMMIT":
            message = "a statement of the transaction failed, and nothing of it was done"
            raise UsageLogError(message)

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def connected(where: Address) -> PostgresConnection:
    """A connection to a database.

    Raises:
        psycopg.Error: There is none to be had.
    """
    known: dict[str, str | int] = {"connect_timeout": _CONNECT_S, "client_encoding": "UTF8"}
    named = make_conninfo(where.place, **known, **_KEPT_ALIVE, fallback_application_name="llmtask", **where.secrets)
    connection = _Patient.connect(named, autocommit=True)
    connection.adapters.register_dumper(int, Int8Dumper)  # one type, so that statements are prepared once
    connection.adapters.register_loader("numeric", _Number)
    connection.execute(_SESSION)
    return PostgresConnection(connection)


def explained(error: Exception, place: str) -> UsageLogError | None:
    """What psycopg's error means, with the way out; None for one that is not psycopg's."""
    if isinstance(error, OverflowError):  # a vendor may count more than a database holds
        return RowRefusedError(f"usage log {place}: {error}")
    if not isinstance(error, psycopg.Error):
        return None
    said = (error.diag.message_primary or str(error).partition("\n")[0]).removeprefix("connection failed: ")
    if "password" in said:
        return UsageLogError(f"usage log {place}: {said}; set PGPASSWORD or write ~/.pgpass")
    kind, way_out = next((kind, way_out) for causes, kind, way_out in _WAYS_OUT if isinstance(error, causes))
    return kind(f"usage log {place}: {said}; {way_out}")


_ELSEWHERE = "name another log with --db or LLMTASK_DB"
_WAYS_OUT: tuple[tuple[Any, type[UsageLogError], str], ...] = (
    (psycopg.errors.LockNotAvailable, UsageLogError, "another program holds it; try again"),
    (TRANSIENT, UsageLogError, "other programs write it; try again"),
    (psycopg.errors.InsufficientPrivilege, UsageLogError, f"have its owner grant it, or {_ELSEWHERE}"),
    (
        (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded),
        RowRefusedError,
        "the database does not take the row",
    ),
    (psycopg.Error, UsageLogError, f"try again, or {_ELSEWHERE}"),
)


@lru_cache(maxsize=512)
def _translated(sql: str) -> str:
    """SQL of the log as psycopg and PostgreSQL take it: outside of its texts, %s for ?, and ILIKE for LIKE.

    SQLite's LIKE does not look at the case of ASCII letters; nor does ILIKE in the columns' collation, which is C.
    """
    parts = sql.replace("%", "%%").split("'")
    for index in range(0, len(parts), 2):
        parts[index] = parts[index].replace("?", "%s").replace(" LIKE ", " ILIKE ")
    return "'".join(parts)


def _bound(parameters: Sequence[Any]) -> list[Any]:
    return [_value(one) for one in parameters]


def _value(value: Any) -> Any:
    """A value as the columns have it.

    Raises:
        OverflowError: It is larger than they hold.
    """
    if isinstance(value, str):
        return value.replace("\0", "\\x00") if "\0" in value else value  # PostgreSQL's text has none
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            message = f"{value} is too large for a column of the log"
            raise OverflowError(message)
        return int(value)  # True and False are 1 and 0
    return value
