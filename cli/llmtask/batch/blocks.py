"""What comes, in blocks: many at once where they come fast, and without delay where they come slowly."""

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_LOOKED_S = 0.5  # how soon a thread ends whose items nobody wants any more; it may wait for its source for longer


@dataclass(frozen=True, slots=True)
class _End:
    """There are no more, or this is why."""

    error: BaseException | None = None


class Blocks(Generic[_Item]):
    """Reads ahead in a thread that ends with the program, for a source may wait for its next item forever."""

    def __init__(self, items: Iterable[_Item], most: int, wait_s: float) -> None:
        """Take the source; nothing is read yet.

        Args:
            items: Read in a thread, no more than `most` ahead.
            most: Items of a block.
            wait_s: Seconds for which a block waits for more, once it has one.
        """
        self._items, self._most, self._wait_s = items, most, wait_s
        self._coming: queue.Queue[_Item | _End] = queue.Queue(max(most // 4, 1))
        self._left = threading.Event()

    def __iter__(self) -> Iterator[list[_Item]]:
        """The blocks, none of them empty. What the source raises is raised behind the items that came before."""
        threading.Thread(target=self._read, name="llmtask-blocks", daemon=True).start()
        try:
            end: _End | None = None
            while end is None:
                block, end = self._block()
                if block:
                    yield block
            if end.error is not None:
                raise end.error
        finally:
            self._left.set()

    def _block(self) -> tuple[list[_Item], _End | None]:
        """The next items, and the end where it came."""
        block: list[_Item] = []
        until: float | None = None
        while len(block) < self._most:
            try:
                item = self._coming.get(timeout=None if until is None else max(until - time.monotonic(), 0))
            except queue.Empty:
                break
            if isinstance(item, _End):
                return block, item
            until = until or time.monotonic() + self._wait_s
            block.append(item)
        return block, None

    def _read(self) -> None:
        end = _End()
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the blocks are read
            end = _End(error)
        self._put(end)

    def _put(self, item: _Item | _End) -> bool:
        while not self._left.is_set():
            try:
                self._coming.put(item, timeout=_LOOKED_S)
            except queue.Full:
                continue
            return True
        return False
