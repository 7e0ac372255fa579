"""What a batch needs of whoever carries its jobs: in this process, or to workers on many machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmtask.batch.job import Job, Outcome
from llmtask.money import Cost
from llmtask.service.lanes import Alert, QueueState
from llmtask.usage import UsageLog


class Known(Protocol):
    """Tells what a journal has: a broker may tell it again after its client was killed."""

    def was_told(self, message: str) -> bool:
        """Whether what a message says of calls and costs is in the sum, as `Outcome.told` names it."""
        ...

    def is_over(self, key: str) -> bool:
        """Whether a job is done, or has failed."""
        ...


def _tell_nobody(_: str, __: str) -> None:
    """What becomes of alerts that nobody wants."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Where a batch tells of its calls and of its troubles."""

    log: UsageLog | None
    """The usage log; None for none."""
    alert: Alert = _tell_nobody
    known: Known | None = None
    """What the journal has; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How the jobs of a batch are done, this time."""

    concurrency: int | None = None
    """The most calls of a queue at once; the queue's own where that is less."""
    most: Cost | None = None
    """The most that they may cost from now on."""
    retry: bool = False
    """Whether jobs that failed before are done again: what came of them and was not taken yet is dropped."""


class Broker(Protocol):
    """Carries jobs to those who do them, and their outcomes back.

    A job that it has, or whose outcome it still holds, is not taken twice. An outcome stays with it until it is
    settled: whoever was killed between the two gets it again. Rows of calls are in the usage log when the outcome of
    their job is given.
    """

    async def open(self) -> None:
        """Begin to carry.

        Raises:
            LlmtaskError: There is nobody to carry for it, or a model cannot be asked.
        """
        ...

    def room(self, queue_id: str) -> int:
        """How many more jobs of a queue it takes now; more would only wait with it."""
        ...

    async def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs.

        Raises:
            BrokerError: They are nowhere; put them again later.
        """
        ...

    async def take(self) -> Sequence[Outcome]:
        """The next outcomes, when there are any.

        Raises:
            BrokerError: It cannot be reached, and tries no more.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Give up outcomes: the journal has them."""
        ...

    async def stop(self, why: str) -> None:
        """Begin no more: what is being done comes to its end, what waits comes back pending."""
        ...

    def queues(self) -> Sequence[QueueState]:
        """How its queues stand."""
        ...

    async def aclose(self) -> None:
        """Stop at once. What this process does is broken off, its rows closed as interrupted; workers end theirs."""
        ...
