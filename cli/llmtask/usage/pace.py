"""Much work on the log in short transactions, between which others write: nobody waits for more than one of them."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llmtask.interrupts import held
from llmtask.usage.database import Connection

if TYPE_CHECKING:
    from llmtask.usage.log import UsageLog

_TARGET_S = 0.01  # of work in a transaction, its commit comes to it; what a call may have to wait is 0.05 s
_PAUSE_S = 0.01  # between two of them: who waits for the log tries every 0.003 s
_FIRST, _MOST = 16, 5_000  # rows of a transaction


class Pace:
    """How many rows a transaction takes: as many as go in a short time, here and now."""

    def __init__(self) -> None:
        """Begin small."""
        self._size = _FIRST

    @property
    def size(self) -> int:
        """How many rows the next transaction may take."""
        return self._size

    def atomic(self, log: "UsageLog", work: Callable[[Connection], int]) -> int:
        """One transaction, whole or not at all; then a pause for others.

        Args:
            log: The usage log.
            work: What to do; gives the number of rows that it took.

        Returns:
            The number of rows.

        Raises:
            UsageLogError: It cannot be done.
        """
        took_s = 0.0

        def timed(connection: Connection) -> int:
            nonlocal took_s
            begun = time.perf_counter()
            done = work(connection)
            took_s = time.perf_counter() - begun
            return done

        with held():
            done = log.atomic(timed)
            log.run(lambda connection: connection.execute(log.sql.settling).fetchall())
        if done:
            per_row_s = max(took_s / done, 1e-7)
            self._size = max(1, min(int(_TARGET_S / per_row_s), self._size * 4, _MOST))
        time.sleep(_PAUSE_S)
        return done


def batches(log: "UsageLog", work: Callable[[Connection, int], int]) -> Iterator[int]:
    """Transactions until one has found nothing more to do.

    Args:
        log: The usage log.
        work: What to do with so many rows; gives the number of those that it took.

    Yields:
        How many rows each took.

    Raises:
        UsageLogError: It cannot be done; what was done before stays done.
    """
    pace = Pace()
    while done := pace.atomic(log, lambda connection: work(connection, pace.size)):
        yield done
