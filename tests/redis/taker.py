"""A client in a process of its own, which takes outcomes, says so, and settles none.

python -m tests.redis.taker PROJECT URL COUNT
"""

import asyncio
import sys
from pathlib import Path

from llmtask.batch.broker import Reports, Terms
from llmtask.batch.remote.broker import RemoteBroker
from llmtask.batch.remote.link import Link
from llmtask.batch.remote.payload import Origin
from llmtask.project import load_project
from tests.redis.conftest import DIGEST, RUN, jobs


async def main(folder: str, url: str, count: str) -> None:
    origin = Origin(RUN, "a spec", DIGEST, "batch:r1")
    broker = RemoteBroker(load_project(Path(folder)), Reports(None), Link(url, patience_s=60), origin, Terms())
    await broker.open()
    await broker.put(jobs(int(count)))
    taken = 0
    while taken < int(count):
        taken += len(await broker.take())
    sys.stdout.write("taken\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
