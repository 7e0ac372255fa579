"""Where output goes: the answer to stdout, everything else to stderr; nothing that a terminal would obey."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from llmtask.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

STDOUT_CLOSED = "standard output is closed; send it somewhere"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text with control characters made visible, so that no escape sequence in it reaches a terminal alive."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


@cache
def stderr() -> "Console":
    """The console for everything but the answer."""
    from rich.console import Console  # 40 ms that a JSON answer to a pipe saves

    return Console(stderr=True, highlight=False, soft_wrap=True)


@cache
def stdout() -> "Console":
    """The console for the answer."""
    from rich.console import Console

    return Console(highlight=False)


def answer(text: str) -> None:
    """Write a line of the answer to stdout, as it is.

    Raises:
        UsageError: stdout is closed or cannot be written.
    """
    with _errors_named():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def draw(picture: Any, *, room: int = 0, **options: Any) -> None:
    """Write a table or a styled line to stdout.

    Args:
        picture: What Rich can draw.
        room: How many characters a line needs, whether the terminal has them or not.
        options: Rich's own.

    Raises:
        UsageError: As `answer`.
    """
    console = stdout()
    console.width = max(console.width, room)
    with _errors_named(), console.capture() as captured:  # at a closed pipe Rich would end the program by itself
        console.print(picture, **options)
    answer(captured.get().removesuffix("\n"))


@contextmanager
def _errors_named() -> Iterator[None]:
    if sys.stdout is None:
        raise UsageError(STDOUT_CLOSED)
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"standard output cannot be written ({error.strerror}); send it somewhere else"
        raise UsageError(message) from error


def can_say(text: str) -> bool:
    """Whether stdout's encoding has it: GBK has no ¥, and where ASCII is all there are no blocks to draw with."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def room() -> int | None:
    """How many characters a line of the answer has; None in a pipe, which has no edge."""
    return stdout().width if stdout().is_terminal else None


def note(text: str, style: str = "dim") -> None:
    """Say something on stderr."""
    stderr().print(harmless(text), style=style, markup=False)


def warn(text: str) -> None:
    """Warn on stderr."""
    stderr().print(f"warning: {harmless(text)}", style="yellow", markup=False)


def can_ask() -> bool:
    """Whether somebody sits there to be asked."""
    streams = (sys.stdin, sys.stderr)
    return all(stream is not None and not stream.closed and stream.isatty() for stream in streams)


def is_yes(question: str) -> bool:
    """Ask on stderr; True for a yes. Stdout stays the answer's: `input` would write to it."""
    stderr().print(f"{harmless(question)} [y/N] ", style="bold", end="", markup=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def complain(text: str) -> None:
    """Say on stderr what went wrong."""
    stderr().print(f"llmtask: {harmless(text)}", style="red", markup=False)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """The value as JSON for a terminal or a pipe: Chinese stays readable, control characters are escaped."""
    import json

    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
