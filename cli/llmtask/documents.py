"""Reads what a user gives: text in whatever encoding it comes, or an image."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmtask.errors import UsageError

_IMAGES = ((b"\x89PNG\r\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_OTHERS = (  # what people give and no model reads, and what to do about it
    (b"%PDF", "a PDF; turn it into text first, e.g. `pdftotext FILE -`"),
    (b"PK\x03\x04", "a Word file or another archive; save it as text or Markdown first"),
    (b"\xd0\xcf\x11\xe0", "an old Word file; save it as text or Markdown first"),
    (b"{\\rtf", "an RTF file; save it as text or Markdown first"),
)
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CANDIDATES = ["gb18030", "big5", "cp1252"]
_LIMIT = threading.Lock()
_MOST_BYTES = 64 * 1024 * 1024  # beyond every model's context; refused before it fills the memory


@dataclass(frozen=True, slots=True)
class Image:
    """A document that is given as a picture."""

    name: str
    """The variable it fills."""
    media_type: str
    """Such as image/png."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """A document that is given as text."""

    text: str
    encoding: str
    """The encoding it was read in, such as utf-8 or gb18030."""


def read_document(name: str, path: str) -> Text | Image:
    """A document from a file or, for `-`, from standard input.

    Args:
        name: The variable it fills.
        path: A file's path, or `-`.

    Raises:
        UsageError: It cannot be read, is empty, or is neither text nor an image.
    """
    label = "standard input" if path == "-" else repr(path)
    data = _stdin() if path == "-" else _file(path)
    if len(data) > _MOST_BYTES:
        message = f"{label} is larger than {_MOST_BYTES // 2**20} MiB, which no model reads"
        raise UsageError(message)
    media_type = _media_type(data)
    if media_type:
        return Image(name, media_type, data)
    text = decode(data, label)
    if not text.text.strip():
        message = f"{label} is empty; give the text of {name!r}"
        raise UsageError(message)
    return text


def decode(data: bytes, label: str) -> Text:
    """The text in some bytes: UTF-8, else what its bytes look like, Chinese encodings first.

    Raises:
        UsageError: It is no text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _strictly(data, encoding, label)
    for mark, what in _OTHERS:
        if data.startswith(mark):
            message = f"{label} is {what}"
            raise UsageError(message)
    if b"\x00" in data:
        message = f"{label} is binary, not text; give text, Markdown or an image (PNG, JPEG, GIF, WebP)"
        raise UsageError(message)
    try:
        return Text(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        return _guessed(data, label)


@contextmanager
def any_length(most: int) -> Iterator[None]:
    """The csv module takes no cell beyond 131,072 characters unless it is told to, and a resume may be longer.

    The limit is the whole process's: hold it for one row, never over a `yield`.
    """
    import csv  # only who reads tables needs it

    with _LIMIT:
        before = csv.field_size_limit(max(most, 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def sound(text: str) -> str:
    """A text without what is no Unicode, such as half a surrogate pair: that stands there as an escape."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _strictly(data: bytes, encoding: str, label: str) -> Text:
    try:
        return Text(data.decode(encoding), encoding.removesuffix("-sig"))
    except UnicodeDecodeError as error:
        message = f"{label} begins as {encoding} and is not; save it as UTF-8"
        raise UsageError(message) from error


def _guessed(data: bytes, label: str) -> Text:
    try:  # the strict subset that everyday Chinese is written in; hardly any other text fits it, however short
        return Text(data.decode("gb2312"), "gb18030")
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes  # only for what is not UTF-8

    best = from_bytes(data, cp_isolation=_CANDIDATES).best()
    if best is None:
        message = f"{label} is no text in any known encoding; save it as UTF-8"
        raise UsageError(message)
    return Text(str(best), best.encoding)


def _media_type(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for mark, media_type in _IMAGES if data.startswith(mark)), None)


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        message = "standard input is closed; name a file with --input FILE"
        raise UsageError(message)
    try:
        return sys.stdin.buffer.read(_MOST_BYTES + 1)
    except OSError as error:
        message = f"standard input cannot be read ({error.strerror}); name a file with --input FILE"
        raise UsageError(message) from error


def _file(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except IsADirectoryError as error:
        message = f"{path!r} is a folder; name a file in it"
        raise UsageError(message) from error
    except FileNotFoundError as error:
        message = f"no file {path!r} (working folder: {Path.cwd()})"
        raise UsageError(message) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        message = f"{path!r} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise UsageError(message) from error
