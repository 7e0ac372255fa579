"""view.usage_page: what the page knows of the log, and that it is safe to open."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import llmtask.view.usage_page as package
from llmtask.pages import embedded
from llmtask.usage import Query, UsageLog, UsageRow, report, timestamp
from llmtask.usage.rollup import middle
from llmtask.view.usage_page import usage_page
from llmtask.view.usage_page.cells import Limits
from llmtask.view.usage_page.data import COUNTS, document
from llmtask.view.usage_page.words import WORDS
from tests.unit.testing.test_report import HOSTILE, Page

FOLDER = Path(package.__file__).parent
BEIJING = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 25, 7, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "page.db")
    yield found
    found.close()


def call(log: UsageLog, at: datetime = NOW - timedelta(minutes=1), **said: Any) -> None:
    """A recorded call: priced, unless it says otherwise."""
    least = {
        "id": f"{call.__dict__.setdefault('made', 0):032x}",
        "task_template_id": "job_match",
        "provider": "deepseek",
        "model_id": "deepseek-chat",
        "latency_ms": 1234,
        "cost_nanos": 1_000_001,
        "currency": "CNY",
        "created_at": timestamp(at),
        "run_id": "r",
    }
    call.__dict__["made"] += 1
    log.record(UsageRow(**(least | said)))


def traffic(log: UsageLog, days: int = 5) -> None:
    """Calls of two currencies on each day, some of them cached, failed, unpriced or without an end."""
    made = product(range(days), ("deepseek-chat", "gpt-5"), ("job_match", "judge"), ("zh", "en"), range(3))
    for number, (day, model, task, locale, turn) in enumerate(made):
        failure = {"is_success": False, "error_class": "timeout"} if (number + day) % 7 == 0 else {}
        call(
            log,
            NOW - timedelta(days=day, minutes=number),
            model_id=model,
            task_template_id=task,
            locale=locale,
            currency="USD" if model == "gpt-5" else "CNY",
            cost_nanos=None if turn == 2 and day == 3 else 10**9 // 3 + number,
            saved_nanos=number,
            input_tokens=100 + number,
            cached_tokens=number % 50,
            latency_ms=90 * 3**turn + number,
            first_token_ms=50 + number if turn else None,
            user_id=f"user-{number % 3}",
            **failure,
        )
    call(log, NOW, error_class="unfinished", is_success=False, cost_nanos=None, currency=None)


def rows(table: dict[str, Any]) -> Iterator[tuple[dict[str, int], list[int]]]:
    """A table's rows: the places of its words, and its numbers."""
    for group, periods in zip(table["groups"], table["rows"], strict=True):
        words = [word for word in table["by"] if word != "period"]
        for period, *numbers in periods:
            yield dict(zip(words, group, strict=True)) | {"period": period}, numbers


def total(found: dict[str, Any], name: str, **wanted: int) -> int:
    """A sum over the cells that have these places."""
    at = found["fields"].index(name)
    return sum(
        int(numbers[at])
        for places, numbers in rows(found["cube"])
        if at < len(numbers) and all(places[word] == place for word, place in wanted.items())
    )


def values(found: dict[str, Any], word: str) -> list[str]:
    return next(one["values"] for one in found["words"] if one["word"] == word)


def test_cells_add_up_to_what_the_report_says_by_every_word_and_day(log: UsageLog) -> None:
    traffic(log)
    query = Query(zone=BEIJING)
    found = document(log, query, NOW)
    assert found["currencies"] == ["CNY", "USD"]
    assert found["unit"] == "day"
    for by in ("model", "task", "locale", "day"):
        for one in report(log, Query((by,), zone=BEIJING)).groups:
            names = found["periods"] if by == "day" else values(found, by)
            place = {"period" if by == "day" else by: names.index(one.keys[0])}
            assert {name: total(found, name, **place) for name in COUNTS} == {n: getattr(one, n) for n in COUNTS}
            for at, currency in enumerate(found["currencies"]):
                assert total(found, f"cost.{at}", **place) == one.cost_nanos.get(currency, 0)
                assert total(found, f"saved.{at}", **place) == one.saved_nanos.get(currency, 0)


def test_amounts_beyond_what_javascript_counts_exactly_are_text(log: UsageLog) -> None:
    for _ in range(2):
        call(log, cost_nanos=2**53 - 1)
    found = document(log, Query(), NOW)
    assert [numbers[-1] for _, numbers in rows(found["cube"])] == [str(2**54 - 2)]


def test_latencies_and_failures_are_the_reports(log: UsageLog) -> None:
    traffic(log)
    found = document(log, Query(zone=BEIJING), NOW)
    for name in ("latencies", "first_tokens"):
        for one in report(log, Query(("model",))).groups:
            place = values(found, "model").index(one.keys[0])
            marks: dict[int, int] = {}
            for places, numbers in rows(found[name]):
                for mark, calls in zip(numbers[::2], numbers[1::2], strict=True):
                    if places["model"] == place:
                        marks[mark] = marks.get(mark, 0) + calls
            assert marks == {round(middle(mark)): calls for mark, calls in getattr(one, name).items()}
        assert (found[name]["error"], found[name]["by"][0]) == (0.01, "period")
    failed = sum(sum(numbers[1::2]) for _, numbers in rows(found["errors"]))
    assert found["classes"] == ["timeout"]
    assert failed == report(log).total.errors["timeout"] > 0


def test_days_without_calls_are_on_the_axis_and_the_span_bounds_it(log: UsageLog) -> None:
    call(log, datetime(2026, 11, 20, 4, tzinfo=UTC))
    call(log, datetime(2026, 11, 23, 17, tzinfo=UTC))
    assert document(log, Query(zone=BEIJING), NOW)["periods"] == [f"2026-11-{day}" for day in range(20, 25)]
    since, until = datetime(2026, 11, 18, tzinfo=BEIJING), datetime(2026, 12, 1, tzinfo=BEIJING)
    assert document(log, Query(since=since, until=until, zone=BEIJING), NOW)["periods"] == [
        f"2026-11-{day}" for day in range(18, 26)
    ]


def test_a_short_span_is_told_by_the_hour(log: UsageLog) -> None:
    call(log, datetime(2026, 11, 25, 3, 20, tzinfo=UTC))
    found = document(log, Query(zone=BEIJING), NOW)
    assert (found["unit"], len(found["periods"])) == ("hour", 24)
    assert [found["periods"][places["period"]] for places, _ in rows(found["cube"])] == ["2026-11-25 11:00"]


def test_a_year_is_told_by_the_day_and_ten_years_by_the_month(log: UsageLog) -> None:
    call(log, NOW)
    call(log, NOW - timedelta(days=364))
    assert document(log, Query(zone=UTC), NOW)["unit"] == "day"
    call(log, NOW - timedelta(days=3650))
    found = document(log, Query(zone=UTC), NOW)
    assert (found["unit"], found["periods"][0], found["periods"][-1]) == ("month", "2016-11", "2026-11")


@pytest.mark.parametrize(
    ("most", "unit", "words"),
    [
        (200, "day", 8),
        (100, "day", 4),
        (70, "day", 2),
        (39, "week", 8),
        (31, "week", 4),
        (15, "week", 2),
        (7, "month", 4),
        (3, "month", 2),
        (1, "month", 1),
    ],
)
def test_a_log_that_is_too_large_is_told_by_fewer_words_and_longer_times(
    log: UsageLog, most: int, unit: str, words: int
) -> None:
    """Of 20 days, 2 prompts, 2 locales, 2 tasks and 1 model."""
    for day, prompt, locale, task in product(range(20), "ab", ("zh", "en"), ("job_match", "judge")):
        call(log, NOW - timedelta(days=day), prompt_hash=prompt, locale=locale, task_template_id=task)
    found = document(log, Query(zone=UTC), NOW, Limits(cells=most))
    assert (found["unit"], len(found["words"]), found["coarse"]) == (unit, words, unit != "day")
    assert len(found["dropped"]) == 8 - words
    assert len(list(rows(found["cube"]))) <= most
    assert total(found, "calls") == 160


def test_values_beyond_the_largest_are_others_and_none_is_lost(log: UsageLog) -> None:
    for number in range(30):
        call(log, model_id=f"model-{number}", cost_nanos=number)
    found = document(log, Query(), NOW, Limits(values=5))
    model = next(one for one in found["words"] if one["word"] == "model")
    assert model["values"] == [f"model-{number}" for number in (29, 28, 27, 26)]
    assert model["folded"] == 26
    assert total(found, "calls", model=4) == 26
    assert total(found, "cost.0") == sum(range(30))


def test_values_are_folded_further_until_the_cells_fit(log: UsageLog) -> None:
    for number in range(40):
        call(log, model_id=f"model-{number}", task_template_id=f"task-{number}")
    found = document(log, Query(), NOW, Limits(cells=10))
    assert len(list(rows(found["cube"]))) <= 10
    assert total(found, "calls") == 40


@pytest.mark.parametrize(
    ("marks", "error", "words"),
    [(200, 0.01, 9), (199, 0.04, 9), (49, 0.01, 8), (39, 0.04, 8), (19, 0.04, 2), (4, 0.07, 1)],
)
def test_latencies_are_told_in_coarser_steps_and_then_for_the_whole_span(
    log: UsageLog, marks: int, error: float, words: int
) -> None:
    latencies = [round(1000 * 1.025**step) for step in range(20)]
    for number in range(200):
        call(log, NOW - timedelta(days=number % 10), latency_ms=latencies[number // 10], model_id=f"m{number % 2}")
    found = document(log, Query(zone=UTC), NOW, Limits(marks=marks))["latencies"]
    assert (found["error"], len(found["by"])) == (error, words)
    told = [one for _, numbers in rows(found) for one in zip(numbers[::2], numbers[1::2], strict=True)]
    assert sum(calls for _, calls in told) == 200
    ordered = sorted(value for value, calls in told for _ in range(calls))
    exact = sorted(latencies * 10)
    assert all(abs(said - true) <= error * true + 0.5 for said, true in zip(ordered, exact, strict=True))  # whole ms


def test_conditions_and_span_of_the_query_hold(log: UsageLog) -> None:
    traffic(log)
    query = Query(where={"model": ("gpt*",)}, since=NOW - timedelta(days=2), zone=BEIJING)
    found = document(log, query, NOW)
    assert values(found, "model") == ["gpt-5"]
    assert total(found, "calls") == report(log, query).total.calls
    assert found["where"] == {"model": ["gpt*"]}
    assert found["since"] == "2026-11-23 15:00"


def test_users_are_the_reports_with_the_smallest_summed_up(log: UsageLog) -> None:
    traffic(log)
    found = document(log, Query(zone=BEIJING), NOW, Limits(users=2))["users"]
    users = [one for one in report(log, Query(("user",), marks=False)).groups if one.keys[0]]
    assert [(name, numbers[0]) for name, numbers in found["rows"]] == [(one.group, one.calls) for one in users[:2]]
    assert (found["folded"], found["others"][0]) == (1, users[2].calls)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        (BEIJING, "Asia/Shanghai (UTC+08:00)"),
        (UTC, "UTC"),
        (ZoneInfo("America/New_York"), "America/New_York (UTC-04:00/-05:00)"),
        (timezone(-timedelta(hours=3, minutes=30)), "UTC-03:30 (UTC-03:30)"),
    ],
)
def test_the_time_zone_is_named(log: UsageLog, zone: Any, said: str) -> None:
    call(log)
    assert document(log, Query(since=datetime(2026, 10, 1, tzinfo=UTC), zone=zone), NOW)["zone"] == said


def test_nothing_that_others_wrote_is_markup(log: UsageLog) -> None:
    plain, hostile = Page(usage_page(log, Query(), now=NOW)), []
    for name in ("model_id", "task_template_id", "provider", "locale", "user_id", "queue_id", "currency"):
        call(log, **{name: HOSTILE})
    call(log, error_class=HOSTILE, is_success=False)
    for locale in ("en", "zh"):
        text = usage_page(log, Query(where={"model": (HOSTILE, "*")}), locale=locale, now=NOW)
        hostile.append(Page(text))
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066\u200b\ufeff]", text)
    known = {"table", "thead", "tbody", "tr", "th", "td", "div"}
    for page in hostile:
        assert {tag for tag, _ in page.elements} - known == {tag for tag, _ in plain.elements} - known
        assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
        [data] = [one for one in page.texts["script"] if one.startswith("{")]
        assert any("onerror" in name for name in values(json.loads(data), "model"))


def test_json_ends_no_element_and_reads_as_it_was() -> None:
    value = {"</script>": ["<!--", "]]>", "&amp;", "\u2028\u2029", '"', "\\"]}
    text = embedded(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_a_browser_runs_our_script_alone_and_asks_no_network(log: UsageLog) -> None:
    text = usage_page(log, Query(), now=NOW)
    page = Page(text)
    policy = next(one["content"] for one in page.with_attribute("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    script = next(one for one in page.texts["script"] if "use strict" in one)
    for own in (script, page.texts["style"][0]):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|href)=\"(?!#)", text) == []
    assert set(re.findall(r"https?://[\w./]+", script)) == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_an_empty_log_has_a_page(log: UsageLog) -> None:
    assert "No calls in this span." in Page(usage_page(log, Query(), now=NOW)).text
    assert not log.path.exists()


def test_those_who_run_no_script_read_what_each_model_cost(log: UsageLog) -> None:
    call(log, cost_nanos=2_500_000_000)
    text = Page(usage_page(log, Query(), locale="zh-CN", now=NOW)).text
    assert "¥2.50" in text
    assert "模型" in text


def test_each_phrase_has_the_same_values_in_both_languages() -> None:
    for key, phrases in WORDS.items():
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in phrases]
        assert fields[0] == fields[1], key
        assert all(phrases), key


def test_each_phrase_is_used() -> None:
    files = [path for path in FOLDER.iterdir() if path.suffix in (".js", ".html")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    built = {"by_hour", "by_day", "by_week", "by_month", "hour", "day", "week", "month"}
    built |= {"provider", "tier", "queue", "service", "prompt", "locale"}
    assert [key for key in WORDS if key not in built and not re.search(rf"[\"']{key}[\"']", source)] == []
