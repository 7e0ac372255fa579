"""The lanes of a batch: one for each queue that its calls wait in, and for each model that has limits of its own."""

from collections.abc import Sequence

from llmtask.project import Project
from llmtask.router import Route
from llmtask.service import Lane, QueueState
from llmtask.service.lanes import DEFAULT_CONCURRENCY, Alert

_ANY = 10**9  # calls at once of a model that only its queue holds back


def queue_of(route: Route) -> str:
    """The queue that a route's calls wait in: the model's own where it names none."""
    return route.queue_id or route.model_id


class Lanes:
    """Makes the lanes when they are first asked for, as config has them."""

    def __init__(self, project: Project, concurrency: int | None, alert: Alert) -> None:
        """Take the project.

        Args:
            project: Its `queues` and `models` say what may be.
            concurrency: The most calls of a queue at once; the queue's own where that is less.
            alert: Is told when a queue breaks.
        """
        self._project, self._concurrency, self._alert = project, concurrency, alert
        self._queues: dict[str, Lane] = {}
        self._models: dict[str, Lane] = {}

    def queue(self, queue_id: str) -> Lane:
        """The lane of a queue."""
        if queue_id not in self._queues:
            queue = self._project.config.queues.get(queue_id)
            most = queue.concurrency if queue else self._concurrency or DEFAULT_CONCURRENCY
            self._queues[queue_id] = Lane(
                queue_id,
                min(most, self._concurrency or most),
                requests_per_minute=queue.requests_per_minute if queue else None,
                tokens_per_minute=queue.tokens_per_minute if queue else None,
                alert=self._alert,
            )
        return self._queues[queue_id]

    def model(self, model_id: str) -> Lane | None:
        """The lane of a model; None for one without limits of its own."""
        model = self._project.model(model_id)
        if not (model.concurrency or model.requests_per_minute or model.tokens_per_minute):
            return None
        if model_id not in self._models:
            self._models[model_id] = Lane(
                f"model {model_id}",
                model.concurrency or _ANY,
                requests_per_minute=model.requests_per_minute,
                tokens_per_minute=model.tokens_per_minute,
            )
        return self._models[model_id]

    def stop(self, why: str) -> None:
        """Let no call begin any more."""
        for lane in (*self._queues.values(), *self._models.values()):
            lane.stop(why)

    @property
    def states(self) -> Sequence[QueueState]:
        """How the queues stand."""
        return [lane.state for lane in self._queues.values()]
