"""What tests of batches over many machines stand on: a server, workers in processes of their own, and a client."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmtask.batch.broker import Reports, Terms
from llmtask.batch.job import Inputs, Job, Outcome, State, job_key
from llmtask.batch.remote.payload import Origin
from llmtask.project import Project
from llmtask.usage import UsageLog
from tests.conftest import MakeProject
from tests.redis.server import Server

DIGEST = "d1"
RUN = "r1"
ROOT = Path(__file__).parents[2]
CONFIG = "queues:\n  slow: {concurrency: 4}\n  wide: {concurrency: 16}\n"
_PATIENCE_S = 120.0


@dataclass
class Call:
    """A call as `labour` wrote it down."""

    key: str
    worker: str
    begun: float
    ended: float | None = None


@dataclass
class Site:
    """A project, its broker, and who works for it."""

    project: Project
    server: Server
    folder: Path
    workers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def log(self) -> UsageLog:
        return UsageLog(self.folder / "usage.db")

    def worker(self, name: str, digest: str = DIGEST) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "tests.redis.labour", self.server.url, str(self.project.root), name, digest]
        env = os.environ | {"PYTHONPATH": f"{ROOT / 'cli'}{os.pathsep}{ROOT}"}
        said = (self.folder / f"{name}.log").open("a")
        with said:
            process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=said, stderr=said, text=True)
        self.workers.append(process)
        return process

    def taker(self, count: int) -> "subprocess.Popen[str]":
        """A client in a process of its own, which takes outcomes, says so, and settles none."""
        argv = [sys.executable, "-m", "tests.redis.taker", str(self.project.root), self.server.url, str(count)]
        env = os.environ | {"PYTHONPATH": f"{ROOT / 'cli'}{os.pathsep}{ROOT}"}
        with (self.folder / "taker.log").open("a") as said:
            process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=said, text=True)
        self.workers.append(process)
        return process

    def calls(self) -> list[Call]:
        """All calls that were begun, in that order."""
        file = self.project.root / "calls"
        found: list[Call] = []
        for line in file.read_text().splitlines() if file.exists() else ():
            key, what, worker, at = line.split()
            if what == "begin":
                found.append(Call(key, worker, float(at)))
            else:
                open_one = [one for one in found if one.key == key and one.worker == worker and one.ended is None]
                open_one[0].ended = float(at)
        return found

    async def until(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not is_so():
            assert time.monotonic() < until, self.said()
            await asyncio.sleep(0.02)

    def said(self) -> str:
        return "\n".join(f"{file.name}: {file.read_text()[-4000:]}" for file in self.folder.glob("*.log"))

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[Any]:
        from llmtask.batch.remote.broker import RemoteBroker
        from llmtask.batch.remote.link import Link

        origin = Origin(RUN, options.pop("spec", "a spec"), DIGEST, "batch:r1")
        link = Link(self.server.url, patience_s=options.pop("patience_s", 60))
        reports = Reports(self.log, known=options.pop("known", None))
        broker = RemoteBroker(self.project, reports, link, origin, Terms(**options))
        try:
            await broker.open()
            yield broker
        finally:
            await broker.aclose()

    async def outcomes(self, broker: Any, count: int, *, settles: bool = True) -> dict[str, Outcome]:
        """Take until so many jobs have an outcome; none may come twice."""
        found: dict[str, Outcome] = {}
        async with asyncio.timeout(_PATIENCE_S):
            while len(found) < count:
                some = await broker.take()
                for one in some:
                    assert one.key not in found
                    found[one.key] = one
                if settles:
                    await broker.settle(some)
        return found


@pytest.fixture
def site(project: MakeProject, broker_server: Server, tmp_path: Path) -> Iterator[Site]:
    """A project with a broker."""
    made = Site(project(CONFIG), broker_server, tmp_path)
    yield made
    for process in made.workers:
        process.kill()
        process.communicate()


def jobs(count: int, queue_id: str = "slow", **texts: object) -> list[Job]:
    """Different jobs, whose inputs say what `labour` is to do."""
    made = []
    for number in range(count):
        inputs = Inputs({"number": str(number)} | {name: str(value) for name, value in texts.items()}).to_json()
        made.append(Job(job_key(DIGEST, f"{queue_id}{inputs}"), queue_id, inputs))
    return made


def are_done(found: dict[str, Outcome], given: Sequence[Job]) -> bool:
    """Whether each job has the answer to its own inputs."""
    return {one.key for one in given} == set(found) and all(
        found[one.key].state is State.DONE
        and json.loads(found[one.key].answer or "") == json.loads(one.inputs)["texts"]
        for one in given
    )
