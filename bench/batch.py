"""Batches at speed: `llmtask batch` against a bare asyncio loop over the same client class; memory and resume; workers.

python bench/batch.py [--rounds N] [--only speed|long|engine]... [--lines N]

Speed: whole processes, interleaved, medians; what further calls cost is the difference of two sizes, so that neither's
start counts. Long: an input of so many lines is read into the journal while calls hang; the peak of memory is compared
with that of 1,000 lines. Then it is killed, and resumed: seconds until its first call, the start of Python included.

Engine: the same jobs done by one worker and by two, by way of a Redis server of the bench's own, and in one process; of
CPU, all of llmtask's processes together count. Needs `redis-server` or `valkey-server`, and the extra `queue`.
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suites import ANSWER_S, PEERS, ROOT, Bench, Command, Measured, Vendor, median, resume

sys.path.insert(0, str(ROOT))

from tests.redis.server import Server as Broker  # after the path
from tests.redis.server import program

CONCURRENCY = 200
SIZES = (500, 2_500)
AT_ONCE = 8
"""Calls at once of a worker: so few that neither the vendor nor a machine of two cores is the limit."""
ENGINE_SIZES = (100, 700)


def inputs(bench: Bench, count: int) -> Path:
    """So many lines, each with a resume of its own."""
    path = bench.folder / f"in{count}.jsonl"
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            for index in range(count):
                file.write(json.dumps({"id": str(index), "resume": resume(index)}) + "\n")
    return path


def batch(bench: Bench, count: int) -> Command:
    out = bench.folder / f"out{count}.jsonl"
    argv = ["batch", "job_match", "--inputs", str(inputs(bench, count)), "--out", str(out), "--force", "--locale", "en"]
    argv = [sys.executable, "-m", "llmtask", *argv, "--progress", "none"]
    return Command(argv, rf"(?m): {count:,} done, ", count, ANSWER_S)


def bare(bench: Bench, count: int) -> Command:
    argv = [sys.executable, str(PEERS / "bare.py"), str(bench.suite(count)), str(CONCURRENCY), "whole"]
    return Command(argv, rf"^{count} answers$", count, ANSWER_S)


def more(found: dict[str, list[Measured]], name: str) -> Measured:
    """What the calls cost that the larger size has more than the smaller."""
    small, large = (median(found[f"{name} {size}"]) for size in SIZES)
    return Measured(large.s - small.s, large.cpu_s - small.cpu_s, large.mb)


def speed(bench: Bench, rounds: int) -> None:
    """Calls a second and CPU a call."""
    commands = {f"bare {size}": bare(bench, size) for size in SIZES}
    commands |= {f"batch {size}": batch(bench, size) for size in SIZES}
    found = bench.interleaved(commands, rounds)
    for name, measured in found.items():
        one = median(measured)
        print(f"{name:14} {one.s:7.2f} s {one.cpu_s:7.2f} s CPU {one.mb:6.0f} MB")
    ours, theirs = more(found, "batch"), more(found, "bare")
    calls = SIZES[1] - SIZES[0]
    print(
        f"calls a second, of the bare loop's: {theirs.s / ours.s:.2f} "
        f"({calls / ours.s:.0f} of {calls / theirs.s:.0f}; bound 0.90)"
    )
    print(
        f"CPU a call, of the bare loop's: {ours.cpu_s / theirs.cpu_s:.2f} "
        f"({1000 * ours.cpu_s / calls:.2f} ms; bound 1.20)"
    )


def long(bench: Bench, lines: int) -> None:
    """Memory, and the time to the first call after a kill."""
    peaks = []
    for count in (1_000, lines):
        peak_mb, read_s = _read_and_killed(bench, count)
        peaks.append(peak_mb)
        print(f"{count:>9,} lines: in the journal after {read_s:.1f} s, {peak_mb:.0f} MB at most")
    print(f"more memory: {peaks[1] - peaks[0]:.0f} MB (bound 40)")
    before = _rows(bench)
    begun = time.perf_counter()
    process = _started(bench, ["resume", "latest"])
    while _rows(bench) == before:  # the row of a call is on disk right before the call
        time.sleep(0.01)
    print(f"resume of {lines:,} lines: the first call after {time.perf_counter() - begun:.1f} s (bound 5)")
    process.kill()
    process.wait()


def _read_and_killed(bench: Bench, count: int) -> tuple[float, float]:
    bench.vendor.answer_after(60)
    begun = time.perf_counter()
    process = _started(bench, ["job_match", "--inputs", str(inputs(bench, count)), "--locale", "en"])
    folder = bench.folder / ".llmtask/batches"
    while True:
        time.sleep(0.2)
        journals = sorted(folder.glob("*.db")) if folder.exists() else []
        known = [one for one in journals if one.stat().st_mtime > time.time() - 3_600]
        if known and _is_read(known[-1], count):
            break
    took = time.perf_counter() - begun
    time.sleep(5)  # until every place of the queue has its call
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return peak_kb / 1024, took


def _is_read(path: Path, count: int) -> bool:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT is_read, (SELECT max(position) FROM records) FROM run").fetchone()
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return bool(found and found[0] and found[1] == count)


def _rows(bench: Bench) -> int:
    connection = sqlite3.connect(f"file:{bench.folder / 'usage.db'}?mode=ro", uri=True, timeout=5)
    try:
        return int(connection.execute("SELECT count(*) FROM llm_usage_logs").fetchone()[0])
    finally:
        connection.close()


def _started(bench: Bench, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "llmtask", "batch", *arguments, "--progress", "none"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(argv, env=bench.env, cwd=bench.folder, stdin=quiet, stdout=quiet, stderr=quiet)


@dataclass(frozen=True)
class Engine:
    """A queue whose jobs are done by so many workers; by the process of the batch, where there are none."""

    bench: Bench
    broker: Broker

    def measured(self, count: int, workers: int) -> Measured:
        """So many jobs: seconds from the first call to the last row, and CPU of all processes."""
        bench = self.bench
        bench.vendor.answer_after(ANSWER_S)
        argv = [sys.executable, "-m", "llmtask", "worker", "--broker", self.broker.url]
        argv += ["--queues", "q_deepseek_chat", "--concurrency", str(AT_ONCE)]
        quiet = subprocess.DEVNULL
        started = [subprocess.Popen(argv, env=bench.env, cwd=bench.folder, stderr=quiet) for _ in range(workers)]
        time.sleep(3 if workers else 0)
        begun = [_cpu_s(worker.pid) for worker in started]
        out = bench.folder / "engine.jsonl"
        argv = [sys.executable, "-m", "llmtask", "batch", "job_match", "--inputs", str(inputs(bench, count))]
        argv += ["--out", str(out), "--force", "--locale", "en", "--progress", "none"]
        argv += ["--broker", self.broker.url] if workers else ["--concurrency", str(AT_ONCE)]
        one = bench.measured(Command(argv, rf"(?m): {count:,} done, ", count, ANSWER_S))
        cpu_s = sum(_cpu_s(worker.pid) - before for worker, before in zip(started, begun, strict=True))
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.wait()
        return Measured(one.s, one.cpu_s + cpu_s, one.mb)


def engine(bench: Bench, rounds: int) -> None:
    """Calls a second of one worker and of two, and what carrying a job costs."""
    found = program()
    if found is None:
        sys.exit("the engine needs redis-server or valkey-server")
    broker = Broker(found, bench.folder / "redis")
    measured: dict[tuple[int, int], list[Measured]] = {}
    try:
        measure = Engine(bench, broker).measured
        for _ in range(rounds):
            for workers in (0, 1, 2):
                for size in ENGINE_SIZES:
                    measured.setdefault((workers, size), []).append(measure(size, workers))
    finally:
        broker.kill()
    calls = ENGINE_SIZES[1] - ENGINE_SIZES[0]
    of = {}
    for workers in (0, 1, 2):
        small, large = (median(measured[workers, size]) for size in ENGINE_SIZES)
        of[workers] = more = Measured(large.s - small.s, large.cpu_s - small.cpu_s, large.mb)
        who = f"{workers} worker{'' if workers == 1 else 's'}" if workers else "one process"
        print(f"{who:12} {calls / more.s:6.1f} calls a second, {1000 * more.cpu_s / calls:5.2f} ms CPU a job")
    print(f"calls a second of two workers, of one's: {of[1].s / of[2].s:.2f} (bound 1.80)")
    print(f"CPU of carrying a job: {1000 * (of[1].cpu_s - of[0].cpu_s) / calls:.2f} ms (bound 3)")


def _cpu_s(pid: int) -> float:
    said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--only", action="append", choices=["speed", "long", "engine"])
    given = parser.parse_args()
    vendor = Vendor(chunk_chars=1000)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), vendor)
            config = (bench.folder / "config.yaml").read_text(encoding="utf-8")
            queue = f"queues: {{q_deepseek_chat: {{concurrency: {CONCURRENCY}}}}}\n"
            (bench.folder / "config.yaml").write_text(config + queue, encoding="utf-8")
            if not given.only or "speed" in given.only:
                speed(bench, given.rounds)
            if not given.only or "long" in given.only:
                long(bench, given.lines)
            if not given.only or "engine" in given.only:
                engine(bench, given.rounds)
    finally:
        vendor.close()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
