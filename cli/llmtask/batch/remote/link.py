"""A connection to the broker that outlives the broker's restarts: they cost time, and nothing else."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  # redis's own name
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  # redis's own name
)

from llmtask.batch.remote.url import place
from llmtask.errors import BrokerError, UsageError

_Found = TypeVar("_Found")

_CONNECTIONS = 32
_ANSWER_S = 10.0  # how long a command may take, reads that wait included
_CONNECT_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
FAILURES = (RedisError, OSError)
"""What goes wrong with a broker."""

_PASSING = (ConnectionError, TimeoutError, ReadOnlyError, OutOfMemoryError, OSError)

_PASSING_CODES = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED"}
)


class Link:
    """A connection to the broker."""

    def __init__(self, url: str, *, patience_s: float | None, tell: Callable[[str], None] = lambda _: None) -> None:
        """Name the broker; nothing is connected yet.

        Args:
            url: Such as `redis://:password@queue.example:6379/0`.
            patience_s: Seconds for which a broker that cannot be reached is tried again; None for as long as it takes.
            tell: Is told when the broker goes away, and when it is back: a sentence for people.

        Raises:
            UsageError: It is no such URL.
        """
        self.url, self.place = url, place(url)
        self._patience_s, self._tell = patience_s, tell
        self.away: str | None = None
        """Why the broker cannot be used now; None while it answers."""
        self.steady_since = time.monotonic()
        """`time.monotonic()` since which the broker answers this process."""
        self.was_away = False
        """Whether there was a time when it did not."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=None,
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_CONNECT_S,
                retry=Retry(NoBackoff(), 0),  # `do` tries again, and sooner: others wait for a sign of this process
            )
        except ValueError as error:
            message = f"--broker is a URL that Redis's client does not take ({error})"
            raise UsageError(message) from error
        self._scripts: dict[str, Any] = {}
        self._redis: Any = Redis.from_pool(pool)  # its answers are typed for both of its twins, sync and async

    async def check(self) -> None:
        """Ask whether the broker is there.

        Raises:
            BrokerError: It is not.
        """
        try:
            await self._redis.ping()
        except FAILURES as error:
            raise self._lost(error) from error

    async def uptime_s(self) -> float:
        """Seconds since the broker was started; many where it does not say.

        Raises:
            BrokerError: It cannot be reached.
        """
        try:
            said = await self.do(lambda redis: redis.info("server"))
        except BrokerError as error:
            if isinstance(error.__cause__, ResponseError):  # an account that may not ask
                return math.inf
            raise
        return float(said.get("uptime_in_seconds", math.inf))

    async def do(self, work: Callable[[Any], Awaitable[_Found]], *, patience_s: float | None = None) -> _Found:
        """Ask something of the broker, again where it cannot be reached: it may be done twice.

        Args:
            work: Takes the connection.
            patience_s: In place of the connection's own.

        Raises:
            BrokerError: The broker cannot be reached, or refuses.
        """
        patience_s = self._patience_s if patience_s is None else patience_s
        begun, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                found = await work(self._redis)
                _still_wanted()
                if pause_s > _FIRST_PAUSE_S:
                    self.steady_since = time.monotonic()
                if self.away is not None:
                    self.away = None
                    self._tell(f"the broker at {self.place} is back")
                return found
            except FAILURES as error:
                self.was_away = True
                self.steady_since = time.monotonic()  # at once: another command may get through before this one does
                _still_wanted()
                is_over = patience_s is not None and time.monotonic() - begun >= patience_s
                if is_over or not passes(error):
                    raise self._lost(error) from error
                if self.away is None:
                    self.away = _said(error)
                    self._tell(f"the broker at {self.place} does not answer ({self.away}); it is waited for")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def run(self, lua: str, names: Sequence[str], said: Callable[[], Sequence[str | int]]) -> Any:
        """Run a script in the broker, as one step; again where it cannot be reached, as in `do`.

        Args:
            lua: The script.
            names: The keys that it uses.
            said: Gives what else it is told, each time that it is tried.

        Raises:
            BrokerError: As in `do`.
        """
        if lua not in self._scripts:
            self._scripts[lua] = self._redis.register_script(lua)
        script = self._scripts[lua]
        return await self.do(lambda redis: script(keys=names, args=said(), client=redis))

    async def aclose(self) -> None:
        """Hang up."""
        await self._redis.aclose()

    def _lost(self, error: Exception) -> BrokerError:
        message = f"the broker at {self.place} cannot be used ({_said(error)}); is it running, and is --broker its URL?"
        return BrokerError(message)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def passes(error: BaseException | None) -> bool:
    """Whether the broker may do better later."""
    if isinstance(error, AuthenticationError):
        return False
    # Redis 6 puts what goes wrong in a script behind words of its own
    return isinstance(error, _PASSING) or bool(_PASSING_CODES & set(re.findall(r"\b[A-Z]{3,}\b", str(error))))


def _still_wanted() -> None:
    """Let a task end that was cancelled: redis's reads may swallow that.

    Raises:
        CancelledError: It was.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
