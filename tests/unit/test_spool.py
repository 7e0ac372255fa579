"""usage.spool: what cannot be written to the log waits beside it, and gets there exactly once."""

import json
import multiprocessing
import os
import stat
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmtask.usage import UsageLog, UsageLogWarning, UsageRow, new_id
from llmtask.usage.spool import Spool, read
from tests.unit.test_usage_log import in_processes, row, unprivileged

CALLS = 200


@pytest.fixture
def spool(place: Path | str) -> Spool:
    return Spool(place)


def waiting(spool: Spool) -> list[UsageRow]:
    return [read(file) for file in spool.files()]


# The files


@pytest.mark.sqlite
def test_a_row_waits_beside_its_log_in_a_file_that_its_owner_alone_reads(spool: Spool, path: Path) -> None:
    folder = spool.put(row(id="a", user_id="支付", cost=0.5))
    assert folder == path.with_name("usage.db.spool")
    [file] = folder.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("a.end.json", 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert waiting(spool) == [row(id="a", user_id="支付", cost=0.5)]


def test_an_end_takes_the_place_of_its_begin(spool: Spool) -> None:
    spool.put(row(id="a").opened())
    assert [one.is_unfinished for one in waiting(spool)] == [True]
    spool.put(row(id="a"))
    assert waiting(spool) == [row(id="a")]


@pytest.mark.sqlite
def test_a_log_has_one_spool_whatever_it_is_called(spool: Spool, path: Path, tmp_path: Path) -> None:
    path.touch()
    (tmp_path / "alias.db").symlink_to(path)
    Spool(tmp_path / "alias.db").put(row(id="a"))
    assert waiting(spool) == [row(id="a")]


def test_where_nothing_can_be_written_beside_the_log_a_row_waits_in_the_users_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    first, second = Spool(tmp_path / "file" / "usage.db"), Spool(tmp_path / "file" / "other" / "usage.db")
    folder = first.put(row(id="a"))
    assert folder.is_relative_to(tmp_path / "data" / "llmtask" / "spool")
    assert waiting(first) == [row(id="a")]
    assert waiting(second) == [], "each log has its own"


@pytest.mark.sqlite
def test_a_folder_that_is_removed_meanwhile_is_made_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = Path.mkdir, []

    def unlucky(self: Path, *_: Any, **more: Any) -> None:
        make(self, **more)
        made.append(self)
        if len(made) < 3:
            self.rmdir()  # as whoever drained the last file does

    monkeypatch.setattr(Path, "mkdir", unlucky)
    spool.put(row(id="a"))
    assert waiting(spool) == [row(id="a")]


# Into the log


@pytest.mark.sqlite
def test_what_waits_is_in_the_log_after_the_next_call_and_the_spool_is_gone(
    spool: Spool, log: UsageLog, path: Path
) -> None:
    spool.put(row(id="a").opened())
    spool.put(row(id="b"))
    log.finish(row(id="c"))
    found = {one.id: one.is_unfinished for one in log.latest(10)}
    assert found == {"a": True, "b": False, "c": False}
    assert not path.with_name("usage.db.spool").exists()


@pytest.mark.sqlite
def test_what_waits_elsewhere_is_found_too(spool: Spool, log: UsageLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "beside", Path("/dev/null/nowhere"))
        Spool(log.path).put(row(id="a"))
    log.drain()
    assert [one.id for one in log.latest(10)] == ["a"]
    assert not spool.elsewhere.exists()


def test_a_begin_that_waits_opens_no_finished_row_again(spool: Spool, log: UsageLog) -> None:
    log.finish(row(id="a"))
    spool.put(row(id="a").opened())
    log.drain()
    assert log.latest(10) == [row(id="a")]
    assert spool.files() == []


def test_a_begin_and_an_end_that_both_wait_are_one_finished_row(spool: Spool, log: UsageLog) -> None:
    spool.put(row(id="a"))
    begin = spool.beside / "a.begin.json"
    begin.write_text(json.dumps({**vars_of(row(id="a").opened())}), encoding="utf-8")  # a drain deletes none of the two
    log.drain()
    assert log.latest(10) == [row(id="a")]


def vars_of(one: UsageRow) -> dict[str, Any]:
    return {name: getattr(one, name) for name in UsageRow.__dataclass_fields__}


def test_draining_again_after_dying_before_the_files_were_deleted_changes_nothing(spool: Spool, log: UsageLog) -> None:
    log.record(row(id="a"))
    spool.put(row(id="a"))
    log.drain()
    assert log.latest(10) == [row(id="a")]
    assert spool.files() == []


def test_an_older_releases_row_gets_what_it_does_not_know_by_default(spool: Spool, log: UsageLog) -> None:
    spool.beside.mkdir(parents=True)
    values = {name: value for name, value in vars_of(row(id="a")).items() if name != "repair_level"}
    (spool.beside / "a.end.json").write_text(json.dumps(values), encoding="utf-8")
    log.drain()
    assert log.latest(10) == [row(id="a")]


def test_a_newer_releases_row_waits_for_that_release_and_blocks_none(spool: Spool, log: UsageLog) -> None:
    spool.put(row(id="b"))
    newer = spool.beside / "a.end.json"
    newer.write_text(json.dumps({**vars_of(row(id="a")), "mood": "good"}), encoding="utf-8")
    before = newer.read_bytes()
    with pytest.warns(UsageLogWarning, match="a.end.json is the row of a newer llmtask; it waits until this one is"):
        log.finish(row(id="c"))
    assert sorted(one.id for one in log.latest(10)) == ["b", "c"]
    assert newer.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"id": "a"}',
        json.dumps({**vars_of(row(id="a")), "input_tokens": "many"}).encode(),
        json.dumps({**vars_of(row(id="a")), "run_id": None}).encode(),
        json.dumps({**vars_of(row(id="a")), "cost_nanos": 2**70}).encode(),
    ],
)
def test_a_file_that_holds_no_row_is_kept_aside_and_blocks_none(content: bytes, spool: Spool, log: UsageLog) -> None:
    spool.put(row(id="b"))
    (spool.beside / "a.end.json").write_bytes(content)
    with pytest.warns(UsageLogWarning, match="a.end.broken holds no row of a usage log; it is kept for you"):
        log.finish(row(id="c"))
    assert sorted(one.id for one in log.latest(10)) == ["b", "c"]
    assert [(file.name, file.read_bytes()) for file in spool.beside.iterdir()] == [("a.end.broken", content)]
    log.finish(row(id="d"))  # and is warned of once


@pytest.mark.sqlite
def test_rows_that_cannot_be_brought_in_are_counted(spool: Spool, path: Path) -> None:
    path.write_text("no database at all", encoding="utf-8")
    for one in (row(id="a").opened(), row(id="b"), row(id="b").opened()):
        spool.put(one)
    with pytest.warns(UsageLogWarning, match=r"2 rows wait in .*usage.db.spool: usage log .* file is not a database"):
        UsageLog(path).drain()


@pytest.mark.sqlite
def test_an_empty_spool_makes_no_log(log: UsageLog, path: Path) -> None:
    log.drain()
    assert not path.exists()


def drain_with_others(path: Path | str, number: int, start: Any) -> None:
    """What each process does: it makes calls of its own, and drains what all of them and the dead left behind."""
    log = UsageLog(path)
    start.wait()
    for turn in range(5):
        log.drain()
        Spool(path).put(row(id=f"late.{number}.{turn}"))
        log.finish(row(id=f"own.{number}.{turn}"))
    log.close()


def test_eight_processes_that_drain_at_once_bring_each_row_in_exactly_once(
    spool: Spool, log: UsageLog, place: Path | str
) -> None:
    for number in range(CALLS):
        spool.put(row(id=f"dead.{number}").opened())
        if number % 2:
            spool.put(row(id=f"dead.{number}"))
    in_processes(drain_with_others, place)
    log.drain()
    found = {one.id: one.is_unfinished for one in log.latest(10_000)}
    mine = {f"{kind}.{number}.{turn}": False for kind in ("own", "late") for number in range(8) for turn in range(5)}
    assert found == mine | {f"dead.{number}": not number % 2 for number in range(CALLS)}
    assert log.query("SELECT count(*) FROM llm_usage_logs") == [(len(found),)]
    assert not spool.beside.exists()


# What stands in the way


def test_a_read_only_log_spools_in_the_users_data_folder_and_drains_when_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory() as home, unprivileged() as folder:
        if os.geteuid() != os.getuid():
            os.seteuid(0)
            os.chown(home, 65534, -1)
            os.seteuid(65534)
        monkeypatch.setenv("XDG_DATA_HOME", home)
        with closing(UsageLog(folder / "usage.db")) as log:
            log.begin(row(id="a"))
            with pytest.warns(UsageLogWarning, match=rf"waits in {home}/llmtask/spool/usage.db-.*Permission denied"):
                log.finish(row(id="a"))
            assert waiting(Spool(log.path)) == [row(id="a")]
            if os.getuid() == 0:
                os.seteuid(0)
            for each in (folder, *folder.iterdir()):
                each.chmod(0o700)
            log.finish(row(id="b"))
            assert {"a", "b"} < {one.id for one in log.latest(10)}
            assert Spool(log.path).files() == []


def test_where_nothing_at_all_can_be_written_the_warning_holds_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    log = UsageLog(tmp_path / "file" / "usage.db")
    ended = row(id=new_id(), input_tokens=12, cost_nanos=34, currency="CNY")
    log.begin(ended)
    with pytest.warns(UsageLogWarning, match="its row can wait nowhere") as caught:
        log.finish(ended)
    said = str(caught[0].message)
    found = json.loads(said[said.index("{") : said.index("}") + 1])
    assert UsageRow(**found) == ended


@pytest.mark.sqlite
def test_a_killed_process_leaves_the_begin_that_it_could_not_log(log: UsageLog, path: Path) -> None:
    path.mkdir()
    dying = multiprocessing.get_context("spawn").Process(target=begin_and_die, args=(path,))
    dying.start()
    dying.join()
    path.rmdir()
    log.drain()
    assert [(one.id, one.is_unfinished) for one in log.latest(10)] == [("a", True)]


def begin_and_die(path: Path) -> None:
    UsageLog(path).begin(row(id="a"))
    os.kill(os.getpid(), 9)
