"""`usage import`: the rows of another log, or of an export, each exactly once, however often it is done."""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmtask.errors import UsageError
from llmtask.usage.database import Connection
from llmtask.usage.gaps import Gaps, gaps
from llmtask.usage.log import UsageLog, stored
from llmtask.usage.pace import Pace
from llmtask.usage.periods import period_of
from llmtask.usage.rollup import HOUR, ROWS
from llmtask.usage.row import COLUMNS, UsageRow, timestamp
from llmtask.usage.spool import NewerRowError, Spool, from_json, read

_SQLITE = b"SQLite format 3\x00"
_MOST_KEPT = 5  # refused rows that are told one by one
_LARGEST = 2**63
_LONGEST_LINE = 1_000_000  # characters; a row has a few hundred
_FLAGS = frozenset(one.name for one in fields(UsageRow) if one.type is bool)
_MAY_BE_NEGATIVE = ("cost", "cost_nanos", "saved_nanos")

Found = tuple[str, UsageRow | str]
"""Where it stands, and the row or why it is none."""


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    new: int = 0
    known: int = 0
    """Rows that were there already."""
    finished: int = 0
    """Rows that were there without an end, and have one now."""
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, and how many."""
    examples: list[str] = field(default_factory=list)
    """The first ones, with the place where each stands."""

    def refuse(self, place: str, why: str) -> None:
        """Count a row that is not taken."""
        self.refused += 1
        self.reasons[why] += 1
        if len(self.examples) < _MOST_KEPT:
            self.examples.append(f"{place}: {why}")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is taken."""

    gaps: Gaps
    """Rows of these hours may have been counted here already."""
    even_so: bool = False
    """Whether they are taken all the same."""


def copy_in(log: UsageLog, source: Path, *, even_so: bool = False) -> Tally:
    """Bring the rows of a source into a log.

    Rows keep their ids: what is there already stays as it is, except that a call without an end takes its end. A
    source is only read. Killed in between, it goes on the next time, since what is there is known.

    Args:
        log: The usage log.
        source: A SQLite file that any release wrote, or an export as JSONL.
        even_so: Take rows of hours, too, of which rows were pruned or purged here, and may count twice.

    Raises:
        UsageError: It cannot be read, or is no such thing.
        UsageLogError: The log cannot be written; what was taken before is in it.
    """
    log.check()
    if log.path and source.exists() and log.path.exists() and source.samefile(log.path):
        message = f"{str(source)!r} is the log itself; name another one"
        raise UsageError(message)
    terms, tally, pace = Terms(gaps(log), even_so), Tally(), Pace()
    batch: list[Found] = []
    for one in _rows(source):
        batch.append(one)
        if len(batch) >= pace.size:
            _take(log, batch, terms, tally, pace)
            batch = []
    _take(log, batch, terms, tally, pace)
    return tally


def _take(log: UsageLog, batch: list[Found], terms: Terms, tally: Tally, pace: Pace) -> None:
    """Write a batch in one transaction, and count it when it is there."""
    if not batch:
        return
    mine = Tally()

    def write(connection: Connection) -> int:
        mine.__init__()  # type: ignore[misc]  # a transaction that is tried again counts anew
        _written(log, connection, batch, terms, mine)
        return len(batch)

    pace.atomic(log, write)
    tally.new += mine.new
    tally.known += mine.known
    tally.finished += mine.finished
    tally.refused += mine.refused
    tally.reasons += mine.reasons
    tally.examples += mine.examples[: _MOST_KEPT - len(tally.examples)]


def _written(log: UsageLog, connection: Connection, batch: list[Found], terms: Terms, tally: Tally) -> None:
    rows = [row for _, row in batch if isinstance(row, UsageRow)]
    marks = ", ".join("?" * len(rows))
    ids = [stored(row.id) for row in rows]
    has_end = {
        known: error_class != "unfinished"
        for known, error_class in connection.execute(
            f"SELECT id, coalesce(error_class, '') FROM {ROWS} WHERE id IN ({marks or 'NULL'})", ids
        ).fetchall()
    }
    for place, row in batch:
        if not isinstance(row, UsageRow):
            tally.refuse(place, row)
            continue
        known = has_end.get(stored(row.id))
        if known is None and not terms.even_so and terms.gaps.has(_hour(row)):
            tally.refuse(place, "of an hour whose rows were removed here: it may be counted already")
            continue
        if known is None:
            tally.new += 1
        elif known or row.is_unfinished:
            tally.known += 1
            continue
        else:
            tally.finished += 1
        log.write(connection, row)
        has_end[stored(row.id)] = not row.is_unfinished


def _hour(row: UsageRow) -> int:
    return period_of(datetime.fromisoformat(row.created_at), HOUR)


def _rows(source: Path) -> Iterator[Found]:
    """The rows of a source, and what in it is none.

    Raises:
        UsageError: It cannot be read, or is neither a log nor an export.
    """
    try:
        with source.open("rb") as stream:
            is_log = stream.read(len(_SQLITE)) == _SQLITE
        if is_log:
            yield from _of_log(source)
            yield from _of_spool(Spool(source))
        else:
            yield from _of_lines(source)
    except OSError as error:
        message = f"{str(source)!r} cannot be read ({error.strerror})"
        raise UsageError(message) from error


def _of_lines(source: Path) -> Iterator[Found]:
    with source.open(encoding="utf-8", errors="surrogateescape") as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            place = f"{source}:{number}"
            if len(line) == _LONGEST_LINE and not line.endswith("\n"):
                while (rest := stream.readline(_LONGEST_LINE)) and not rest.endswith("\n"):
                    pass
                yield place, "no row: the line is too long"
            elif line.strip():
                yield place, _row_of_line(line)


def _row_of_line(line: str) -> UsageRow | str:
    try:
        values = json.loads(line.encode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return "no row: the line is no JSON"
    return _row(values)


def _of_spool(spool: Spool) -> Iterator[Found]:
    """The rows that wait for the other log."""
    for file in spool.files():
        try:
            yield str(file), _checked(read(file))
        except NewerRowError:
            yield str(file), "of a newer llmtask; upgrade this one"
        except (ValueError, OSError):
            yield str(file), "no row of a usage log"


def _of_log(source: Path) -> Iterator[Found]:
    """The rows of a SQLite file as any release wrote them.

    Raises:
        UsageError: It is no usage log, or a newer release's.
    """
    try:
        with closing(_opened(source)) as connection:
            names = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({ROWS})")]
            _check_columns(source, names)
            rows = connection.execute(f"SELECT {', '.join(names)} FROM {ROWS}")
            for row in rows:
                values = dict(zip(names, row, strict=True))
                for name in _FLAGS & values.keys():
                    if values[name] in (0, 1):
                        values[name] = bool(values[name])
                yield f"{source}, row {values['id']!r}", _row(values)
    except sqlite3.Error as error:
        message = f"{str(source)!r} cannot be read ({error}); what was read before is taken"
        raise UsageError(message) from error


def _check_columns(source: Path, names: list[str]) -> None:
    if not names:
        message = f"{str(source)!r} is a database of something else; name a usage log or an export as JSONL"
        raise UsageError(message)
    if unknown := set(names) - set(COLUMNS):
        message = f"{str(source)!r} was written by a newer llmtask ({', '.join(sorted(unknown))}); upgrade this one"
        raise UsageError(message)


def _opened(source: Path) -> sqlite3.Connection:
    """The file, for reading alone. Without a write-ahead log nobody has it open, and SQLite need not make one."""
    real = source.resolve()
    wal = real.with_name(real.name + "-wal")
    quiet = "&immutable=1" if not (wal.exists() and wal.stat().st_size) else ""
    connection = sqlite3.connect(f"{real.as_uri()}?mode=ro{quiet}", uri=True, timeout=5)
    connection.text_factory = lambda data: data.decode(errors="backslashreplace")
    return connection


def _row(values: Any) -> UsageRow | str:
    """A row of a log, or why it is none."""
    try:
        if isinstance(values, dict) and isinstance(values.get("cost"), int):
            values["cost"] = float(values["cost"])  # JSON of another program tells 0 from 0.0
        return _checked(from_json(values))
    except NewerRowError as error:
        return f"of a newer llmtask ({', '.join(error.args)}); upgrade this one"
    except (ValueError, OverflowError):
        return "no row of a usage log"


def _checked(row: UsageRow) -> UsageRow | str:
    """A row that a log can hold and reports can count, or why it is none."""
    if not row.id or not row.run_id:
        return "no row: it has no id"
    for name in COLUMNS:
        value = getattr(row, name)
        if isinstance(value, float) and not math.isfinite(value):
            return f"no row: {name} is no number"
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            return f"no row: {name} is too large"
        if isinstance(value, int | float) and value < 0 and name not in _MAY_BE_NEGATIVE:
            return f"no row: {name} is negative"
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(row.created_at)
        if at.tzinfo is not None and timestamp(at) == row.created_at and at.astimezone(UTC).year > 1:
            return row
    return "no row: created_at is no instant such as 2026-11-23T09:30:00.000Z"


def total(tallies: Iterable[Tally]) -> Tally:
    """Several files together."""
    found = Tally()
    for one in tallies:
        found.new += one.new
        found.known += one.known
        found.finished += one.finished
        found.refused += one.refused
        found.reasons += one.reasons
        found.examples += one.examples[: _MOST_KEPT - len(found.examples)]
    return found
