"""Workers in processes of their own, as `llmtask worker` starts them."""

import subprocess
import sys
import time
from pathlib import Path

from llmtask.project import Project

LEASE_S = 5
_STARTS_S = 30.0


class Crew:
    """Workers of one project at a time."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._count = 0
        self.workers: list[subprocess.Popen[bytes]] = []

    def hire(self, project: Project, count: int = 2, *more: str) -> None:
        """Start workers, and wait until they are there."""
        first = self._count
        for _ in range(count):
            self._count += 1
            argv = [sys.executable, "-m", "llmtask", "worker", "--broker", self._url, "--name", f"w{self._count}"]
            argv += ["--lease", str(LEASE_S), "--project", str(project.root), "--trust", *more]
            with self.log(self._count).open("wb") as said:
                self.workers.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said))
        until = time.monotonic() + _STARTS_S
        for number in range(first + 1, self._count + 1):
            while b" at redis://" not in self.log(number).read_bytes():
                assert time.monotonic() < until, self.said()
                time.sleep(0.02)

    def dismiss(self) -> None:
        """End them as a crash would."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers.clear()

    def log(self, number: int) -> Path:
        return self._folder / f"w{number}.log"

    def said(self) -> str:
        return "\n".join(self.log(number + 1).read_text(errors="replace") for number in range(self._count))
