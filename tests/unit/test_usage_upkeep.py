"""The upkeep of a log, wherever it is: rows go, sums stay, and what comes in is counted once."""

import random
from datetime import timedelta
from pathlib import Path

from llmtask.usage import Query, UsageLog, UsageRow, report
from llmtask.usage.exporting import json_lines, whole_file
from llmtask.usage.importing import copy_in
from llmtask.usage.prune import old, prune
from llmtask.usage.purge import belongings, purge, search
from llmtask.usage.selection import Selection, pages
from llmtask.usage.verify import mend, verify
from tests.unit.test_usage_rollup import BEGIN, some_row

DAY = BEGIN + timedelta(days=35)


def fill(log: UsageLog, count: int = 150) -> list[UsageRow]:
    chance = random.Random(7)  # noqa: S311  # rows of a test
    rows = [row for row in (some_row(chance) for _ in range(count)) if not row.is_unfinished]
    log.atomic(lambda connection: [log.write(connection, row) for row in rows])
    return rows


def said(log: UsageLog) -> object:
    found = report(log, Query(by=("model", "task")))
    return found.groups, found.total


def test_a_pruned_log_says_the_same_and_agrees(log: UsageLog) -> None:
    rows = fill(log)
    before = said(log)
    assert sum(prune(log, old(log, DAY).until)) > 0
    assert len(log.latest(1000)) < len(rows)
    assert said(log) == before
    assert verify(log).agrees


def test_a_purged_user_is_gone_and_the_money_is_not(log: UsageLog) -> None:
    fill(log)
    before = said(log)
    assert belongings(log, "ann").rows > 0
    list(purge(log, "ann"))
    assert search(log, "ann").found == []
    assert belongings(log, "ann").rows == 0
    assert said(log) == before
    assert verify(log).agrees


def test_sums_that_are_wrong_are_found_and_mended(log: UsageLog) -> None:
    fill(log)
    before = said(log)
    log.run(lambda connection: connection.execute("UPDATE usage_sums SET calls = calls + 1 WHERE level = 1"))
    log.run(lambda connection: connection.execute("DELETE FROM usage_marks WHERE level = 0"))
    assert not verify(log).agrees
    assert mend(log) > 0
    assert verify(log).differences == []
    assert said(log) == before


def test_what_goes_out_comes_in_once(log: UsageLog, tmp_path: Path) -> None:
    rows = fill(log)
    with whole_file(tmp_path / "calls.jsonl") as stream:
        for text in json_lines(pages(log, Selection())):
            stream.write(text.encode())
    before = said(log)
    list(prune(log, DAY))
    gone = len(rows) - len(log.latest(1000))
    log.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs"))
    found = copy_in(log, tmp_path / "calls.jsonl")
    assert (found.new, found.refused) == (len(rows) - gone, gone)
    assert copy_in(log, tmp_path / "calls.jsonl").known == found.new
    assert said(log) == before
    assert verify(log).agrees
