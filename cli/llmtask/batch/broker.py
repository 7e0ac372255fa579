"""What a batch needs of whoever carries its jobs: in this process, or to workers on many machines."""

from collections.abc import Sequence
from typing import Protocol

from llmtask.batch.job import Job, Outcome
from llmtask.service.lanes import QueueState


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
        """Stop at once: what is being done is broken off, its rows closed as interrupted."""
        ...
