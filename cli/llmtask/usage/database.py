"""What the usage log needs of a database, whichever it is: a connection that takes SQL, tries again, and our errors."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmtask.errors import UsageLogError

if TYPE_CHECKING:
    from llmtask.usage.rollup import Writer

Found = TypeVar("Found")


class RowRefusedError(UsageLogError):
    """The database is there, and does not take what a row says: other rows may well be written."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows were written."""
        ...

    def fetchall(self) -> list[Any]:
        """All its rows."""
        ...

    def fetchone(self) -> Any:
        """Its next row; None at the end."""
        ...


class Connection(Protocol):
    """An open database; statements have `?` for their values."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Carry a statement out."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Carry a statement out for each of many rows."""
        ...


class Database(Protocol):
    """A database that is opened, and its tables made, when it is first needed. Safe to share between threads."""

    place: str
    """Where it is, for people: a path, or an address without its password."""
    sql: "Writer"
    """Writes SQL as it takes it."""
    identity: str
    """A SELECT of one text that no other database of a log gives, nor the next one of the same name."""

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        ...

    def run(self, work: Callable[[Connection], Found], patience_s: float) -> Found:
        """Do something with it, trying again for so long while another program holds it.

        Raises:
            UsageLogError: It cannot be done.
        """
        ...

    def atomic(self, work: Callable[[Connection], Found], patience_s: float) -> Found:
        """As `run`, in one transaction that keeps other writers out: all of it is done, or nothing.

        Raises:
            UsageLogError: It cannot be done.
        """
        ...

    @property
    def files(self) -> Sequence[Path]:
        """The files that hold its content; empty where they are somewhere else."""
        ...

    def compact(self, patience_s: float) -> bool:
        """Give the room of what was deleted back, so that nothing of it stays anywhere.

        Returns:
            False where another program still reads what was there before.

        Raises:
            UsageLogError: It cannot be done.
        """
        ...

    def close(self) -> None:
        """Close it; the next use opens it again."""
        ...
