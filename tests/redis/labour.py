"""A worker in a process of its own, whose jobs sleep in place of asking a model, and write down when they did.

    python -m tests.redis.labour URL PROJECT NAME DIGEST

A job's inputs are texts: `sleep`, seconds; `deadly`, if it takes the worker with it; `broken`, if it has a bug. A start
or an end is a line in `calls` in the project's folder: the job's key, `begin` or `end`, the worker, and when.
"""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from llmtask import interrupts
from llmtask.batch.job import Job, Outcome, State
from llmtask.batch.lanes import Lanes
from llmtask.batch.remote.jobs import Duty
from llmtask.batch.remote.lanes import Shared, SharedLane
from llmtask.batch.remote.ledger import RunLedger
from llmtask.batch.remote.news import News
from llmtask.batch.remote.payload import Origin
from llmtask.batch.remote.places import Places
from llmtask.batch.remote.worker import QueueWorker
from llmtask.errors import Failure, UsageError
from llmtask.project import load_project
from llmtask.service import Lane, StoppedError
from tests.unit.test_usage_log import row

LEASE_S = 2.0


class Sleeper:
    """Does jobs by sleeping, each in its place of a lane that all workers share."""

    def __init__(self, name: str, calls: int, ledger: RunLedger, lanes: Lanes) -> None:
        self.name, self.calls, self.ledger, self.lanes = name, calls, ledger, lanes
        self.held: dict[str, Lane] = {}

    async def do(self, job: Job) -> Outcome:
        lane = self.lanes.queue(job.queue_id)
        try:
            await lane.enter()
        except StoppedError as error:
            return Outcome(job.key, State.PENDING, failure=lane.stopped_by, reason=str(error))
        self.held[job.key] = lane
        said = json.loads(job.inputs)["texts"]
        one = row(run_id=f"run of {job.key}")
        await self.ledger.begin(one)
        self.note(job, "begin")
        await asyncio.sleep(float(said.get("sleep", 0)))
        if said.get("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.note(job, "end")
        self.ledger.finish(replace(one, input_tokens=3, total_tokens=3))
        if said.get("broken"):
            raise ValueError
        if said.get("broke"):
            lane.stop("no balance", Failure.NO_BALANCE)
            return Outcome(job.key, State.PENDING, failure=Failure.NO_BALANCE, reason="no balance", calls=1)
        return Outcome(job.key, State.DONE, answer=json.dumps(said), calls=1)

    def note(self, job: Job, what: str) -> None:
        os.write(self.calls, f"{job.key} {what} {self.name} {time.monotonic()}\n".encode())

    def leave(self, key: str) -> None:
        lane = self.held.pop(key, None)
        if lane is not None:
            lane.leave()

    def stop(self, why: str) -> None:
        self.lanes.stop(why)

    def stop_queue(self, queue_id: str, why: str, failure: Failure | None) -> None:
        self.lanes.queue(queue_id).stop(why, failure)

    async def aclose(self) -> None:
        pass


def main(url: str, folder: str, name: str, digest: str) -> None:
    calls = os.open(Path(folder) / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hire(origin: Origin, ledger: RunLedger, places: Places, news: News) -> Sleeper:
        if origin.spec == "unknown":
            message = "there is no such task"
            raise UsageError(message)
        if origin.digest != digest:
            message = "give it the same project"
            raise UsageError(message)
        return Sleeper(
            name, calls, ledger, Lanes(project, None, news.alert, partial(SharedLane, Shared(places, news.stopped)))
        )

    def tell(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    interrupts.take()
    project = load_project(Path(folder))
    duty = Duty(hire=hire, lease_s=LEASE_S, tell=tell)
    worker = QueueWorker(project, url, list(project.config.queues), duty, name=name)
    with interrupts.drained(worker.on_signal):
        asyncio.run(worker.run())


if __name__ == "__main__":
    main(*sys.argv[1:])
