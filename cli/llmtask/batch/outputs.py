"""Writes what comes of a batch: answers as lines of JSON or a file each, failed records in a file of their own."""

import hashlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TypeAlias, TypeVar

from llmtask.batch.job import BAD_INPUT, Outcome, State
from llmtask.errors import ProjectError, UsageError

_STDOUT = "-"
_JSONL = (".jsonl", ".ndjson")
_MODE = 0o600  # answers are content: nobody else's to read
_MOST_NAME_BYTES = 120  # of the 143 that an encrypted folder leaves of 255, what `-2`, `.json` and `.part` do not need
_DIGEST_BYTES = 6
_NEVER_IN_NAMES = frozenset('<>:"/\\|?*')
_ENDING = re.compile(r"\.(?:[A-Za-z][A-Za-z0-9]{0,3}|markdown)$")  # of a document: `v1.2` has none
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|$)")  # devices, to Windows
_Self = TypeVar("_Self", bound="_Outputs")


class _Outputs:
    """What both kinds of outputs have: a file of failed records, made when there is one."""

    def __init__(self, failed: "_LineFile | None") -> None:
        self._failed = failed

    @property
    def failed_path(self) -> Path | None:
        """Where failed records go; None where only the journal has them."""
        return self._failed.path if self._failed else None

    def close(self) -> None:
        """Write no more; what is written stays."""
        if self._failed:
            self._failed.close()

    def __enter__(self: _Self) -> _Self:
        """Give itself, to be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _write_failed(self, items: Sequence[tuple[str, Outcome]]) -> None:
        if self._failed:
            self._failed.append([_failure(one, outcome) for one, outcome in items if outcome.state is State.FAILED])


class LineOutputs(_Outputs):
    """Answers as lines of JSON, in a file or on standard output: `{"id": "7", "answer": {...}}`."""

    def __init__(self, results: "_LineFile | _Stdout", failed: "_LineFile | None") -> None:
        """Take where the lines go; `open_outputs` knows."""
        super().__init__(failed)
        self._results = results

    def write(self, items: Sequence[tuple[str, Outcome]]) -> None:
        """Append a block of outcomes, each with its record's id; one that is still pending is passed over.

        Raises:
            ProjectError: There is no room, or the file is gone.
        """
        self._results.append([_answer(one, outcome) for one, outcome in items if outcome.state is State.DONE])
        self._write_failed(items)

    def flush(self) -> None:
        """Come back when all that is written survives a power cut.

        Raises:
            ProjectError: The disk refuses.
        """
        self._results.sync()
        if self._failed:
            self._failed.sync()

    def close(self) -> None:
        """Write no more; what is written stays."""
        self._results.close()
        super().close()


class FolderOutputs(_Outputs):
    """Answers as files of a folder, each named after its record.

    A name depends on those before it: who goes on writes all from the first again, and each falls where it was.
    """

    def __init__(self, folder: Path, failed: "_LineFile") -> None:
        """Take the folder; `open_outputs` has made it."""
        super().__init__(failed)
        self._folder = folder
        self._next: dict[str, int] = {}
        """The number that the next record of a name gets; names as a file system sees them that knows no case."""
        self._unsynced: list[Path] = []

    def write(self, items: Sequence[tuple[str, Outcome]]) -> None:
        """Write a file for each answer, and append the failed ones; one that is still pending is passed over.

        Raises:
            ProjectError: There is no room, or the folder is gone.
        """
        for one, outcome in items:
            if outcome.state is State.DONE:
                path = self._folder / f"{self._free(_stem(one))}.json"
                with _writing(path):
                    _replace(path, _pretty(outcome.answer or "null"))
                self._unsynced.append(path)
        self._write_failed(items)

    def flush(self) -> None:
        """Come back when all that is written survives a power cut.

        Raises:
            ProjectError: The disk refuses.
        """
        for path in self._unsynced:
            with _writing(path), suppress(FileNotFoundError), _opened(path, "ab") as file:  # somebody may have moved it
                os.fsync(file.fileno())
        self._unsynced.clear()
        if self._failed:
            self._failed.sync()

    def _free(self, stem: str) -> str:
        """The name, or the first of `name-2`, `name-3` ... that no record before has."""
        number = self._next.get(_folded(stem), 1)
        name = stem if number == 1 else f"{stem}-{number}"
        while _folded(name) in self._next:
            number += 1
            name = f"{stem}-{number}"
        self._next.setdefault(_folded(name), 2)
        self._next[_folded(stem)] = number + 1
        return name


Outputs: TypeAlias = LineOutputs | FolderOutputs


def open_outputs(out: str, *, force: bool = False) -> Outputs:
    """Where a batch's outcomes go.

    Args:
        out: A .jsonl or .ndjson file; a folder, which ends in `/` or is there; or `-` for standard output.
        force: Whether to write over what is there.

    Raises:
        UsageError: It cannot be written, or something is there and nobody said to write over it.
    """
    if out == _STDOUT:
        return LineOutputs(_Stdout(), None)
    try:
        path = Path(out).expanduser()
        is_folder = path.is_dir() or out.endswith(("/", os.sep))
        if not is_folder and path.suffix.lower() not in _JSONL:
            message = (
                f"--out {out!r} is of an unknown kind; end it in .jsonl, or in / for a folder, or give - for stdout"
            )
            raise UsageError(message)
        return _in_folder(path, force=force) if is_folder else _in_file(path, force=force)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        why = getattr(error, "strerror", None) or error
        message = f"--out {out!r} cannot be written ({why}); name another place"
        raise UsageError(message) from error


def _in_file(path: Path, *, force: bool) -> LineOutputs:
    results, failed = _LineFile(path), _LineFile(path.with_name(f"{path.stem}.failed.jsonl"))
    for file in (results, failed):
        file.check_free(force=force)
    failed.remove()
    results.empty()
    results.open()
    return LineOutputs(results, failed)


def _in_folder(folder: Path, *, force: bool) -> FolderOutputs:
    folder.mkdir(parents=True, exist_ok=True)
    failed = _LineFile(folder / "failed.jsonl")
    if not force and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise _taken(folder)
    failed.check_free(force=force)
    failed.remove()  # nothing else: the folder may hold more than this batch's answers
    return FolderOutputs(folder, failed)


def _taken(path: Path) -> UsageError:
    kind = "is not empty" if path.is_dir() else "exists"
    return UsageError(
        f"--out {str(path)!r} {kind}; go on with its batch by `llmtask batch resume`, write over it with --force, "
        "or name another"
    )


class _LineFile:
    """A file that lines are only appended to, made with the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None

    def check_free(self, *, force: bool) -> None:
        """Refuse what is no file, and, unless forced, what would be lost."""
        self._check_regular()
        if not force and self.path.exists() and self.path.stat().st_size:
            raise _taken(self.path)

    def empty(self) -> None:
        """Drop what it holds."""
        if self.path.exists():
            os.truncate(self.path, 0)

    def remove(self) -> None:
        """Drop the file."""
        self.path.unlink(missing_ok=True)

    def open(self) -> FileIO:
        """The file, made where it is not there."""
        if self._file is None:
            self._file = _opened(self.path, "ab")
        return self._file

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, all in one go: a kill leaves at most the last of them cut."""
        if lines:
            with _writing(self.path):
                _write_all(self.open(), b"".join(lines))

    def sync(self) -> None:
        if self._file is not None:
            with _writing(self.path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_regular(self) -> None:
        if self.path.exists() and not self.path.is_file():
            message = f"--out {str(self.path)!r} is no regular file; name another, or give - for stdout"
            raise UsageError(message)


class _Stdout:
    """Lines to standard output."""

    def append(self, lines: Sequence[bytes]) -> None:
        with _writing("standard output"):
            sys.stdout.buffer.write(b"".join(lines))
            sys.stdout.buffer.flush()

    def sync(self) -> None:
        """Nothing: what is written is with whoever reads."""

    def close(self) -> None:
        """Nothing: it is not ours."""


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    """What the system refuses, as an error with a way out."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read has left; that is no fault
    except OSError as error:
        message = (
            f"{str(path)!r} cannot be written ({error.strerror or error}); nothing is lost: the journal has it; "
            "make room and run `llmtask batch resume`"
        )
        raise ProjectError(message) from error


def _opened(path: Path, mode: str) -> FileIO:
    """A file without a buffer, so that a block goes to the system as it is."""
    return FileIO(path, mode, opener=lambda name, flags: os.open(name, flags, _MODE))


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]  # one call, unless the system takes less: it does at 2 GiB, or on a full disk


def _replace(path: Path, data: bytes) -> None:
    """Write a file as a whole: nobody sees half of it, and a link in its place is not followed."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a run that was killed
    with _opened(part, "xb") as file:
        _write_all(file, data)
    part.replace(path)


def _answer(record_id: str, outcome: Outcome) -> bytes:
    answer = (outcome.answer or "null").replace("\r", " ").replace("\n", " ")  # in JSON these only lay it out
    return _bytes(f'{{"id": {_json(record_id)}, "answer": {answer}}}\n')


def _failure(record_id: str, outcome: Outcome) -> bytes:
    error_class = outcome.failure.value if outcome.failure else BAD_INPUT
    return _bytes(f"{_json({'id': record_id, 'error_class': error_class, 'reason': outcome.reason})}\n")


def _pretty(answer: str) -> bytes:
    try:
        return _bytes(f"{json.dumps(json.loads(answer), ensure_ascii=False, indent=2)}\n")
    except (ValueError, RecursionError):  # a number of thousands of digits, a thousand levels: as it came
        return _bytes(f"{answer}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes(text: str) -> bytes:
    """UTF-8; half a surrogate pair becomes the escape that JSON has for it."""
    return text.encode(errors="backslashreplace")


def _stem(record_id: str) -> str:
    """The name of a record's file, without its ending: one that every file system takes, in this folder."""
    safe = "".join(one if one.isprintable() and one not in _NEVER_IN_NAMES else "-" for one in record_id)
    stem = _ENDING.sub("", safe).strip("-. ") or "record"
    if _RESERVED.match(stem):
        stem = f"_{stem}"
    if len(stem.encode()) <= _MOST_NAME_BYTES:
        return stem
    digest = hashlib.blake2b(_bytes(record_id), digest_size=_DIGEST_BYTES).hexdigest()
    most = _MOST_NAME_BYTES - len(digest) - 1
    return f"{stem.encode()[:most].decode(errors='ignore')}-{digest}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
