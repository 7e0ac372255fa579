"""Whatever ends a run, whenever: the log is sound, and what was asked for is in it.

A small sample of it runs with every test run; `LLMTASK_SIGNALS=200 pytest -s tests/wire/test_signals.py` runs more, and
`LLMTASK_SIGNALS_SEED=7` other moments. The table that it prints says what came of each signal.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from llmtask.errors import ExitCode
from llmtask.project import Project
from llmtask.usage import UsageLog, UsageRow
from tests.wire.conftest import MATCH
from tests.wire.vendor import Reply, Request, VendorServer

if not sys.platform.startswith("linux"):
    pytest.skip("POSIX signals, and /proc to see when a process takes them", allow_module_level=True)

TIMES = int(os.environ.get("LLMTASK_SIGNALS", "24"))
SEED = int(os.environ.get("LLMTASK_SIGNALS_SEED", "1"))
AT_ONCE = 4
HANGS_S = 30.0
FIRST_BYTE_S, CHUNK_S, CHUNK_CHARS = 0.15, 0.02, 32
ANSWER = json.dumps(MATCH, ensure_ascii=False)
REPLY = Reply(ANSWER, first_byte_delay_s=FIRST_BYTE_S, chunk_delay_s=CHUNK_S, chunk_chars=CHUNK_CHARS)

READER_LEFT = "reader left"  # not sent: the pipe that stdout goes to is closed
CODES = {  # how a process may end that it came upon before its work was done
    "SIGINT": ExitCode.INTERRUPTED,
    "SIGTERM": ExitCode.TERMINATED,
    "SIGHUP": ExitCode.HUNG_UP,
    "SIGQUIT": -signal.SIGQUIT,  # both end a process on the spot
    "SIGKILL": -signal.SIGKILL,
    "SIGPIPE": ExitCode.DONE,  # Python ignores it; what it means is what the next one tests
    READER_LEFT: ExitCode.PIPE_CLOSED,
}
ON_THE_SPOT = ("SIGQUIT", "SIGKILL")


@dataclass
class Shot:
    """One run, and what happens to it when.

    Attributes:
        mark: What its request carries, and its row as `user_id`.
        blow: A signal, or that the reader of stdout leaves.
        after: What the delay counts from: "start", when the process has begun to take signals, or "request".
        delay_s: How long after it.
        arrived: Set when the vendor has its request.
        code: The exit code, once it ended.
        stderr: What it said.
    """

    mark: str
    blow: str
    stream: bool
    after: str
    delay_s: float
    arrived: Event = field(default_factory=Event)
    code: int | None = None
    stderr: str = ""

    def __str__(self) -> str:
        return f"{self.mark}: {self.blow} {self.delay_s:.3f} s after {self.after}, {'' if self.stream else 'no '}stream"


def shots(count: int, seed: int) -> list[Shot]:
    """Every signal in turn, at random moments: on the way to the call, and from the request to the exit."""
    dice = random.Random(seed)  # noqa: S311  # moments, not secrets
    made = []
    for number in range(count):
        after = dice.choice(("start", "request", "request"))
        latest_s = 1.5 if after == "start" else 0.8
        blow = list(CODES)[number % len(CODES)]
        made.append(Shot(f"shot-{number:04}", blow, dice.random() < 0.5, after, dice.uniform(0, latest_s)))
    return made


def takes_signals(pid: int) -> bool:
    """Whether a process has its own handler for SIGTERM, which Python has not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_for(is_so: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + HANGS_S
    while not is_so() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)


def fire(shot: Shot, project: Project, db: Path) -> None:
    """Start a run, strike it, and see how it ends."""
    argv = [
        "run",
        "job_match",
        "--var",
        f"resume={shot.mark} 支付",
        "--user",
        shot.mark,
        "--project",
        str(project.root),
    ]
    form = ["--stream", "--format", "events"] if shot.stream else ["--no-stream", "--format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llmtask", *argv, *form, "--db", str(db)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    wait_for(lambda: takes_signals(process.pid), process)
    if shot.after == "request":
        wait_for(shot.arrived.is_set, process)
    time.sleep(shot.delay_s)
    if shot.blow == READER_LEFT:
        process.stdout.close()
        process.stdout = None
    else:
        process.send_signal(signal.Signals[shot.blow])
    try:
        shot.stderr = process.communicate(timeout=HANGS_S)[1].decode()
    except subprocess.TimeoutExpired:
        process.kill()
        shot.stderr = f"it hangs; {process.communicate()[1].decode()}"
    shot.code = process.returncode


@contextmanager
def range_of(all_shots: list[Shot]) -> Iterator[VendorServer]:
    """A vendor that tells each shot when its request is there."""
    by_mark = {shot.mark: shot for shot in all_shots}

    def respond(request: Request) -> Reply:
        by_mark[mark_of(request)].arrived.set()
        return REPLY

    with VendorServer("deepseek", key=os.environ["DEEPSEEK_API_KEY"], respond=respond) as server:
        yield server


def mark_of(request: Request) -> str:
    text = json.dumps(request.body)
    at = text.index("shot-")
    return text[at : at + 9]


def table(all_shots: list[Shot], requests: "Counter[str]", rows: list[UsageRow]) -> str:
    """What came of each signal, for people."""
    lines = []
    for blow in CODES:
        ours = {shot.mark: shot for shot in all_shots if shot.blow == blow}
        classes = Counter(row.error_class or "success" for row in rows if row.user_id in ours)
        codes = Counter(shot.code for shot in ours.values())
        sent, logged = sum(requests[mark] for mark in ours), sum(classes.values())
        lines.append(
            f"{blow:12} runs {len(ours):3}  requests {sent:3}  rows {logged:3} {dict(classes)}  exits {dict(codes)}"
        )
    return "\n".join(lines)


def misses(shot: Shot, requests: int, rows: list[UsageRow]) -> Iterator[str]:
    """What is not as it should be with one run."""
    ends = {row.error_class or "success" for row in rows}
    is_at_its_end = shot.code is not None and shot.code < 0 and ends == {"success"}  # Python gave the handlers back
    if shot.code not in (CODES[shot.blow], ExitCode.DONE) and not is_at_its_end:
        yield f"exit {shot.code}"
    if "Traceback" in shot.stderr or "ignored in" in shot.stderr or "Error" in shot.stderr:
        yield "it complains"
    if len(rows) < requests:
        yield f"{requests} requests, {len(rows)} rows"
    if len(rows) > requests and not ends <= {"unfinished", "interrupted"}:
        yield f"{requests} requests, {len(rows)} rows: {ends}"
    if "unfinished" in ends and shot.blow not in ON_THE_SPOT:
        yield "its row was left open"
    if shot.code == ExitCode.DONE and ends != {"success"}:
        yield f"it is done, and its row says {ends}"
    if any(row.is_success == bool(row.error_class) for row in rows):
        yield "a row is neither a success nor a failure"


def test_no_signal_at_any_moment_costs_the_log_a_row(vendors: Callable[..., Project], tmp_path: Path) -> None:
    db = tmp_path / "signals.db"
    all_shots = shots(TIMES, SEED)
    with range_of(all_shots) as server, ThreadPoolExecutor(AT_ONCE) as gunners:
        project = vendors(providers={"deepseek": {"base_url": server.base_url}})
        list(gunners.map(lambda shot: fire(shot, project, db), all_shots))
        requests = Counter(mark_of(request) for request in server.requests)
    with closing(UsageLog(db)) as log:
        log.drain()
        rows = log.latest(10 * TIMES)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    sys.stdout.write(f"\n{table(all_shots, requests, rows)}\n")
    assert not list(tmp_path.glob("signals.db.spool/*.json"))
    assert len({row.id for row in rows}) == len(rows)
    wrong: dict[str, Any] = {}
    for shot in all_shots:
        problems = list(misses(shot, requests[shot.mark], [row for row in rows if row.user_id == shot.mark]))
        if problems:
            wrong[str(shot)] = (problems, shot.stderr)
    assert wrong == {}
