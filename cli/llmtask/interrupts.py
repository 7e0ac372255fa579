"""The signals that end the program: Ctrl-C, SIGTERM and SIGHUP, each as a KeyboardInterrupt that is not lost.

Python's own handling falls short in three ways. An exception that is raised while a destructor or a callback of the
import system runs is swallowed. A signal that comes just before a blocking call is noticed when that call returns. And
one that comes while a row is being written breaks the writing off. So a thread of its own sees each signal come, and
sends it to the main thread again and again until the program ends; after some seconds it ends it. `held` puts a
signal off to the end of what must be done whole.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN_S = 0.1
_GRACE_S = 5.0  # from a signal to the end at all costs: closing a row takes a second where the log is locked


class _Guard:
    """What became of the signals so far."""

    def __init__(self) -> None:
        self.main = threading.get_ident()
        self.number = 0
        """The first signal that came; 0 before."""
        self.held = 0
        """How many blocks it must not break off."""
        self.is_over = False
        """Whether there is nothing left to break off."""
        self.drain: Callable[[int], bool] | None = None
        """Is asked first what becomes of a signal."""

    def take(self) -> None:
        """Handle the signals from now on; one that is ignored, as after `nohup`, stays ignored."""
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        if hasattr(signal, "pthread_kill"):
            reader, writer = os.pipe()
            os.set_blocking(writer, False)
            signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            threading.Thread(target=self._insist, args=(reader, frozenset(wanted)), daemon=True).start()
        for number in wanted:
            signal.signal(number, self._on_signal)

    def interrupt(self) -> None:
        """Raise the interrupt that is due.

        Raises:
            KeyboardInterrupt: A signal came, nothing holds it, and it is not on its way already.
        """
        if self.number and not (self.held or self.is_over or _is_on_its_way()):
            raise KeyboardInterrupt

    def _on_signal(self, number: int, _frame: object) -> None:
        if self.drain is not None and self.drain(number):
            return
        self.number = self.number or number
        self.interrupt()

    def _insist(self, reader: int, wanted: frozenset[int]) -> None:
        """In a thread: see to it that the program ends after a signal."""
        while (number := os.read(reader, 1)[0]) not in wanted or self.drain is not None:
            pass
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until:
            time.sleep(_AGAIN_S)
            if not self.held:  # what is held needs no system call broken off
                signal.pthread_kill(self.main, number)
        os._exit(128 + number)


_guard: _Guard | None = None


def take() -> None:
    """Turn the signals that end a program into KeyboardInterrupts of this thread, the main one, for good."""
    global _guard
    _guard = _Guard()
    _say_nothing_of_interrupts()
    _guard.take()


def leave() -> None:
    """Let signals come to nothing: the program is about to end by itself."""
    if _guard is not None:
        _guard.is_over = True


def exit_code() -> int:
    """128 and the signal's number, as shells count: 130 for Ctrl-C."""
    return 128 + ((_guard.number if _guard else 0) or signal.SIGINT)


@contextmanager
def drained(drain: Callable[[int], bool]) -> Iterator[None]:
    """Ask a function first what becomes of signals in the block; one that it gives False for ends the program.

    Args:
        drain: Is called with the signal's number, in the main thread, between any two of its steps.
    """
    guard = _guard
    if guard is None or guard.main != threading.get_ident():
        yield
        return
    guard.drain = drain
    try:
        yield
    finally:
        guard.drain = None


@contextmanager
def held() -> Iterator[None]:
    """Put a signal off to the end of the block. In other threads, and where `take` was not called, it does nothing."""
    guard = _guard
    if guard is None or guard.main != threading.get_ident():
        yield
        return
    guard.held += 1
    try:
        yield
    finally:
        guard.held -= 1
        guard.interrupt()


def _is_on_its_way() -> bool:
    """Whether the code that runs now cleans up after an interrupt."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _say_nothing_of_interrupts() -> None:
    """Take interrupts that are swallowed off stderr: they come again."""
    say = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            say(unraisable)

    sys.unraisablehook = hook
