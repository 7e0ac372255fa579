"""`usage export`: rows as JSONL, CSV or Parquet, a page of them at a time, so that any number takes no more memory."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from llmtask.errors import UsageError
from llmtask.usage.row import COLUMNS, UsageRow
from llmtask.usage.selection import Page

_ROW_GROUP = 50_000  # rows of Parquet
_FLAGS = frozenset(one.name for one in fields(UsageRow) if one.type is bool)


def json_lines(rows: Iterable[Page]) -> Iterator[str]:
    """A line of JSON per row, a page of lines at a time; what `import` takes."""
    for page in rows:
        yield "".join(f"{_json(row)}\n" for row in page)


def csv_lines(rows: Iterable[Page]) -> Iterator[str]:
    """A line per row, the columns' names before them; no cell is run as a formula by a spreadsheet."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")  # as RFC 4180 has it; a lone \r in a cell is quoted then, too
    writer.writerow(COLUMNS)
    for page in rows:
        writer.writerows([safe(value) for value in row] for row in page)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def safe(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else value


def write_parquet(rows: Iterable[Page], stream: IO[bytes]) -> None:
    """A typed column per column: instants are timestamps in UTC, counts and nano-units 64-bit integers.

    Raises:
        UsageError: pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    kinds = [_kind(arrow, one) for one in fields(UsageRow)]
    schema = arrow.schema([arrow.field(name, kind) for name, kind in zip(COLUMNS, kinds, strict=True)])
    at = COLUMNS.index("created_at")
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for page in _joined(rows):
            columns: list[Sequence[Any]] = list(zip(*page, strict=True))
            columns[at] = [_instant(text) for text in columns[at]]
            arrays = [
                arrow.array([value if value is None else bool(value) for value in column], kind)
                if name in _FLAGS
                else arrow.array(column, kind)
                for name, kind, column in zip(COLUMNS, kinds, columns, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there whole or not at all, and that its owner alone can read; one that is there keeps its mode.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device: there is nothing to replace
            with path.open("wb") as stream:
                yield stream
            return
        target = Path(os.path.realpath(path))
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as stream:  # mode 0600: it names users
            temporary = Path(stream.name)
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if target.exists():
                    temporary.chmod(target.stat().st_mode & 0o777)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{str(path)!r} cannot be written ({error.strerror}); choose another file"
        raise UsageError(message) from error


def _json(row: tuple[Any, ...]) -> str:
    found = dict(zip(COLUMNS, row, strict=True))
    for name in _FLAGS:
        found[name] = bool(found[name])
    return json.dumps(found, ensure_ascii=True)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        message = "Parquet needs pyarrow: pip install 'llmtask[parquet]', or give --format jsonl or csv"
        raise UsageError(message) from error
    return pyarrow, pyarrow.parquet


def _kind(arrow: Any, one: Any) -> Any:
    """The type of a column."""
    if one.name == "created_at":
        return arrow.timestamp("ms", tz="UTC")
    kind = str(getattr(one.type, "__name__", one.type))
    kinds = {"bool": arrow.bool_(), "int": arrow.int64(), "float": arrow.float64()}
    return next((known for name, known in kinds.items() if kind.startswith(name)), arrow.string())


def _joined(rows: Iterable[Page]) -> Iterator[Page]:
    """Pages as large as a row group of Parquet should be."""
    group: Page = []
    for page in rows:
        group += page
        if len(group) >= _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:  # another program's row
        return None
