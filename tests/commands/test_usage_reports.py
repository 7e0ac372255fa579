"""`llmtask usage report|show|watch|list`: what they show, in every form, and what they refuse."""

import csv
import io
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmtask.errors import ExitCode
from llmtask.rates.cache import store
from llmtask.usage import UsageLog, UsageRow, new_id, timestamp
from llmtask.view.console import stderr, stdout
from tests.commands.conftest import Command, Process, environment

NOW = datetime.now(UTC)
HOSTILE = (
    "=HYPERLINK(1)",
    "+1+cmd",
    "-2+3|cmd",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "＋1",
    "－1+1",
    "＠a",
    "a,b;=c",
    'quote"d',
    "pipe|d",
    "two\nlines",
    "\x1b[31mred\x1b]0;title\x07",
    "👩‍💻 dev",
    "王小明",
    "`code`",
    "<b>@all</b>",
    "a" * 300,
)


def row(**said: Any) -> UsageRow:
    least: dict[str, Any] = {
        "id": new_id(),
        "run_id": new_id(),
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "latency_ms": 2000,
        "cost_nanos": 1_400_000,
        "currency": "CNY",
        "created_at": timestamp(NOW),
    }
    return UsageRow(**(least | said))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    with closing(UsageLog(tmp_path / "usage.db")) as found:
        yield found


@pytest.fixture
def hostile(log: UsageLog) -> UsageLog:
    """A log whose every user is a trap."""
    for user in HOSTILE:
        log.record(row(user_id=user, error_class=user, is_success=False))
    return log


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Makes of stdout a terminal of so many columns."""

    def terminal(columns: int) -> None:
        for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", str(columns))):
            monkeypatch.setenv(name, value)
        consoles_anew()

    yield terminal
    consoles_anew()


def consoles_anew() -> None:
    for console in (stdout, stderr):
        console.cache_clear()


def plain(text: str) -> str:
    """The text without what makes it bold, dim or coloured."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def cells(text: str, name: str = "user") -> list[str]:
    return [line[name] for line in csv.DictReader(io.StringIO(text))]


@pytest.mark.usefixtures("hostile")
def test_no_cell_of_csv_is_a_formula_and_none_is_obeyed(command: Command) -> None:
    outcome = command("usage", "report", "--by", "user", "--user", "*", "--format", "csv")
    found = cells(outcome.stdout)
    assert len(found) == len(HOSTILE)
    assert not [cell for cell in found if cell.lstrip(" ")[0] in "=+-@\t\r\n＝＋－＠"]
    assert {"'=HYPERLINK(1)", "'+1+cmd", "'-2+3|cmd", "'@SUM(A1)", "'＝1", "'＋1", "'－1+1", "'＠a", "' =1"} <= set(
        found
    )
    assert {"王小明", "👩‍💻 dev", 'quote"d', "pipe|d", "two\nlines", "a,b;=c"} <= set(found)
    assert '"a,b;=c"' in outcome.stdout  # a semicolon parts cells in half of Europe
    errors = cells(outcome.stdout, "errors")
    assert not [cell for cell in errors if cell.lstrip(" ")[0] in "=+-@\t\r\n＝＋－＠"]
    assert not set(outcome.stdout) & {"\x1b", "\x07", "\r"}


@pytest.mark.parametrize("user", ["-5", "12", "1.5"])
def test_a_name_that_is_a_number_stays_one(command: Command, log: UsageLog, user: str) -> None:
    log.record(row(user_id=user))
    assert cells(command("usage", "report", "--by", "user", "--format", "csv").stdout) == [user]


@pytest.mark.usefixtures("hostile")
def test_a_markdown_table_keeps_its_form_and_mentions_nobody(command: Command) -> None:
    text = command("usage", "report", "--by", "user", "--user", "*", "--format", "md").stdout
    head, rule, *rows = text.split("\n\n")[0].splitlines()
    bars = [line.replace("\\|", "").count("|") for line in (head, rule, *rows)]
    assert len(rows) == len(HOSTILE) + 1
    assert len(set(bars)) == 1
    assert "| `<b>@all</b>` |" in text
    assert "| `` `code` `` |" in text
    assert "| `two lines` |" in text
    assert "| `pipe\\|d` |" in text
    assert "\x1b" not in text


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_the_table_holds_every_group_whatever_it_is_called(
    command: Command, wide: Callable[[int], None], columns: int
) -> None:
    wide(columns)
    text = plain(command("usage", "report", "--by", "user").stdout)
    assert not set(text) & {"\x1b", "\x07", "\r", "\t"}
    assert len([line for line in text.splitlines() if " 1 " in line or line.endswith(" 1")]) >= len(HOSTILE)


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
@pytest.mark.parametrize("more", [[], ["--compare", "previous"], ["--by", "task,day"], ["--spark", "cost"]])
def test_a_table_is_no_wider_than_the_terminal(
    command: Command, wide: Callable[[int], None], log: UsageLog, columns: int, more: list[str]
) -> None:
    for index in range(8):
        log.record(
            row(
                task_template_id="detailed_resume_summary",
                created_at=timestamp(NOW - timedelta(days=index)),
                model_id=f"vendor/model-{index}",
                currency=("CNY", "USD")[index % 2],
                cost_nanos=10**index * 1234567,
                cached_tokens=500,
                reasoning_tokens=50,
                first_token_ms=300,
                attempt=1 + index % 2,
                saved_nanos=10**6,
                repair_level="repaired",
            )
        )
    wide(columns)
    lines = plain(command("usage", "report", "--since", "4d", *more).stdout).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("total" in line for line in lines)


def test_what_there_is_no_room_for_is_named(command: Command, wide: Callable[[int], None], log: UsageLog) -> None:
    log.record(row(first_token_ms=300, cached_tokens=7, is_success=False, error_class="timeout"))
    wide(40)
    outcome = command("usage", "report")
    assert "errors: timeout 1" in outcome.stderr
    assert "no room for: " in outcome.stderr
    assert "first p50 s" in outcome.stderr


def test_amounts_are_told_as_finely_as_they_are_and_nothing_is_told_as_0_but_nothing(
    command: Command, wide: Callable[[int], None], log: UsageLog
) -> None:
    for model, nanos in (("a", 120_500_000_000), ("b", 2_831_000), ("c", 400), ("free", 0)):
        log.record(row(model_id=model, cost_nanos=nanos))
    log.record(row(model_id="unknown", cost_nanos=None, currency=None))
    text = command("usage", "report", "--spark", "none").stdout
    assert [line.split()[5] for line in text.splitlines() if line[:4] in ("a   ", "b   ", "c   ", "free", "unkn")] == [
        "¥120.500000",
        "¥0.002831",
        "<¥0.000001",
        "¥0",
        "unpriced",
    ]
    wide(37)
    short = plain(command("usage", "report", "--spark", "none").stdout)
    assert "¥120.50" in short
    assert "<¥0.01" in short
    assert "¥0.00 " not in short


def test_estimates_are_marked(command: Command, log: UsageLog) -> None:
    log.record(row(is_estimate=True))
    log.record(row(model_id="counted"))
    lines = command("usage", "report", "--spark", "none").stdout.splitlines()
    told = {line.split()[0]: line.split()[3:6] for line in lines if line and line[0] in "cdt"}
    assert told["counted"] == ["1,000", "100", "¥0.0014"]
    assert told["deepseek-chat"] == ["~1,000", "~100", "~¥0.0014"]
    assert told["total"] == ["~2,000", "~200", "~¥0.0028"]


def test_groups_combine_and_filters_narrow(command: Command, log: UsageLog) -> None:
    for task, model, user in (("a", "m1", "ann"), ("a", "m2", "bob"), ("b", "m1", None), ("b", "n", "ann")):
        log.record(row(task_template_id=task, model_id=model, user_id=user))

    def told(*argv: str) -> dict[str, int]:
        groups = json.loads(command("usage", "report", *argv, "-f", "json").stdout)["groups"]
        return {group["group"]: group["calls"] for group in groups}

    assert told("--by", "task,model") == {"a / m1": 1, "a / m2": 1, "b / m1": 1, "b / n": 1}
    assert told("--by", "task", "--by", "model") == told("--by", "TASK, model , task")
    assert told("--model", "m*") == {"m1": 2, "m2": 1}
    assert told("--model", "m1", "--model", "n") == {"m1": 2, "n": 1}
    assert told("--user", "", "--by", "user") == {"": 1}
    assert told("--task", "a", "--user", "ann") == {"m1": 1}
    assert told("--model", "m_") == {}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--by", "day,hour"], "--by day and hour: of times, give one"),
        (["--by", "modle"], "did you mean 'model'?"),
        (["--by", ""], "--by '': no such group; give any of 'model'"),
        (["--by", "task,"], "--by '': no such group"),
        (["--since", "2026-11-20", "--until", "2026-11-01"], "is not before --until '2026-11-01'"),
        (["--since", "today", "--until", "today"], "is not before"),
        (["--compare", "previous"], "say where this one begins, such as --since 7d"),
        (["--currency", "BTC"], "--currency 'BTC': give CNY, USD, EUR"),
        (["--since", "\x1b[31m"], "'\\x1b[31m' is no time"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(
    command: Command, log: UsageLog, argv: list[str], said: str
) -> None:
    log.record(row())
    outcome = command("usage", "report", *argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert said in outcome.stderr


def test_the_span_before_stands_beside_each_number(command: Command, log: UsageLog) -> None:
    for days, cost in ((1, 3_000_000), (2, 3_000_000), (8, 4_000_000)):
        log.record(row(created_at=timestamp(NOW - timedelta(days=days)), cost_nanos=cost))
    log.record(row(model_id="new"))
    argv = ("usage", "report", "--since", "7d", "--compare", "previous")
    found = json.loads(command(*argv, "-f", "json").stdout)
    [group, new] = found["groups"]
    assert group["previous"]["calls"] == 1
    assert group["change"]["calls"] == {"delta": 1, "percent": 100.0}
    assert group["change"]["cost"] == {"CNY": {"delta": "0.002", "percent": 50.0}}
    assert new["change"]["calls"] == {"delta": 1, "percent": None}
    assert found["previous"]["until"] == found["since"]
    outcome = command(*argv)
    assert "+1 +100%" in outcome.stdout
    assert "+¥0.0020 +50.0%" in outcome.stdout
    assert "+1 new" in outcome.stdout
    assert "compared with " in outcome.stderr
    [line, _] = csv.DictReader(io.StringIO(command(*argv, "-f", "csv").stdout))
    told = [line[name] for name in ("calls", "calls_previous", "calls_delta", "calls_percent")]
    assert told == ["2", "1", "1", "100"]
    assert [line[f"cost{end}"] for end in ("", "_previous", "_delta", "_percent")] == ["0.006", "0.004", "0.002", "50"]
    assert "¥0.006 (+¥0.002 +50.0%)" in command(*argv, "-f", "md").stdout


def test_one_currency_says_by_which_rates_and_json_keeps_the_exact_sums(
    command: Command, log: UsageLog, work: Path
) -> None:
    (work / "config.yaml").write_text("rates: {pinned_per_eur: {CNY: 8, USD: 1.25}}\n", encoding="utf-8")
    log.record(row(cost_nanos=8_000_000_000))
    log.record(row(cost_nanos=1_250_000_001, currency="USD"))
    outcome = command("usage", "report", "--currency", "eur")
    assert "≈€2.000000" in outcome.stdout
    assert outcome.stderr == "≈ converted by the rates that config.yaml pins\n"
    found = json.loads(command("usage", "report", "--currency", "EUR", "-f", "json").stdout)
    assert found["total"]["cost"] == {"CNY": "8", "USD": "1.250000001"}
    assert found["total"]["converted_cost"] == {"EUR": "2.000000001"}
    assert found["rates"] == {"first": None, "last": None, "pinned": True}
    [line] = csv.DictReader(io.StringIO(command("usage", "report", "--currency", "EUR", "-f", "csv").stdout))
    assert (line["currency"], line["cost"]) == ("EUR", "2.000000001")


def test_the_banks_rates_are_told_with_their_days(command: Command, log: UsageLog, starter: Any) -> None:
    day = NOW.astimezone().date()
    store(starter.config.rates.url, {(day - timedelta(days=3)).isoformat(): {"CNY": "8.2", "USD": "1.16"}}, None)
    log.record(row(currency="USD", cost_nanos=1_160_000_000))
    outcome = command("usage", "report", "--currency", "CNY")
    assert "≈¥8.20" in outcome.stdout
    assert outcome.stderr == f"≈ converted by the ECB's reference rates of {day - timedelta(days=3)}\n"


def test_without_rates_nothing_is_made_up(command: Command, log: UsageLog) -> None:
    log.record(row(currency="USD"))
    outcome = command("usage", "report", "--currency", "CNY")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "`llmtask prices rates --fetch`" in outcome.stderr


def test_an_encoding_without_signs_and_blocks_does_without_them(
    log: UsageLog, process: Process, tmp_path: Path
) -> None:
    log.record(row(created_at=timestamp(NOW - timedelta(days=1))))
    log.record(row(user_id="陈远"))
    done = process("usage", "report", env={"LLMTASK_DB": str(tmp_path / "usage.db"), "PYTHONIOENCODING": "ascii"})
    assert "CNY 0.0028" in done.stdout
    assert "\\u" not in done.stdout


def test_curves_follow_the_days(command: Command, log: UsageLog) -> None:
    for days, count in ((3, 1), (1, 4)):
        for _ in range(count):
            log.record(row(created_at=timestamp(NOW - timedelta(days=days)), cost_nanos=10**9 // count**2))
    assert "▃ █" in command("usage", "report", "--since", "4d").stdout.replace("▂ █", "▃ █")
    assert "█ ▃" in command("usage", "report", "--since", "4d", "--spark", "cost").stdout
    assert not set("▁▂▃▄▅▆▇█") & set(command("usage", "report", "--since", "4d", "--spark", "none").stdout)
    bars = [line.split()[-1] for line in command("usage", "report", "--by", "day").stdout.splitlines() if "█" in line]
    assert [bar.count("█") for bar in bars] == [3, 12]


def test_json_is_documented_key_by_key(command: Command, log: UsageLog) -> None:
    log.record(row(first_token_ms=3))
    found = json.loads(command("usage", "report", "--since", "1d", "--compare", "previous", "-f", "json").stdout)
    page = (Path(__file__).parents[2] / "docs/usage.md").read_text(encoding="utf-8")
    names = {*found, *found["total"], *found["total"]["change"], *found["total"]["latency_ms"]}
    assert not [name for name in sorted(names) if f"`{name}`" not in page]


def story(command: Command, *argv: str) -> list[str]:
    outcome = command("usage", "show", *argv)
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    return outcome.stdout.splitlines()


def test_show_tells_a_run_attempt_by_attempt(command: Command, log: UsageLog) -> None:
    run = f"{int(NOW.timestamp() * 1000):012x}{new_id()[12:]}"  # as a run that began then
    common = {"run_id": run, "user_id": "ann\x1b[31m", "locale": "zh", "prompt_hash": "abcd1234", "tier": "paid"}
    log.record(
        row(
            **common,
            latency_ms=420,
            output_tokens=0,
            is_success=False,
            error_class="rate_limited",
            error_message="HTTP 429: \x1b[31mtoo many requests",
            cost_nanos=0,
        )
    )
    log.record(
        row(
            **common,
            attempt=2,
            created_at=timestamp(NOW + timedelta(seconds=2.5)),
            model_id="glm-4.5-flash",
            upstream_model="glm-4.5-flash-2607",
            queue_id="llm-paid",
            cached_tokens=512,
            reasoning_tokens=40,
            first_token_ms=310,
            repair_level="unwrapped",
            finish_reason="stop",
        )
    )
    log.record(row(task_template_id="another"))
    text = story(command, run[:15])
    assert text[0] == f"job_match · run {run}"
    assert text[1].endswith("zh · prompt abcd1234 · user ann\\x1b[31m")
    assert text[3:6] == [
        "1  deepseek-chat · paid",
        "   1,000 in + 0 out tokens · ¥0.00 · 0.42 s",
        "   failed: rate_limited",
    ]
    assert text[6] == "   HTTP 429: \\x1b[31mtoo many requests"
    assert text[8].endswith("(+2.5 s)  glm-4.5-flash (served by glm-4.5-flash-2607) · paid · queue llm-paid")
    assert text[9:11] == [
        "   1,000 in (512 cached) + 100 out (40 reasoning) tokens · ¥0.0014 · first token 0.31 s · 2.00 s",
        "   valid · mended: unwrapped · finish stop",
    ]
    assert text[12] == "2 calls · 2,000 in + 100 out tokens · ¥0.0014 · 4.50 s in all"
    found = json.loads(command("usage", "show", run, "--json").stdout)
    assert [one["attempt"] for one in found["calls"]] == [1, 2]
    assert found["total"]["cost"] == {"CNY": "0.0014"}


def test_show_says_of_a_killed_call_that_its_cost_is_not_known(command: Command, log: UsageLog) -> None:
    log.begin(row(cost_nanos=None, currency=None))
    text = story(command, "latest")
    assert "   ~1,000 in + ~100 out tokens · cost unknown" in text
    assert "   no end: killed, or still going on" in text
    assert "1 unfinished" in text[-1]


def test_show_of_what_run_did_is_its_story(command: Command, run: Command) -> None:
    done = run()
    text = story(command)
    assert text[0] == f"job_match · run {done.rows[-1].run_id}"
    assert any("served by" in line or "offline" in line for line in text)


@pytest.mark.parametrize("name", ["zzz", "", "\x1b[31m", "%", "f" * 5000])
def test_show_of_no_run_says_where_to_look(command: Command, log: UsageLog, name: str) -> None:
    log.record(row())
    outcome = command("usage", "show", name)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "`llmtask usage list` shows the last" in outcome.stderr
    assert len(outcome.stderr) < 300


def test_list_filters_and_goes_on_where_it_ended(command: Command, log: UsageLog) -> None:
    rows = [
        row(created_at=timestamp(NOW - timedelta(minutes=index)), user_id=f"u{index % 2}", is_success=index != 3)
        for index in range(5)
    ]
    for one in rows:
        log.record(one)

    def ids(*argv: str) -> list[str]:
        return [one["id"] for one in json.loads(command("usage", "list", "--json", *argv).stdout)]

    everything = [one.id for one in rows]
    assert ids() == everything
    assert ids("-n", "2", "--after", everything[1]) == everything[2:4]
    assert ids("--errors") == [everything[3]]
    assert ids("--user", "u1") == [everything[1], everything[3]]
    assert ids("--since", "1h", "--until", timestamp(NOW - timedelta(minutes=1, seconds=30))) == everything[2:]
    outcome = command("usage", "list", "--user", "nobody")
    assert outcome.stderr.startswith("no calls like that in ")


@pytest.mark.parametrize("number", ["9" * 4000, "1" + "0" * 100_000, "1e9", "0x10"])
@pytest.mark.parametrize("name", ["list", "watch"])
def test_a_count_beyond_all_bounds_is_refused(command: Command, name: str, number: str) -> None:
    outcome = command("usage", name, "--count", number)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert len(outcome.stderr) < 10_000


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "0.1", "86401"])
def test_an_interval_that_is_none_is_refused(command: Command, seconds: str) -> None:
    outcome = command("usage", "watch", "--count", "1", "--interval", seconds)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "give 0.2 to 86400 seconds" in outcome.stderr


def test_watch_writes_a_line_per_interval_into_a_pipe(command: Command, log: UsageLog) -> None:
    log.record(row())
    log.record(row(currency="USD", is_success=False, error_class="timeout"))
    outcome = command("usage", "watch", "--count", "2", "--interval", "0.2", "--since", "1h")
    first, second = re.sub(r"(1\.9|2\.0)\d s", "~2 s", outcome.stdout).splitlines()
    told = "2 calls  50.0 % ok  ¥0.0014 + $0.0014  p95 ~2 s  errors: timeout 1"
    assert first.split("  ", 1)[1] == told
    assert second.split("  ", 1)[1] == told.replace("2 calls", "2 calls (+0)")


def started(log: UsageLog, *argv: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "llmtask", "usage", "watch", *argv],
        env=environment(LLMTASK_DB=str(log.path)),
        text=True,
        encoding="utf-8",
        **more,
    )


def test_watch_holds_no_lock_between_two_looks_and_sees_what_comes(log: UsageLog) -> None:
    log.record(row())
    log.close()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(log, "--interval", "2", "--count", "2", "--since", "1h", **pipes) as process:
        assert process.stdout is not None
        assert " 1 calls " in process.stdout.readline()
        with closing(sqlite3.connect(log.path, timeout=1, isolation_level=None)) as connection:
            # refused while any other connection has the file open, even one that reads nothing
            assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        log.record(row())
        log.close()
        assert " 2 calls (+1) " in process.stdout.readline()
        assert process.wait(60) == ExitCode.DONE


def test_watch_on_a_terminal_stays_in_its_place_until_ctrl_c(log: UsageLog) -> None:
    log.record(row(user_id="\x1b]0;title\x07"))
    log.close()
    ours, theirs = pty.openpty()
    with started(
        log, "--interval", "0.2", "--by", "user", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        seen, until = b"", time.monotonic() + 60
        while seen.count(b"calls") < 6 and time.monotonic() < until:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        try:
            while more := os.read(ours, 65536):
                seen += more
        except OSError:  # the other end is closed
            pass
        os.close(ours)
    assert code == ExitCode.INTERRUPTED
    assert b"\\x1b]0;title\\x07" in seen
    assert b"\x1b]0;title" not in seen
    assert b"\x1b[?25h" in seen  # the cursor is shown again


def test_watch_goes_on_when_the_log_cannot_be_read_for_a_while(log: UsageLog) -> None:
    log.record(row())
    log.close()
    moved = log.path.with_suffix(".moved")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(log, "--interval", "2", "--count", "3", "--since", "1h", **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert " 1 calls " in process.stdout.readline()
        log.path.replace(moved)
        log.path.write_text("no database " * 100, encoding="utf-8")
        assert "file is not a database" in process.stderr.readline()
        moved.replace(log.path)
        assert " 1 calls (+0) " in process.stdout.readline()
        assert process.wait(60) == ExitCode.DONE


@pytest.mark.parametrize("name", ["report", "list", "show", "watch"])
def test_a_database_of_something_else_is_left_alone(command: Command, work: Path, name: str) -> None:
    with closing(sqlite3.connect(work / "other.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()
    before = (work / "other.db").read_bytes()
    outcome = command("usage", name, "--db", "other.db")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert "is a database of something else" in outcome.stderr
    assert (work / "other.db").read_bytes() == before


def test_by_user_there_are_latencies_of_users_that_are_named(command: Command, log: UsageLog) -> None:
    log.record(row(user_id="ann"))
    outcome = command("usage", "report", "--by", "user")
    assert outcome.stderr == "latencies and errors are known by user only of users that --user names\n"
    assert "p50" not in outcome.stdout
    assert "p50" in command("usage", "report", "--by", "user", "--user", "ann").stdout


@pytest.mark.parametrize(("locale", "language"), [("zh_CN.UTF-8", "zh"), ("de_DE.UTF-8", "en"), ("", "en")])
def test_a_page_is_written_of_the_calls_that_were_asked_for(
    command: Command, log: UsageLog, work: Path, monkeypatch: pytest.MonkeyPatch, locale: str, language: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.delenv("LANG", raising=False)
    log.record(row(model_id="wanted"))
    log.record(row(model_id="other"))
    outcome = command("usage", "report", "--model", "wan*", "--since", "1d", "--html", "page.html")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (ExitCode.DONE, "", "wrote page.html\n")
    page = (work / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f'<html lang="{language}' in page
    assert "wanted" in page
    assert (
        "other" not in re.sub(r"<(script|style)(?! type)[^>]*>.*?</\1>", "", page, flags=re.DOTALL).split("</table>")[0]
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--html", "."], "--html '.': is a folder; name a file in it"),
        (["--html", "none/page.html"], "--html 'none/page.html': its folder is missing; make it first"),
        (["--html", "page.html", "--format", "csv"], "leave --format out"),
        (
            ["--html", "p.html", "--since", "7d", "--compare", "previous", "--currency", "CNY"],
            "--compare and --currency",
        ),
        (["--html", "/dev/full"], "cannot be written (No space left on device)"),
    ],
)
def test_a_page_that_cannot_be_is_refused(command: Command, log: UsageLog, argv: list[str], said: str) -> None:
    log.record(row())
    outcome = command("usage", "report", *argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert said in outcome.stderr
