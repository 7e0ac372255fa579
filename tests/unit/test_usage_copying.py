"""usage.exporting and usage.importing: calls go to files and come back, each exactly once, whatever the file holds."""

import csv
import io
import json
import multiprocessing
import os
import random
import resource
import sqlite3
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtask.errors import UsageError, UsageLogError
from llmtask.usage import UsageLog, UsageRow, report
from llmtask.usage.exporting import csv_lines, json_lines, whole_file, write_parquet
from llmtask.usage.importing import Tally, copy_in
from llmtask.usage.prune import prune
from llmtask.usage.purge import purge
from llmtask.usage.row import COLUMNS
from llmtask.usage.selection import Selection, pages
from llmtask.usage.verify import verify
from tests.unit.test_usage_log import FIRST_RELEASE, row, unprivileged
from tests.unit.test_usage_prune import killed_when
from tests.unit.test_usage_rollup import BEGIN, some_row

HOSTILE = [
    "=1+1",
    "+cmd",
    "-2",
    "@x",
    "\tx",
    "\rx",
    "a,b",
    'say "hi"',
    "zeile\nzwei",
    "陈远🦊",
    "\u2028",
    "null",
    "\x1b[31m",
]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "usage.db")
    yield found
    found.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "other.db")
    yield found
    found.close()


def fill(log: UsageLog, count: int = 300, seed: int = 7, **said: Any) -> list[UsageRow]:
    chance = random.Random(seed)  # noqa: S311  # rows of a test
    rows = [some_row(chance, **said) for _ in range(count)]
    log.atomic(lambda connection: [log.write(connection, row) for row in rows])
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def exported(log: UsageLog, path: Path, selection: Selection | None = None) -> Path:
    with whole_file(path) as stream:
        for text in json_lines(pages(log, selection or Selection())):
            stream.write(text.encode())
    return path


def rows_of(log: UsageLog) -> list[UsageRow]:
    return sorted(log.latest(100_000), key=lambda row: (row.created_at, row.id))


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.new, tally.known, tally.finished, tally.refused


# Export


def test_an_export_has_every_row_whole_and_the_oldest_first(log: UsageLog, tmp_path: Path) -> None:
    rows = fill(log, 2500) + [
        row(id=f"x{number}", user_id=text, created_at="2027-01-01T00:00:00.000Z") for number, text in enumerate(HOSTILE)
    ]
    log.atomic(lambda connection: [log.write(connection, one) for one in rows[2500:]])
    path = exported(log, tmp_path / "calls.jsonl")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert sorted(found, key=lambda one: (one["created_at"], one["id"])) == found
    assert {one["id"]: one for one in found} == {one.id: asdict(one) for one in rows}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_of_one_instant_are_all_there_though_a_page_ends_among_them(log: UsageLog) -> None:
    fill(log, 2100, created_at="2026-11-23T09:30:00.000Z")
    found = [one for page in pages(log, Selection(), ["id"]) for one in page]
    assert len(found) == len(set(found)) == 2100


def test_a_selection_takes_what_it_names(log: UsageLog) -> None:
    rows = fill(log)
    since, until = BEGIN + timedelta(days=10), BEGIN + timedelta(days=30)
    chosen = Selection(since, until, {"user": ["ann", "o'neil"], "model": ["deepseek-*"]})
    found = [one for page in pages(log, chosen, ["id"]) for (one,) in page]
    assert found == [
        one.id
        for one in rows
        if since <= datetime.fromisoformat(one.created_at) < until
        and one.user_id in ("ann", "o'neil")
        and one.model_id == "deepseek-chat"
    ]
    assert found


def test_csv_comes_back_and_holds_nothing_that_a_spreadsheet_would_run(log: UsageLog) -> None:
    for number, text in enumerate(HOSTILE):
        log.record(row(id=f"{number:02}", user_id=text, cost_nanos=-5, currency="CNY"))
    text = "".join(csv_lines(pages(log, Selection())))
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(found[0]) == COLUMNS
    assert [one["user_id"].removeprefix("'") for one in found] == HOSTILE
    assert not [one for one in found if one["user_id"][0] in "=+-@\t\r\n"]
    assert {one["cost_nanos"] for one in found} == {"-5"}  # a number is no formula


def test_parquet_has_typed_columns_and_the_same_rows(log: UsageLog, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = fill(log, 1200)
    log.record(row(id="odd", created_at="garbage"))
    with whole_file(tmp_path / "calls.parquet") as stream:
        write_parquet(pages(log, Selection()), stream)
    table = parquet.read_table(tmp_path / "calls.parquet")
    kinds = {one.name: str(one.type) for one in table.schema}
    assert kinds["created_at"] == "timestamp[ms, tz=UTC]"
    assert (kinds["cost_nanos"], kinds["cost"], kinds["is_success"], kinds["user_id"]) == (
        "int64",
        "double",
        "bool",
        "string",
    )
    found = table.to_pylist()
    assert [one["created_at"] for one in found if one["id"] == "odd"] == [None]
    expected = {one.id: asdict(one) | {"created_at": datetime.fromisoformat(one.created_at)} for one in rows}
    assert {one["id"]: one for one in found if one["id"] != "odd"} == expected


def test_an_empty_log_is_an_empty_export_in_every_form(log: UsageLog, tmp_path: Path) -> None:
    assert list(json_lines(pages(log, Selection()))) == []
    assert "".join(csv_lines(pages(log, Selection()))) == ",".join(COLUMNS) + "\r\n"
    parquet = pytest.importorskip("pyarrow.parquet")
    with whole_file(tmp_path / "none.parquet") as stream:
        write_parquet(pages(log, Selection()), stream)
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    assert not log.path.exists()


def test_a_long_export_takes_no_more_memory_than_a_short_one(log: UsageLog) -> None:
    def peak() -> int:
        tracemalloc.start()
        for _ in json_lines(pages(log, Selection())):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    fill(log, 3000)
    short = peak()
    fill(log, 9000, seed=8)
    assert peak() < short * 1.5


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text("before", encoding="utf-8")
    path.chmod(0o640)
    with pytest.raises(ZeroDivisionError), whole_file(path) as stream:
        stream.write(b"half" * (stream.write(b"half") // 0))
    assert (path.read_text(encoding="utf-8"), [one.name for one in tmp_path.iterdir()]) == ("before", ["calls.jsonl"])
    with whole_file(path) as stream:
        stream.write(b"after")
    assert (path.read_text(encoding="utf-8"), stat.S_IMODE(path.stat().st_mode)) == ("after", 0o640)
    with pytest.raises(UsageError, match="cannot be written"), whole_file(tmp_path / "no" / "folder"):
        pass


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as stream:
        stream.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


# Import


def test_an_export_comes_back_whole_and_a_second_time_adds_nothing(
    log: UsageLog, other: UsageLog, tmp_path: Path
) -> None:
    rows = fill(log)
    path = exported(log, tmp_path / "calls.jsonl")
    assert counts(copy_in(other, path)) == (300, 0, 0, 0)
    assert rows_of(other) == rows
    assert report(other).groups == report(log).groups
    assert counts(copy_in(other, path)) == (0, 300, 0, 0)
    assert rows_of(other) == rows
    assert verify(other).agrees


def test_a_log_comes_in_and_is_only_read(log: UsageLog, other: UsageLog) -> None:
    rows = fill(log)
    log.close()
    before = {one.name: one.read_bytes() for one in log.path.parent.glob("usage.db*")}
    assert counts(copy_in(other, log.path)) == (300, 0, 0, 0)
    assert rows_of(other) == rows
    assert {one.name: one.read_bytes() for one in log.path.parent.glob("usage.db*")} == before


def test_a_log_in_use_comes_in_with_what_its_write_ahead_log_holds(log: UsageLog, other: UsageLog) -> None:
    rows = fill(log)
    assert log.path.with_name("usage.db-wal").stat().st_size > 0
    assert counts(copy_in(other, log.path)) == (300, 0, 0, 0)
    assert rows_of(other) == rows
    log.record(row())  # and its owner goes on
    assert counts(copy_in(other, log.path)) == (1, 300, 0, 0)


def test_a_log_of_the_first_release_comes_in_and_stays_what_it_is(other: UsageLog, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_RELEASE)
    before = path.read_bytes()
    assert counts(copy_in(other, path)) == (1, 0, 0, 0)
    assert rows_of(other) == [row(id="old")]
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.glob("old.db*")] == ["old.db"]


def test_the_rows_that_wait_in_the_other_logs_spool_come_in_and_wait_on(log: UsageLog, other: UsageLog) -> None:
    fill(log, 3)
    waiting = row(id="waits")
    log.spool.put(waiting)
    assert counts(copy_in(other, log.path)) == (4, 0, 0, 0)
    assert waiting in rows_of(other)
    assert len(log.spool.files()) == 1


def test_an_end_closes_what_has_none_and_never_the_other_way_round(
    log: UsageLog, other: UsageLog, tmp_path: Path
) -> None:
    ended = row(id="a", cost_nanos=5, currency="CNY", input_tokens=9)
    log.begin(ended)
    other.record(ended)
    opened, closed = (exported(one, tmp_path / f"{one.path.stem}.jsonl") for one in (log, other))
    assert counts(copy_in(other, opened)) == (0, 1, 0, 0)
    assert rows_of(other) == [ended]
    assert counts(copy_in(log, closed)) == (0, 0, 1, 0)
    assert rows_of(log) == [ended]
    assert verify(log).agrees


def test_one_call_twice_in_a_file_is_one_row(other: UsageLog, tmp_path: Path) -> None:
    ended = row(id="a", cost_nanos=5, currency="CNY")
    lines = [json.dumps(asdict(one)) for one in (ended.opened(), ended, ended.opened(), replace(ended, cost_nanos=9))]
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert counts(copy_in(other, tmp_path / "x.jsonl")) == (1, 2, 1, 0)
    assert rows_of(other) == [ended]


GOOD = asdict(row(id="good"))
BAD = {
    "half a line": json.dumps(GOOD)[:50],
    "a list": "[1, 2]",
    "a number": "7",
    "nested too deeply": "[" * 100_000,
    "bytes that are no text": b'{"id": "\xff\xfe"}',
    "a column too many": json.dumps(GOOD | {"id": "x", "later": 1}),
    "a column too few": json.dumps({"id": "x"}),
    "a text for a number": json.dumps(GOOD | {"id": "x", "input_tokens": "9"}),
    "a number that is too large": json.dumps(GOOD | {"id": "x", "input_tokens": 2**70}),
    "a negative number": json.dumps(GOOD | {"id": "x", "latency_ms": -1}),
    "no number": json.dumps(GOOD | {"id": "x", "cost": float("nan")}),
    "an endless cost": json.dumps(GOOD | {"id": "x", "cost": 10**400}),
    "no id": json.dumps(GOOD | {"id": ""}),
    "no time": json.dumps(GOOD | {"id": "x", "created_at": "yesterday"}),
    "a time of another form": json.dumps(GOOD | {"id": "x", "created_at": "2026-11-23 09:30"}),
    "a line without end": "x" * 3_000_000,
    "null": "null",
}


@pytest.mark.parametrize("name", BAD)
def test_a_line_that_is_no_row_is_refused_with_its_place_and_the_others_come_in(
    other: UsageLog, tmp_path: Path, name: str
) -> None:
    bad = BAD[name]
    line = bad if isinstance(bad, bytes) else bad.encode()
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b"\n".join([line, json.dumps(GOOD).encode(), b"", json.dumps(GOOD | {"id": "second"}).encode(), line])
    )
    found = copy_in(other, path)
    assert counts(found) == (2, 0, 0, 2)
    assert found.examples[0].startswith(f"{path}:1: ")
    assert sum(found.reasons.values()) == 2
    assert {one.id for one in rows_of(other)} == {"good", "second"}


def test_strange_words_come_back_as_they_were(log: UsageLog, other: UsageLog, tmp_path: Path) -> None:
    for number, text in enumerate([*HOSTILE, "it's", "50%", "\udcff"]):
        log.record(row(id=f"{number:02}", user_id=text, service_id=text))
    assert copy_in(other, exported(log, tmp_path / "x.jsonl")).refused == 0
    assert rows_of(other) == rows_of(log)


def test_what_is_neither_a_log_nor_there_is_refused(log: UsageLog, tmp_path: Path) -> None:
    fill(log, 1)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id)")
    for path, why in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "shop.db", "a database of something else"),
        (log.path, "is the log itself"),
    ):
        with pytest.raises(UsageError, match=why):
            copy_in(log, path)
    assert len(rows_of(log)) == 1


def test_a_log_of_a_newer_release_and_a_damaged_one_are_refused(log: UsageLog, other: UsageLog) -> None:
    fill(log, 500)
    log.close()
    with closing(sqlite3.connect(log.path)) as newer:
        newer.execute("ALTER TABLE llm_usage_logs ADD COLUMN later TEXT")
    with pytest.raises(UsageError, match=r"newer llmtask \(later\)"):
        copy_in(other, log.path)
    content = log.path.read_bytes()
    log.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="cannot be read"):
        copy_in(other, log.path)
    assert verify(other).agrees


def test_what_was_pruned_or_purged_here_does_not_come_back_and_is_not_counted_twice(
    log: UsageLog, tmp_path: Path
) -> None:
    fill(log, user_id="ann", error_class=None)
    path = exported(log, tmp_path / "before.jsonl")
    calls = report(log).total.calls
    list(prune(log, BEGIN + timedelta(days=35)))
    list(purge(log, "ann"))
    found = copy_in(log, path)
    assert counts(found) == (0, 0, 0, 300)
    assert "may be counted already" in next(iter(found.reasons))
    assert report(log).total.calls == calls
    assert copy_in(log, path, even_so=True).new == 300


def import_all(target: Path, source: Path) -> None:
    with closing(UsageLog(target)) as log:
        copy_in(log, source)


def test_killed_in_the_middle_an_import_goes_on_the_next_time(log: UsageLog, other: UsageLog, tmp_path: Path) -> None:
    rows = fill(log, 4000)
    path = exported(log, tmp_path / "calls.jsonl")
    other.check()
    killed_when(lambda: other.query("SELECT 1 FROM llm_usage_logs LIMIT 1") != [], import_all, other.path, path)
    [(there,)] = other.query("SELECT count(*) FROM llm_usage_logs")
    assert 0 < there < 4000
    assert verify(other).agrees
    assert counts(copy_in(other, path)) == (4000 - there, there, 0, 0)
    assert rows_of(other) == rows
    assert report(other).groups == report(log).groups


def import_into_a_full_disk(target: Path, source: Path, outcome: Any) -> None:
    with closing(UsageLog(target)) as log:
        log.check()
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        try:
            copy_in(log, source)
        except UsageLogError as error:
            outcome.put(str(error))
        else:
            outcome.put("")


def test_a_full_disk_is_told_and_what_is_there_is_right(log: UsageLog, other: UsageLog, tmp_path: Path) -> None:
    rows = fill(log, 4000)
    path = exported(log, tmp_path / "calls.jsonl")
    spawn = multiprocessing.get_context("spawn")
    outcome = spawn.Queue()
    process = spawn.Process(target=import_into_a_full_disk, args=(other.path, path, outcome))
    process.start()
    message = outcome.get()
    process.join()
    assert message.startswith(f"usage log {other.path}: ")
    assert other.query("PRAGMA integrity_check") == [("ok",)]
    assert verify(other).agrees
    copy_in(other, path)
    assert rows_of(other) == rows


def import_too(target: Path, source: Path, start: Any) -> None:
    with closing(UsageLog(target)) as log:
        start.wait()
        copy_in(log, source)


def test_three_imports_of_one_file_at_once_are_one(log: UsageLog, other: UsageLog, tmp_path: Path) -> None:
    rows = fill(log, 1500)
    path = exported(log, tmp_path / "calls.jsonl")
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    workers = [spawn.Process(target=import_too, args=(other.path, path, start)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3
    assert rows_of(other) == rows
    assert verify(other).agrees


def test_a_read_only_log_is_told(log: UsageLog, tmp_path: Path) -> None:
    fill(log, 2)
    path = exported(log, tmp_path / "calls.jsonl")
    with unprivileged() as folder, pytest.raises(UsageLogError, match="Permission denied"):
        copy_in(UsageLog(folder / "usage.db"), path)
