"""Work in a thread that ends with the program, however long it takes: a user's code, a pipe that nobody closes."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def apart(work: Callable[[], Result]) -> Result:
    """What comes of some work. Unlike `asyncio.to_thread`, nobody who leaves waits for its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        try:
            told, what = done.set_result, work()
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            told, what = done.set_exception, error  # type: ignore[assignment]
        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(lambda: None if done.done() else told(what))

    threading.Thread(target=run, name="llmtask-apart", daemon=True).start()
    return await done
