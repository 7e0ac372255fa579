"""Start-up, overhead and memory of the commands, as ratios to named references measured in the same run.

python bench/run.py [--rounds N]

Whole processes, interleaved, medians. The vendor is a loopback server with no delay of its own. Bounds are those that
the project holds itself to; the script prints, it does not judge.
"""

import argparse
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.wire.vendor import Reply, VendorServer  # noqa: E402

from llmtask.usage import UsageLog, UsageRow, new_id, timestamp  # noqa: E402  # after the path

KEY = "sk-bench"
MATCH = {
    "match_score": 82,
    "overall_assessment": "firsttext " + "good " * 60,
    "strengths": [{"point": f"point {i}", "evidence": "evidence " * 8} for i in range(5)],
    "weaknesses": [{"point": f"point {i}", "suggestion": "suggestion " * 8} for i in range(3)],
    "cover_letter_script": "letter " * 80,
}
BARE = """
import sys
from langchain_openai.chat_models.base import BaseChatOpenAI
model = BaseChatOpenAI(model="deepseek-flash", base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0,
                       stream_usage=True, extra_body={"thinking": {"type": "disabled"}})
for chunk in model.stream([("system", "Answer in JSON."), ("user", open(sys.argv[3]).read())]):
    pass
"""
IMPORTS = "import typer, rich.console, pydantic, yaml"


def measured(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of a process."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    error = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{argv} exits {process.returncode}: {error.decode()}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def rows(path: Path, count: int) -> None:
    """A usage log of so many calls over the last 30 days."""
    log = UsageLog(path)
    log.check()
    now = datetime.now(UTC)
    names = list(UsageRow.__dataclass_fields__)
    values = (
        {
            "id": new_id(),
            "task_template_id": ("job_match", "resume_summary")[i % 2],
            "provider": "deepseek",
            "model_id": ("deepseek-chat", "deepseek-reasoner")[i % 2],
            "input_tokens": 2000,
            "output_tokens": 500,
            "total_tokens": 2500,
            "latency_ms": 4000 + i % 1000,
            "cost": 0.004,
            "cost_nanos": 4_000_000,
            "currency": "CNY",
            "is_stream": 1,
            "is_success": 1,
            "created_at": timestamp(now - timedelta(seconds=i * 2_592_000 / count)),
            "attempt": 1,
            "run_id": new_id(),
            "cached_tokens": 0,
            "reasoning_tokens": 0,
            "is_estimate": 0,
        }
        for i in range(count)
    )
    connection = log._opened()  # a bench fills it faster than one call at a time would
    connection.execute("BEGIN")
    sql = f"INSERT INTO llm_usage_logs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    connection.executemany(sql, (tuple(row.get(name) for name in names) for row in values))
    connection.execute("COMMIT")
    log.close()


def first_text_ms(server: VendorServer, argv: list[str], env: dict[str, str]) -> float:
    """From the first piece's sending to its showing on a terminal, in milliseconds."""
    delay_s = 1.0
    server.queue(Reply(json.dumps(MATCH), first_byte_delay_s=delay_s, chunk_chars=64))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {**env, "TERM": "xterm-256color"})
    seen, shown_at = b"", 0.0
    while True:
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            break
        if not shown_at and b"firsttext" in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen):
            shown_at = time.monotonic()
    os.waitpid(pid, 0)
    return (shown_at - server.requests[-1].received_at - delay_s) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, VendorServer("deepseek", key=KEY) as server:
        work = Path(folder)
        (work / "config.yaml").write_text(
            f"providers: {{deepseek: {{base_url: {server.base_url}}}}}\n", encoding="utf-8"
        )
        own = {
            "DEEPSEEK_API_KEY": KEY,
            "LLMTASK_DB": str(work / "u.db"),
            "LLMTASK_PROJECT": folder,
            "LLMTASK_TRUST": "1",
        }
        env = {**os.environ, **own}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        rows(work / "big.db", 100_000)
        report(work, server, env, rounds)


def report(work: Path, server: VendorServer, env: dict[str, str], rounds: int) -> None:
    server.queue(Reply(json.dumps(MATCH), chunk_chars=16))
    llmtask, resume = [sys.executable, "-m", "llmtask"], str(ROOT / "examples/resume.en.md")
    imports, bare = [sys.executable, "-c", IMPORTS], [sys.executable, "-c", BARE, server.base_url, KEY, resume]
    run = [*llmtask, "run", "job_match", "--locale", "en", "-i", resume]
    commands = {
        IMPORTS: (imports, None, 0.0),
        "llmtask --version": ([*llmtask, "--version"], IMPORTS, 1.3),
        "llmtask --help": ([*llmtask, "--help"], IMPORTS, 1.8),
        "llmtask route": ([*llmtask, "route", "job_match"], IMPORTS, 1.8),
        "llmtask usage report, 100,000 rows": (
            [*llmtask, "usage", "report", "--db", str(work / "big.db")],
            IMPORTS,
            2.5,
        ),
        "bare script: import, one streamed call": (bare, None, 0.0),
        "llmtask run, streamed": (run, "bare script: import, one streamed call", 1.15),
    }
    for argv, _, _ in commands.values():
        measured(argv, env)  # once, for the caches
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, (argv, _, _) in commands.items():
            found[name].append(measured(argv, env))
    seconds: Callable[[str], float] = lambda name: statistics.median(one[0] for one in found[name])  # noqa: E731
    memory: Callable[[str], float] = lambda name: statistics.median(one[1] for one in found[name])  # noqa: E731
    print(f"{'':46} {'s':>6} {'ratio':>6} {'bound':>6} {'MB':>6} {'ratio':>6}")
    for name, (_, reference, bound) in commands.items():
        ratio = f"{seconds(name) / seconds(reference):6.2f} {bound:6.2f}" if reference else " " * 13
        of_memory = f"{memory(name) / memory(reference):6.2f}" if reference else ""
        print(f"{name:46} {seconds(name):6.3f} {ratio} {memory(name):6.1f} {of_memory}")
    times = [first_text_ms(server, run, env) for _ in range(max(rounds // 3, 1))]
    print(f"\nfirst streamed text on the terminal: {statistics.median(times):.0f} ms after it was sent (bound 50)")


if __name__ == "__main__":
    main()
