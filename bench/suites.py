"""Suites at speed: `llmtask test` against a bare loop over the same client class, promptfoo and pydantic-evals.

python bench/suites.py [--rounds N] [--cases N] [--only PART]... [--promptfoo COMMAND] [--pydantic-evals PYTHON]

Whole processes, interleaved, medians; the vendor is a loopback server in a process of its own, on a core of its own
where the system can say so. Every runner must have asked every case once, with the same messages, and passed all:
nobody wins by failing. Bounds are those that the project holds itself to; the script prints, it does not judge.

The peers are measured where they are: `npm install promptfoo` (its node first on PATH, or COMMAND is "NODE PROMPTFOO"),
`pip install pydantic-evals openai` (PYTHON is that environment's); else LLMTASK_BENCH_PROMPTFOO and
LLMTASK_BENCH_PYDANTIC_EVALS name them. They don't stream: that is the cheaper way to take an answer.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(ROOT))

from tests.wire.formats import Reply  # noqa: E402
from tests.wire.vendor import Request, VendorServer  # noqa: E402

from llmtask.project import load_project  # noqa: E402  # after the path
from llmtask.service import plan  # noqa: E402

KEY = "sk-bench"
CONCURRENCY = 50
ANSWER_S = 0.2
MANY = 10_000
SIZES = (500, 2500)
"""Items of the two suites whose difference gives the cost of one."""
RUN = "llmtask test --fresh"
BARE = "bare loop, same client class"
PROMPTFOO, PYDANTIC_EVALS = "promptfoo eval --no-cache", "pydantic-evals, openai SDK"

RESUME = (ROOT / "examples/resume.en.md").read_text(encoding="utf-8")
EVIDENCE = [
    "Designed and analyzed 46 A/B tests on checkout and onboarding",
    "Replaced 30 ad hoc reports with 6 Tableau dashboards",
    "Built a churn model in Python (scikit-learn)",
]
ANSWER = {
    "match_score": 78,
    "overall_assessment": "No posting was given, so this is judged as a senior product analyst. You have shown that "
    "your experiments change what a team ships. The greatest risk is that nothing here shows work with dbt. Apply.",
    "strengths": [{"point": "You have proved this with results of your own.", "evidence": quote} for quote in EVIDENCE],
    "weaknesses": [
        {"point": "The resume shows no work with dbt.", "suggestion": "Take a course, and say so in a letter."},
        {"point": "It is not clear how large the team was.", "suggestion": "Add the number of people to each job."},
    ],
    "cover_letter_script": "Dear hiring team, I turn unclear questions into experiments that teams act on. " * 5,
}
CHECKS = [
    {"check": "value", "at": "match_score", "between": [60, 90]},
    {"check": "value", "at": "strengths", "length": [3, 6]},
    {"check": "grounded", "at": "strengths[].evidence"},
    {"check": "language"},
]
ASSERTIONS = [  # the same for promptfoo, which has no check on a language
    "JSON.parse(output).match_score >= 60 && JSON.parse(output).match_score <= 90",
    "JSON.parse(output).strengths.length >= 3 && JSON.parse(output).strengths.length <= 6",
    "JSON.parse(output).strengths.every((one) => context.vars.user.includes(one.evidence))",
    r"!/[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]/.test(output)",
]
QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_DEBUG_LOG": "1",  # its log files: 0.123.1 dies of "write after end" on them, after the run
    "PROMPTFOO_DISABLE_ERROR_LOG": "1",
}


class Counting(VendorServer):
    """A vendor that answers everybody alike, and keeps of what it was asked no more than a digest."""

    def __init__(self, chunk_chars: int) -> None:
        """Write the answer, once."""
        super().__init__("deepseek", key=KEY, respond=self._answer)
        self.asked: list[bytes] = []
        self.delay_s = 0.0
        self._text = json.dumps(ANSWER)
        body = {"model": "deepseek-flash", "stream": True, "stream_options": {"include_usage": True}}
        said = self.vendor.answer(
            {**body, "thinking": {"type": "disabled"}}, Reply(self._text, chunk_chars=chunk_chars)
        )
        self._events = (*said.chunks, b"".join(said.tail))

    def receive(self, request: Request) -> None:
        """Keep the digest."""
        text = json.dumps((request.body or {}).get("messages"), sort_keys=True)
        self.asked.append(hashlib.sha256(text.encode()).digest())

    def _answer(self, _: Request) -> Reply:
        return Reply(self._text, raw_events=self._events, first_byte_delay_s=self.delay_s)


def serve(control: Connection, core: int | None, chunk_chars: int) -> None:
    """The vendor: told how long to wait, it says what came since it was told the last time."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with Counting(chunk_chars) as server:
        control.send(server.base_url)
        while (told := control.recv()) is not None:
            server.delay_s = told
            server.wait_idle(5)
            different = sorted(set(server.asked))
            digest = hashlib.sha256(b"".join(different)).hexdigest()
            control.send((len(server.asked), server.completed, len(different), digest))
            server.asked.clear()
            server.completed = 0


class Vendor:
    """The vendor's process."""

    def __init__(self, chunk_chars: int) -> None:
        """Start it; from here on this process and those that it starts keep off its core."""
        own = None
        if hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
            own = cores[0]
            os.sched_setaffinity(0, {cores[1]})
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, own, chunk_chars), daemon=True)
        self._process.start()
        self.base_url: str = self._control.recv()

    def answer_after(self, seconds: float) -> tuple[int, int, int, str]:
        """Say how long answers take; what was asked before: requests, whole answers, different ones, a digest."""
        self._control.send(seconds)
        found: tuple[int, int, int, str] = self._control.recv()
        return found

    def close(self) -> None:
        """End it."""
        self._control.send(None)
        self._process.join()


@dataclass(frozen=True)
class Command:
    """A process that is measured."""

    argv: Sequence[str]
    says: str
    """What it must print, as a regular expression."""
    asks: int = 0
    """Requests that it must make."""
    answers_after_s: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What a process took: seconds, seconds of CPU, MB at its peak."""

    s: float
    cpu_s: float
    mb: float
    asked: str = ""
    """A digest of what it asked."""


def median(found: Sequence[Measured]) -> Measured:
    return Measured(*(statistics.median(getattr(one, name) for one in found) for name in ("s", "cpu_s", "mb")))


class Bench:
    """A project with suites of any size, and the commands over them."""

    def __init__(self, folder: Path, vendor: Vendor) -> None:
        """Make the project in a folder."""
        self.folder, self.vendor = folder, vendor
        (folder / "tests").mkdir()
        (folder / "config.yaml").write_text(
            f"providers: {{deepseek: {{base_url: {vendor.base_url}}}}}\n", encoding="utf-8"
        )
        own = {
            "DEEPSEEK_API_KEY": KEY,
            "LLMTASK_DB": str(folder / "usage.db"),
            "LLMTASK_PROJECT": str(folder),
            "LLMTASK_TRUST": "1",
        }
        self.env = {**os.environ, **own}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def suite(self, count: int) -> Path:
        """A suite of so many cases, each with a resume of its own."""
        path = self.folder / f"tests/of{count}.llm.yaml"
        if not path.exists():
            with path.with_name(f"of{count}.jsonl").open("w", encoding="utf-8") as file:
                for index in range(count):
                    file.write(json.dumps({"name": f"c{index}", "inputs": {"resume": resume(index)}}) + "\n")
            said = {"task": "job_match", "models": ["deepseek-chat"], "locales": ["en"], "checks": CHECKS}
            said["cases_from"] = [{"file": f"of{count}.jsonl"}]
            path.write_text(json.dumps(said), encoding="utf-8")  # JSON is YAML
        return path

    def test(self, count: int, *options: str, asks: bool = False, answers_after_s: float = 0.0) -> Command:
        """`llmtask test` of a suite."""
        argv = [sys.executable, "-m", "llmtask", "test", str(self.suite(count)), *options]
        return Command(argv, rf"(?m)^{count:,} passed · ", count if asks else 0, answers_after_s)

    def tapes(self, count: int) -> Path:
        """The cassettes of a suite."""
        folder = self.folder / f"tapes{count}"
        if not folder.exists():
            self.measured(self.test(count, "--fresh", "--concurrency", "50", "--record", str(folder), asks=True))
        return folder

    def measured(self, command: Command) -> Measured:
        """Run a command; see that it did what it must."""
        self.vendor.answer_after(command.answers_after_s)
        path = self.folder / "said.txt"
        with path.open("wb") as said:
            begun = time.perf_counter()
            process = subprocess.Popen(
                command.argv,
                env={**self.env, **command.env},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            took = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        text = path.read_text(encoding="utf-8", errors="replace")
        asked, whole, different, digest = self.vendor.answer_after(0)
        is_right = asked == whole == different == command.asks and re.search(command.says, text)
        if process.returncode != 0 or not is_right:
            counted = f"{asked} requests, {whole} answered, {different} different, of {command.asks}"
            sys.exit(f"{shlex.join(command.argv)} exits {process.returncode}; {counted}:\n{text[-3000:]}")
        return Measured(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, digest)

    def interleaved(self, commands: Mapping[str, Command], rounds: int) -> dict[str, list[Measured]]:
        """Every command, once for the caches and then so often, in turns."""
        for command in commands.values():
            self.measured(command)
        found: dict[str, list[Measured]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                found[name].append(self.measured(command))
        return found

    def messages(self, count: int) -> Iterator[list[dict[str, str]]]:
        """What a run asks of each case."""
        project = load_project(self.folder)
        for index in range(count):
            options = {"project": project, "locale": "en", "model_id": "deepseek-chat", "fall_back": False}
            request = plan("job_match", {"resume": resume(index)}, options).request  # type: ignore[arg-type]
            yield [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]


def resume(index: int) -> str:
    return f"{RESUME}\nReference {index}\n"


def show(name: str, found: Measured | None, ratio: float | None = None, bound: str = "") -> None:
    values = f"{found.s:7.2f} {found.cpu_s:7.2f} {found.mb:6.0f}" if found else " " * 22
    print(f"{name:44} {values} {f'{ratio:6.2f}' if ratio is not None else '':>6} {bound:>12}", flush=True)


def asking(bench: Bench, given: argparse.Namespace) -> None:
    """Real calls: the runners against a bare loop."""
    count = given.cases
    commands = {}
    for bare, run, how in ((BARE, RUN, "whole"), (f"{BARE}, streamed", f"{RUN} --stream", "stream")):
        argv = [sys.executable, str(PEERS / "bare.py"), str(bench.suite(count)), str(CONCURRENCY), how]
        commands[bare] = Command(argv, rf"^{count} answers$", count, ANSWER_S)
        options = ("--fresh", "--concurrency", str(CONCURRENCY), *(["--stream"] if how == "stream" else []))
        commands[run] = bench.test(count, *options, asks=True, answers_after_s=ANSWER_S)
    if given.promptfoo and shutil.which(given.promptfoo[0]):
        commands[PROMPTFOO] = promptfoo(bench, count, given.promptfoo)
    if given.pydantic_evals and shutil.which(given.pydantic_evals):
        commands[PYDANTIC_EVALS] = pydantic_evals(bench, count, given.pydantic_evals)
    found = bench.interleaved(commands, given.rounds)
    if len({one.asked for measured in found.values() for one in measured}) != 1:
        sys.exit("the runners did not ask the same")
    ours, medians = median(found[RUN]), {name: median(measured) for name, measured in found.items()}
    for bare, run in ((BARE, RUN), (f"{BARE}, streamed", f"{RUN} --stream")):
        show(bare, medians[bare])
        show(run, medians[run], medians[run].s / medians[bare].s, "1.25")
    for name, bound in ((PROMPTFOO, "0.50"), (PYDANTIC_EVALS, "")):
        if name in medians:
            show(name, medians[name])
            show(f"  llmtask test, of it: {name.split()[0].strip(',')}", None, ours.s / medians[name].s, bound)
        else:
            print(f"{name:44} not installed: skipped")


def promptfoo(bench: Bench, count: int, command: Sequence[str]) -> Command:
    """The same cases, messages and parameters for promptfoo."""
    messages = [*bench.messages(count)]
    config = {
        "temperature": 0.1,
        "max_tokens": 8192,
        "response_format": {"type": "json_object"},
        "passthrough": {"thinking": {"type": "disabled"}},
        "apiBaseUrl": bench.vendor.base_url,
        "apiKey": KEY,
    }
    document = {
        "prompts": ["file://prompt.json"],
        "providers": [{"id": "openai:chat:deepseek-flash", "config": config}],
        "defaultTest": {
            "vars": {"system": messages[0][0]["content"]},
            "assert": [{"type": "javascript", "value": value} for value in ASSERTIONS],
        },
        "tests": [{"vars": {"user": user["content"]}} for _, user in messages],
    }
    folder = bench.folder / "promptfoo"
    folder.mkdir(exist_ok=True)
    asked = [{"role": "system", "content": "{{system}}"}, {"role": "user", "content": "{{user}}"}]
    (folder / "prompt.json").write_text(json.dumps(asked), encoding="utf-8")
    (folder / "promptfooconfig.json").write_text(json.dumps(document), encoding="utf-8")
    argv = [*command, "eval", "-c", str(folder / "promptfooconfig.json"), "--no-cache", "-j", str(CONCURRENCY)]
    argv += ["--no-table", "--no-progress-bar", "--no-share"]
    env = {**QUIET, "PROMPTFOO_CONFIG_DIR": str(folder / "home")}
    return Command(argv, rf"{count} passed", count, ANSWER_S, env)


def pydantic_evals(bench: Bench, count: int, python: str) -> Command:
    """The same cases and messages for pydantic-evals."""
    path = bench.folder / "messages.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(messages) + "\n" for messages in bench.messages(count))
    argv = [python, str(PEERS / "evals.py"), str(path), str(CONCURRENCY), bench.vendor.base_url, KEY]
    return Command(argv, rf"^{count} passed$", count, ANSWER_S)


def held(bench: Bench, given: argparse.Namespace) -> None:
    """Answers that are there already."""
    count, results = given.cases, str(bench.folder / "cache.db")
    replay = bench.test(count, "--replay", str(bench.tapes(count)))
    bench.measured(bench.test(count, "--fresh", "--concurrency", "50", "--results", results, asks=True))
    commands = {"--cache": bench.test(count, "--cache", "--results", results), "--replay": replay}
    for name, found in bench.interleaved(commands, given.rounds).items():
        show(f"llmtask test {name}", median(found), None, "1.0 s")


def per_item(bench: Bench, given: argparse.Namespace) -> None:
    """What pytest adds to an item: two sizes, replayed with it and without it; start-up falls out of the difference."""
    commands = {}
    for count in SIZES:
        suite, tapes = bench.suite(count), bench.tapes(count)
        argv = [sys.executable, str(PEERS / "library.py"), str(suite), str(tapes)]
        commands[f"Session alone, {count:,} replayed"] = Command(argv, rf"(?m)^{count:,} passed · ")
        commands[f"llmtask test, {count:,} replayed"] = bench.test(count, "--replay", str(tapes))
    found = bench.interleaved(commands, given.rounds)
    for name, measured in found.items():
        show(name, median(measured))
    for unit in ("s", "cpu_s"):
        rounds = zip(*([getattr(one, unit) for one in measured] for measured in found.values()), strict=True)
        each = [((tests - test) - (alones - alone)) / (SIZES[1] - SIZES[0]) for alone, test, alones, tests in rounds]
        name = "pytest, per item" if unit == "s" else "  the same in CPU time"
        print(f"{name:44} {statistics.median(each) * 1000:7.3f} ms {'0.5 ms' if unit == 's' else '':>31}")


def many(bench: Bench, given: argparse.Namespace) -> None:
    """The memory of a large run."""
    # Whoever makes the usage log imports sqlite-utils, and that pandas where it is installed: 80 MB.
    bench.tapes(given.cases)
    command = bench.test(given.many, "--fresh", "--concurrency", str(CONCURRENCY), asks=True)
    found = median([bench.measured(command) for _ in range(max(given.rounds // 5, 1))])
    show(f"llmtask test, {given.many:,} cases", found, None, "300 MB")


def help_(bench: Bench, given: argparse.Namespace) -> None:
    """The start of the command."""
    command = Command([sys.executable, "-m", "llmtask", "test", "--help"], r"--replay")
    found = bench.interleaved({"": command}, given.rounds * 2)
    show("llmtask test --help", median(found[""]), None, "0.4 s")


PARTS = {"help": help_, "real": asking, "held": held, "pytest": per_item, "many": many}


@contextmanager
def benched(chunk_chars: int) -> Iterator[Bench]:
    vendor = Vendor(chunk_chars)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Bench(Path(folder), vendor)
    finally:
        vendor.close()


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--chunk-chars", type=int, default=64, help="of a streamed answer")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--promptfoo", type=shlex.split, default=os.environ.get("LLMTASK_BENCH_PROMPTFOO", "promptfoo"))
    parser.add_argument("--pydantic-evals", default=os.environ.get("LLMTASK_BENCH_PYDANTIC_EVALS"))
    return parser.parse_args()


def main() -> None:
    given = arguments()
    pieces = -(-len(json.dumps(ANSWER)) // given.chunk_chars)
    print(
        f"{given.cases} cases x {len(CHECKS)} checks, {CONCURRENCY} at once; answers of {ANSWER_S} s in {pieces} pieces"
    )
    print(f"load average {os.getloadavg()[0]:.1f} at the start\n")
    print(f"{'':44} {'s':>7} {'CPU s':>7} {'MB':>6} {'ratio':>6} {'bound':>12}")
    with benched(given.chunk_chars) as bench:
        for name, part in PARTS.items():
            if not given.only or name in given.only:
                part(bench, given)
    print(f"\nload average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
