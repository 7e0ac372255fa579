"""A usage log of any size: what a report costs, how large a row is, what it costs, and whether reports block writers.

python bench/usage.py [--rows N]... [--rounds N] [--folder DIR]

Logs are generated: 90 days of weekdays and nights, 6 tasks, 4 models, 2 locales, 2 tiers, 200 users, failures, retries,
cache hits, two currencies. Reports are whole processes, interleaved over the logs, medians; the ratio is to the same
command on the smallest log. Bounds are those that the project holds itself to; the script prints, it does not judge.
"""

import argparse
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from llmtask.usage import UsageLog, UsageRow, new_id, timestamp
from llmtask.usage.rollup import SQLITE, sqlite_triggers
from llmtask.usage.row import COLUMNS

DAYS = 90
END = datetime(2026, 11, 25, tzinfo=UTC)
TASKS = ("resume_summary", "detailed_resume_summary", "job_summary", "job_match", "resume_customize", "interview_prep")
MODELS = (
    ("deepseek", "deepseek-chat", "deepseek-flash", "q_deepseek_chat", "CNY", "paid"),
    ("deepseek", "deepseek-reasoner", "deepseek-flash", "q_deepseek_reasoner", "CNY", "paid"),
    ("zhipu", "glm-4.5-flash", "glm-4.7-flash", "q_glm_flash", "CNY", "free"),
    ("other", "other-large", "other-large-2026", None, "USD", "paid"),
)
COMMANDS = {
    "usage report": ["usage", "report"],
    "usage report --by task --since 30 days": ["usage", "report", "--by", "task", "--since", "2026-10-26"],
    "usage report --by day --since 30 days": ["usage", "report", "--by", "day", "--since", "2026-10-26"],
}
BATCH = 50_000


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """So many rows, in the order in which they were written."""
    chance = random.Random(count)
    users = [f"user-{number:05}" for number in range(200)]
    hashes = {task: f"{chance.getrandbits(64):016x}" for task in TASKS}
    for number in range(count):
        at = END - timedelta(days=DAYS) * (1 - number / count)
        provider, model, upstream, queue, currency, tier = MODELS[min(int(chance.expovariate(1.2)), 3)]
        task, has_failed = chance.choice(TASKS), chance.random() < 0.03
        going_in, cached, out = chance.randrange(500, 6_000), chance.randrange(500), chance.randrange(100, 1_500)
        latency = round(chance.lognormvariate(8, 0.6))
        nanos = 0 if tier == "free" else (going_in - cached) * 1000 + cached * 20 + out * 4000
        values = dict.fromkeys(COLUMNS)
        values |= {
            "id": f"{int(at.timestamp() * 1000):012x}{chance.getrandbits(48):012x}",
            "run_id": f"{int(at.timestamp() * 1000):012x}{chance.getrandbits(48):012x}",
            "user_id": chance.choice(users),
            "service_id": None,
            "task_template_id": task,
            "provider": provider,
            "model_id": model,
            "input_tokens": going_in,
            "output_tokens": out,
            "total_tokens": going_in + out,
            "latency_ms": latency,
            "cost": nanos / 1e9,
            "is_stream": 1,
            "is_success": int(not has_failed),
            "error_message": "answered with HTTP 429: too many requests" if has_failed else None,
            "created_at": timestamp(at),
            "cost_nanos": nanos,
            "currency": currency,
            "upstream_model": upstream,
            "queue_id": queue,
            "tier": tier,
            "worker": "structured",
            "locale": chance.choice(("zh", "en")),
            "prompt_hash": hashes[task],
            "cached_tokens": cached,
            "reasoning_tokens": 0,
            "first_token_ms": latency // 8,
            "attempt": 2 if chance.random() < 0.02 else 1,
            "finish_reason": None if has_failed else "stop",
            "error_class": "rate_limited" if has_failed else None,
            "is_estimate": 0,
            "repair_level": None if has_failed else ("strict" if chance.random() < 0.9 else "unwrapped"),
            "images": 0,
            "saved_nanos": cached * 980,
        }
        yield tuple(values[name] for name in COLUMNS)


def fill(path: Path, count: int) -> None:
    """A log with so many rows. The rollup of the first is made by triggers, that of the rest at once."""
    log = UsageLog(path)
    log.check()
    log.close()
    insert = f"INSERT INTO llm_usage_logs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        triggers = list(sqlite_triggers())
        for trigger in triggers:
            connection.execute(f"DROP TRIGGER {trigger.split()[2]}")
        batch = []
        for row in rows(count):
            batch.append(row)
            if len(batch) == BATCH:
                connection.executemany(insert, batch)
                batch.clear()
        connection.executemany(insert, batch)
        for statement in (*SQLITE.filling(), *triggers):
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def took(path: Path, arguments: list[str]) -> float:
    """Seconds of a whole process."""
    begun = time.perf_counter()
    environment = {**os.environ, "LLMTASK_DB": str(path)}
    command = [sys.executable, "-m", "llmtask", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def row(number: int) -> UsageRow:
    """A row of now."""
    at = datetime.now(UTC)
    return UsageRow(
        id=new_id(),
        run_id=new_id(),
        task_template_id=TASKS[number % 6],
        provider="deepseek",
        model_id="deepseek-chat",
        latency_ms=1_000 + number,
        first_token_ms=100 + number,
        created_at=timestamp(at),
        cost_nanos=number,
        currency="CNY",
        tier="paid",
        locale="zh",
        user_id=f"user-{number % 200:05}",
    )


def opening_and_adding(path: Path, rounds: int) -> float:
    """Milliseconds to open a log and add one row, the median."""
    found = []
    for number in range(rounds * 3):
        one = row(number)
        begun = time.perf_counter()
        log = UsageLog(path)
        log.record(one)
        found.append((time.perf_counter() - begun) * 1000)
        log.close()
    return statistics.median(found)


def writing(path: Path, *, while_reporting: bool) -> tuple[float, float]:
    """Milliseconds that begin and finish of a call take: the median and the longest, in 3 s."""
    over = threading.Event()

    def report() -> None:
        while not over.is_set():
            took(path, COMMANDS["usage report --by day --since 30 days"])

    reporting = threading.Thread(target=report)
    log, found = UsageLog(path), []
    log.begin(row(0))
    if while_reporting:
        reporting.start()
    until = time.perf_counter() + 3
    while time.perf_counter() < until:
        one = row(len(found))
        begun = time.perf_counter()
        log.begin(one)
        log.finish(one)
        found.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.002)
    over.set()
    if while_reporting:
        reporting.join()
    log.close()
    return statistics.median(found), max(found)


def reports(paths: Mapping[int, Path], rounds: int) -> None:
    """Print what each command takes on each log."""
    smallest = min(paths)
    for name, arguments in COMMANDS.items():
        found: dict[int, list[float]] = {size: [] for size in paths}
        for _ in range(rounds + 1):
            for size, path in paths.items():
                found[size].append(took(path, arguments))
        print(f"\n{name:>44} {'s':>7} {'ratio':>6}   bound 1.3 of the smallest")
        medians = {size: statistics.median(times[1:]) for size, times in found.items()}
        for size, median in medians.items():
            print(f"{size:>44,} {median:>7.3f} {median / medians[smallest]:>6.2f}")


def writers(paths: Mapping[int, Path], folder: Path, rounds: int) -> None:
    """Print what rows cost, alone and while reports run."""
    empty = folder / "empty.db"
    UsageLog(empty).check()
    print(f"\n{'open and add one row':>44} {'ms':>7}   bound 10 ms more than the empty one")
    for path in (empty, *paths.values()):
        print(f"{path.name:>44} {opening_and_adding(path, rounds):>7.2f}")
    print(f"\n{'begin + finish of a call':>44} {'median':>7} {'max ms':>7}   bound 50 ms more while reports run")
    for reporting in (False, True):
        median, most = writing(paths[max(paths)], while_reporting=reporting)
        print(f"{'while reports run' if reporting else 'alone':>44} {median:>7.2f} {most:>7.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where logs are made, and found again")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="usage-bench-", dir="."))
    folder.mkdir(exist_ok=True)
    try:
        paths = {size: folder / f"{size}.db" for size in sorted(given.rows or [1_000, 1_000_000, 10_000_000])}
        for size, path in paths.items():
            if not path.exists():
                begun = time.perf_counter()
                fill(path, size)
                print(f"{size:>12,} rows written in {time.perf_counter() - begun:.0f} s")
        print(f"\n{'rows':>12} {'bytes/row':>10}   bound 450")
        for size, path in paths.items():
            print(f"{size:>12,} {path.stat().st_size / size:>10.0f}")
        reports(paths, given.rounds)
        writers(paths, folder, given.rounds)
    finally:
        if not given.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
