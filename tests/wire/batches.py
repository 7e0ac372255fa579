"""What tests of batches over real HTTP share: a project with its input and output, and a vendor that answers."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtask.batch.journal import run_ids
from llmtask.project import Project
from llmtask.usage import UsageLog
from tests.wire.conftest import MATCH
from tests.wire.formats import Reply
from tests.wire.vendor import Request, VendorServer

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 64
QUEUES = {"q_deepseek_chat": {"concurrency": 8}}


def said(request: Request) -> str:
    return "\n".join(str(message["content"]) for message in (request.body or {}).get("messages", ()))


def number(request: Request) -> str:
    """The name of the candidate in a request."""
    return said(request).partition("候选人 ")[2].partition("；")[0]


def answer(request: Request, **reply: Any) -> Reply:
    return Reply(content=json.dumps(MATCH | {"overall_assessment": number(request)}, ensure_ascii=False), **reply)


def answered(server: VendorServer, respond: Callable[[Request], Reply]) -> None:
    server._respond = respond


@dataclass
class Site:
    """A project, its input and its output."""

    project: Project
    folder: Path
    late: int = 0
    """Calls that may begin after a stop: before other workers have heard of it."""

    @property
    def inputs(self) -> Path:
        return self.folder / "in.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def log(self) -> UsageLog:
        return UsageLog(self.folder / "usage.db")

    def write(self, count: int, *, repeat: int = 1) -> None:
        lines = [{"id": f"r{n}", "resume": f"候选人 {n // repeat}；后端工程师，Go，五年。"} for n in range(count)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self.inputs.write_text(text, encoding="utf-8")

    def argv(self, *arguments: str) -> list[str]:
        place = ["--project", str(self.project.root), "--trust", "--db", str(self.folder / "usage.db")]
        return [sys.executable, "-m", "llmtask", "batch", *arguments, *place, "--progress", "plain"]

    def starting(self, *more: str) -> list[str]:
        return self.argv("job_match", "--inputs", str(self.inputs), "--out", str(self.out), *more)

    def run(self, *argv: str, code: int = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, input=stdin)
        assert ran.returncode == code, ran.stderr + ran.stdout
        return ran

    def require_calls(self, count: int, vendor: VendorServer) -> None:
        """Each of so many was asked, at most eight twice: what was in flight at a kill; and each call has its row."""
        asked = Counter(filter(None, map(number, vendor.requests)))  # the kill may cut a request off in the middle
        assert len(asked) == count
        assert asked.total() - count <= 8
        rows = self.log.latest(5 * count)
        assert len({row.id for row in rows}) == len(rows)
        assert len(vendor.requests) <= len(rows) <= asked.total() + 8, "a row is there before its call"
        assert sum(row.is_unfinished for row in rows) <= 8

    @property
    def run_id(self) -> str:
        return run_ids(self.project)[0]

    def lines(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def count(self) -> int:
        """Lines that are written so far."""
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def require_whole(self, count: int) -> None:
        lines = self.lines()
        assert [line["id"] for line in lines] == [f"r{n}" for n in range(count)]
        assert all(line["answer"]["overall_assessment"] == line["id"][1:] for line in lines)


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.005)
