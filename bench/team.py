"""What a team's log in PostgreSQL adds to a call: begin and finish, in one process and in several at once; and a sync.

python bench/team.py [--calls N] [--processes N] [--rows N] [--fsync]

On a server of its own, on a socket. Every row is counted afterwards, and the sums of the rollup. `--fsync` makes it
wait for the disk, as a server in earnest does.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from log import measured, row, writes  # noqa: E402  # after the path
from tests.postgres.server import Server, programs  # noqa: E402

from llmtask.usage import Push, UsageLog, report  # noqa: E402


def held(url: str, count: int, start: Any, times: Any) -> None:
    """Milliseconds that a transaction took which keeps all other writers out, as budgets' do, per transaction."""
    log = UsageLog(url)
    log.check()
    start.wait()
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        log.atomic(lambda connection: connection.execute("SELECT count(*) FROM budget_reservations").fetchall())
        found.append((time.perf_counter() - begun) * 1000)
    times.put(found)


def show(name: str, url: str, found: Iterable[float], took: float) -> None:
    times = sorted(found)
    with closing(UsageLog(url)) as log:
        log.drain()
        [(rows,)] = log.query("SELECT count(*) FROM llm_usage_logs")
        counted = report(log).total.ended
    p95, p99 = (statistics.quantiles(times, n=100)[share - 1] for share in (95, 99))
    latencies = f"{statistics.median(times):7.2f} {p95:7.2f} {p99:7.2f} {times[-1]:8.1f}"
    print(f"{name:34} {latencies} {took:6.1f} {rows:>7} {counted:>7}")


def pushed(url: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(UsageLog(Path(folder) / "u.db")) as local:
        for _ in range(count):
            local.record(row())
        for what in (f"sync of {count} rows", "sync of none"):
            with closing(UsageLog(url)) as team:
                begun = time.perf_counter()
                done = Push(local, team).run()
                print(f"{what:34} {time.perf_counter() - begun:6.2f} s, {done.sent} sent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--fsync", action="store_true")
    given = parser.parse_args()
    found = programs()
    if found is None:
        sys.exit("there is no PostgreSQL: tests/postgres/install.sh")
    server = Server(found)
    try:
        if given.fsync:
            server.stop("fast")
            server.start(fsync=True)
        print(f"{'':34} {'median':>7} {'p95':>7} {'p99':>7} {'max ms':>8} {'s':>6} {'rows':>7} {'counted':>7}")
        for name, work, processes in (
            ("begin + finish", writes, 1),
            ("begin + finish", writes, given.processes),
            ("alone, as a budget", held, 1),
            ("alone, as a budget", held, given.processes),
        ):
            url = server.database()
            show(f"{name}, {processes} x {given.calls}", url, *measured(work, url, processes, given.calls))  # type: ignore[arg-type]
        pushed(server.database(), given.rows)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
