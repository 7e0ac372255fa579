"""usage.purge and usage.traces: everything about one user goes, and a search of the bytes says whether it has."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmtask.usage import Query, UsageLog, UsageRow, new_id, report
from llmtask.usage.purge import belongings, purge, search
from llmtask.usage.spool import text
from llmtask.usage.traces import look
from llmtask.usage.verify import mend, verify
from tests.unit.test_usage_prune import killed_when
from tests.unit.test_usage_rollup import some_row

USERS = [
    "nina",
    'it\'s "me"',
    "50%_off",
    "zeile\none",
    "陈远",
    "🦊" * 30,
    "a" * 5000,
    "-rf",
    "\udcff",
    "7",
    "null",
    "%",
]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "usage.db")
    yield found
    found.close()


def fill(log: UsageLog, count: int, seed: int = 7, **said: Any) -> list[UsageRow]:
    """Calls that have ended: those without an end are in no sum that could stay."""
    chance = random.Random(seed)  # noqa: S311  # rows of a test
    rows: list[UsageRow] = []
    while len(rows) < count:
        row = some_row(chance, **said)
        rows += [] if row.is_unfinished else [row]
    log.atomic(lambda connection: [log.write(connection, row) for row in rows])
    return rows


def total(log: UsageLog) -> object:
    """What nobody's name is in."""
    found = report(log, Query(by=("model", "task")))
    return found.groups, found.total


def by_user(log: UsageLog) -> dict[str, tuple[int, int]]:
    return {one.group: (one.calls, one.cost_nanos.get("CNY", 0)) for one in report(log, Query(by=("user",))).groups}


def everything(log: UsageLog) -> bytes:
    return b"".join(file.read_bytes() for file in [*log.files, *log.spool.all_files()])


@pytest.mark.parametrize("user", USERS)
def test_everything_about_a_user_goes_and_the_money_stays(log: UsageLog, user: str) -> None:
    fill(log, 200, error_class=None)
    fill(log, 80, seed=1, user_id=user, error_message=f"{user} may not", error_class="bad_request", is_success=False)
    before, users = total(log), by_user(log)
    assert belongings(log, user).tables["llm_usage_logs"] == 80
    assert sum(purge(log, user)) >= 80
    found = search(log, user)
    assert found.found == []
    assert belongings(log, user).rows == 0
    assert total(log) == before
    after = by_user(log)
    mine = users.pop(user.encode(errors="backslashreplace").decode())
    nobody = users.pop("")
    assert {name: sums for name, sums in after.items() if name} == users
    assert after[""] == (nobody[0] + mine[0], nobody[1] + mine[1])
    if len(user) > 3:
        assert user.encode(errors="backslashreplace") not in everything(log)
    assert verify(log).agrees


def test_before_the_purge_the_search_finds_the_user(log: UsageLog) -> None:
    fill(log, 20, user_id="ann")
    found = search(log, "ann").found
    assert {"llm_usage_logs.user_id", "usage_users.user_id"} <= set(found)


def test_rows_that_were_deleted_leave_bytes_which_the_search_finds(log: UsageLog) -> None:
    """Deleted without overwriting, and not written anew: nothing that SQL can see, and all in the file."""
    fill(log, 200, user_id="ann.lee@example.org")
    fill(log, 200, seed=1, user_id="bob")
    log.run(lambda connection: connection.execute("PRAGMA secure_delete = OFF"))
    log.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs WHERE user_id <> 'bob'"))
    log.run(lambda connection: connection.execute("DELETE FROM usage_users WHERE user_id <> 'bob'"))
    log.close()
    traces = look(list(log.files), [], "ann.lee@example.org")
    assert traces.places
    assert search(log, "ann.lee@example.org").found == []


def test_a_user_who_is_a_part_of_others_names_and_of_a_models_is_told_apart(log: UsageLog) -> None:
    fill(log, 60, user_id="joanna", model_id="channel-ann")
    fill(log, 60, seed=1, user_id="ann", model_id="channel-ann")
    fill(log, 60, seed=2, user_id="annabel")
    list(purge(log, "ann"))
    found = search(log, "ann")
    assert found.found == []
    assert found.parts > 0
    assert any("ann" in value for value in found.longer)
    assert {"joanna", "annabel", ""} == by_user(log).keys()


@pytest.mark.parametrize("user", ["paid", "deepseek-chat", "llmtask", "job_match", "usage_sums", "bad_request"])
def test_a_user_who_is_called_like_something_else_goes_and_that_stays(log: UsageLog, user: str) -> None:
    fill(log, 100, tier="paid", model_id="deepseek-chat", error_class="bad_request")
    fill(log, 50, seed=1, user_id=user, tier="paid")
    before = total(log)
    list(purge(log, user))
    found = search(log, user)
    assert found.found == []
    assert total(log) == before
    assert user not in by_user(log)


def test_a_user_in_a_column_that_nobody_knows_of_is_found(log: UsageLog) -> None:
    fill(log, 10, user_id="ann")
    log.run(lambda connection: connection.execute("CREATE TABLE notes (who TEXT)"))
    log.run(lambda connection: connection.execute("INSERT INTO notes VALUES ('ann')"))
    list(purge(log, "ann"))
    assert search(log, "ann").found == ["notes.who"]


def test_every_table_with_users_is_purged(log: UsageLog) -> None:
    """Quotas, their history and reservations too, and what a later release may add."""
    log.check()
    with_users = "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE p.name = 'user_id'"
    tables = {table for (table,) in log.query(f"{with_users} AND m.type = 'table'")}
    assert {"quotas", "quota_free", "quota_history", "quota_reservations", "budget_reservations"} <= tables
    for table in sorted(tables - {"llm_usage_logs", "usage_users"}):
        columns = log.query(f"PRAGMA table_info({table})")
        for user in ("ann", "bob"):
            ours = {"user_id": user, "run_id": f"run of {user}", "call_id": f"call of {user}"}
            values = [ours.get(name, 1 if "INT" in kind else "x") for _, name, kind, *_ in columns]
            sql = f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})"  # noqa: S608  # the tables' own names
            log.run(lambda connection, sql=sql, values=values: connection.execute(sql, values))  # type: ignore[misc]
    assert set(belongings(log, "ann").tables) == tables - {"llm_usage_logs", "usage_users"}
    list(purge(log, "ann"))
    assert search(log, "ann").found == []
    assert set(belongings(log, "bob").tables) == tables - {"llm_usage_logs", "usage_users"}


def test_the_spool_is_purged_of_rows_that_cannot_be_taken_in_too(log: UsageLog) -> None:
    [mine, other] = fill(log, 2, user_id="ann")[:1] + fill(log, 1, seed=1, user_id="bob")
    folder = log.spool.beside
    folder.mkdir()
    newer = json.loads(text(mine)) | {"id": new_id(), "a_later_column": 1}
    (folder / "1.end.json").write_text(json.dumps(newer), encoding="utf-8")
    (folder / "2.broken").write_text('{"user_id": "ann", "id"', encoding="utf-8")
    (folder / "3.end.json").write_text(json.dumps(newer | {"user_id": other.user_id}), encoding="utf-8")
    (folder / "4.end.json").write_text(json.dumps(newer | {"user_id": "joanna"}), encoding="utf-8")
    assert belongings(log, "ann").waiting == 2
    list(purge(log, "ann"))
    assert sorted(file.name for file in folder.iterdir()) == ["3.end.json", "4.end.json"]
    assert search(log, "ann").found == []


def test_a_reader_that_keeps_the_old_bytes_alive_is_told(log: UsageLog) -> None:
    fill(log, 50, user_id="ann")
    with closing(sqlite3.connect(log.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM llm_usage_logs").fetchone()
        list(purge(log, "ann"))
        found = search(log, "ann")
        assert found.was_busy
        assert any("usage.db" in place for place in found.found)
    assert search(log, "ann").found == []


def test_a_log_that_is_not_there_holds_nothing(log: UsageLog) -> None:
    assert belongings(log, "ann").rows == 0
    assert list(purge(log, "ann")) == []
    assert search(log, "ann").found == []
    assert not log.path.exists()


def purge_all(path: Path, user: str) -> None:
    with closing(UsageLog(path)) as log:
        list(purge(log, user))


def test_killed_in_the_middle_a_purge_goes_on_the_next_time(log: UsageLog) -> None:
    fill(log, 3000, user_id="ann")
    fill(log, 100, seed=1, user_id="bob")
    before = total(log)
    count = "SELECT count(*) FROM llm_usage_logs WHERE user_id = 'ann'"
    killed_when(lambda: log.query(count) < [(3000,)], purge_all, log.path, "ann")
    assert [(0,)] < log.query(count) < [(3000,)]
    assert verify(log).agrees
    list(purge(log, "ann"))
    assert search(log, "ann").found == []
    assert total(log) == before
    assert verify(log).agrees


def test_mending_after_a_purge_leaves_the_sums_of_its_hours(log: UsageLog) -> None:
    fill(log, 300)
    before = total(log)
    list(purge(log, "ann"))
    found = verify(log)
    assert (found.agrees, found.gaps > 0) == (True, True)
    assert mend(log) == 0
    assert total(log) == before


def pages_of(folder: Path, size: int, values: list[Any]) -> Path:
    path = folder / f"{size}.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA page_size = {size}")
        other.execute("CREATE TABLE t (a TEXT PRIMARY KEY, b INTEGER, c TEXT)")
        other.executemany("INSERT INTO t VALUES (?, ?, ?)", [(value, 7, f"before {value} after") for value in values])
        other.commit()
    return path


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_values_are_told_from_parts_on_pages_of_any_size(tmp_path: Path, size: int) -> None:
    names = [f"user{number:04}" for number in range(500)]
    path = pages_of(tmp_path, size, names)
    found = look([path], [], "user0042")
    assert (found.cells, found.parts, found.places) == (2, 1, [])  # the table and its index; the text around it
    assert look([path], [], "user004").cells == 0
    assert look([path], [], "user004").parts == 30
    assert look([path], [], "user9999").parts == 0
