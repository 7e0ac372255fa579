"""What the bytes of files still say of a text: looked for in every page of a SQLite file, in use or not.

Deleted rows leave their bytes in free pages, in the free room of others, and in the write-ahead log. A raw search alone
would find `ann` in `joanna`, or where one value ends in `an` and the next begins with `n`; so what lies in a page's
cells is decoded to values, as https://www.sqlite.org/fileformat2.html has it, and a value counts that is the text.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX, _INNER_TABLE = 13, 10, 2, 5
_HEADER, _FRAME_HEADER = 32, 24  # bytes of a write-ahead log before its frames, and before the page of each
_FIXED = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)  # bytes of a value by its serial type
_LONGEST = 200  # bytes that are looked for at a time: a longer text lies on several pages
_SHORTEST = 3  # bytes; one or two are anywhere by chance: in counters, checksums, what pages have left over
_SHOWN = 3


@dataclass(slots=True)
class Traces:
    """Where a text was found."""

    places: list[str] = field(default_factory=list)
    """Files that hold it whole, with the number of the page or of the byte."""
    cells: int = 0
    """How often a value of the database's own file is the text."""
    parts: int = 0
    """How often it is a part of something longer, which is not it."""
    longer: list[str] = field(default_factory=list)
    """The first of what is longer."""

    def add_longer(self, value: str) -> None:
        """Count a part of something longer."""
        self.parts += 1
        if value not in self.longer and len(self.longer) < _SHOWN:
            self.longer.append(value[:80])


def look(files: list[Path], spool: list[Path], text: str) -> Traces:
    """Look for a text in the files of a log.

    Args:
        files: A SQLite file and those that stand beside it.
        spool: Files of rows that wait for it.
        text: The text, whole.

    Raises:
        OSError: One cannot be read.
    """
    found = Traces()
    needles = _needles(text.encode(errors="backslashreplace"))
    for file in files:
        _look_at(file, needles, found)
    found.places += [str(file) for file in spool if _in_json(file, text, needles)]
    return found


def _look_at(file: Path, needles: list[bytes], found: Traces) -> None:
    content, is_whole = _Pages(file), len(needles) == 1
    for number, page, first in content.pages():
        for needle in needles:
            for at in _places(page, needle):
                kind, value = _kind(page, first, content.usable, slice(at, at + len(needle)), is_whole)
                if kind == "part":
                    found.add_longer(value)
                elif kind == "free" and len(needle) < _SHORTEST:
                    found.add_longer("(bytes of no text)")
                elif kind == "cell" and content.is_main:
                    found.cells += 1
                else:
                    found.places.append(f"{file}, page {number}" if number else str(file))


def _needles(whole: bytes) -> list[bytes]:
    """The text, or pieces of a long one: of what is left of it, whatever is long enough holds one."""
    if len(whole) <= _LONGEST:
        return [whole]
    return list(
        dict.fromkeys(whole[at : at + _LONGEST // 2] for at in range(0, len(whole) - _LONGEST // 2, _LONGEST // 2))
    )


def _places(page: bytes, needle: bytes) -> Iterator[int]:
    at = page.find(needle)
    while at >= 0:
        yield at
        at = page.find(needle, at + 1)


class _Pages:
    """The pages of a file, one after the other."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with file.open("rb") as stream:
            head = stream.read(100)
        self.is_main = head.startswith(b"SQLite format 3\x00")
        self._is_log = head[:3] == b"\x37\x7f\x06"
        size = int.from_bytes(head[16:18]) if self.is_main else int.from_bytes(head[8:12]) if self._is_log else 0
        self._size = 65536 if size == 1 else size
        self.usable = self._size - (head[20] if self.is_main else 0)

    def pages(self) -> Iterator[tuple[int, bytes, int]]:
        """Number, bytes, and where the page's own header begins; of a file without pages number 0 and all of it."""
        with self._file.open("rb") as stream:
            if not self._size:
                yield 0, stream.read(), -1
                return
            number = 0
            stream.seek(_HEADER if self._is_log else 0)
            while True:
                if self._is_log:
                    header = stream.read(_FRAME_HEADER)
                    number = int.from_bytes(header[:4])
                else:
                    number += 1
                page = stream.read(self._size)
                if not page:
                    return
                yield number, page, 100 if number == 1 else 0


def _kind(page: bytes, first: int, usable: int, place: slice, is_whole: bool) -> tuple[str, str]:
    """What a place in a page is: `cell` of a value that is the text, `part` of something longer, or `free` room."""
    if first < 0:
        return "free", ""
    try:
        used = list(_used(page, first, usable))
    except IndexError:  # the rest of a long value, or a page that was freed
        return "free" if page[:1] > b"\x0d" else "part", "(a value of more than a page)"
    at, end = place.start, place.stop
    for begin, stop, whole in used:
        if whole and begin <= at and end <= stop:
            if is_whole and whole > end - at:
                return "part", page[begin:stop].decode(errors="replace")
            return "cell", ""
    if any(begin < end and at < stop for begin, stop, _ in used):
        return "part", "(numbers, or the end of a value and the begin of the next)"
    return "free", ""


def _used(page: bytes, first: int, usable: int) -> Iterator[tuple[int, int, int]]:
    """Begin and end of everything in a page that is in use, and the whole length where it is a text, else 0.

    Raises:
        IndexError: It is no page of cells.
    """
    kind = page[first]
    if kind not in (_LEAF_TABLE, _LEAF_INDEX, _INNER_INDEX, _INNER_TABLE):
        raise IndexError(kind)
    count = int.from_bytes(page[first + 3 : first + 5])
    pointers = first + (12 if kind in (_INNER_INDEX, _INNER_TABLE) else 8)
    yield 0, pointers + 2 * count, 0
    for number in range(count):
        begin = at = int.from_bytes(page[pointers + 2 * number : pointers + 2 * number + 2])
        if kind in (_INNER_INDEX, _INNER_TABLE):
            at += 4
        size, at = _varint(page, at)
        if kind == _INNER_TABLE:
            yield begin, at, 0
            continue
        if kind == _LEAF_TABLE:
            _, at = _varint(page, at)
        end = at + _local(size, usable, kind)
        yield from _record(page, at, end)
        yield begin, end + (4 if size > end - at else 0), 0


def _record(page: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    header, at = _varint(page, begin)
    value = begin + header
    while at < begin + header:
        kind, at = _varint(page, at)
        size = _FIXED[kind] if kind < len(_FIXED) else (kind - 12) // 2
        if kind >= len(_FIXED) and value < end:
            yield value, min(value + size, end), size
        value += size


def _local(size: int, usable: int, kind: int) -> int:
    """How many bytes of a record are on its cell's own page."""
    most = usable - 35 if kind == _LEAF_TABLE else (usable - 12) * 64 // 255 - 23
    if size <= most:
        return size
    least = (usable - 12) * 32 // 255 - 23
    here = least + (size - least) % (usable - 4)
    return here if here <= most else least


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for count in range(8):
        byte = page[at + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + count + 1
    return value << 8 | page[at + 8], at + 9


def _in_json(file: Path, text: str, needles: list[bytes]) -> bool:
    """Whether a file of a row holds the text as a value; of one that is no JSON, whether its bytes hold it."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:  # somebody took it in meanwhile
        return False
    try:
        return text in _texts(json.loads(content))
    except (ValueError, RecursionError):
        escaped = re.escape(json.dumps(text)[1:-1]).encode()
        return any(needle in content for needle in needles) or bool(re.search(escaped, content))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
