"""`llmtask usage`: what was run, and what it cost."""

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.usage import UsageLog, UsageRow
from tests.commands.conftest import Command

NOW = datetime.now(UTC)


def row(number: int, days_ago: float = 0, **values: object) -> UsageRow:
    """A call of 1,000 tokens in and 100 out, for 0.0014 CNY."""
    at = (NOW - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    said: dict[str, object] = {
        "id": f"{number:032d}",
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "latency_ms": 2000,
        "cost": 0.0014,
        "cost_nanos": 1_400_000,
        "currency": "CNY",
        "created_at": at,
        "tier": "paid",
        "run_id": f"run{number}",
        **values,
    }
    return UsageRow(**said)  # type: ignore[arg-type]  # a row's own fields


@pytest.fixture
def history(tmp_path: Path) -> None:
    """Two calls of DeepSeek today, one of them failed; one of GLM ten days ago; one in dollars; one unpriced."""
    log = UsageLog(tmp_path / "usage.db")
    log.record(row(1, user_id="ann"))
    log.record(row(2, user_id="bob", is_success=False, error_class="timeout", error_message="too late"))
    log.record(row(3, 10, provider="zhipu", model_id="glm-4.5-flash", cost=0.0, cost_nanos=0, tier="free"))
    log.record(row(4, currency="USD", task_template_id="job_summary", cost_nanos=210_000))
    log.record(row(5, model_id="ollama/x", provider="ollama", currency=None, cost=None, cost_nanos=None, tier="free"))
    log.close()


def report(command: Command, *argv: str) -> dict[str, dict[str, object]]:
    """The groups of a report by name."""
    outcome = command("usage", "report", *argv, "--format", "json")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    return {group["group"]: group for group in json.loads(outcome.stdout)["groups"]}


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("by", "calls"),
    [
        ("model", {"deepseek-chat": 3, "glm-4.5-flash": 1, "ollama/x": 1}),
        ("task", {"job_match": 4, "job_summary": 1}),
        ("provider", {"deepseek": 3, "zhipu": 1, "ollama": 1}),
        ("user", {"ann": 1, "bob": 1, "": 3}),
        ("tier", {"paid": 3, "free": 2}),
        (
            "day",
            {
                NOW.astimezone().date().isoformat(): 4,
                (NOW - timedelta(days=10)).astimezone().date().isoformat(): 1,
            },
        ),
    ],
)
def test_calls_are_grouped_by_what_was_asked(command: Command, by: str, calls: dict[str, int]) -> None:
    assert {name: group["calls"] for name, group in report(command, "--by", by).items()} == calls


@pytest.mark.usefixtures("history")
def test_without_by_the_groups_are_models(command: Command) -> None:
    assert report(command) == report(command, "--by", "model")


@pytest.mark.usefixtures("history")
def test_money_is_exact_and_currencies_are_never_added_up(command: Command) -> None:
    groups = report(command)
    assert groups["deepseek-chat"]["cost"] == {"CNY": "0.0028", "USD": "0.00021"}
    assert groups["glm-4.5-flash"]["cost"] == {"CNY": "0"}
    assert groups["ollama/x"]["cost"] == {}
    assert groups["ollama/x"]["unpriced"] == 1
    assert groups["deepseek-chat"]["failed"] == 1
    assert groups["deepseek-chat"]["mean_latency_ms"] == 2000


@pytest.mark.usefixtures("history")
def test_since_and_until_bound_the_span(command: Command) -> None:
    assert "glm-4.5-flash" not in report(command, "--since", "7d")
    assert list(report(command, "--until", "7d")) == ["glm-4.5-flash"]
    assert report(command, "--since", "2w", "--until", "7d") == report(command, "--until", "7d")


@pytest.mark.parametrize("when", ["last tuesday", "7", "-1d", "2026-13-01"])
@pytest.mark.usefixtures("history")
def test_a_time_that_is_none_is_refused_with_examples(command: Command, when: str) -> None:
    outcome = command("usage", "report", f"--since={when}")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "give 7d, 12h, 2w, today" in outcome.stderr


@pytest.mark.usefixtures("history")
def test_an_unknown_group_is_refused_with_the_known_ones(command: Command) -> None:
    outcome = command("usage", "report", "--by", "moon")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "'model'" in outcome.stderr


def table(text: str) -> list[str]:
    """The lines of a table below its headings, blanks made one, rules left out; latencies are at most 1 % off."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    first = next(index for index, line in enumerate(lines) if set(line) == {"─"})
    return [re.sub(r"\b(1\.9|2\.0)\d\b", "~2", line) for line in lines[first:] if set(line) != {"─"}]


@pytest.mark.usefixtures("history")
def test_the_table_shows_every_group_and_a_total(command: Command) -> None:
    outcome = command("usage", "report", "--spark", "none")
    headings = " ".join(outcome.stdout.split("─")[0].split())
    assert headings == "ok un- p50 p95 p99 model calls % in out cost cost priced s s s errors"
    assert table(outcome.stdout) == [
        "deepseek-chat 3 66.7 3,000 300 ¥0.0028 $0.00021 - ~2 ~2 ~2 timeout 1",
        "glm-4.5-flash 1 100 1,000 100 ¥0 - - ~2 ~2 ~2 -",
        "ollama/x 1 100 1,000 100 unpriced - 1 ~2 ~2 ~2 -",
        "total 5 80.0 5,000 500 ¥0.0028 $0.00021 1 ~2 ~2 ~2 timeout 1",
    ]
    assert outcome.stderr == ""


@pytest.mark.usefixtures("history")
def test_a_call_without_an_end_shows_in_every_form_and_is_never_free(command: Command, tmp_path: Path) -> None:
    assert "unfin" not in command("usage", "report").stdout
    with closing(UsageLog(tmp_path / "usage.db")) as log:
        for number in (6, 7):
            log.begin(row(number))
        log.begin(row(8, model_id="killed"))
    outcome = command("usage", "report", "--spark", "none")
    assert "unfin-" in outcome.stdout.split("─")[0]
    lines = table(outcome.stdout)
    assert lines[0] == "deepseek-chat 5 66.7 ~5,000 ~500 ¥0.0028 $0.00021 - 2 ~2 ~2 ~2 timeout 1"
    assert lines[2] == "killed 1 - ~1,000 ~100 unknown - - 1 - - - -"
    note = "3 calls have no end: killed, or still going on; what was sent may have been billed\n"
    assert outcome.stderr == note
    assert report(command)["deepseek-chat"]["unfinished"] == 2
    [first, *_] = csv.DictReader(io.StringIO(command("usage", "report", "--format", "csv").stdout))
    assert (first["calls"], first["failed"], first["unfinished"], first["unpriced"]) == ("5", "1", "2", "0")
    assert "| `killed` | 1 | - | ~1,000 |" in command("usage", "report", "--format", "md").stdout
    listed = command("usage", "list", "-n", "3")
    cells = [line.split() for line in listed.stdout.splitlines() if "job_match" in line]
    assert [line[-2:] for line in cells] == [["unknown", "unfinished"]] * 3
    assert listed.stderr == note


@pytest.mark.usefixtures("history")
def test_csv_has_a_line_per_group_and_currency(command: Command) -> None:
    lines = list(csv.DictReader(io.StringIO(command("usage", "report", "--format", "csv").stdout)))
    assert [(line["model"], line["currency"], line["cost"]) for line in lines] == [
        ("deepseek-chat", "CNY", "0.0028"),
        ("deepseek-chat", "USD", "0.00021"),
        ("glm-4.5-flash", "CNY", "0"),
        ("ollama/x", "", ""),
    ]


def test_csv_holds_nothing_that_a_spreadsheet_would_run(command: Command, tmp_path: Path) -> None:
    UsageLog(tmp_path / "usage.db").record(row(1, user_id="=HYPERLINK(1)"))
    found = command("usage", "report", "--by", "user", "--format", "csv").stdout
    assert found.splitlines()[1].startswith("'=HYPERLINK(1),1,")


def test_without_a_log_there_is_nothing_on_stdout_and_no_file_is_made(command: Command) -> None:
    for argv in (["report"], ["list"]):
        outcome = command("usage", *argv)
        assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
        assert outcome.stderr == f"no calls yet in {outcome.log}\n"
        assert not outcome.log.exists()


@pytest.mark.usefixtures("history")
def test_an_empty_span_says_so(command: Command) -> None:
    outcome = command("usage", "report", "--until", "2001-01-01")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert outcome.stderr.startswith("no calls in that span")


def test_an_empty_report_is_still_json_and_csv(command: Command) -> None:
    assert json.loads(command("usage", "report", "--format", "json").stdout)["groups"] == []
    assert command("usage", "report", "--format", "csv").stdout.startswith("model,calls,failed,")


def test_what_run_did_is_what_report_shows(command: Command, run: Command) -> None:
    run("--user", "ann")
    run("--user", "ann", "--locale", "en")
    group = report(command, "--by", "user")["ann"]
    rows = run("--no-log").rows
    assert (group["calls"], group["failed"], group["estimated"]) == (2, 0, 2)
    assert group["input_tokens"] == sum(one.input_tokens for one in rows)
    assert group["output_tokens"] == sum(one.output_tokens for one in rows)


@pytest.mark.usefixtures("history")
def test_list_shows_the_newest_first(command: Command) -> None:
    found = json.loads(command("usage", "list", "--count", "2", "--json").stdout)
    assert [one["run_id"] for one in found] == ["run5", "run4"]
    lines = command("usage", "list").stdout.splitlines()
    assert any("timeout" in line and "job_match" in line for line in lines)
    assert any("unpriced" in line and "ollama/x" in line for line in lines)


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_count_that_is_none_is_refused(command: Command, count: str) -> None:
    assert command("usage", "list", "--count", count).code == ExitCode.USAGE


def test_path_shows_where_the_log_is(command: Command) -> None:
    outcome = command("usage", "path")
    assert outcome.stdout == f"{outcome.log}\n"
    assert command("usage", "path", "--db", "mine.db").stdout == "mine.db\n"


def test_a_log_that_is_no_database_is_an_error_here(command: Command, work: Path) -> None:
    (work / "notes.db").write_text("no database at all, but notes\n" * 9, encoding="utf-8")
    outcome = command("usage", "report", "--db", "notes.db")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert "notes.db: file is not a database; name another log with --db or LLMTASK_DB" in outcome.stderr


@pytest.mark.usefixtures("history")
def test_a_log_of_a_newer_release_is_left_alone(command: Command, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "usage.db")
    with connection:
        names = [one[1] for one in connection.execute("PRAGMA table_info(_sqlite_migrations)")]
        [(ours,)] = connection.execute("SELECT DISTINCT migration_set FROM _sqlite_migrations").fetchall()
        values = dict.fromkeys(names, "9999") | {"migration_set": ours, "name": "m9999_future"}
        values.pop("id", None)
        marks = ", ".join("?" * len(values))
        connection.execute(
            f"INSERT INTO _sqlite_migrations ({', '.join(values)}) VALUES ({marks})",  # noqa: S608  # the table's own columns
            list(values.values()),
        )
    connection.close()
    outcome = command("usage", "report")
    assert outcome.code == ExitCode.PROJECT
    assert "was written by a newer llmtask; upgrade this one" in outcome.stderr
