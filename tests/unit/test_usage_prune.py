"""usage.prune and usage.verify: old rows go, reports say the same, and what the rollup says can be proved."""

import multiprocessing
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llmtask.usage import Query, UsageLog, UsageRow, report
from llmtask.usage.prune import old, prune
from llmtask.usage.rollup import TABLES
from llmtask.usage.verify import mend, verify
from tests.unit.test_usage_rollup import BEGIN, some_row

MIDDLE = BEGIN + timedelta(days=35, hours=7)
DAY = MIDDLE.replace(hour=0)
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "usage.db")
    yield found
    found.close()


def fill(log: UsageLog, count: int = 600, seed: int = 7, **said: Any) -> list[UsageRow]:
    chance = random.Random(seed)  # noqa: S311  # rows of a test
    rows = [some_row(chance, **said) for _ in range(count)]
    log.atomic(lambda connection: [log.write(connection, row) for row in rows])
    return rows


def said(log: UsageLog) -> list[object]:
    """What reports of whole hours say."""
    queries = [
        Query(by=("model",)),
        Query(by=("day", "task"), zone=SHANGHAI),
        Query(by=("hour",), zone=UTC),
        Query(by=("user", "provider")),
        Query(by=("tier",), since=BEGIN + timedelta(days=3, hours=5), until=DAY + timedelta(hours=3)),
        Query(by=("prompt",), until=DAY - timedelta(days=1)),
    ]
    return [(found.groups, found.total) for query in queries for found in [report(log, query)]]


def test_reports_of_whole_hours_say_the_same_after_pruning(log: UsageLog) -> None:
    rows = fill(log)
    before = said(log)
    found = old(log, MIDDLE)
    bound = DAY.strftime("%Y-%m-%dT00:00:00.000Z")
    gone = [row for row in rows if row.created_at < bound and not row.is_unfinished]
    times = sorted(row.created_at for row in gone)
    assert (found.until, found.rows, found.first, found.last) == (DAY, len(gone), times[0], times[-1])
    assert found.unfinished == sum(row.created_at < bound and row.is_unfinished for row in rows)
    assert sum(prune(log, found.until)) == len(gone)
    assert old(log, MIDDLE).rows == 0
    assert len(log.latest(1000)) == len(rows) - len(gone)
    assert said(log) == before


def test_pruning_twice_and_further_takes_only_what_is_older(log: UsageLog) -> None:
    fill(log)
    before = said(log)
    first = sum(prune(log, DAY - timedelta(days=10)))
    assert sum(prune(log, DAY - timedelta(days=20))) == 0
    assert first > 0
    assert sum(prune(log, DAY)) > 0
    assert said(log) == before
    assert verify(log).agrees
    assert verify(log).since == DAY


def test_rows_that_come_after_pruning_are_counted_and_deleted_ones_taken_out_again(log: UsageLog) -> None:
    fill(log)
    list(prune(log, DAY))
    calls = report(log).total.calls
    more = fill(log, 50, seed=8, error_class=None, is_success=True)
    assert report(log).total.calls == calls + 50
    log.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs WHERE id = ?", (more[0].id,)))
    assert report(log).total.calls == calls + 49


def test_the_size_that_is_told_is_about_what_the_file_gives_back(log: UsageLog) -> None:
    fill(log, 4000)
    found = old(log, datetime(2027, 1, 1, tzinfo=UTC))
    log.compact()
    before = log.path.stat().st_size
    list(prune(log, found.until))
    assert log.compact()
    assert 0.5 < found.size / (before - log.path.stat().st_size) < 2
    assert log.query("PRAGMA integrity_check") == [("ok",)]
    assert log.path.with_name("usage.db-wal").stat().st_size == 0


def test_nothing_is_noted_where_nothing_was_pruned(log: UsageLog) -> None:
    fill(log, 10)
    assert list(prune(log, BEGIN)) == []
    assert verify(log).since is None


def prune_all(path: Path, until: datetime) -> None:
    with closing(UsageLog(path)) as log:
        list(prune(log, until))


def killed_when(is_begun: Callable[[], bool], work: Any, *more: Any) -> None:
    """Let a process work, and kill it as soon as it has begun to."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=more)
    process.start()
    while process.is_alive() and not is_begun():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_in_the_middle_it_goes_on_the_next_time_and_nothing_is_counted_twice(log: UsageLog) -> None:
    fill(log, 3000)
    before, all_rows = said(log), old(log, DAY).rows
    killed_when(lambda: old(log, DAY).rows < all_rows, prune_all, log.path, DAY)
    assert 0 < old(log, DAY).rows < all_rows
    assert said(log) == before
    assert verify(log).agrees
    list(prune(log, DAY))
    assert old(log, DAY).rows == 0
    assert said(log) == before
    assert verify(log).agrees
    assert log.query("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == [(4,)]


def write_until(path: Path, stop: Any, longest: Any) -> None:
    """Another process's calls; the longest that one waited."""
    log, most, count = UsageLog(path), 0.0, 0
    chance = random.Random(1)  # noqa: S311  # rows of a test
    while not stop.is_set():
        row = some_row(chance, error_class=None, is_success=True, created_at=f"2026-12-01T00:00:{count % 60:02}.000Z")
        begun = time.perf_counter()
        log.begin(row)
        log.finish(row)
        most, count = max(most, time.perf_counter() - begun), count + 1
        time.sleep(0.002)
    longest.put((most, count))
    log.close()


def test_a_process_that_writes_meanwhile_loses_no_row_and_none_goes_to_the_spool(log: UsageLog) -> None:
    fill(log, 4000)
    before = report(log).total.calls
    spawn = multiprocessing.get_context("spawn")
    stop, longest = spawn.Event(), spawn.Queue()
    writer = spawn.Process(target=write_until, args=(log.path, stop, longest))
    writer.start()
    while not log.query("SELECT 1 FROM llm_usage_logs WHERE created_at >= '2026-12'"):
        time.sleep(0.01)
    list(prune(log, DAY))
    stop.set()
    _, count = longest.get()
    writer.join()
    assert log.spool.files() == []
    assert report(log).total.calls == before + count
    assert verify(log).agrees


# verify


@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_was_written_by_us_agrees(log: UsageLog, seed: int) -> None:
    rows = fill(log, seed=seed)
    found = verify(log)
    assert (found.agrees, found.since, found.gaps) == (True, None, 0)
    assert found.rows == sum(not row.is_unfinished for row in rows)


def test_a_log_that_is_not_there_agrees_and_stays_away(log: UsageLog) -> None:
    assert verify(log).agrees
    assert not log.path.exists()


def harm(log: UsageLog, sql: str) -> None:
    """What another program does, which knows nothing of ours."""
    with closing(sqlite3.connect(log.path)) as other, other:
        other.execute(sql)


HARMS = {
    "INSERT OR REPLACE": "INSERT OR REPLACE INTO llm_usage_logs SELECT * FROM llm_usage_logs LIMIT 20",
    "a sum that was changed": "UPDATE usage_sums SET cost_nanos = cost_nanos + 1 WHERE level = 0",
    "a level that is missing": "DELETE FROM usage_sums WHERE level = 2",
    "a mark that is missing": "DELETE FROM usage_marks WHERE level = 0 AND mark > 500",
    "an error too many": "UPDATE usage_errors SET calls = calls + 3",
    "a user's sums": "DELETE FROM usage_users WHERE user_id = 'ann'",
    "no group at all": "DELETE FROM usage_groups",
    "nothing at all": "DELETE FROM usage_sums",
}


@pytest.mark.parametrize("name", HARMS)
def test_what_is_wrong_is_found_and_mended(log: UsageLog, name: str) -> None:
    fill(log)
    before = said(log)
    harm(log, HARMS[name])
    assert not verify(log).agrees
    assert mend(log) > 0
    assert verify(log).differences == []
    assert said(log) == before
    assert mend(log) == 0


def test_mending_leaves_what_pruned_rows_came_to(log: UsageLog) -> None:
    fill(log)
    before = said(log)
    list(prune(log, DAY))
    harm(log, HARMS["INSERT OR REPLACE"])
    found = verify(log)
    assert not found.agrees
    assert all(one.begin >= DAY for one in found.differences if one.level == 0)
    mend(log)
    assert verify(log).agrees
    assert said(log) == before


def test_what_another_program_deleted_before_the_cut_is_not_told_and_not_touched(log: UsageLog) -> None:
    fill(log)
    list(prune(log, DAY))
    kept = log.query("SELECT sum(calls) FROM usage_sums WHERE level = 0")
    harm(log, "DROP TRIGGER usage_rollup_delete")
    harm(log, "DELETE FROM llm_usage_logs WHERE created_at < '2026-10-25'")
    assert verify(log).agrees
    assert mend(log) == 0
    assert log.query("SELECT sum(calls) FROM usage_sums WHERE level = 0") == kept


def test_instants_that_are_none_are_no_difference(log: UsageLog) -> None:
    fill(log, 50)
    for at in ("", "garbage", "2026-11-23 09:30:00", "1969-12-31T23:00:00.000Z", "9999-12-31T23:59:59.999Z"):
        fill(log, 3, seed=len(at), created_at=at)
    assert verify(log).differences == []
    harm(log, HARMS["INSERT OR REPLACE"].replace("LIMIT 20", ""))
    mend(log)
    assert verify(log).agrees


def test_a_whole_day_can_be_compared_while_another_process_writes(log: UsageLog) -> None:
    fill(log, 500)
    spawn = multiprocessing.get_context("spawn")
    stop, longest = spawn.Event(), spawn.Queue()
    writer = spawn.Process(target=write_until, args=(log.path, stop, longest))
    writer.start()
    while not log.query("SELECT 1 FROM llm_usage_logs WHERE created_at >= '2026-12'"):
        time.sleep(0.01)
    verdicts = [verify(log).agrees for _ in range(5)]
    stop.set()
    longest.get()
    writer.join()
    assert verdicts == [True] * 5


def test_the_rollups_tables_are_all_looked_at(log: UsageLog) -> None:
    from llmtask.usage.verify import _TABLES

    log.check()
    assert {"usage_groups", *(table.name for table in _TABLES)} == set(TABLES)
    with closing(sqlite3.connect(log.path)) as other:
        names = {name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {*TABLES, "usage_gaps"} <= names
