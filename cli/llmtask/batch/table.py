"""The rows of a CSV file, as a stream: constant memory for a million of them."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from llmtask.batch.reading import MOST_BYTES, SHOWN_CHARACTERS, opened, reading, shown_name
from llmtask.documents import any_length, decode
from llmtask.errors import UsageError, did_you_mean
from llmtask.prompts import PromptFile

ID = "id"
"""What names a record, where it is no variable of the prompt."""
ODD = "\udcff"
"""Stands for bytes that are no text: half a surrogate pair, which no text that was decoded has of its own."""

_HEAD_BYTES = 64 * 1024
_ENCODINGS = ("utf-8", "utf-16", "utf-32", "gb18030")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MARK_ODD = "llmtask.mark_odd"

codecs.register_error(_MARK_ODD, lambda error: (ODD, getattr(error, "end", 0)))


def columns(path: Path, prompt: PromptFile) -> list[str]:
    """What the header of a CSV file names; nothing where the file is empty.

    Raises:
        UsageError: It names what the prompt does not have, or something twice.
    """
    label = repr(str(path))
    row = next((row for _, row in rows(path) if row is None or any(row)), [])
    if row is None:
        message = f"{label}: the header is not valid CSV; its first row names the variables, with commas between"
        raise UsageError(message)
    if len(row) == 1 and any(mark in row[0] for mark in ";\t|"):
        one = shown_name(row[0])
        message = f"{label}: there is one column, {one}; columns are told apart by commas: save it as `CSV UTF-8`"
        raise UsageError(message)
    names = [name.strip() for name in row]
    known = [*prompt.variables, *([] if ID in prompt.variables else [ID])]
    for position, name in enumerate(names, start=1):
        if name not in known:
            close = did_you_mean(name[:SHOWN_CHARACTERS], known)
            what = (
                f"unknown column {shown_name(name)}{close}"
                if name
                else f"column {position} has no name; name or delete it"
            )
            message = f"{label}: {what}"
            raise UsageError(message)
        if name in names[: position - 1]:
            message = f"{label}: there are two columns {name!r}; keep one"
            raise UsageError(message)
    return names


def rows(path: Path) -> Iterator[tuple[int, list[str] | None]]:
    """Each row with its number from 1, the header included; None for one that is no CSV."""
    encoding = _encoding(path)
    with reading(repr(str(path))), opened(path) as file:
        lines = io.TextIOWrapper(file, encoding=encoding, errors=_MARK_ODD, newline="")
        reader, number = csv.reader(lines, strict=True), 0
        while True:
            number += 1
            try:
                with any_length(MOST_BYTES):
                    row = next(reader, None)
            except csv.Error as error:
                yield number, None
                if "field limit" in str(error):
                    return  # in the middle of an open quote: what follows could only be misread
                continue
            if row is None:
                return
            yield number, row


def _encoding(path: Path) -> str:
    """The encoding of a CSV file: UTF-8, or what Excel writes: GB18030 in China, UTF-16 as "Unicode text".

    Raises:
        UsageError: It is in another, or is no text.
    """
    label = repr(str(path))
    with reading(label), opened(path) as file:
        head = file.read(_HEAD_BYTES)
        for mark in _UTF16:
            if head.startswith(mark):
                return "utf-16"
        decode(_whole(head), label)
        while len(head) == _HEAD_BYTES and head.isascii():  # says nothing yet of what the rest is in
            head = file.read(_HEAD_BYTES)
    encoding = decode(_whole(head), label).encoding
    if encoding not in _ENCODINGS:
        message = f"{label} is not UTF-8 (it looks like {encoding}); save it as `CSV UTF-8`"
        raise UsageError(message)
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _whole(head: bytes) -> bytes:
    """The beginning of a file up to where no character is cut: neither UTF-8 nor GB18030 has these bytes in others."""
    end = max(head.rfind(b"\n"), head.rfind(b",")) + 1
    return head[:end] if end and len(head) == _HEAD_BYTES else head
