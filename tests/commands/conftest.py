"""Runs the command line: in this process, or as a process of its own."""

import importlib
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmtask.main import app
from llmtask.usage import UsageLog, UsageRow

# `run` brings LangChain in beside the main thread. A test that is over meanwhile takes the warning filters back that
# LangChain's own dependencies set while they come in, and the import fails: here they come in before any test.
for driver in ("openai", "offline"):
    importlib.import_module(f"llmtask.providers.{driver}_driver")
importlib.import_module("llmtask.providers.chat")

ROOT = Path(__file__).parents[2]
RESUME = "陈远\n八年后端开发经验，熟悉高并发场景下的一致性设计。\n主导订单库分库分表，全程不停机，未发生资损。\n"
JOB = "招聘高级后端工程师\n要求五年以上支付系统经验，熟悉分布式事务。\n"
KEYS = ("DEEPSEEK_API_KEY", "ZHIPU_API_KEY", "ZHIPUAI_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL")
MAIN = ("-c", "import sys; sys.argv[0] = 'llmtask'; from llmtask.__main__ import main; main()")


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str
    log: Path

    @property
    def rows(self) -> list[UsageRow]:
        """The rows of the usage log, the oldest first."""
        return UsageLog(self.log).latest(100)[::-1]


Command = Callable[..., Outcome]
Process = Callable[..., "subprocess.CompletedProcess[str]"]
WriteFiles = Callable[[dict[str, str | bytes]], Path]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without keys, with a log of its own beside it."""
    monkeypatch.setenv("LLMTASK_DB", str(tmp_path / "usage.db"))
    for name in (*KEYS, "LLMTASK_PROJECT", "LLMTASK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command in this process; `stdin` is what is piped into it."""

    def run(*argv: str, stdin: str | bytes = "") -> Outcome:
        result = CliRunner().invoke(app, argv, input=stdin)
        return Outcome(result.exit_code, result.stdout, result.stderr, tmp_path / "usage.db")

    return run


@pytest.fixture
def run(command: Command, resume: str) -> Command:
    """Runs job_match on the resume with the embedded model; takes more arguments."""
    return lambda *argv, **more: command("run", "job_match", "--input", resume, "--model", "offline", *argv, **more)


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that finds this checkout and is told nothing else about the terminal."""
    quiet = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**quiet, "PYTHONPATH": str(ROOT / "cli"), "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **more}


@pytest.fixture
def process() -> Process:
    """Runs `python -m llmtask` as a process; `env` adds to its environment, the rest goes to subprocess.run."""

    def run(*argv: str, env: dict[str, str] | None = None, **more: Any) -> "subprocess.CompletedProcess[str]":
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.run(
            [sys.executable, "-m", "llmtask", *argv],
            env=environment(**(env or {})),
            **{**pipes, **more},
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def files(work: Path) -> WriteFiles:
    """Writes files by path into the working folder, which is a project when config.yaml is among them."""

    def write(contents: dict[str, str | bytes]) -> Path:
        for name, content in contents.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return work

    return write


@pytest.fixture
def resume(files: WriteFiles) -> str:
    """The path of a Chinese resume."""
    files({"resume.md": RESUME})
    return "resume.md"


@pytest.fixture
def job(files: WriteFiles) -> str:
    """The path of a job posting."""
    files({"job.md": JOB})
    return "job.md"


@pytest.fixture
def screenshot(files: WriteFiles) -> str:
    """The path of a real PNG of one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    files({"shot.png": b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")})
    return "shot.png"


@pytest.fixture
def silent_vendor(files: WriteFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A DeepSeek that takes connections and never answers; the working folder is a project that points at it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        files({"config.yaml": f"providers: {{deepseek: {{base_url: '{url}'}}}}\n"})
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
        yield server
