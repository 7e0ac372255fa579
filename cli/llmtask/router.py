"""Task + quota -> tier, model, queue, worker: pure decisions over the table that is `routes:` in config.yaml."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from llmtask.errors import UsageError
from llmtask.project import Project, Tier, Worker, load_project
from llmtask.project.config import RouteRule, RouteVariant, Target


@dataclass(frozen=True, slots=True)
class Route:
    """A routing decision."""

    tier: Tier
    """paid with quota, free without."""
    model_id: str
    """This product's own id of the model, a key of `models:`."""
    queue_id: str | None
    """The queue its call waits in, a key of `queues:`; None where the config names none."""
    worker: Worker
    """structured: for results that are stored. stream: for results that somebody watches arrive."""


@dataclass(frozen=True)
class Router:
    """The decisions that one routing table makes.

    Attributes:
        project: Supplies the table, the known tasks and their aliases.
    """

    project: Project

    def route_task(
        self, task: str, has_quota: bool, *, has_image: bool = False, prefer_reasoning: bool = False
    ) -> Route:
        """Where a run of a task goes.

        Args:
            task: A task or one of its aliases.
            has_quota: Whether the user may spend: True is the paid tier, False the free one.
            has_image: The input holds an image.
            prefer_reasoning: A paid run should think first; without quota it changes nothing.

        Raises:
            UsageError: There is no such task, or it has no route for this kind of input.
        """
        rules = self._rules(self.project.task_id(task))
        tier: Tier = "paid" if has_quota else "free"
        if has_image:
            variants = [rule.vision for rule in rules if rule.vision]
            target = _first(variants, tier)
            worker: Worker = _first(variants, "worker") or "structured"
        else:
            target = (has_quota and prefer_reasoning and _first(rules, "reasoning")) or _first(rules, tier)
            worker = _first(rules, "worker") or "structured"
        if not isinstance(target, Target):
            raise UsageError(_no_route(task, tier, has_image))
        return Route(tier, target.model, target.queue, worker)

    def get_task_routing(self, task: str, has_quota: bool) -> Route:
        """The seed's getTaskRouting: where a run of a task goes, by quota alone.

        Raises:
            UsageError: There is no such task.
        """
        return self.route_task(task, has_quota)

    def get_job_vision_task_routing(self, has_quota: bool) -> Route:
        """The seed's getJobVisionTaskRouting: where a screenshot of a job posting goes.

        Raises:
            UsageError: The project has no job_summary task with a route for images.
        """
        return self.route_task("job_summary", has_quota, has_image=True)

    def _rules(self, task: str) -> list[RouteRule]:
        """The rules that match a task, the most specific first: its own name, then longer patterns, then `*`."""
        routes = self.project.config.routes
        matching = [pattern for pattern in routes if pattern == task or fnmatchcase(task, pattern)]
        matching.sort(key=lambda pattern: (pattern == task, len(pattern)), reverse=True)
        return [routes[pattern] for pattern in matching]


def route_task(task: str, has_quota: bool, *, has_image: bool = False, prefer_reasoning: bool = False) -> Route:
    """`Router.route_task` with the table of the nearest project."""
    router = Router(load_project())
    return router.route_task(task, has_quota, has_image=has_image, prefer_reasoning=prefer_reasoning)


def get_task_routing(task: str, has_quota: bool) -> Route:
    """`Router.get_task_routing` with the table of the nearest project."""
    return Router(load_project()).get_task_routing(task, has_quota)


def get_job_vision_task_routing(has_quota: bool) -> Route:
    """`Router.get_job_vision_task_routing` with the table of the nearest project."""
    return Router(load_project()).get_job_vision_task_routing(has_quota)


def _first(rules: list[RouteRule] | list[RouteVariant], part: str) -> Any:
    """What the most specific rule that states `part` says of it; None where none does."""
    return next((value for rule in rules if (value := getattr(rule, part)) is not None), None)


def _no_route(task: str, tier: Tier, has_image: bool) -> str:
    part = f"vision.{tier}" if has_image else tier
    kind = " with an image" if has_image else ""
    return f"task {task!r} has no {tier} route{kind}; add routes.{task}.{part} to config.yaml"
