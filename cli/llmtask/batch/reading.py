"""Files that a batch reads: opened, bounded, and what goes wrong with them as the user's to mend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmtask.errors import UsageError

MOST_BYTES = 64 * 1024 * 1024
"""Of a line or a cell: what a document may have at most."""

SHOWN_CHARACTERS = 60
"""Of a name in a message."""


def opened(path: Path) -> BinaryIO:
    """A file, to be read."""
    return path.open("rb")


@contextmanager
def reading(label: str) -> Iterator[None]:
    """What cannot be opened or breaks off is the user's to mend."""
    try:
        yield
    except OSError as error:
        message = f"{label} cannot be read ({error.strerror or error}); see to it and start again"
        raise UsageError(message) from error


def shown_name(name: str) -> str:
    """A name for people, however long somebody made it."""
    return repr(name) if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]!r}..."
