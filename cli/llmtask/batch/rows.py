"""The rows of a batch's calls: many of them in one commit, each on disk before its call is made."""

import asyncio
import threading
from typing import TypeAlias

from llmtask.tokens import Tokens
from llmtask.usage import Ledger, UsageLog, UsageRow

_Waiting: TypeAlias = "asyncio.Future[None]"


class Rows:
    """A ledger that writes in a thread of its own: what came while it wrote is written together.

    A row is on disk when the `written` that was awaited after it returns. Nothing waits for more to come: one row alone
    is written at once.
    """

    def __init__(self, log: UsageLog) -> None:
        """Take the usage log."""
        self._log = log
        self._rows: list[UsageRow] = []
        self._waiting: list[_Waiting] = []
        self._some = threading.Condition()
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="llmtask-rows", daemon=True)

    def open(self) -> None:
        """Begin, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def begin(self, row: UsageRow, most: Tokens | None = None) -> None:  # noqa: ARG002  # as every ledger
        """Take the row of a call that is about to begin; it is on disk when this returns."""
        with self._some:
            self._rows.append(row.opened())
        await self.written()

    def finish(self, row: UsageRow) -> None:
        """Take the row of a call that has ended."""
        with self._some:
            self._rows.append(row)
            self._some.notify()

    async def written(self) -> None:
        """Wait until what was taken is on disk.

        Raises:
            Exception: It cannot be written, not even to the spool.
        """
        with self._some:
            if self._is_over or self._loop is None:
                return
            future: _Waiting = self._loop.create_future()
            self._waiting.append(future)
            self._some.notify()
        await future

    async def aclose(self) -> None:
        """Write what is left."""
        with self._some:
            self._is_over = True
            self._some.notify()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            with self._some:
                while not (self._rows or self._waiting or self._is_over):
                    self._some.wait()
                rows, self._rows = self._rows, []
                waiting, self._waiting = self._waiting, []
                is_over = self._is_over
            error: BaseException | None = None
            try:
                if rows:
                    self._log.keep(rows)
            except BaseException as caught:  # noqa: BLE001  # told to whoever waits
                error = caught
            if waiting and self._loop is not None:
                self._loop.call_soon_threadsafe(_tell, waiting, error)


def _tell(waiting: list[_Waiting], error: BaseException | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


class SyncRows:
    """A ledger whose rows are on disk when they are taken: one that budgets hold, or none at all."""

    def __init__(self, ledger: Ledger | None) -> None:
        """Take the ledger."""
        self._ledger = ledger

    def open(self) -> None:
        """There is nothing to begin."""

    async def begin(self, row: UsageRow, most: Tokens | None = None) -> None:
        """Hand on the row of a call that is about to begin.

        Raises:
            CappedError: A budget has no room for the call.
        """
        if self._ledger is not None:
            self._ledger.begin(row, most)

    def finish(self, row: UsageRow) -> None:
        """Hand on the row of a call that has ended."""
        if self._ledger is not None:
            self._ledger.finish(row)

    async def written(self) -> None:
        """It is."""

    async def aclose(self) -> None:
        """There is nothing left to write."""
