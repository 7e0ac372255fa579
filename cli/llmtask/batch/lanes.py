"""The lanes of a batch: one for each queue that its calls wait in, and for each model that has limits of its own."""

from collections.abc import Callable, Sequence

from llmtask.project import Project
from llmtask.project.config import RouteRule, Target
from llmtask.router import Route
from llmtask.service import Lane, QueueState
from llmtask.service.lanes import DEFAULT_CONCURRENCY, Alert

_ANY = 10**9  # calls at once of a model that only its queue holds back


def queue_of(route: Route) -> str:
    """The queue that a route's calls wait in: the model's own where it names none."""
    return route.queue_id or route.model_id


def most_of(project: Project, queue_id: str) -> int | None:
    """How many calls of a queue config lets there be at once; None where it names no such queue."""
    queue = project.config.queues.get(queue_id)
    return queue.concurrency if queue else None


def queues_of(project: Project) -> dict[str, set[str]]:
    """The queues that jobs may wait in, and the models that are asked from each.

    They are those that config names and, of models that wait in none, their own.
    """
    config = project.config
    found: dict[str, set[str]] = {queue_id: set() for queue_id in config.queues}
    for target in (target for rule in config.routes.values() for target in _targets(rule)):
        found.setdefault(target.queue or target.model, set()).add(target.model)
    for model_id, model in config.models.items():
        found.setdefault(model.queue or model_id, set()).add(model_id)
    return found


def _targets(rule: RouteRule) -> list[Target]:
    variants = [rule.vision.paid, rule.vision.free] if rule.vision else []
    return [target for target in (rule.paid, rule.free, rule.reasoning, *variants) if target is not None]


class Lanes:
    """Makes the lanes when they are first asked for, as config has them."""

    def __init__(
        self, project: Project, concurrency: int | None, alert: Alert, make: Callable[..., Lane] = Lane
    ) -> None:
        """Take the project.

        Args:
            project: Its `queues` and `models` say what may be.
            concurrency: The most calls of a queue at once; the queue's own where that is less.
            alert: Is told when a queue breaks.
            make: Makes a lane, as `Lane` does.
        """
        self._project, self._concurrency, self._alert, self._make = project, concurrency, alert, make
        self._queues: dict[str, Lane] = {}
        self._models: dict[str, Lane] = {}

    def queue(self, queue_id: str) -> Lane:
        """The lane of a queue."""
        if queue_id not in self._queues:
            queue = self._project.config.queues.get(queue_id)
            most = most_of(self._project, queue_id) or self._concurrency or DEFAULT_CONCURRENCY
            self._queues[queue_id] = self._make(
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
            self._models[model_id] = self._make(
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
