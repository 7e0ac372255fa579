import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmtask.errors import ProjectError, UsageError
from llmtask.money import Cost
from llmtask.store import new_run_id
from llmtask.testing.run import FORMAT, ItemKey, ItemResult, Outcome, Run, Sample, run_from_json
from llmtask.testing.store import Store
from llmtask.testing.tape import Recording
from llmtask.usage import UsageRow

KEY = ItemKey("tests/match.llm.yaml", "one", "deepseek-chat", "zh")
OTHER = ItemKey("tests/match.llm.yaml", "two", "deepseek-chat", "zh")
RECORDING = Recording("k", {}, 1, "2026-11-24T09:00:00.000Z", 812, 210, text="{}")


def row(number: int, nanos: int | None = 5, currency: str | None = "CNY") -> UsageRow:
    return UsageRow(
        id=f"row{number}",
        task_template_id="job_match",
        provider="deepseek",
        model_id="deepseek-chat",
        latency_ms=1,
        created_at="2026-11-24T09:00:00.000Z",
        run_id="r",
        cost_nanos=nanos,
        currency=currency,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "project" / ".llmtask" / "runs.db")
    yield opened
    opened.close()


def begun(store: Store, name: str | None = None, alike: str = "x") -> Run:
    run = store.begin(new_run_id(), alike, {"models": "m"}, name)
    store.plan(run.id, [ItemResult(KEY, "job_match", 1, (), {"resume": "我"}, ("safety",))])
    return run


def test_a_run_is_read_as_it_was_written(store: Store) -> None:
    run = begun(store, "main")
    sample = Sample(1, Outcome.FAILED, answer={"a": ["匹配", None, 1.5]}, costs=(Cost(5, "CNY"),), latency_ms=7)
    store.add(run.id, [(KEY, sample)])
    store.keep(run.id, KEY, RECORDING, row(1))
    store.keep(run.id, KEY, None, row(2, 7, "USD"))
    store.keep(run.id, KEY, None, row(3, None, None))
    store.end(run.id)
    read = store.named("main")
    assert read.items == (ItemResult(KEY, "job_match", 1, (sample,), {"resume": "我"}, ("safety",)),)
    assert (read.paid, read.settings) == ((Cost(5, "CNY"), Cost(7, "USD")), {"models": "m"})
    assert read.ended_at is not None
    assert store.find("k") == store.find_of(run.id, KEY, "k") == RECORDING
    assert store.find_of("another", KEY, "k") is store.find_of(run.id, OTHER, "k") is store.find("other") is None


def test_items_that_ask_the_same_keep_an_answer_each(store: Store) -> None:
    run = begun(store)
    store.keep(run.id, KEY, RECORDING, row(1))
    store.keep(run.id, OTHER, replace(RECORDING, text="[]"), row(2))
    assert [getattr(store.find_of(run.id, key, "k"), "text", None) for key in (KEY, OTHER)] == ["{}", "[]"]


def test_a_row_that_is_told_twice_is_paid_once(store: Store) -> None:
    run = begun(store)
    store.keep(run.id, KEY, None, row(1))
    store.keep(run.id, KEY, None, row(1))
    assert store.paid(run.id) == (Cost(5, "CNY"),)


def test_what_is_no_unicode_is_kept_as_an_escape(store: Store) -> None:
    run = begun(store)
    store.add(run.id, [(KEY, Sample(1, Outcome.FAILED, answer={"\ud800": "x\udfff"}, text="\ud83d"))])
    (item,) = store.run(run.id).items
    assert item.samples[0].answer == {"\\ud800": "x\\udfff"}
    assert item.samples[0].text == "\\ud83d"


def test_a_run_is_found_by_its_name_its_beginning_or_as_the_latest(store: Store) -> None:
    first, second = begun(store, "main"), begun(store)
    assert store.named("latest").id == second.id, "though it has no name"
    assert store.named("main", before=second.id).id == first.id
    third = store.begin("99999999-000000-ffff", "x", {}, "main")
    assert store.named("latest").id == third.id
    assert store.named("main").id == third.id
    assert store.named("main", before=third.id).id == first.id
    assert store.named(second.id[:20]).id == second.id
    with pytest.raises(UsageError, match=rf"no run 'nope' in .*the last ones are main \({third.id}\)"):
        store.named("nope")


def test_only_a_broken_off_run_of_the_same_items_whose_process_is_gone_is_gone_on_with(
    store: Store,
) -> None:
    run = begun(store, alike="same")
    assert Store(store.path).broken_off("same") is None, "its process lives"
    store.close()
    later = Store(store.path)
    assert later.broken_off("other") is None
    found = later.broken_off("same")
    assert found is not None
    assert found.id == run.id
    later.end(run.id)
    later.close()
    last = Store(store.path)
    assert last.broken_off("same") is None, "it is over"
    last.close()
    assert not list(store.path.parent.glob("*.lock"))


def test_a_process_that_is_killed_loses_its_run_to_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    code = (
        "import os, signal, sys; from pathlib import Path; from llmtask.testing.store import Store;"
        "Store(Path(sys.argv[1])).begin('r', 'same', {}, None); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    store = Store(path)
    assert store.broken_off("same") is not None
    store.close()


def test_items_that_a_run_no_longer_asks_leave_it(store: Store) -> None:
    run = begun(store)
    store.add(run.id, [(KEY, Sample(1, Outcome.PASSED))])
    store.plan(run.id, [ItemResult(OTHER, "job_match", 1, ())])
    assert store.run(run.id).items == ()


def test_results_are_their_owners_and_git_leaves_them_alone(store: Store) -> None:
    folder = store.path.parent
    assert folder.stat().st_mode & 0o077 == 0
    assert "\n*\n" in (folder / ".gitignore").read_text(encoding="utf-8")


def test_a_file_that_is_no_store_or_a_newer_one_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database, by its first bytes and all the others" * 30, encoding="utf-8")
    with pytest.raises(ProjectError, match=r"x\.db: file is not a database"):
        Store(path)
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ProjectError, match="newer llmtask"):
        Store(newer)


def test_a_run_document_is_read_again_and_says_outcomes_and_scores() -> None:
    run = Run(
        "r", "t", (ItemResult(KEY, "job_match", 1, (Sample(1, Outcome.ERROR, reason="x"),)),), paid=(Cost(5, "CNY"),)
    )
    document = run.to_json()
    assert (document["items"][0]["outcome"], document["items"][0]["name"]) == ("error", "one@deepseek-chat-zh")
    assert run_from_json(document, "x.json") == run


@pytest.mark.parametrize("document", [None, [], {}, {"format": 99}, {"format": FORMAT}, {"format": FORMAT, "items": 1}])
def test_what_is_no_run_document_is_refused(document: object) -> None:
    with pytest.raises(UsageError, match=r"x\.json"):
        run_from_json(document, "x.json")
