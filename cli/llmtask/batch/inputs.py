"""Reads what a batch is given, a record at a time: lines of JSON, rows of a CSV file, the files of a folder."""

import codecs
import json
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmtask.batch.job import Inputs, Record
from llmtask.batch.reading import MOST_BYTES, SHOWN_CHARACTERS, opened, reading, shown_name
from llmtask.batch.table import ID, ODD, columns, rows
from llmtask.documents import Image, read_document, sound
from llmtask.errors import UsageError, did_you_mean
from llmtask.prompts import PromptFile

STDIN = "-"
"""What names standard input."""

_JSONL = (".jsonl", ".ndjson")
_CSV = ".csv"
_FILE = "file"
_BLOCK_BYTES = 2**20
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EXAMPLE = 'a line is a JSON object such as {"resume": "..."}'


def open_records(source: str, prompt: PromptFile, base: Mapping[str, str] | None = None) -> Iterator[Record]:
    """The records of a source, read as they are asked for.

    A record that cannot be asked carries its problem; it never keeps the others from being read.

    Args:
        source: A .jsonl, .ndjson or .csv file, a folder, or `-` for lines of JSON from standard input.
        prompt: The task's prompt: its variables are what a record may give.
        base: Texts that every record has; a record's own go before them.

    Raises:
        UsageError: The source as a whole cannot be read, or fits no variable of the prompt. Also while it is read,
            when it breaks off.
    """
    texts = dict(base or {})
    for name in texts:
        if name not in prompt.variables:
            message = f"the task has no variable {name!r}{did_you_mean(name, prompt.variables)}"
            raise UsageError(message)
    if source == STDIN:
        piped = _stdin()
        return _json_records(lambda: nullcontext(piped), "standard input", _Maker(prompt, texts, Path.cwd()))
    path = _path(source)
    if path.is_dir():
        return _documents(path, _Maker(prompt, texts, path.absolute()))
    maker = _Maker(prompt, texts, path.parent.absolute())
    if path.suffix.lower() == _CSV:
        return _row_records(path, columns(path, prompt), maker)
    _refuse_utf16(path)
    return _json_records(lambda: opened(path), repr(source), maker)


def count_records(source: str) -> int | None:
    """How many records a source has at most, without making them; None for standard input.

    Raises:
        UsageError: It cannot be read.
    """
    if source == STDIN:
        return None
    path = _path(source)
    if path.is_dir():
        return len(_names(path))
    if path.suffix.lower() == _CSV:
        return max(sum(1 for _, row in rows(path) if row is None or any(row)) - 1, 0)
    lines, last = 0, b"\n"
    with reading(repr(source)), path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


class _BadRecordError(Exception):
    """A record cannot be asked; the text says why, and the way out."""


class _Number(str):
    """A number as it is written: no digit of it is lost, however many there are."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes records for a task."""

    prompt: PromptFile
    base: Mapping[str, str]
    folder: Path
    """Where files that records name are looked for."""

    def of_line(self, number: int, line: bytes | None) -> Record:
        """The record in a line of JSON; None is a line that is too long."""
        own_id: str | None = None
        try:
            values = self._values(line)
            own_id = self._take_id(values)
            return Record(own_id or str(number), self._inputs(values))
        except (_BadRecordError, UsageError) as error:
            return Record(own_id or str(number), problem=sound(f"line {number}: {error}"))

    def of_row(self, number: int, names: Sequence[str], row: Sequence[str] | None) -> Record:
        """The record in a row; None is a row that is no CSV."""
        own_id: str | None = None
        try:
            if row is None:
                message = "it is not valid CSV: a quote is missing or one too many, or a cell is beyond 64 MiB"
                raise _BadRecordError(message)
            if len(row) != len(names):
                message = f"it has {len(row)} cells, and the header has {len(names)}; quote cells that hold commas"
                raise _BadRecordError(message)
            values: dict[str, Any] = {name: cell for name, cell in zip(names, row, strict=True) if cell.strip()}
            own_id = self._take_id(values)
            if any(ODD in cell for cell in row):
                message = "it holds bytes that are no text in the file's encoding; save the file as `CSV UTF-8`"
                raise _BadRecordError(message)
            return Record(own_id or str(number), self._inputs(values))
        except _BadRecordError as error:
            return Record(own_id or str(number), problem=sound(f"row {number}: {error}"))

    def of_file(self, name: str, variable: str) -> Record:
        """The record that a file of the folder is."""
        try:
            return Record(sound(name), self._inputs({variable: {_FILE: name}}))
        except (_BadRecordError, UsageError) as error:
            return Record(sound(name), problem=sound(str(error)))

    def _values(self, line: bytes | None) -> dict[str, Any]:
        if line is None:
            message = f"it is longer than {MOST_BYTES // 2**20} MiB, which no model reads; split it"
            raise _BadRecordError(message)
        value = _parsed(line)
        if isinstance(value, dict):
            return value
        if not isinstance(value, str) or isinstance(value, _Number):
            message = f"it is no object; {_EXAMPLE}"
            raise _BadRecordError(message)
        if self.prompt.default_input is None:
            message = (
                "it is a text, and the task's prompt has no variable that takes it; give an object, {} for nothing"
            )
            raise _BadRecordError(message)
        return {self.prompt.default_input: value}

    def _take_id(self, values: dict[str, Any]) -> str | None:
        """The record's own id, no longer among its values."""
        if ID in self.prompt.variables:
            return None
        own_id = values.pop(ID, None)
        if own_id is None or isinstance(own_id, str):
            return sound(str(own_id)) if own_id and own_id.strip() else None
        message = "its id is neither a text nor a number; give one of these, or leave it out"
        raise _BadRecordError(message)

    def _inputs(self, values: Mapping[str, Any]) -> Inputs:
        known = self.prompt.variables
        texts, images = dict(self.base), []
        for name, value in values.items():
            if name not in known:
                message = f"the task has no variable {shown_name(name)}{did_you_mean(name[:SHOWN_CHARACTERS], known)}"
                raise _BadRecordError(message)
            given = self._given(name, value)
            if isinstance(given, Image):
                images.append(given)
                texts.pop(name, None)
            elif given is not None:
                texts[name] = sound(given)
        self._check(texts, images)
        return Inputs(texts, tuple(images))

    def _given(self, name: str, value: Any) -> str | Image | None:
        if value is None:
            return None
        if isinstance(value, str):
            return str(value)
        if isinstance(value, dict) and list(value) == [_FILE] and type(value[_FILE]) is str:
            document = read_document(name, self._document(value[_FILE]))
            return document if isinstance(document, Image) else document.text
        try:
            return _written(value)
        except RecursionError:
            raise _too_deep() from None

    def _document(self, named: str) -> str:
        """The path of a file that a record names: absolute, so that `-` and `~` are names like others."""
        path = self.folder / named
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            return str(path)  # reading it says what is wrong
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            message = f"{str(path)!r} is no regular file; name a file of text or an image"
            raise _BadRecordError(message)
        return str(path)

    def _check(self, texts: Mapping[str, str], images: Sequence[Image]) -> None:
        attached = {image.name for image in images}
        for name, variable in self.prompt.variables.items():
            if variable.required and name not in attached and not texts.get(name, "").strip():
                message = (
                    f"{name!r} is missing ({variable.description}); give it here, or to all with --var {name}=TEXT"
                )
                raise _BadRecordError(message)


def _json_records(
    opened: Callable[[], AbstractContextManager[BinaryIO]], label: str, maker: _Maker
) -> Iterator[Record]:
    with reading(label), opened() as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None or line.strip():
                yield maker.of_line(number, line)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Each line without the byte order mark of the first; None for one that would fill the memory."""
    first = file.readline(MOST_BYTES + 1).removeprefix(codecs.BOM_UTF8)
    line = first or file.readline(MOST_BYTES + 1)
    while line:
        is_whole = len(line) <= MOST_BYTES
        yield line if is_whole else None
        while not is_whole and line and not line.endswith(b"\n"):
            line = file.readline(_BLOCK_BYTES)
        line = file.readline(MOST_BYTES + 1)


def _parsed(line: bytes) -> Any:
    try:
        return _decoder.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
        raise _BadRecordError(message) from None
    except json.JSONDecodeError as error:
        message = f"it is not valid JSON ({error.msg}, column {error.colno}); {_EXAMPLE}"
        raise _BadRecordError(message) from None
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> _BadRecordError:
    return _BadRecordError("its values are nested too deeply; give them as text")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refused where a key stands twice: one of the two values would be lost."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            message = f"key {shown_name(key)} stands there twice; keep one"
            raise _BadRecordError(message)
        values[key] = value
    return values


def _no_constant(name: str) -> Any:
    message = f"{name} is no JSON; write null, or a text"
    raise _BadRecordError(message)


_decoder = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_no_constant, object_pairs_hook=_once
)


def _written(value: Any) -> str:
    """A value as JSON text, its numbers as they came."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)}: {_written(one)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_written(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)


def _row_records(path: Path, names: Sequence[str], maker: _Maker) -> Iterator[Record]:
    numbered = rows(path)
    header = next((number for number, row in numbered if row is None or any(row)), 0)
    for number, row in numbered:
        if row is None or any(cell.strip() for cell in row):  # spreadsheets write rows of commas below a table
            yield maker.of_row(number - header, names, row)


def _documents(folder: Path, maker: _Maker) -> Iterator[Record]:
    label, variable, names = repr(str(folder)), maker.prompt.default_input, _names(folder)
    if variable is None:
        message = f"the task's prompt has no variable that a file fills; {label} cannot be its input"
        raise UsageError(message)
    if not names:
        message = (
            f"there is no file in {label} (hidden ones and folders do not count); name the folder of the documents"
        )
        raise UsageError(message)
    return (maker.of_file(name, variable) for name in names)


def _names(folder: Path) -> list[str]:
    """The regular files of a folder, sorted; whatever else there is would hang or go round in circles."""
    with reading(repr(str(folder))):
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return [name for name in names if _is_regular(folder / name)]


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _path(source: str) -> Path:
    """The file or folder of a source.

    Raises:
        UsageError: There is none, or it is of a kind that has no records.
    """
    try:
        path = Path(source).expanduser()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        message = f"no file or folder {source!r} (working folder: {Path.cwd()})"
        raise UsageError(message) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        message = f"{source!r} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise UsageError(message) from error
    if stat.S_ISDIR(mode):
        return path
    if not stat.S_ISREG(mode):
        message = f"{source!r} is no regular file; pipe lines of JSON into `-` instead"
        raise UsageError(message)
    if path.suffix.lower() not in (*_JSONL, _CSV):
        message = f"{source!r} is of an unknown kind; give a .jsonl or .csv file, a folder of documents, or -"
        raise UsageError(message)
    return path


def _refuse_utf16(path: Path) -> None:
    """Every line of such a file would fail; better the file does, before anything is asked."""
    label = repr(str(path))
    with reading(label), opened(path) as file:
        if file.read(2) in _UTF16:
            message = f"{label} is UTF-16; lines of JSON are UTF-8: save it as UTF-8"
            raise UsageError(message)


def _stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.closed:
        message = "standard input is closed; name a .jsonl or .csv file or a folder"
        raise UsageError(message)
    try:  # a reader of our own: Python aborts at its end where a thread still waits in the one of sys.stdin
        return open(sys.stdin.fileno(), "rb", closefd=False)  # it is no path
    except OSError:  # it is no file, as in tests
        return sys.stdin.buffer
