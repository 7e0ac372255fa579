"""Runs a batch in this program's foreground: signals drain it first, and stop it when they come again."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmtask.batch.alerts import Alerts
from llmtask.batch.journal import Standing
from llmtask.batch.outputs import Outputs
from llmtask.batch.run import Told
from llmtask.batch.start import Started
from llmtask.collecting import collecting_seldom
from llmtask.errors import ExitCode
from llmtask.interrupts import drained

_ASKED_EVERY_S = 0.5  # whether another process wants it to stop


@dataclass(frozen=True, slots=True)
class Ended:
    """How a batch ended."""

    standing: Standing
    seconds: float
    """That it took, this time."""
    code: int
    """The exit code."""


class _Foreground:
    """A batch, and the signals that come while it runs."""

    def __init__(self, started: Started, outputs: Outputs | None) -> None:
        self.started, self.batch, self.outputs = started, started.batch, outputs
        self.signals = 0
        self.number = 0
        """The first signal that came; 0 before."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def on_signal(self, number: int) -> bool:
        """The first signal drains, the second breaks off; more end the program."""
        self.signals += 1
        self.number = self.number or number
        if self._loop is None or self._task is None or self.signals > 2:
            return False
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self.signals == 1:
            self._loop.call_soon_threadsafe(self.batch.stop, name, 128 + number)
        else:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return True

    async def run(self, watch: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it, and watch it."""
        self._loop = asyncio.get_running_loop()
        watching = [asyncio.create_task(watch()), asyncio.create_task(self._listen())]
        self._task = asyncio.create_task(self._work())
        try:
            with suppress(asyncio.CancelledError):  # the second signal's
                await self._task
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _work(self) -> None:
        records = self.started.records
        if self.outputs is None:
            await self.batch.run(records)
        elif not self.started.settings.as_finished:
            await self.batch.run(records, ordered=self._write)
        else:
            for block in self.batch.journal.all_finished():
                await self._tell(block)
            await self.batch.run(records, tell=self._tell)

    def _write(self, items: Told) -> None:
        if self.outputs is not None:
            self.outputs.write(items)
            self.outputs.flush()

    async def _tell(self, items: Told) -> None:
        await asyncio.to_thread(self._write, items)

    async def _listen(self) -> None:
        """Stop when another process asks for it."""
        while True:
            await asyncio.sleep(_ASKED_EVERY_S)
            if self.batch.journal.is_stop_requested():
                self.batch.stop("`llmtask batch cancel`", ExitCode.FAILED)


def run_in_foreground(
    started: Started, outputs: Outputs | None, alerts: Alerts, watch: Callable[[], Coroutine[Any, Any, None]]
) -> Ended:
    """Run a batch to its end.

    Args:
        started: The batch.
        outputs: Where answers go; None for nowhere.
        alerts: Are told of its end.
        watch: Runs beside it until it is cancelled.

    Raises:
        LlmtaskError: It cannot go on; what came until then is in its journal.
    """
    began = time.monotonic()
    foreground = _Foreground(started, outputs)
    journal = started.batch.journal
    try:
        with drained(foreground.on_signal), collecting_seldom():
            asyncio.run(foreground.run(watch))
        standing = journal.standing()
        _alert(alerts, journal.run_id, started.batch.note, standing)
        return Ended(standing, time.monotonic() - began, _code(foreground, standing))
    finally:
        if outputs is not None:
            outputs.close()
        journal.close()


def _alert(alerts: Alerts, run_id: str, note: str | None, standing: Standing) -> None:
    counts = f"{standing.done:,} done, {standing.failed:,} failed, {standing.pending:,} to do"
    alerts.send("stop" if note else "done", f"batch {run_id}: {f'{note}: ' if note else ''}{counts}")
    alerts.close()


def _code(foreground: _Foreground, standing: Standing) -> int:
    if foreground.number:
        return 128 + foreground.number
    if foreground.batch.note:
        return foreground.batch.code
    return ExitCode.FAILED if standing.failed else ExitCode.DONE
