"""What the usage log adds to a call: begin and finish, in one process and in several at once, and whole runs at once.

Behind budgets (a day's and each user's month), each call is checked and held, too.

python bench/log.py [--calls N] [--runs N] [--processes N]

On a real file below the working folder: /tmp is memory on many systems. Every row is counted afterwards. The bound is
the one that the project holds itself to; the script prints, it does not judge.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmtask import Tokens, load_project, run_structured_task
from llmtask.budgets.ledger import BudgetedLog
from llmtask.usage import UsageLog, UsageRow, new_id, timestamp

BOUND_MS = 5.0
MOST = Tokens(2000, 8192)
BUDGETS = """
budgets:
  - {amount: 1000000, currency: CNY, per: day}
  - {amount: 1000000, currency: CNY, per: month, user: "*"}
"""
RESUME = {"resume": (Path(__file__).parents[1] / "examples/resume.en.md").read_text(encoding="utf-8")}


def row() -> UsageRow:
    return UsageRow(
        id=new_id(),
        task_template_id="job_match",
        user_id="alice",
        provider="deepseek",
        model_id="deepseek-chat",
        input_tokens=2000,
        output_tokens=500,
        total_tokens=2500,
        latency_ms=4000,
        cost=0.004,
        cost_nanos=4_000_000,
        currency="CNY",
        created_at=timestamp(datetime.now(UTC)),
        run_id=new_id(),
    )


def writes(path: Path, count: int, start: Any, times: Any) -> None:
    """Milliseconds that begin and finish of a call took together, per call."""
    log = UsageLog(path)
    log.begin(row())  # opens the file
    start.wait()
    found = []
    for _ in range(count):
        one = row()
        begun = time.perf_counter()
        log.begin(one)
        log.finish(one)
        found.append((time.perf_counter() - begun) * 1000)
    times.put(found)


def budgeted_writes(path: Path, count: int, start: Any, times: Any) -> None:
    """As `writes`, behind two budgets that have room."""
    ledger = BudgetedLog(load_project(path.parent), UsageLog(path))
    ledger.begin(row(), MOST)  # opens the file
    start.wait()
    found = []
    for _ in range(count):
        one = row()
        begun = time.perf_counter()
        ledger.begin(one, MOST)
        ledger.finish(one)
        found.append((time.perf_counter() - begun) * 1000)
    times.put(found)


def runs(path: Path, count: int, start: Any, times: Any) -> None:
    """Milliseconds that a run of the embedded model took, per run, its two writes included."""
    log = UsageLog(path)
    run_structured_task("job_match", RESUME, model_id="offline", log=log)  # brings LangChain in
    start.wait()
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        run_structured_task("job_match", RESUME, model_id="offline", log=log)
        found.append((time.perf_counter() - begun) * 1000)
    times.put(found)


def measured(work: Callable[..., None], path: Path, processes: int, count: int) -> tuple[list[float], float]:
    """The times of all processes, and how long they took together, in seconds."""
    spawn = multiprocessing.get_context("spawn")
    start, times = spawn.Barrier(processes + 1), spawn.Queue()
    workers = [spawn.Process(target=work, args=(path, count, start, times)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    start.wait()
    begun = time.perf_counter()
    found = [one for _ in workers for one in times.get()]
    took = time.perf_counter() - begun
    for worker in workers:
        worker.join()
    return found, took


def show(name: str, path: Path, found: list[float], took: float) -> None:
    log = UsageLog(path)
    log.drain()  # what waited longer than its second
    [(rows, different)] = log.query("SELECT count(*), count(DISTINCT id) FROM llm_usage_logs")
    [(state,)] = log.query("PRAGMA integrity_check")
    log.close()
    p95 = statistics.quantiles(found, n=20)[-1]
    counts = f"{rows:>6} {different:>9} {state:>6}"
    print(f"{name:30} {statistics.median(found):7.2f} {p95:7.2f} {max(found):8.1f} {took:6.1f} {counts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    given = parser.parse_args()
    many = given.processes
    warnings.simplefilter("ignore")
    print(f"{'':30} {'median':>7} {'p95':>7} {'max ms':>8} {'s':>6} {'rows':>6} {'different':>9} {'sound':>6}")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        (Path(folder) / "config.yaml").write_text(BUDGETS, encoding="utf-8")
        for name, work, processes, count in (
            (f"begin + finish, 1 x {given.calls}", writes, 1, given.calls),
            (f"begin + finish, {many} x {given.calls}", writes, many, given.calls),
            (f"behind budgets, 1 x {given.calls}", budgeted_writes, 1, given.calls),
            (f"behind budgets, {many} x {given.calls}", budgeted_writes, many, given.calls),
            (f"whole runs, 1 x {given.runs}", runs, 1, given.runs),
            (f"whole runs, {many} x {given.runs}", runs, many, given.runs),
        ):
            path = Path(folder) / f"{work.__name__}.{processes}.db"
            show(name, path, *measured(work, path, processes, count))
    print(f"\nbound: begin + finish take {BOUND_MS:g} ms in the median; there is a row for every call, and 1 a process")


if __name__ == "__main__":
    main()
