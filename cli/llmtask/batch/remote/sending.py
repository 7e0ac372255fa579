"""Tells the broker something that nobody waits for: one that is away hears it when it is back."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from llmtask.errors import BrokerError


class Sending:
    """Messages on their way. What the broker refuses is lost."""

    def __init__(self) -> None:
        """Nothing is."""
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, message: Awaitable[Any]) -> None:
        """Send a message."""
        task = asyncio.create_task(_sent(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _sent(message: Awaitable[Any]) -> None:
    with suppress(BrokerError):
        await message
