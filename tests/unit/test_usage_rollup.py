"""usage.rollup: whatever happens to the rows, reports say what a look at every row says."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llmtask.usage import GROUPS, Query, Summary, UsageLog, UsageRow, new_id, report, timestamp
from llmtask.usage.periods import Edge, cover
from llmtask.usage.rollup import HOURS, TABLES, mark, middle

ZONES = ["Asia/Shanghai", "UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"]
BEGIN = datetime(2026, 9, 20, tzinfo=UTC)
WORDS = {
    "model": "model_id",
    "task": "task_template_id",
    "provider": "provider",
    "tier": "tier",
    "queue": "queue_id",
    "user": "user_id",
    "service": "service_id",
    "locale": "locale",
}


def some_row(chance: random.Random, **said: Any) -> UsageRow:
    """A row as any call may leave it."""
    currency = chance.choice(["CNY", "CNY", "USD", None])
    failure = chance.choice([None, None, None, "rate_limited", "schema_invalid", "unfinished"])
    values: dict[str, Any] = {
        "id": new_id(),
        "run_id": new_id(),
        "task_template_id": chance.choice(["job_match", "resume_summary"]),
        "provider": "deepseek",
        "model_id": chance.choice(["deepseek-chat", "glm"]),
        "user_id": chance.choice([None, "ann", "bob", "o'neil"]),
        "service_id": chance.choice([None, "web"]),
        "tier": chance.choice(["paid", "free", None]),
        "queue_id": chance.choice(["q", None]),
        "locale": chance.choice(["zh", "en"]),
        "prompt_hash": chance.choice(["aaaa", "bbbb"]),
        "prompt_version": chance.choice([None, "v2"]),
        "created_at": timestamp(BEGIN + timedelta(milliseconds=chance.randrange(70 * 24 * 3600 * 1000))),
        "latency_ms": chance.choice([0, chance.randrange(100), chance.randrange(5_000), chance.randrange(900_000)]),
        "first_token_ms": chance.choice([None, chance.randrange(3_000)]),
        "input_tokens": chance.randrange(5_000),
        "cached_tokens": chance.randrange(100),
        "output_tokens": chance.randrange(1_000),
        "reasoning_tokens": chance.randrange(10),
        "images": chance.choice([0, 0, 1]),
        "attempt": chance.choice([1, 1, 2]),
        "is_estimate": chance.random() < 0.1,
        "is_success": failure is None,
        "error_class": failure,
        "repair_level": chance.choice([None, "strict", "repaired"]) if failure is None else None,
        "currency": currency,
        "cost_nanos": chance.randrange(10**9) if currency else None,
        "saved_nanos": chance.randrange(10**6) if currency else None,
    }
    values |= said
    if values["error_class"] == "unfinished":
        values |= {"currency": None, "cost_nanos": None, "saved_nanos": None, "repair_level": None}
    return UsageRow(**values)


def filled(log: UsageLog, chance: random.Random, count: int = 400) -> list[UsageRow]:
    """A log after all that may happen to it: calls that begin, end, are deleted, repriced and changed by hand."""
    rows = [some_row(chance) for _ in range(count)]
    for row in rows:
        if chance.random() < 0.5:
            log.begin(row)
        log.finish(row)
    gone = {row.id for row in rows[: count // 10]}
    changed = {row.id for row in rows[count // 5 : count // 3]}
    for one in gone:
        log.run(lambda connection, one=one: connection.execute("DELETE FROM llm_usage_logs WHERE id = ?", (one,)))  # type: ignore[misc]
    for one in changed:
        sql = "UPDATE llm_usage_logs SET cost_nanos = cost_nanos + 1, model_id = 'other', latency_ms = 7 WHERE id = ?"
        log.run(lambda connection, one=one, sql=sql: connection.execute(sql, (one,)))  # type: ignore[misc]
    return log.latest(count)


def label(row: UsageRow, word: str, zone: ZoneInfo) -> str:
    """What a row is grouped under."""
    at = datetime.fromisoformat(row.created_at).astimezone(zone)
    times = {
        "hour": f"{at:%Y-%m-%d %H}:00",
        "day": f"{at:%Y-%m-%d}",
        "week": f"{at.isocalendar().year}-W{at.isocalendar().week:02}",
        "month": f"{at:%Y-%m}",
    }
    if word == "prompt":
        return f"{row.prompt_version} {row.prompt_hash}" if row.prompt_version else row.prompt_hash or ""
    return times.get(word) or getattr(row, WORDS.get(word, "id")) or ""


def looked_at(rows: list[UsageRow], query: Query, zone: ZoneInfo) -> dict[tuple[str, ...], Summary]:
    """The report, by a look at every row."""
    found: dict[tuple[str, ...], Summary] = {}
    for row in rows:
        at = datetime.fromisoformat(row.created_at)
        if (query.since and at < query.since) or (query.until and at >= query.until):
            continue
        if any(label(row, word, zone) not in values for word, values in query.where.items()):
            continue
        keys = tuple(label(row, word, zone) for word in query.by)
        one = found.setdefault(keys, Summary(keys))
        money = row.currency is not None and row.cost_nanos is not None
        is_over = not row.is_unfinished
        one.add(
            Summary(
                calls=1,
                unfinished=not is_over,
                failed=is_over and not row.is_success,
                repaired=is_over and row.repair_level not in (None, "strict"),
                retries=is_over and row.attempt > 1,
                estimated=row.is_estimate,
                unpriced=is_over and row.cost_nanos is None,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                cached_tokens=row.cached_tokens * is_over,
                reasoning_tokens=row.reasoning_tokens * is_over,
                images=row.images * is_over,
                latency_ms=row.latency_ms * is_over,
                cost_nanos={row.currency: row.cost_nanos}
                if money and row.currency and row.cost_nanos is not None
                else {},
                saved_nanos={row.currency: row.saved_nanos or 0} if money and row.currency else {},
                errors=Counter({row.error_class: 1} if is_over and row.error_class else {}),
            )
        )
    return found


def without_marks(one: Summary, *, errors: bool) -> Summary:
    kept = Summary(one.keys)
    kept.add(one)
    kept.latencies.clear()
    kept.first_tokens.clear()
    if not errors:
        kept.errors.clear()
    return kept


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_report_says_what_a_look_at_every_row_says(log: UsageLog, zone: str, seed: int) -> None:
    chance = random.Random(f"{zone} {seed}")  # noqa: S311  # no secret
    rows = filled(log, chance)
    local = ZoneInfo(zone)
    edges = [None, *(BEGIN + timedelta(seconds=chance.randrange(70 * 24 * 3600)) for _ in range(4))]
    edges += [
        datetime(2026, 10, 1, tzinfo=local),
        datetime(2026, 11, 1, tzinfo=local),
        datetime(2026, 10, 4, 16, tzinfo=UTC),
    ]
    for _ in range(60):
        times = [chance.choice(["hour", "day", "week", "month"])] if chance.random() < 0.6 else []
        words = chance.sample(
            [one for one in GROUPS if one not in ("hour", "day", "week", "month")], chance.randrange(3)
        )
        by = tuple(chance.sample(times + words, len(times + words)))
        where = (
            {chance.choice(["user", "model", "task", "locale"]): ["ann", "other", "zh"]}
            if chance.random() < 0.4
            else {}
        )
        if chance.random() < 0.2:
            where["user"] = ["", "o'neil"]
        since, until = chance.choice(edges), chance.choice(edges)
        query = Query(by, since, until, where, local)  # type: ignore[arg-type]
        found = report(log, query)
        has_errors = "user" not in by or "user" in where
        expected = looked_at(rows, query, local)
        shown = {one.keys: without_marks(one, errors=has_errors) for one in found.groups}
        assert shown == {keys: without_marks(one, errors=has_errors) for keys, one in expected.items()}, query
        assert found.total.calls == sum(one.calls for one in expected.values())
        if has_errors:
            ended = sum(one.ended for one in expected.values())
            assert found.total.latencies.total() == ended, query


def test_percentiles_are_at_most_a_hundredth_off(log: UsageLog) -> None:
    chance = random.Random(3)  # noqa: S311
    values = sorted(round(chance.lognormvariate(7, 1.5)) for _ in range(1_500))
    for value in values:
        log.record(some_row(chance, latency_ms=value, first_token_ms=value // 3, error_class=None))
    total = report(log).total
    for share in (0.01, 0.5, 0.9, 0.95, 0.99, 1.0):
        exact = values[max(-(-int(share * 1500 * 10**6) // 10**6), 1) - 1]
        assert total.latency(share) == pytest.approx(exact, rel=0.01)
        assert total.first_token(share) == pytest.approx(exact // 3, rel=0.01)
    assert Summary().latency(0.5) is None


def test_the_middle_of_a_mark_is_at_most_a_hundredth_off_whatever_it_stands_for(log: UsageLog) -> None:
    log.check()
    values = [*range(3_000), *(2**power + more for power in range(12, 31) for more in (-1, 0, 1, 2 ** (power - 1) - 1))]
    for value in values:
        [(marked,)] = log.query(f"SELECT {mark('?')}", (value,))
        assert abs(middle(marked) - value) <= value * 0.01
    assert log.query(f"SELECT {mark('?')}", (-5,)) == [(0,)]


def test_what_is_taken_back_leaves_nothing(log: UsageLog) -> None:
    chance = random.Random(4)  # noqa: S311
    for _ in range(50):
        log.record(some_row(chance))
    log.run(lambda connection: connection.execute("DELETE FROM llm_usage_logs"))
    for table in TABLES[1:]:
        assert log.query(f"SELECT count(*) FROM {table} WHERE calls <> 0") == [(0,)]  # noqa: S608
    assert report(log).groups == []


def test_a_span_is_covered_without_gap_or_overlap() -> None:
    chance = random.Random(5)  # noqa: S311
    for _ in range(300):
        since = BEGIN + timedelta(seconds=chance.randrange(10**7))
        until = since + timedelta(seconds=chance.choice([1, 1800, 3600, 90_000, 10**7]))
        parts = list(cover(since, until))
        assert len(parts) <= 12
        total = timedelta()
        for part in parts:
            if isinstance(part, Edge):
                total += part.until - part.since
            else:
                total += (part.end - part.first) * timedelta(hours=HOURS[part.level])
        assert total == until - since
    assert not list(cover(BEGIN, BEGIN))
