"""usage.postgres: a log on a server: who is kept out, what is never shown, and that it costs no answer."""

import json
import multiprocessing
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmtask.errors import UsageLogError
from llmtask.usage import Query, UsageLog, UsageLogWarning, report
from llmtask.usage.address import address
from llmtask.usage.postgres_tables import NAMES, TABLES
from llmtask.usage.spool import Spool
from tests.postgres.server import Server
from tests.unit.test_usage_log import row
from tests.unit.test_usage_rollup import looked_at, some_row, without_marks

RESUME = str(Path(__file__).parents[2] / "examples/resume.zh.md")
RUN = ("run", "job_match", "--locale", "zh", "--input", RESUME, "--model", "offline", "--select", "match_score")
MANY, EACH = 24, 40
SECRET = "s3cr/t@?#x"


@pytest.fixture
def url(server: Server) -> str:
    return server.database()


@pytest.fixture
def log(url: str) -> Iterator[UsageLog]:
    with closing(UsageLog(url)) as found:
        yield found


@pytest.fixture
def own_server(server: Server) -> Iterator[Server]:
    """A server that a test may stop."""
    own = type(server)(server.programs)
    yield own
    own.remove()


def name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def llmtask(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmtask", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env, check=False)


def together(count: int, work: Any, *arguments: Any) -> None:
    """Let processes do the same work, all from the same moment on."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(count)
    workers = [spawn.Process(target=work, args=(*arguments, number, start)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count


# The tables


def open_at_once(url: str, number: int, start: Any) -> None:
    log = UsageLog(url)
    start.wait()
    log.record(row(run_id=str(number)))
    log.close()


def test_24_processes_make_the_tables_of_an_empty_database_at_once_and_none_fails(url: str, log: UsageLog) -> None:
    together(MANY, open_at_once, url)
    assert {one.run_id for one in log.latest(100)} == {str(number) for number in range(MANY)}
    assert log.query("SELECT name FROM llmtask_migrations ORDER BY name") == [(name,) for name in NAMES]


def test_both_databases_have_the_same_tables_and_columns(log: UsageLog, tmp_path: Path) -> None:
    log.check()
    with closing(UsageLog(tmp_path / "usage.db")) as file:
        file.check()
        sql = (
            "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c "
            "WHERE m.type = 'table' AND m.name NOT LIKE '%sqlite%' AND m.name NOT LIKE 'usage_sync%'"
        )
        in_file = set(file.query(sql))
    sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    on_server = {(table, column) for table, column in log.query(sql) if table != "llmtask_migrations"}
    assert on_server == in_file
    assert {table for table, _ in on_server} == set(TABLES)


def test_reading_a_log_that_is_not_there_makes_none(log: UsageLog) -> None:
    assert log.latest(10) == []
    assert report(log).groups == []
    assert log.query("SELECT 1") == []
    with closing(UsageLog(log.place)) as other:
        other.record(row())
    assert len(log.latest(10)) == 1


def test_a_table_of_that_name_that_is_something_elses_is_refused_and_left_alone(url: str, server: Server) -> None:
    server.sql("CREATE TABLE llm_usage_logs (id integer)", name_of(url))
    with closing(UsageLog(url)) as log, pytest.raises(UsageLogError, match="a table llm_usage_logs of something else"):
        log.record(row())
    assert server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name_of(url)) == "1"


def test_another_schema_has_a_log_of_its_own(url: str, server: Server, log: UsageLog) -> None:
    server.sql("CREATE SCHEMA shop", name_of(url))
    log.record(row(id="a"))
    with closing(UsageLog(f"{url}&options=-csearch_path%3Dshop")) as other:
        other.record(row(id="b"))
        assert [one.id for one in other.latest(10)] == ["b"]
    assert [one.id for one in log.latest(10)] == ["a"]


def test_a_log_of_a_newer_release_is_refused(url: str, server: Server, log: UsageLog) -> None:
    log.check()
    server.sql("INSERT INTO llmtask_migrations (name) VALUES ('9999_x')", name_of(url))
    with closing(UsageLog(url)) as other, pytest.raises(UsageLogError, match="was written by a newer llmtask"):
        other.record(row())


def test_what_somebody_else_writes_is_in_the_reports_too(url: str, server: Server, log: UsageLog) -> None:
    log.record(row(id="a", input_tokens=3))
    copied = "('b', 't', 'p', 'm', 5, 1, 1, '2026-11-23T09:30:00.000Z', 1, 'r')"
    names = (
        "id, task_template_id, provider, model_id, latency_ms, is_success, input_tokens, created_at, attempt, run_id"
    )
    server.sql(f"INSERT INTO llm_usage_logs ({names}) VALUES {copied}", name_of(url))
    server.sql("DELETE FROM llm_usage_logs WHERE id = 'a'", name_of(url))
    assert report(log).total.input_tokens == 1


def test_an_instant_that_is_none_refuses_no_row(log: UsageLog) -> None:
    for number, at in enumerate(["yesterday or so", "", "2026-02-31T00:00:00.000Z", "infinity"]):
        log.record(row(id=str(number), created_at=at))
    assert report(log).total.calls == 4


# Writers at once


def write_single_rows(url: str, number: int, start: Any) -> None:
    """Calls of all groups and times, one row each; one process in four writes many rows in one transaction."""
    chance = random.Random(number)  # noqa: S311
    log, spool = UsageLog(url), Spool(address(url).place)
    rows = [some_row(chance) for _ in range(EACH * 4)]
    start.wait()
    for turn, one in enumerate(rows):
        if number % 4 == 0:
            spool.put(one)
            if turn % EACH == 0:
                log.drain()
        else:
            log.begin(one)
            log.finish(one)
    log.drain()
    log.close()


def test_writers_of_single_and_of_many_rows_at_once_never_deadlock_and_the_sums_are_right(
    url: str, server: Server, log: UsageLog
) -> None:
    log.check()
    together(8, write_single_rows, url)
    log.drain()
    rows = log.latest(10_000)
    assert len(rows) == 8 * EACH * 4
    from zoneinfo import ZoneInfo

    zone, query = ZoneInfo("UTC"), Query(("day", "model", "task", "tier"), zone=ZoneInfo("UTC"))
    found = {one.keys: without_marks(one, errors=True) for one in report(log, query).groups}
    expected = looked_at(rows, query, zone)
    assert found == {keys: without_marks(one, errors=True) for keys, one in expected.items()}
    assert server.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", name_of(url)) == "0"


def add_up(url: str, number: int, start: Any) -> None:
    """What a budget does: look, and write what follows."""
    log = UsageLog(url)
    start.wait()
    for _ in range(EACH):
        log.atomic(lambda connection: _add_one(connection, number))
    log.close()


def _add_one(connection: Any, number: int) -> None:
    [(count,)] = connection.execute("SELECT count(*) FROM llm_usage_logs").fetchall()
    values = (f"{count}", f"{number}", "t", "p", "m", 1, 1, "2026-11-23T09:30:00.000Z", 1)
    names = "id, run_id, task_template_id, provider, model_id, latency_ms, is_success, created_at, attempt"
    connection.execute(f"INSERT INTO llm_usage_logs ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def test_of_processes_that_look_and_then_write_no_two_see_the_same(url: str, log: UsageLog) -> None:
    log.check()
    together(8, add_up, url)
    assert log.query("SELECT count(*), count(DISTINCT id) FROM llm_usage_logs") == [(8 * EACH, 8 * EACH)]


def test_a_transaction_is_whole_or_not_at_all(log: UsageLog) -> None:
    def broken_off(connection: Any) -> None:
        connection.execute("DELETE FROM llm_usage_logs")
        message = "no"
        raise ValueError(message)

    log.record(row())
    with pytest.raises(ValueError, match="no"):
        log.atomic(broken_off)
    assert len(log.latest(10)) == 1


def test_a_failure_that_is_passed_over_within_a_transaction_is_told(log: UsageLog) -> None:
    def careless(connection: Any) -> None:
        connection.execute("DELETE FROM llm_usage_logs")
        with pytest.raises(Exception, match="nothing_of_that_name"):
            connection.execute("SELECT nothing_of_that_name")

    log.record(row())
    with pytest.raises(UsageLogError, match="nothing of it was done"):
        log.atomic(careless)
    assert len(log.latest(10)) == 1


def test_a_log_that_another_holds_is_waited_for_no_longer_than_said(log: UsageLog, url: str) -> None:
    log.check()
    said = "lock timeout; another program holds it|the server has not answered so far"  # the latter where it is busy
    with closing(UsageLog(url)) as other, pytest.warns(UsageLogWarning, match=said):
        other.atomic(lambda _: (log.begin(row(id="a")), log.finish(row(id="a"))))
    log.finish(row(id="b"))
    assert sorted(one.id for one in log.latest(10)) == ["a", "b"]


# What a row says


def test_a_row_that_the_database_does_not_take_is_kept_aside_and_blocks_none(log: UsageLog) -> None:
    spool = Spool(log.place)
    spool.put(row(id="a"))
    spool.put(row(id="b", user_id=secrets.token_hex(5_000)))  # more than fits into an index
    spool.put(row(id="c"))
    with pytest.warns(UsageLogWarning, match=r"b\.end\.broken holds no row of a usage log; it is kept for you to look"):
        log.drain()
    assert sorted(one.id for one in log.latest(10)) == ["a", "c"]
    log.finish(row(id="d"))  # and is warned of once


def test_texts_and_numbers_are_as_in_a_file(log: UsageLog) -> None:
    log.record(row(id="%s ' ?", user_id="a\0b", service_id="支付 %", error_message="50% 'off'?", is_stream=True))
    [found] = log.latest(10)
    assert (found.id, found.user_id, found.service_id) == ("%s ' ?", "a\\x00b", "支付 %")
    assert (found.error_message, found.is_stream) == ("50% 'off'?", True)
    assert log.query("SELECT sum(input_tokens), '?', 'a' LIKE 'A%' FROM llm_usage_logs WHERE id LIKE '\\%S%'") == [
        (0, "?", True)
    ]


# Secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:pw@host:5433/db?sslmode=require", "postgresql://ann@host:5433/db?sslmode=require"),
        ("postgres://ann:p@w@host/db", "postgresql://ann@host/db"),
        ("postgresql://ann:p:w%2F@host/db", "postgresql://ann@host/db"),
        ("postgresql://host/db?user=ann&password=pw&sslpassword=x", "postgresql://host/db?user=ann"),
        ("postgresql:///db", "postgresql:///db"),
        ("POSTGRESQL://a,b/db", "postgresql://a,b/db"),
        ("postgresql://ann@/db?host=%2Ftmp%2Fx", "postgresql://ann@/db?host=%2Ftmp%2Fx"),
    ],
)
def test_a_place_is_an_address_without_its_password(url: str, shown: str) -> None:
    found = address(url)
    assert found.place == shown
    assert "pw" not in repr(found)
    assert address(shown).place == shown


@pytest.mark.parametrize("url", ["postgresql://a:pw/x@h/d", "postgresql://a:pw?x@h/d", "postgresql://a:pw#x@h/d"])
def test_a_password_that_cannot_be_told_apart_is_not_shown(url: str) -> None:
    with pytest.raises(UsageLogError, match="%2F for /") as caught:
        UsageLog(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("given", ["in the URL", "wrong"])
def test_a_password_opens_the_log_and_is_shown_nowhere(given: str, server: Server, url: str, tmp_path: Path) -> None:
    name = f"u{secrets.token_hex(4)}"
    server.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'", name_of(url))
    server.sql(f"GRANT ALL ON SCHEMA public TO {name}", name_of(url))
    own = server.url(name_of(url), name, SECRET if given == "in the URL" else SECRET + "?")
    found = llmtask(*RUN, LLMTASK_DB=own)
    listed = llmtask("usage", "list", "--json", LLMTASK_DB=own)
    place = llmtask("usage", "path", "--db", own)
    assert found.returncode == 0
    assert found.stdout.strip().isdigit()
    if given == "wrong":
        assert "password authentication failed" in found.stderr
        assert "set PGPASSWORD or write ~/.pgpass" in found.stderr
        assert listed.returncode == 3
    else:
        assert len(json.loads(listed.stdout)) == 1
    spooled = [str(file) for file in tmp_path.rglob("*")]
    said = [found.stderr, listed.stderr, listed.stdout, place.stdout, place.stderr, *spooled]
    assert not [one for one in said if "s3cr" in one]


def test_a_password_may_come_from_the_environment(server: Server, url: str) -> None:
    name = f"u{secrets.token_hex(4)}"
    server.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'", name_of(url))
    server.sql(f"GRANT ALL ON SCHEMA public TO {name}", name_of(url))
    found = llmtask("doctor", "--offline", "--db", server.url(name_of(url), name), PGPASSWORD=SECRET)
    assert f"✓ usage log {server.url(name_of(url), name)} can be written" in found.stdout


def test_who_may_make_no_tables_is_told_whom_to_ask(server: Server, url: str) -> None:
    name = f"u{secrets.token_hex(4)}"
    server.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'", name_of(url))
    with closing(UsageLog(server.url(name_of(url), name, "x"))) as log, pytest.raises(UsageLogError) as caught:
        log.record(row())
    assert "permission denied for schema public; have its owner grant it" in str(caught.value)


# A dead database costs no answer


def test_without_a_server_the_answer_comes_and_its_row_waits(tmp_path: Path) -> None:
    place = "postgresql://ann@127.0.0.1:1/db"
    found = llmtask(*RUN, "--db", place)
    assert (found.returncode, found.stdout.strip().isdigit()) == (0, True)
    assert f"usage log {place}: connection to server" in found.stderr
    assert "Connection refused" in found.stderr
    [file] = Spool(place).files()
    assert file.is_relative_to(tmp_path / "data" / "llmtask" / "spool")


def test_without_psycopg_the_answer_comes_and_the_way_out_is_told(url: str) -> None:
    code = "import sys; sys.modules['psycopg'] = None; from llmtask.__main__ import main; main()"
    argv = [sys.executable, "-c", code, *RUN, "--db", url]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.strip().isdigit()) == (0, True)
    assert "needs psycopg; pip install 'llmtask[postgres]'" in found.stderr
    assert len(Spool(url).files()) == 1
    assert llmtask(*RUN, "--db", url).returncode == 0
    assert len(json.loads(llmtask("usage", "list", "--json", "--db", url).stdout)) == 2


def test_a_log_in_a_file_needs_no_psycopg() -> None:
    code = "import sys; from llmtask.__main__ import main\ntry: main()\nfinally: print('psycopg' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code, *RUN], capture_output=True, text=True, check=False)
    assert found.stdout.split()[-1] == "False"


def test_a_server_that_came_back_is_found_again(own_server: Server) -> None:
    with closing(UsageLog(own_server.database())) as log:
        log.begin(row(id="a"))
        own_server.stop("fast")
        own_server.start()
        log.finish(row(id="a"))
        assert [(one.id, one.is_unfinished) for one in log.latest(10)] == [("a", False)]


def test_a_server_that_is_killed_during_a_call_gets_its_row_once_when_it_is_back(own_server: Server) -> None:
    with closing(UsageLog(own_server.database())) as log:
        log.begin(row(id="a"))
        own_server.stop()
        with pytest.warns(UsageLogWarning, match="this call's row waits in .*: usage log postgresql://team@/"):
            log.finish(row(id="a"))
        log.begin(row(id="b"))
        own_server.start()
        log.finish(row(id="c"))
        log.finish(row(id="b"))
        found = {one.id: one.is_unfinished for one in log.latest(10)}
        assert found == {"a": False, "b": False, "c": False}
        assert Spool(log.place).files() == []
        assert report(log).total.ended == 3


def test_a_server_that_hangs_holds_a_call_up_for_a_second_and_its_end_for_less(own_server: Server) -> None:
    url = own_server.database()
    with closing(UsageLog(url)) as known, closing(UsageLog(url)) as new:
        known.record(row(id="first"))
        own_server.freeze()
        for number, log in enumerate((known, new)):
            started = time.monotonic()
            log.begin(row(id=str(number)))
            begun = time.monotonic()
            with pytest.warns(UsageLogWarning, match="this call's row waits in"):
                log.finish(row(id=str(number)))
            assert begun - started < 2
            assert time.monotonic() - begun < 1
        own_server.thaw()
        for log in (known, new):
            log.check()
            log.drain()
        assert sorted(one.id for one in new.latest(10)) == ["0", "1", "first"]
        assert report(new).total.ended == 3


def test_threads_of_a_program_wait_for_a_server_that_hangs_once_and_not_one_after_the_other(own_server: Server) -> None:
    import threading

    with closing(UsageLog(own_server.database())) as log:
        log.check()
        own_server.freeze()
        threads = [threading.Thread(target=log.begin, args=(row(),)) for _ in range(16)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 8
        own_server.thaw()
        log.check()
        log.drain()
        assert len(log.latest(100)) == 16
