"""How fast calls go: how many at once, how many a minute; slower after refusals, not at all while it is broken."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from llmtask.errors import CappedError, Failure

_MINUTE_S = 60.0
_SLOWER = 0.7  # of the limit that is left after a refusal
_WATCHED = 40  # calls whose ends decide whether a queue is broken
_FEWEST = 20  # calls below which nothing is decided
_BROKEN = 0.6  # share of them that failed
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 300.0
_GIVE_UP_S = 3600.0

DEFAULT_CONCURRENCY = 8
"""Calls at once where config names no queue."""

FINAL = frozenset({Failure.REFUSED_KEY, Failure.NO_BALANCE})
"""Failures of a model: what it is asked next fails alike."""

BROKEN = frozenset({Failure.OVERLOADED, Failure.NETWORK, Failure.STALLED, Failure.TIMEOUT, Failure.CUT_STREAM})
"""Failures that are the vendor's or the network's: the same call may well succeed later."""

Clock: TypeAlias = Callable[[], float]
Alert: TypeAlias = Callable[[str, str], None]
"""Is told what happened (`circuit`, `stop`) and a sentence about it."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """How a queue stands."""

    queue_id: str
    running: int
    limit: int
    """How many may run at once now."""
    lowest: int
    """How few it was at the worst."""
    most: int
    """How many may run at once when all goes well."""
    waits_until: float | None = None
    """`time.time()` at which it goes on; None while it goes."""
    why: str | None = None
    """Why it waits, or was stopped."""
    is_stopped: bool = False
    """Whether it takes no more in this run."""


class StoppedError(CappedError):
    """A queue takes no more in this run, so that a call was not made; the text says why."""


class Rate:
    """So much in any minute, counted exactly: not so much on average."""

    def __init__(self, most: int | None, clock: Clock = time.monotonic) -> None:
        """Take the most that a minute takes; None for any amount."""
        self._most, self._clock = most, clock
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to count."""
        return self._most is not None

    def wait_s(self, amount: float) -> float:
        """Seconds until there is room; what is larger than a minute's worth goes through when all else is past."""
        if self._most is None:
            return 0
        now = self._clock()
        while self._taken and self._taken[0][0] <= now - _MINUTE_S:
            self._sum -= self._taken.popleft()[1]
        over = self._sum + amount - self._most
        until = 0.0
        for at, one in self._taken:
            if over <= 0:
                break
            over -= one
            until = at + _MINUTE_S - now
        return until

    def take(self, amount: float) -> list[float]:
        """Use some of it; what is given back with `settle`."""
        entry = [self._clock(), amount]
        if self._most is not None:
            self._taken.append(entry)
            self._sum += amount
        return entry

    def settle(self, entry: list[float], amount: float) -> None:
        """Put what was really used in the place of what was taken."""
        if self._most is not None and entry[0] > self._clock() - _MINUTE_S:
            self._sum += amount - entry[1]
            entry[1] = amount


class Lane:
    """A queue, or a model with limits of its own: who may call now, and who waits."""

    def __init__(
        self,
        name: str,
        most: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        alert: Alert = lambda _, __: None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Begin at full speed.

        Args:
            name: What it is called.
            most: How many may call at once.
            requests_per_minute: How many calls may begin in any minute; None for any number.
            tokens_per_minute: How many tokens they may use in it; None for any number.
            alert: Is told when it breaks.
            clock: Seconds that only go forward.
        """
        self.name = name
        self.most = most
        self.lowest = most
        """The fewest at once that it was lowered to."""
        self.stopped: str | None = None
        """Why it takes no more in this run."""
        self.stopped_by: Failure | None = None
        """The failure that stopped it; None where somebody did."""
        self._limit = float(most)
        self._active = 0
        self._changed = asyncio.Event()
        self._requests, self._tokens = Rate(requests_per_minute, clock), Rate(tokens_per_minute, clock)
        self._alert, self._clock = alert, clock
        self._paused_until = 0.0
        self._why: str | None = None
        self._slowed_at = 0.0
        self._ends: deque[bool] = deque(maxlen=_WATCHED)
        self._probing = False
        self._pause_s = _FIRST_PAUSE_S
        self._broken_since: float | None = None

    @property
    def state(self) -> QueueState:
        """How it stands."""
        left_s = self._paused_until - self._clock()
        until = time.time() + left_s if left_s > 0 else None
        why = self.stopped or (self._why if until else None)
        return QueueState(
            self.name, self._active, self.limit, self.lowest, self.most, until, why, self.stopped is not None
        )

    @property
    def limit(self) -> int:
        """How many may call at once now."""
        return 1 if self._probing else max(int(self._limit), 1)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator["Lane"]:
        """A place for as long as the block takes.

        Raises:
            StoppedError: It takes no more.
        """
        await self.enter()
        try:
            yield self
        finally:
            self.leave()

    async def enter(self) -> None:
        """Wait for a place.

        Raises:
            StoppedError: It takes no more.
        """
        while True:
            if self.stopped:
                raise StoppedError(self.stopped)
            left_s = self._paused_until - self._clock()
            if left_s <= 0 and self._active < self.limit:
                self._active += 1
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s if left_s > 0 else None):
                    await self._changed.wait()

    def leave(self) -> None:
        """Give the place up."""
        self._active -= 1
        self._changed.set()

    async def pace(self, count: Callable[[], int]) -> list[float]:
        """Wait until a call fits into the minute, and until no pause is on; it is counted then.

        Args:
            count: About how many tokens it uses; asked where there is a limit on them.

        Returns:
            What `settle` takes.

        Raises:
            StoppedError: It takes no more.
        """
        tokens = count() if self._tokens.is_limited else 0
        while True:
            if self.stopped:
                raise StoppedError(self.stopped)
            wait_s = max(self._requests.wait_s(1), self._tokens.wait_s(tokens), self._paused_until - self._clock())
            if wait_s <= 0:
                break
            await asyncio.sleep(min(wait_s, 1))  # a stop is noticed within a second
        self._requests.take(1)
        return self._tokens.take(tokens)

    def settle(self, entry: list[float], tokens: int) -> None:
        """Count the tokens that a call really used."""
        self._tokens.settle(entry, tokens)

    def answered(self) -> None:
        """A call got through: whatever it said, the vendor is there."""
        self._ends.append(False)
        self._limit = min(self._limit + 1 / max(self._limit, 1), self.most)
        self._broken_since = None
        if self._probing:
            self._probing, self._pause_s = False, _FIRST_PAUSE_S
            self._ends.clear()
        self._changed.set()

    def refused(self, retry_after_s: float | None = None, begun: float | None = None) -> None:
        """A call was one too many: fewer at once, and none before the time that the vendor names.

        Args:
            retry_after_s: What the vendor said.
            begun: `time.monotonic()` at which the call began, so that of calls that were on their way together one
                lowers the limit; left out, this one does.
        """
        if begun is None or begun > self._slowed_at:
            self._limit = max(self._limit * _SLOWER, 1)
            self.lowest = min(self.lowest, max(int(self._limit), 1))
            self._slowed_at = self._clock()
        if retry_after_s:
            self._pause(retry_after_s, f"the vendor asks to wait {retry_after_s:g} s")

    def failed(self) -> None:
        """A call failed for a reason that is the vendor's or the network's."""
        now = self._clock()
        if self._paused_until > now:
            return  # it was on its way when the circuit opened
        self._ends.append(True)
        bad = sum(self._ends)
        if not self._probing and (len(self._ends) < _FEWEST or bad < _BROKEN * len(self._ends)):
            return
        self._broken_since = self._broken_since or now
        if now - self._broken_since > _GIVE_UP_S:
            self.stop(f"nothing got through for {_GIVE_UP_S / 60:g} minutes")
            return
        why = f"{bad} of the last {len(self._ends)} calls failed; tried again in {self._pause_s:g} s"
        self._pause(self._pause_s, why)
        self._alert("circuit", f"queue {self.name}: {why}")
        self._probing, self._pause_s = True, min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def stop(self, why: str, failure: Failure | None = None) -> None:
        """Take no more in this run."""
        if self.stopped is None:
            self.stopped, self.stopped_by = why, failure
            self._changed.set()

    def _pause(self, seconds: float, why: str) -> None:
        until = self._clock() + seconds
        if until > self._paused_until:
            self._paused_until, self._why = until, why
