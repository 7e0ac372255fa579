"""usage.sync: a local log is in the team's exactly once, whatever breaks the push off."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from llmtask.errors import UsageError, UsageLogError
from llmtask.usage import Push, Query, Report, UsageLog, UsageRow, instant, report
from tests.postgres.server import Server
from tests.postgres.test_team_log import llmtask, name_of, together
from tests.unit.test_usage_log import row
from tests.unit.test_usage_rollup import some_row

ROWS = 600
PROXY = str(Path(__file__).with_name("proxy.py"))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[UsageLog]:
    with closing(UsageLog(tmp_path / "local.db")) as found:
        yield found


@pytest.fixture
def team(log: UsageLog) -> UsageLog:
    """The log that is pushed to, in each of the databases."""
    return log


def filled(log: UsageLog, count: int = ROWS, first: int = 0) -> None:
    chance = random.Random(first)  # noqa: S311
    rows = [some_row(chance, id=f"{first + number:06}") for number in range(count)]
    log.atomic(lambda connection: [_write(connection, one) for one in rows])


def _write(connection: Any, one: UsageRow) -> None:
    names = UsageRow.__dataclass_fields__
    sql = f"INSERT INTO llm_usage_logs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    connection.execute(sql, [getattr(one, name) for name in names])


def content(log: UsageLog) -> tuple[list[UsageRow], Report]:
    """Its rows, and what the rollup says of them."""
    return log.latest(100_000), report(log, Query(("day", "model", "task")))


def test_every_row_is_pushed_once_and_the_sums_are_right(local: UsageLog, team: UsageLog) -> None:
    filled(local)
    first = Push(local, team).run()
    assert (first.sent, first.known, first.refused) == (ROWS, 0, 0)
    assert first.unfinished == sum(one.is_unfinished for one in local.latest(ROWS))
    assert content(team) == content(local)
    again = Push(local, team).run()
    assert (again.sent, again.known) == (0, 0), "nothing was looked at twice"


def test_what_came_since_is_pushed_and_what_has_ended_since_is_pushed_again(local: UsageLog, team: UsageLog) -> None:
    filled(local)
    local.begin(row(id="open"))
    local.begin(row(id="killed"))
    Push(local, team).run()
    local.finish(row(id="open", input_tokens=5))
    local.finish(row(id="new"))
    found = Push(local, team).run()
    assert (found.sent, found.unfinished, found.known) == (2, 0, 0)
    assert content(team) == content(local)
    assert Push(local, team).run().sent == 0


def test_rows_of_others_stay_and_what_is_finished_is_changed_by_no_push(local: UsageLog, team: UsageLog) -> None:
    team.record(row(id="theirs"))
    team.record(row(id="both", input_tokens=1))
    local.begin(row(id="both", input_tokens=2))
    local.record(row(id="mine"))
    found = Push(local, team).run()
    assert (found.sent, found.known) == (1, 1)
    assert sorted((one.id, one.input_tokens) for one in team.latest(10)) == [("both", 1), ("mine", 0), ("theirs", 0)]


def test_a_row_that_the_team_has_without_its_end_is_closed(local: UsageLog, team: UsageLog) -> None:
    team.begin(row(id="a"))
    local.record(row(id="a"))
    assert Push(local, team).run().sent == 1
    assert team.latest(10) == [row(id="a")]


def test_a_dry_run_counts_and_changes_nothing(local: UsageLog, team: UsageLog) -> None:
    filled(local)
    assert Push(local, team, is_dry=True).run().sent == ROWS
    assert team.latest(10) == []
    assert Push(local, team, is_dry=True).run().sent == ROWS
    assert Push(local, team).run().sent == ROWS


def test_rows_are_found_though_the_file_numbers_them_anew(local: UsageLog, team: UsageLog) -> None:
    filled(local)
    Push(local, team).run()
    local.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs WHERE id < '000300'"))
    local.run(lambda connection: connection.execute("VACUUM"))
    filled(local, 100, first=1_000)
    assert Push(local, team).run().sent == 100
    assert len(team.latest(10_000)) == ROWS + 100


def test_rows_are_found_though_the_last_ones_were_deleted_and_their_numbers_are_taken(
    local: UsageLog, team: UsageLog
) -> None:
    filled(local)
    Push(local, team).run()
    local.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs WHERE id > '000400'"))
    filled(local, 300, first=1_000)
    assert Push(local, team).run().sent == 300


def test_a_log_that_was_made_anew_gets_everything(local: UsageLog, server: Server) -> None:
    filled(local, 100)
    url = server.database()
    with closing(UsageLog(url)) as team:
        assert Push(local, team).run().sent == 100
    server.sql(f"DROP DATABASE {name_of(url)} WITH (FORCE)", "template1")
    server.sql(f"CREATE DATABASE {name_of(url)}", "template1")
    with closing(UsageLog(url)) as team:
        assert Push(local, team).run().sent == 100


def test_what_a_log_lost_is_pushed_since_a_day(local: UsageLog, team: UsageLog) -> None:
    filled(local)
    Push(local, team).run()
    team.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs WHERE created_at >= '2026-10-20'"))
    begin = instant("2026-10-01")
    found = Push(local, team).run(begin)
    assert found.sent > 0
    assert found.known > 0
    assert content(team) == content(local)


def test_a_row_that_the_team_does_not_take_is_told_and_keeps_none_out(local: UsageLog, server: Server) -> None:
    filled(local, 20)
    local.record(row(id="long", user_id=os.urandom(5_000).hex()))
    filled(local, 20, first=100)
    with closing(UsageLog(server.database())) as team:
        found = Push(local, team).run()
        assert (found.sent, found.refused, found.known) == (40, 1, 0)
        assert "the database does not take the row" in found.refusal
        again = Push(local, team).run()
        assert (again.sent, again.refused) == (0, 1)


def test_a_log_is_not_pushed_to_itself_nor_from_a_server(local: UsageLog, server: Server) -> None:
    with pytest.raises(UsageError, match="cannot be pushed to itself"):
        Push(local, UsageLog(local.place))
    with pytest.raises(UsageError, match="name the log to push with --db"):
        Push(UsageLog(server.database()), local)


# Broken off


def push_in_turn(local: str, team: str, number: int, start: Any) -> None:
    with closing(UsageLog(local)) as mine, closing(UsageLog(team)) as theirs:
        start.wait()
        Push(mine, theirs).run()
        filled(mine, 100, first=10_000 * (number + 1))
        Push(mine, theirs).run()


def test_two_pushes_at_once_write_every_row_once(local: UsageLog, team: UsageLog, place: Path | str) -> None:
    filled(local)
    together(2, push_in_turn, local.place, str(place))
    assert Push(local, team).run().sent == 0
    assert len(team.latest(10_000)) == ROWS + 200
    assert content(team) == content(local)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_a_push_that_is_killed_goes_on_where_it_ended(share: float, local: UsageLog, server: Server) -> None:
    filled(local, 5 * ROWS)
    url = server.database()
    with closing(UsageLog(url)) as team:
        team.check()
        argv = [sys.executable, "-m", "llmtask", "usage", "sync", url, "--db", local.place]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pushing:
            while pushing.poll() is None:
                [(count,)] = team.query("SELECT count(*) FROM llm_usage_logs")
                if count > share * 5 * ROWS:
                    pushing.kill()
                    break
                time.sleep(0.002)
        [(before,)] = team.query("SELECT count(*) FROM llm_usage_logs")
        found = Push(local, team).run()
        assert found.sent == 5 * ROWS - before
        assert content(team) == content(local)


def test_a_network_that_is_cut_in_the_middle_of_a_batch_costs_and_doubles_no_row(
    local: UsageLog, server: Server
) -> None:
    filled(local, 3 * ROWS)
    url = server.database()
    cuts = sent = 0
    with tempfile.TemporaryDirectory(prefix="llmtask-cut-", dir="/tmp") as folder:  # a socket's path is short
        cut = f"postgresql://team@/{name_of(url)}?host={quote(folder, safe='')}"
        with subprocess.Popen([sys.executable, PROXY, folder, str(server.folder)]) as proxy:
            while not any(Path(folder).iterdir()):
                time.sleep(0.01)
            is_over = False
            while not is_over and cuts < 500:
                with closing(UsageLog(cut)) as team:
                    push = Push(local, team)
                    try:
                        push.run()
                        is_over = True
                    except UsageLogError:
                        cuts += 1
                    sent += push.done.sent
            proxy.kill()
    assert is_over
    assert cuts > 3
    with closing(UsageLog(url)) as team:
        assert content(team) == content(local)
        assert sent <= 3 * ROWS
        assert Push(local, team).run().sent == 0


# The command


def test_the_command_pushes_the_users_log_to_the_one_that_is_named(local: UsageLog, server: Server) -> None:
    filled(local, 30)
    url = server.database()
    dry = llmtask("usage", "sync", url, "--dry-run", "--json", LLMTASK_DB=local.place)
    assert json.loads(dry.stdout)["sent"] == 30
    found = llmtask("usage", "sync", url, LLMTASK_DB=local.place)
    assert (found.returncode, found.stdout) == (0, "")
    assert f"30 rows sent to {url}" in found.stderr
    done = json.loads(llmtask("usage", "sync", url, "--json", LLMTASK_DB=local.place).stdout)
    assert done == {
        "sent": 0, "unfinished": 0, "known": 0, "refused": 0, "refusal": "", "target": url, "is_dry": False,
    }  # fmt: skip


def test_the_command_takes_the_teams_log_from_config_and_what_waits_from_the_spool(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMTASK_DB")
    own = UsageLog(tmp_path / "data" / "llmtask" / "usage.db")
    own.record(row(id="a"))
    own.spool.put(row(id="b"))
    own.close()
    url = server.database()
    (tmp_path / "config.yaml").write_text(f"usage: {{database: '{url}'}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = llmtask("usage", "sync", "--json")
    assert json.loads(found.stdout)["sent"] == 2
    assert len(json.loads(llmtask("usage", "list", "--json").stdout)) == 2, "which reads the team's log"


def test_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    nameless = llmtask("usage", "sync")
    assert nameless.returncode == 2
    assert "name the team's log: `llmtask usage sync postgresql://...`, or usage.database" in nameless.stderr
    dead = llmtask("usage", "sync", "postgresql://ann:s3cr@127.0.0.1:1/db")
    assert dead.returncode == 3
    assert "usage log postgresql://ann@127.0.0.1:1/db: connection to server" in dead.stderr
    assert "s3cr" not in dead.stderr
