"""How many calls of a model may go on at once."""

import asyncio


class Gate:
    """So many calls of a model at once: fewer after a refusal for being too many, slowly more again."""

    def __init__(self, most: int) -> None:
        """Begin with the most that may go on at once."""
        self.most = most
        self.lowest = most
        """The fewest that it was lowered to."""
        self.stopped: str | None = None
        """Why the model is asked no more."""
        self._limit: float = most
        self._active = 0
        self._free = asyncio.Condition()

    async def __aenter__(self) -> "Gate":
        """Wait for a place."""
        async with self._free:
            await self._free.wait_for(lambda: self._active < max(int(self._limit), 1))
            self._active += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give the place up."""
        async with self._free:
            self._active -= 1
            self._limit = min(self._limit + 1 / max(self._limit, 1), self.most)
            self._free.notify(2)  # the place, and the one that a raised limit may add

    def slow_down(self) -> None:
        """Let half as many go on at once."""
        self._limit = max(self._limit / 2, 1)
        self.lowest = min(self.lowest, max(int(self._limit), 1))
