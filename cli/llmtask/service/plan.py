"""Everything about a run that is decided before the first call: route, messages, estimate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from pydantic import BaseModel

from llmtask.documents import Image
from llmtask.errors import UsageError
from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.project import Model, Project, Timeouts, load_project
from llmtask.prompts import Prompt, load_prompt
from llmtask.providers import TOOL_NAME, Request
from llmtask.router import Route, Router
from llmtask.schemas import example, json_schema, load_schema
from llmtask.tokens import Tokens, estimate
from llmtask.usage import UsageLog

_IMAGE_TOKENS = 1_500  # a picture's order of magnitude in both vendors' vision models; for estimates only


class RunOptions(TypedDict, total=False):
    """The options that every way of running a task takes."""

    locale: str
    """Locale of the prompt and of the answer; the config's default where it is left out."""
    model_id: str | None
    """A model of your own choice instead of the route's."""
    has_quota: bool
    """True is the paid tier, False the free one; the config's default where it is left out."""
    prefer_reasoning: bool
    """Take the route's reasoning model (paid tier)."""
    images: Sequence[Image]
    """Documents that are given as pictures."""
    user_id: str | None
    """On whose behalf; goes into the usage log."""
    service_id: str | None
    """For which part of your product; goes into the usage log."""
    strict: bool
    """Accept nothing but the bare JSON object: no fence, no prose, no repair."""
    timeout_s: float | None
    """Seconds for the whole run; the config's default where it is left out."""
    project: Project
    """The project; the nearest where it is left out."""
    log: UsageLog | None
    """The usage log; the default one where it is left out, None for no log."""


@dataclass(frozen=True)
class Plan:
    """A run before its first call."""

    project: Project
    task: str
    locale: str
    prompt: Prompt
    schema: type[BaseModel]
    route: Route
    model: Model
    request: Request
    timeouts: Timeouts
    user_id: str | None = None
    service_id: str | None = None
    is_strict: bool = False

    @property
    def input_tokens(self) -> int:
        """About how many tokens go in."""
        rate = self.project.config.defaults.token_estimate
        return estimate(self.request.text, rate) + _IMAGE_TOKENS * len(self.request.images)

    @property
    def highest_cost(self) -> Cost | None:
        """About the most that one call can cost: no cache hits, `max_tokens` out. None where it is unpriced."""
        most = Tokens(self.input_tokens, self.model.max_tokens or 0, is_estimate=True)
        return get_cost(self.route.model_id, most, project=self.project)


def plan(task: str, variables: Mapping[str, str], options: RunOptions, schema: type[BaseModel] | None = None) -> Plan:
    """Decide a run.

    Args:
        task: A task or one of its aliases.
        variables: Text per variable of the prompt.
        options: See `RunOptions`.
        schema: A class of your own instead of the task's.

    Raises:
        UsageError: Something asked for does not exist, is missing, or is too long for the model.
        ProjectError: A project file is wrong.
    """
    project = options.get("project") or load_project()
    task = project.task_id(task)
    defaults = project.config.defaults
    locale = options.get("locale") or defaults.locale
    images = tuple(options.get("images", ()))
    prompt = load_prompt(project, task, locale)
    route = _route(project, task, options, has_image=bool(images))
    model = project.model(route.model_id)
    schema = schema or load_schema(project, task)
    request = _request(prompt, variables, images, model, json_schema(schema))
    planned = Plan(
        project=project,
        task=task,
        locale=locale,
        prompt=prompt,
        schema=schema,
        route=route,
        model=model,
        request=request,
        timeouts=_timeouts(defaults.timeouts, options.get("timeout_s")),
        user_id=options.get("user_id"),
        service_id=options.get("service_id"),
        is_strict=options.get("strict", False),
    )
    _check_fit(planned)
    return planned


def _route(project: Project, task: str, options: RunOptions, *, has_image: bool) -> Route:
    has_quota = options.get("has_quota", project.config.defaults.tier == "paid")
    model_id = options.get("model_id")
    routed = Router(project).route_task(
        task,
        has_quota,
        has_image=has_image and not model_id,
        prefer_reasoning=options.get("prefer_reasoning", False),
    )
    if not model_id:
        return routed
    model = project.model(model_id)
    if has_image and not model.vision and model_id in project.config.models:
        message = f"model {model_id!r} takes no images; leave --model out for the vision route"
        raise UsageError(message)
    return Route(routed.tier, model_id, model.queue, routed.worker)


def _request(
    prompt: Prompt, variables: Mapping[str, str], images: tuple[Image, ...], model: Model, schema: dict[str, Any]
) -> Request:
    system, user = prompt.render(variables, frozenset(image.name for image in images))
    if model.structured in ("tool", "tool_auto"):
        instruction = prompt.tool_instruction(TOOL_NAME)
    else:
        skeleton = json.dumps(example(schema), ensure_ascii=False)
        instruction = prompt.json_instruction(json.dumps(schema, ensure_ascii=False), skeleton)
    return Request(f"{system}\n\n{instruction}", user, schema, images, documents=dict(variables))


def _timeouts(timeouts: Timeouts, total_s: float | None) -> Timeouts:
    """The timeouts with the whole run's replaced; no wait is longer than the run may take."""
    total_s = total_s or timeouts.total_s
    idle_s, connect_s = min(timeouts.idle_s, total_s), min(timeouts.connect_s, total_s)
    return Timeouts(connect_s=connect_s, idle_s=idle_s, total_s=total_s)


def _check_fit(planned: Plan) -> None:
    room = planned.model.context - (planned.model.max_tokens or 0)
    if planned.input_tokens > room:
        message = (
            f"the input is too long for {planned.route.model_id}: about {planned.input_tokens:,} tokens, "
            f"and its context of {planned.model.context:,} has room for {room:,}; "
            "shorten it, or choose a --model with a larger context"
        )
        raise UsageError(message)
