"""The spool: rows that could not be written to their log wait beside it until they can be.

A row is a file of its own, written under another name, synced, and renamed: no two writers share a file, no reader sees
half of one, and a process that is killed takes no other row with it. The begin and the end of a call are two files, so
that whoever drains the begin cannot delete an end that came meanwhile. Draining is: read the files, write all rows in
one transaction, delete the files. Who is killed in between, or drains at the same time as another, writes the same rows
again under the same ids, and that changes nothing: each row is in the log exactly once.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from llmtask.usage.row import UsageRow

_TRIES = 20  # of writing into a folder that whoever drains it removes when it is empty
_KINDS: dict[str, Any] = {one.name: one.type for one in fields(UsageRow)}


class NewerRowError(Exception):
    """A newer release wrote the row; it waits until there is one here."""


class Spool:
    """The rows that wait for one log."""

    def __init__(self, database: Path | str) -> None:
        """Name the log's file, which need not be there, or the URL of its database without the password."""
        self._database = database

    @cached_property
    def _real(self) -> str:
        if isinstance(self._database, str):
            return self._database
        return os.path.realpath(self._database)  # one spool, whichever name the log goes by

    @cached_property
    def beside(self) -> Path:
        """The folder that is tried first: the log's name with `.spool` behind it; a database on a server has none."""
        return self.elsewhere if isinstance(self._database, str) else Path(f"{self._real}.spool")

    @cached_property
    def elsewhere(self) -> Path:
        """The folder for a log whose own folder cannot be written: in the user's data folder, named after the log."""
        from hashlib import sha256

        from platformdirs import user_data_path  # 3 ms, after the call; a log in the default place has it already

        plain = re.sub(r"[^\w.-]+", "-", Path(self._real).name)
        name = f"{plain}-{sha256(os.fsencode(self._real)).hexdigest()[:16]}"
        return user_data_path("llmtask", appauthor=False) / "spool" / name

    def put(self, row: UsageRow) -> Path:
        """Keep a row; it is on disk when this returns.

        Returns:
            The folder that it waits in.

        Raises:
            OSError: Neither folder can be written.
        """
        try:
            return _put(row, self.beside)
        except OSError:
            return _put(row, self.elsewhere)

    def files(self) -> list[Path]:
        """The files of the rows that wait, the oldest first, a call's begin before its end."""
        found: list[Path] = []
        for folder in dict.fromkeys((self.beside, self.elsewhere)):
            with suppress(OSError):  # nothing waits there
                found += [Path(one.path) for one in os.scandir(folder) if one.name.endswith(".json")]
        return sorted(found, key=lambda file: file.name)

    def all_files(self) -> list[Path]:
        """All files of its folders, those that hold no row and those that are being written included."""
        found: list[Path] = []
        for folder in (self.beside, self.elsewhere):
            with suppress(OSError):
                found += [Path(one.path) for one in os.scandir(folder) if one.is_file()]
        return sorted(found)

    def remove(self, files: Iterable[Path]) -> None:
        """Delete files whose rows are in the log, and the folders where they were the last."""
        folders = set()
        for file in files:
            file.unlink(missing_ok=True)  # another process may have been first
            folders.add(file.parent)
        for folder in folders:
            with suppress(OSError):  # something waits there still
                folder.rmdir()


def _put(row: UsageRow, folder: Path) -> Path:
    begin, end = (folder / f"{row.id}.{phase}.json" for phase in ("begin", "end"))
    for attempt in range(_TRIES):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write(begin if row.is_unfinished else end, text(row))
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
        else:
            break
    if not row.is_unfinished:
        begin.unlink(missing_ok=True)
    return folder


def _write(file: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = file.with_suffix(".tmp")
    try:
        with open(temporary, "w", encoding="utf-8", opener=_private) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def text(row: UsageRow) -> str:
    """A row as a line of JSON, without what it has no value for."""
    import json  # only where a row has to wait

    return json.dumps({name: value for name, value in asdict(row).items() if value is not None})


def read(file: Path) -> UsageRow:
    """The row in a file.

    Raises:
        NewerRowError: It has a column that this release does not know.
        ValueError: It is no row.
        OSError: The file cannot be read; another process may have drained it.
    """
    import json

    return from_json(json.loads(file.read_bytes()))


def from_json(values: Any) -> UsageRow:
    """The row in what JSON says.

    Raises:
        NewerRowError: It has a column that this release does not know.
        ValueError: It is no row.
    """
    if isinstance(values, dict) and (unknown := values.keys() - _KINDS.keys()):
        raise NewerRowError(*sorted(unknown))
    try:
        row = UsageRow(**values)
    except TypeError as error:
        raise ValueError(*error.args) from error
    if not all(isinstance(getattr(row, name), kind) for name, kind in _KINDS.items()):
        message = "no row of a usage log"
        raise ValueError(message)
    return row


def set_aside(file: Path) -> Path:
    """Rename a file that holds no row, so that it stays and nobody drains it again.

    Returns:
        Where it is now.
    """
    aside = file.with_suffix(".broken")
    try:
        return file.replace(aside)
    except OSError:  # another process was first, or the folder cannot be written
        return aside if aside.exists() else file
