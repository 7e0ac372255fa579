"""Deadlines for classes that have none, or others than ours: what a driver's library does is waited for so long."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from llmtask.errors import CallError, Failure
from llmtask.providers.call import Patience
from llmtask.providers.failures import failed

Value = TypeVar("Value")


class Deadline:
    """The patience of a run, kept with a foreign class.

    What is given up goes on in a thread of its own until the class's own limit, if it has one; it is not waited for,
    and ends with the process.
    """

    def __init__(self, patience: Patience, provider_id: str) -> None:
        """Take how long to wait, and who is waited for."""
        self._patience = patience
        self._provider_id = provider_id

    def wait(self, work: Callable[[], Value]) -> Value:
        """What the work gives.

        Raises:
            CallError: It takes too long: stalled, or the whole run is over.
            Exception: What the work raises.
        """
        done: queue.SimpleQueue[tuple[Value | None, BaseException | None]] = queue.SimpleQueue()

        def do() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
                done.put((None, error))

        limit_s = self._patience.limit(None)
        given_up = self._given_up(limit_s)
        context = contextvars.copy_context()  # that LangSmith is off stands there
        threading.Thread(target=context.run, args=(do,), daemon=True).start()
        try:
            value, error = done.get(timeout=limit_s)
        except queue.Empty:
            raise given_up from None
        if error is not None:
            raise error
        self._patience.begin_answer()
        return value  # type: ignore[return-value]  # None only where Value has it

    @asynccontextmanager
    async def waiting(self) -> AsyncGenerator[None]:
        """Bounds what is awaited in the block.

        Raises:
            CallError: As `wait`.
        """
        limit_s = self._patience.limit(None)
        given_up = self._given_up(limit_s)
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise given_up from None
            raise
        self._patience.begin_answer()

    def _given_up(self, limit_s: float) -> CallError:
        """What is said when so many seconds go by."""
        if self._patience.left_s <= limit_s:
            return failed(self._provider_id, Failure.TIMEOUT, f"{self._patience.timeouts.total_s:g} s are over")
        return failed(self._provider_id, Failure.STALLED, self._patience.complaint)
