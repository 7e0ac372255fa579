"""Runs a batch in this program's foreground: signals drain it first, and stop it when they come again."""

import asyncio
import gc
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from llmtask.batch.job import Outcome
from llmtask.batch.journal import Standing
from llmtask.batch.run import Batch
from llmtask.batch.start import Started
from llmtask.errors import ExitCode
from llmtask.interrupts import drained

_ASKED_EVERY_S = 0.5  # whether another process wants it to stop
_GC_THRESHOLDS = (20_000, 20, 50)


class Written(Protocol):
    """Where records go with what came of them."""

    def write(self, items: list[tuple[str, Outcome]]) -> None:
        """Take a block."""
        ...

    def flush(self) -> None:
        """Come back when it is on disk."""
        ...

    def close(self) -> None:
        """Take no more."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a batch ended."""

    standing: Standing
    began: float
    """`time.monotonic()` at which it began."""
    code: int


class _Foreground:
    """A batch, and the signals that come while it runs."""

    def __init__(self, started: Started, outputs: Written | None) -> None:
        self.started, self.batch, self.outputs = started, started.batch, outputs
        self.signals = 0
        self.number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def on_signal(self, number: int) -> bool:
        """The first signal drains, the second stops; more end the program."""
        self.signals += 1
        self.number = self.number or number
        if self._loop is None or self._task is None or self.signals > 2:
            return False
        if self.signals == 1:
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            self._loop.call_soon_threadsafe(self.batch.stop, f"{name}: what was in flight has ended", 128 + number)
        else:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return True

    async def run(self, watch: Callable[[], Awaitable[None]]) -> None:
        """Run it, and watch it."""
        self._loop = asyncio.get_running_loop()
        watching = [asyncio.ensure_future(watch()), asyncio.ensure_future(self._listen())]
        self._task = asyncio.create_task(self._work())
        try:
            with suppress(asyncio.CancelledError):  # the second signal's
                await self._task
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _work(self) -> None:
        if self.started.settings.as_finished:
            if self.outputs is not None:
                for block in self.batch.journal.all_finished():
                    await asyncio.to_thread(self._write, block)
            await self.batch.run(self.started.records, tell=self._tell)
        else:
            await self.batch.run(self.started.records, ordered=self._write if self.outputs is not None else None)

    def _write(self, items: list[tuple[str, Outcome]]) -> None:
        if self.outputs is not None and items:
            self.outputs.write(items)
            self.outputs.flush()

    async def _tell(self, items: list[tuple[str, Outcome]]) -> None:
        await asyncio.to_thread(self._write, items)

    async def _listen(self) -> None:
        """Stop when another process asks for it."""
        while True:
            await asyncio.sleep(_ASKED_EVERY_S)
            if self.batch.journal.is_stop_requested():
                self.batch.stop("`llmtask batch cancel` stopped it", ExitCode.FAILED)


def run_in_foreground(started: Started, outputs: Written | None, watch: Callable[[], Any]) -> Ended:
    """Run a batch to its end.

    Args:
        started: The batch.
        outputs: Where answers go.
        watch: Runs beside it until it is cancelled.

    Raises:
        LlmtaskError: It cannot go on; what came until then is in its journal.
    """
    began = time.monotonic()
    foreground = _Foreground(started, outputs)
    batch: Batch = started.batch
    thresholds = gc.get_threshold()
    gc.freeze()  # what is there now stays, and a chat's many small objects would be looked through too often
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        with drained(foreground.on_signal):
            asyncio.run(foreground.run(watch))
        standing = batch.journal.standing()
        _alert(started, standing)
        return Ended(standing, began, _code(foreground, standing))
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        if outputs is not None:
            outputs.close()
        batch.journal.close()


def _alert(started: Started, standing: Standing) -> None:
    note = started.batch.note
    summary = f"{standing.done:,} done, {standing.failed:,} failed, {standing.pending:,} to do"
    started.alerts.send("stop" if note else "done", f"{note}: {summary}" if note else summary)
    started.alerts.close()


def _code(foreground: _Foreground, standing: Standing) -> int:
    if foreground.number:
        return 128 + foreground.number
    if foreground.batch.note:
        return int(foreground.batch.code)
    return int(ExitCode.FAILED if standing.failed else ExitCode.DONE)
