"""usage.log: one private SQLite file, one row per model call, and what is said when it cannot be had."""

import multiprocessing
import os
import re
import sqlite3
import stat
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from llmtask.errors import UsageLogError
from llmtask.money import Cost
from llmtask.usage import UsageLog, UsageLogWarning, UsageRow, default_path, new_id, timestamp
from llmtask.usage.migrations import NAMES
from llmtask.usage.row import COLUMNS
from llmtask.usage.spool import Spool
from llmtask.usage.verify import verify

SEED = [  # the seed's LlmUsageLog, in snake_case
    "id",
    "user_id",
    "service_id",
    "task_template_id",
    "provider",
    "model_id",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "latency_ms",
    "cost",
    "is_stream",
    "is_success",
    "error_message",
    "created_at",
]
MORE = [
    "currency",
    "upstream_model",
    "queue_id",
    "tier",
    "worker",
    "locale",
    "prompt_hash",
    "cached_tokens",
    "reasoning_tokens",
    "first_token_ms",
    "attempt",
    "run_id",
    "finish_reason",
    "error_class",
    "is_estimate",
    "repair_level",
]
PROCESSES, ROWS_EACH = 8, 5
MANY = 24
CALLS_EACH = 500
NOBODY = 65534
WAY_OUT = "name another log with --db or LLMTASK_DB"


def row(**said: Any) -> UsageRow:
    """A row that says the least it may, and what is given."""
    least = {
        "id": new_id(),
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "latency_ms": 1200,
        "created_at": "2026-11-23T09:30:00.000Z",
        "run_id": "r1",
    }
    return UsageRow(**(least | said))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "usage.db"


def refusal(path: Path) -> str:
    """What is said about a log that cannot be written."""
    log = UsageLog(path)
    with pytest.raises(UsageLogError) as caught:
        log.record(row())
    log.close()
    return str(caught.value)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder that can be entered and read and not written, even where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(UsageLog(folder / "usage.db")) as log:
            log.record(row())
        for each in folder.iterdir():
            each.chmod(0o444)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)


# The file


@pytest.mark.sqlite
def test_a_log_is_made_when_it_is_first_written_and_its_owner_alone_reads_it(log: UsageLog, path: Path) -> None:
    assert not path.parent.exists()
    log.record(row())
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes["usage.db"] == 0o600
    assert set(modes.values()) == {0o600}  # its -wal and -shm too
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.sqlite
def test_a_log_is_in_wal_mode(log: UsageLog, path: Path) -> None:
    log.record(row())
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.sqlite
def test_reading_a_log_that_is_not_there_makes_none(log: UsageLog, path: Path) -> None:
    assert log.latest(10) == []
    assert log.query("SELECT 1 FROM llm_usage_logs") == []
    assert not path.exists()


def test_the_variable_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path() == tmp_path / "usage.db"
    assert UsageLog().path == tmp_path / "usage.db"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMTASK_DB", "~/elsewhere.db")
    assert default_path() == tmp_path / "elsewhere.db"


def test_without_the_variable_the_log_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMTASK_DB")
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    assert default_path().is_relative_to(tmp_path)
    assert default_path().name == "usage.db"
    assert "llmtask" in default_path().parts


# The table


def test_the_table_has_the_seeds_columns_and_what_else_the_job_needs(log: UsageLog) -> None:
    log.check()
    columns = columns_of(log)
    assert columns[: len(SEED)] == SEED
    assert set(MORE) <= set(columns)
    assert tuple(columns) == COLUMNS
    assert not {one for one in columns if re.search(r"prompt(?!_hash|_version)|^input$|answer|content|text", one)}


@pytest.mark.sqlite
def test_the_table_has_indexes_for_a_users_rows_for_those_of_a_time_and_for_calls_without_an_end(log: UsageLog) -> None:
    log.check()
    found = log.query(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'llm_usage_logs' AND sql IS NOT NULL"
    )
    assert {name for (name,) in found} == {f"llm_usage_logs_{one}" for one in ("user_id", "created_at", "unfinished")}


def test_a_row_comes_back_as_it_went_in(log: UsageLog) -> None:
    full = row(
        user_id="u",
        service_id="s",
        input_tokens=10,
        output_tokens=5,
        total_tokens=15,
        cost=0.000_03,
        is_stream=True,
        is_success=False,
        error_message="zhipu: overloaded",
        cost_nanos=30_000,
        currency="CNY",
        upstream_model="deepseek-flash",
        queue_id="q",
        tier="paid",
        worker="stream",
        locale="zh",
        prompt_hash="0123456789ab",
        cached_tokens=4,
        reasoning_tokens=2,
        first_token_ms=80,
        attempt=2,
        finish_reason="stop",
        error_class="overloaded",
        is_estimate=True,
        repair_level="unwrapped",
    )
    least = row(created_at="2026-11-23T09:30:00.001Z")
    log.record(full)
    log.record(least)
    found = log.latest(10)
    assert found == [least, full]
    assert [repr(one) for one in found] == [repr(least), repr(full)]  # True, and not 1


def test_the_last_rows_come_first(log: UsageLog) -> None:
    for minute in (3, 1, 2):
        log.record(row(created_at=f"2026-11-23T09:0{minute}:00.000Z", run_id=str(minute)))
    assert [one.run_id for one in log.latest(2)] == ["3", "2"]


def test_a_row_is_on_disk_when_it_is_recorded(log: UsageLog, place: Path | str) -> None:
    log.record(row(run_id="mine"))
    with closing(UsageLog(place)) as other:
        assert [one.run_id for one in other.latest(1)] == ["mine"]


def test_an_error_message_is_cut_at_500_characters(log: UsageLog) -> None:
    log.record(row(error_message="错" * 501))
    log.record(row(error_message="e" * 500, created_at="2026-11-23T09:31:00.000Z"))
    assert [one.error_message for one in log.latest(2)] == ["e" * 500, "错" * 500]


@pytest.mark.parametrize(
    ("nanos", "currency", "price"),
    [(30, "CNY", Cost(30, "CNY")), (0, "USD", Cost(0, "USD")), (None, None, None), (30, None, None), (30, "XXX", None)],
)
def test_a_rows_price_is_exact_or_none(nanos: int | None, currency: str | None, price: Cost | None) -> None:
    assert row(cost_nanos=nanos, currency=currency).price == price


def test_a_closed_log_opens_again(log: UsageLog) -> None:
    log.record(row())
    log.close()
    log.close()
    log.record(row())
    assert len(log.latest(10)) == 2


def test_ids_differ_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{12}[\w-]{12}", one) for one in ids)
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (datetime(2026, 11, 23, 9, 30, tzinfo=UTC), "2026-11-23T09:30:00.000Z"),
        (datetime(2026, 11, 23, 9, 30, 1, 999_999, tzinfo=timezone(timedelta(hours=8))), "2026-11-23T01:30:01.999Z"),
        (datetime(700, 1, 2, tzinfo=UTC), "0700-01-02T00:00:00.000Z"),
    ],
)
def test_an_instant_is_written_in_utc_so_that_text_sorts_as_time(at: datetime, written: str) -> None:
    assert timestamp(at) == written


# A call's begin and its end


def test_a_call_is_in_the_log_as_unfinished_before_it_ends(log: UsageLog) -> None:
    log.begin(row(id="a", input_tokens=10, total_tokens=10, cost_nanos=5, currency="CNY", cost=5e-9))
    [found] = log.latest(10)
    assert found.is_unfinished
    assert (found.error_class, found.is_success, found.is_estimate, found.latency_ms) == ("unfinished", False, True, 0)
    assert (found.cost, found.cost_nanos, found.currency, found.input_tokens) == (None, None, None, 10)


def test_the_end_closes_the_row_that_the_begin_opened(log: UsageLog) -> None:
    ended = row(id="a", input_tokens=12, cost_nanos=5, currency="CNY")
    log.begin(ended)
    log.finish(ended)
    assert log.latest(10) == [ended]


def test_an_end_without_a_begin_is_a_row_too(log: UsageLog) -> None:
    ended = row()
    log.finish(ended)
    assert log.latest(10) == [ended]


def test_a_late_begin_opens_no_row_again_and_a_second_end_changes_nothing(log: UsageLog) -> None:
    ended = row(id="a", input_tokens=12)
    log.finish(ended)
    log.begin(ended)
    log.finish(replace(ended, input_tokens=99))
    assert log.latest(10) == [ended]


def test_what_is_no_utf_8_is_logged_all_the_same(log: UsageLog) -> None:
    log.finish(row(user_id="m\udcfcller", service_id="支付"))
    assert [(one.user_id, one.service_id) for one in log.latest(10)] == [("m\\udcfcller", "支付")]


@pytest.mark.sqlite
def test_a_locked_log_holds_a_call_up_for_a_second_and_its_end_for_less(log: UsageLog, path: Path) -> None:
    log.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        log.begin(row(id="a"))
        begun = time.monotonic()
        with pytest.warns(UsageLogWarning, match=r"this call's row waits in .*usage\.db\.spool: .* database is locked"):
            log.finish(row(id="a"))
        ended = time.monotonic()
    assert 0.5 < begun - started < 3
    assert ended - begun < 0.5
    log.finish(row(id="b"))
    assert sorted(one.id for one in log.latest(10)) == ["a", "b"]


# A log of an earlier release

FIRST_RELEASE = """
    CREATE TABLE "_sqlite_migrations" (
       "id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT
    );
    INSERT INTO "_sqlite_migrations" VALUES (1, 'llmtask', '0001_usage_log', '2026-11-24 02:31:03.057766+00:00');
    CREATE TABLE "llm_usage_logs" (
       "id" TEXT PRIMARY KEY,
       "user_id" TEXT,
       "service_id" TEXT,
       "task_template_id" TEXT NOT NULL,
       "provider" TEXT NOT NULL,
       "model_id" TEXT NOT NULL,
       "input_tokens" INTEGER NOT NULL DEFAULT 0,
       "output_tokens" INTEGER NOT NULL DEFAULT 0,
       "total_tokens" INTEGER NOT NULL DEFAULT 0,
       "latency_ms" INTEGER NOT NULL,
       "cost" REAL,
       "is_stream" INTEGER NOT NULL DEFAULT 0,
       "is_success" INTEGER NOT NULL,
       "error_message" TEXT,
       "created_at" TEXT NOT NULL,
       "cost_nanos" INTEGER,
       "currency" TEXT,
       "upstream_model" TEXT,
       "queue_id" TEXT,
       "tier" TEXT,
       "worker" TEXT,
       "locale" TEXT,
       "prompt_hash" TEXT,
       "cached_tokens" INTEGER NOT NULL DEFAULT 0,
       "reasoning_tokens" INTEGER NOT NULL DEFAULT 0,
       "first_token_ms" INTEGER,
       "attempt" INTEGER NOT NULL,
       "run_id" TEXT NOT NULL,
       "finish_reason" TEXT,
       "error_class" TEXT,
       "is_estimate" INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
        ON "_sqlite_migrations" ("migration_set", "name");
    CREATE INDEX llm_usage_logs_user_id_created_at ON llm_usage_logs (user_id, created_at DESC);
    CREATE INDEX llm_usage_logs_task_template_id_created_at ON llm_usage_logs (task_template_id, created_at DESC);
    INSERT INTO llm_usage_logs
        (id, task_template_id, provider, model_id, latency_ms, is_success, created_at, attempt, run_id)
        VALUES ('old', 'job_match', 'deepseek', 'deepseek-chat', 1200, 1, '2026-11-23T09:30:00.000Z', 1, 'r1');
"""


def columns_of(log: UsageLog) -> list[str]:
    """The columns of its table, in order."""
    if log.path:
        return [name for _, name, *_ in log.query("PRAGMA table_info(llm_usage_logs)")]
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"
    return [name for (name,) in log.query(sql, ("llm_usage_logs",))]


def schema_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA table_info(llm_usage_logs)").fetchall()


@pytest.mark.sqlite
def test_a_log_of_the_first_release_keeps_its_rows_and_gets_the_new_column(log: UsageLog, path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_RELEASE)
    new = row(repair_level="strict", created_at="2026-11-24T00:00:00.000Z")
    log.begin(new)
    log.finish(new)
    assert log.latest(10) == [new, row(id="old")]
    fresh = UsageLog(path.with_name("fresh.db"))
    fresh.check()
    fresh.close()
    assert schema_of(path) == schema_of(path.with_name("fresh.db"))


# Many at once


def in_processes(work: Callable[..., None], path: Path | str, count: int = PROCESSES) -> None:
    """Let processes do the same work, all from the same moment on."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(count)
    workers = [spawn.Process(target=work, args=(path, number, start)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count


def record_some(path: Path | str, number: int, start: Any) -> None:
    """What each process does: open the log at the same moment as the others, and write."""
    log = UsageLog(path)
    start.wait()
    for turn in range(ROWS_EACH):
        log.record(row(run_id=f"{number}.{turn}"))
    log.close()


def test_eight_processes_that_open_a_fresh_log_at_once_lose_no_row(place: Path | str, log: UsageLog) -> None:
    in_processes(record_some, place)
    written = sorted(one.run_id for one in log.latest(1000))
    assert written == sorted(f"{number}.{turn}" for number in range(PROCESSES) for turn in range(ROWS_EACH))
    if log.path:
        assert log.query("SELECT count(*) FROM _sqlite_migrations") == [(len(NAMES),)]


def call_some(path: Path, number: int, start: Any) -> None:
    """Calls of a process that opens the log while others do; a row may wait in the spool while the tables are made."""
    warnings.simplefilter("ignore", UsageLogWarning)
    log = UsageLog(path)
    start.wait()
    for turn in range(ROWS_EACH):
        one = row(run_id=f"{number}.{turn}")
        log.begin(one)
        log.finish(one)
    log.close()


@pytest.mark.sqlite
@pytest.mark.parametrize("old_rows", [0, 5_000])
def test_24_processes_that_open_a_fresh_or_an_old_log_at_once_lose_no_row(
    path: Path, log: UsageLog, old_rows: int
) -> None:
    if old_rows:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as old, old:
            old.executescript(FIRST_RELEASE)
            old.execute(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO llm_usage_logs "
                "(id, task_template_id, provider, model_id, latency_ms, is_success, created_at, attempt, run_id) "
                "SELECT 'old' || i, task_template_id, provider, model_id, i, 1, created_at, 1, 'r' || i "
                "FROM n CROSS JOIN llm_usage_logs WHERE id = 'old'",
                (old_rows,),
            )
    in_processes(call_some, path, MANY)
    log.drain()
    calls = old_rows + MANY * ROWS_EACH
    assert log.query("SELECT count(*), count(DISTINCT run_id) FROM llm_usage_logs") == [(calls, calls)]
    assert log.query("SELECT sum(calls) FROM usage_sums WHERE level = 0") == [(calls,)]
    assert log.query("SELECT count(*) FROM _sqlite_migrations") == [(len(NAMES),)]
    assert log.query("PRAGMA integrity_check") == [("ok",)]
    assert verify(log).agrees
    assert [each.name for each in path.parent.iterdir() if "spool" in each.name] == []


@pytest.mark.sqlite
def test_any_program_that_knows_sqlite_reads_the_table_and_leaves_nothing_behind(log: UsageLog, path: Path) -> None:
    log.record(row(user_id="ann", cost=0.5))
    log.close()
    before = {each.name for each in path.parent.iterdir()}
    for address in (f"file:{path}?mode=ro", f"file:{path}?immutable=1"):  # as Datasette opens it, without and with -i
        with closing(sqlite3.connect(address, uri=True)) as reader:
            reader.row_factory = sqlite3.Row
            [found] = reader.execute("SELECT user_id, cost, created_at FROM llm_usage_logs").fetchall()
            assert dict(found) == {"user_id": "ann", "cost": 0.5, "created_at": "2026-11-23T09:30:00.000Z"}
            sql = "SELECT task_template_id, count(*) FROM llm_usage_logs GROUP BY 1"
            assert [tuple(each) for each in reader.execute(sql)] == [("job_match", 1)]
    assert {each.name for each in path.parent.iterdir()} - {"usage.db-wal", "usage.db-shm"} == before


def call_many(path: Path | str, number: int, start: Any) -> None:
    """Calls that begin and end in one process, one after the other."""
    log = UsageLog(path)
    start.wait()
    for turn in range(CALLS_EACH):
        one = row(run_id=f"{number}.{turn}", input_tokens=turn)
        log.begin(one)
        log.finish(one)
    log.close()


def test_of_8_times_500_calls_at_once_every_row_is_there_and_none_twice(place: Path | str, log: UsageLog) -> None:
    in_processes(call_many, place)
    log.drain()  # what waited for longer than its second
    found = log.query("SELECT run_id, error_class FROM llm_usage_logs ORDER BY run_id")
    assert found == sorted((f"{number}.{turn}", None) for number in range(PROCESSES) for turn in range(CALLS_EACH))
    if log.path:
        assert log.query("PRAGMA integrity_check") == [("ok",)]
    assert Spool(place).files() == []


def record_one(path: Path) -> None:
    with closing(UsageLog(path)) as log:
        log.record(row(run_id="another process"))


@pytest.mark.sqlite
def test_a_second_log_in_a_process_takes_no_lock_away_from_the_first(path: Path, log: UsageLog) -> None:
    """Closing a file drops all POSIX locks of the process on it; another process would delete the journal in use."""
    log.record(row(run_id="first"))
    with closing(UsageLog(path)) as second:
        second.record(row(run_id="second"))
    other = multiprocessing.get_context("spawn").Process(target=record_one, args=(path,))
    other.start()
    other.join()
    log.record(row(run_id="last"))
    with closing(UsageLog(path)) as third:
        assert {one.run_id for one in third.latest(10)} == {"first", "second", "another process", "last"}
    assert path.with_name("usage.db-wal").exists()


def test_a_number_that_no_column_holds_costs_nobody_the_answer(log: UsageLog) -> None:
    with pytest.warns(UsageLogWarning, match="too large"):
        log.finish(row(input_tokens=2**70))


def test_threads_share_a_log(log: UsageLog) -> None:
    threads = [threading.Thread(target=lambda: [log.record(row()) for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.query("SELECT count(*) FROM llm_usage_logs") == [(80,)]


# What cannot be had


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are no database at all\n" * 50, encoding="utf-8")
    before = path.read_bytes()
    assert refusal(path) == f"usage log {path}: file is not a database; {WAY_OUT}"
    assert path.read_bytes() == before


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"usage log {tmp_path}: Is a directory; {WAY_OUT}"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    path = tmp_path / "file" / "usage.db"
    assert refusal(path) == f"usage log {path}: Not a directory; {WAY_OUT}"


def test_a_read_only_log_is_refused() -> None:
    with unprivileged() as folder:
        assert refusal(folder / "usage.db") == f"usage log {folder}/usage.db: Permission denied; {WAY_OUT}"


def test_a_log_cannot_be_made_in_a_read_only_folder() -> None:
    with unprivileged() as folder:
        assert refusal(folder / "other.db") == f"usage log {folder}/other.db: Permission denied; {WAY_OUT}"


@pytest.mark.sqlite
def test_a_locked_log_says_that_somebody_holds_it(log: UsageLog, path: Path) -> None:
    log.record(row())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refusal(path) == f"usage log {path}: database is locked; another program holds it; try again"
        other.execute("ROLLBACK")
    log.record(row())
    assert len(log.latest(10)) == 2


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE orders (id)")
    before = path.read_bytes()
    assert "is a database of something else; name the usage log with --db or LLMTASK_DB" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.sqlite
def test_a_log_of_a_newer_release_is_refused_and_left_alone(log: UsageLog, path: Path) -> None:
    log.record(row())
    log.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('llmtask', '9999_x', '')"
        )
        other.commit()
    message = refusal(path)
    assert message == (f"usage log {path}: was written by a newer llmtask; upgrade this one, or {WAY_OUT}")
    with pytest.raises(UsageLogError, match="newer llmtask"):
        log.latest(1)


@pytest.mark.sqlite
def test_another_programs_migrations_in_the_same_file_do_not_matter(path: Path, log: UsageLog) -> None:
    log.check()
    log.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('other', '9999_x', '')")
        other.commit()
    log.record(row())
    assert len(log.latest(10)) == 1


def test_a_second_row_of_the_same_id_is_refused(log: UsageLog) -> None:
    log.record(row(id="same"))
    with pytest.raises(UsageLogError, match=r"UNIQUE constraint failed|duplicate key value"):
        log.record(row(id="same"))
    assert len(log.latest(10)) == 1


def test_a_check_finds_a_log_that_can_be_written_and_writes_no_row(log: UsageLog) -> None:
    log.check()
    assert log.latest(10) == []


def test_a_replaced_row_keeps_its_message_short() -> None:
    assert replace(row(), error_message="x" * 600).error_message == "x" * 500
