"""Everything about a run that is decided before the first call: route, messages, estimate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any, TypedDict

from pydantic import BaseModel

from llmtask.documents import Image
from llmtask.errors import KeyMissingError, UntrustedError, UsageError, did_you_mean
from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.project import Model, Project, Timeouts, load_project
from llmtask.prompts import Prompt, load_prompt
from llmtask.providers import TOOL_NAME, Request, require_key
from llmtask.router import Route, Router
from llmtask.schemas import example, json_schema, load_schema
from llmtask.service.asking import digest_of_all
from llmtask.tokens import Tokens, estimate_all
from llmtask.usage import UsageLog

_IMAGE_TOKENS = 1_500  # a picture's order of magnitude in both vendors' vision models; for estimates only


class RunOptions(TypedDict, total=False):
    """The options that every way of running a task takes."""

    locale: str
    """Locale of the prompt and of the answer; the config's default where it is left out."""
    prompt_version: str | None
    """A draft of the prompt instead of the one in use: `v2` is prompts/<locale>/<task>@v2.yaml."""
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
    fall_back: bool | None
    """Whether the model's fallbacks may take over; where it is left out, unless `model_id` names a model."""
    max_cost: Cost | None
    """The most that the run may cost: a call that could pass it is not made. Beside `budgets` in config.yaml."""
    quota: bool | None
    """Whether the quota of `user_id` decides the tier, where `has_quota` is left out; where this is, if config has
    `quota`."""
    timeout_s: float | None
    """Seconds for the whole run; the config's default where it is left out."""
    project: Project
    """The project; the nearest where it is left out."""
    log: UsageLog | None
    """The usage log; the default one where it is left out, None for no log."""


@dataclass(frozen=True)
class Candidate:
    """A model that may be asked, and what it would be asked."""

    route: Route
    model: Model
    request: Request
    input_tokens: int
    """About how many tokens go in."""

    @property
    def room(self) -> int:
        """Tokens that the model's context has for the input."""
        return self.model.context - (self.model.max_tokens or 0)

    @property
    def output_tokens(self) -> int:
        """The most that can come out: `max_tokens`, else what the context leaves."""
        return self.model.max_tokens or max(self.model.context - self.input_tokens, 0)

    @property
    def most(self) -> Tokens:
        """About the most that a call can use."""
        return Tokens(self.input_tokens, self.output_tokens, is_estimate=True)


@dataclass(frozen=True)
class Plan:
    """A run before its first call."""

    project: Project
    task: str
    locale: str
    prompt: Prompt
    schema: type[BaseModel]
    candidates: tuple[Candidate, ...]
    """The route's model, then those that take over where a failure's rule allows it."""
    timeouts: Timeouts
    free: Candidate | None = None
    """Where a paid run goes on when a budget has no room for it and says `then: free`; None where it does not."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Fallbacks that cannot take over this run: the model's id -> why."""
    user_id: str | None = None
    service_id: str | None = None
    is_strict: bool = False
    prompt_version: str | None = None
    """The draft of the prompt that was asked for; None for the prompt in use."""

    @property
    def route(self) -> Route:
        """Where the run goes first."""
        return self.candidates[0].route

    @property
    def model(self) -> Model:
        """The model that is asked first."""
        return self.candidates[0].model

    @property
    def request(self) -> Request:
        """What it is asked."""
        return self.candidates[0].request

    @property
    def input_tokens(self) -> int:
        """About how many tokens go in."""
        return self.candidates[0].input_tokens

    @property
    def highest_cost(self) -> Cost | None:
        """About the most that one call can cost: no cache hits, `max_tokens` out. None where it is unpriced."""
        most, images = self.candidates[0].most, len(self.request.images)
        return get_cost(self.route.model_id, most, project=self.project, images=images)


def plan(task: str, variables: Mapping[str, str], options: RunOptions, schema: type[BaseModel] | None = None) -> Plan:
    """Decide a run.

    Args:
        task: A task or one of its aliases.
        variables: Text per variable of the prompt.
        options: See `RunOptions`.
        schema: A class of your own instead of the task's.

    Raises:
        TypeError: There is no such option.
        UsageError: Something asked for does not exist, is missing, or is too long for the model.
        ProjectError: A project file is wrong.
    """
    return Planner(task, options, schema).plan(variables)


class Planner:
    """Decides many runs of a task that differ in their input alone: files are read and routes are found once."""

    def __init__(self, task: str, options: RunOptions, schema: type[BaseModel] | None = None) -> None:
        """Decide what does not depend on the input.

        Raises:
            TypeError, UsageError, ProjectError: As `plan`.
        """
        for name in options.keys() - RunOptions.__annotations__.keys():
            message = f"unknown option {name!r}{did_you_mean(name, RunOptions.__annotations__)}"
            raise TypeError(message)
        project = options.get("project") or load_project()
        self._project, self._options = project, options
        self._task = project.task_id(task)
        defaults = project.config.defaults
        self._rate = defaults.token_estimate
        self._timeouts = _timeouts(defaults.timeouts, options.get("timeout_s"))
        self._locale = options.get("locale") or defaults.locale
        self._images = tuple(options.get("images", ()))
        self._prompt = load_prompt(project, self._task, self._locale, options.get("prompt_version"))
        self._route = _route(project, self._task, options, has_image=bool(self._images))
        self._others = _fallback_routes(project, self._route, options)
        self._free = _free_route(project, self._task, self._route, options, has_image=bool(self._images))
        self._schema = schema or load_schema(project, self._task)
        self._fields = json_schema(self._schema)

    @cached_property
    def _unusable(self) -> Mapping[str, str]:
        """Fallbacks that can take no run over, whatever its input: the model's id -> why."""
        routes = [*self._others, *([self._free] if self._free else [])]
        whys = {one.model_id: _why_unusable(self._project, one.model_id, bool(self._images)) for one in routes}
        return {name: why for name, why in whys.items() if why}

    @property
    def route(self) -> Route:
        """Where its runs go first."""
        return self._route

    @property
    def prompt(self) -> Prompt:
        """What it asks."""
        return self._prompt

    @property
    def digest(self) -> str:
        """Equal for planners whose runs ask the same, given the same input: task, prompt, schema, model, parameters."""
        model = self._project.model(self._route.model_id)
        asked = (self._task, self._locale, self._prompt.hash, bool(self._options.get("strict")))
        return digest_of_all(asked, model, self._fields)

    def plan(self, variables: Mapping[str, str]) -> Plan:
        """Decide a run.

        Raises:
            UsageError: A variable is missing or unknown, or the input is too long for the model.
            ProjectError: A template is wrong.
        """
        rendered = self._prompt.render(variables, frozenset(image.name for image in self._images))
        candidate = partial(self._candidate, variables=variables, rendered=rendered)
        first = candidate(self._route)
        if first.input_tokens > first.room:
            raise UsageError(_too_long(first))
        others = [candidate(other) for other in self._others if other.model_id not in self._unusable]
        free = candidate(self._free) if self._free and self._free.model_id not in self._unusable else None
        unfit = {one.route.model_id: why for one in (*others, free) if one and (why := _why_unfit(one))}
        return Plan(
            project=self._project,
            task=self._task,
            locale=self._locale,
            prompt=self._prompt,
            schema=self._schema,
            candidates=(first, *(one for one in others if one.route.model_id not in unfit)),
            timeouts=self._timeouts,
            free=free if free and free.route.model_id not in unfit else None,
            skipped={**self._unusable, **unfit},
            user_id=self._options.get("user_id"),
            service_id=self._options.get("service_id"),
            is_strict=self._options.get("strict", False),
            prompt_version=self._options.get("prompt_version"),
        )

    def _candidate(self, route: Route, variables: Mapping[str, str], rendered: tuple[str, str]) -> Candidate:
        model = self._project.model(route.model_id)
        system, user = rendered
        instruction = _instruction(self._prompt, model, self._fields)
        request = Request(_joined(system, instruction), user, self._fields, self._images, documents=dict(variables))
        going_in = estimate_all(request.texts, self._rate) + _IMAGE_TOKENS * len(self._images)
        return Candidate(route, model, request, going_in)


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


def _fallback_routes(project: Project, route: Route, options: RunOptions) -> list[Route]:
    """Where the run goes when its model fails; nowhere else where the caller named the model, unless they say so."""
    wanted = options.get("fall_back")
    if not (wanted if wanted is not None else not options.get("model_id")):
        return []
    names = dict.fromkeys(project.model(route.model_id).fallbacks)
    names.pop(route.model_id, None)
    return [replace(route, model_id=name, queue_id=project.model(name).queue) for name in names]


def _free_route(project: Project, task: str, route: Route, options: RunOptions, *, has_image: bool) -> Route | None:
    """Where a paid run goes on that a budget has no room for; nowhere if none says so, or the caller named a model."""
    wanted = options.get("fall_back")
    may = wanted if wanted is not None else not options.get("model_id")
    if not may or route.tier == "free" or all(budget.then == "stop" for budget in project.config.budgets):
        return None
    return Router(project).route_task(task, False, has_image=has_image)


def _why_unusable(project: Project, model_id: str, has_image: bool) -> str | None:
    """Why a model cannot take runs over; None where it can."""
    model = project.model(model_id)
    if has_image and not model.vision:
        return "takes no images"
    try:
        require_key(project, model.provider)
    except KeyMissingError:
        return f"no key for {model.provider}"
    except UntrustedError:
        return "the project is not trusted"
    return None


def _why_unfit(candidate: Candidate) -> str | None:
    """Why it cannot take over this run; None where it can."""
    return "the input is too long for it" if candidate.input_tokens > candidate.room else None


def _instruction(prompt: Prompt, model: Model, schema: dict[str, Any]) -> str:
    """What holds the model to the schema, in words."""
    if model.structured in ("tool", "tool_auto"):
        return prompt.tool_instruction(TOOL_NAME)
    return prompt.json_instruction(*_shown(id(schema), schema))


_shown_schemas: dict[int, tuple[dict[str, Any], tuple[str, str]]] = {}


def _shown(name: int, schema: dict[str, Any]) -> tuple[str, str]:
    """A JSON Schema and a skeleton of it as text, written once: thousands of runs share a schema."""
    known = _shown_schemas.get(name)
    if known is None or known[0] is not schema:
        texts = json.dumps(schema, ensure_ascii=False), json.dumps(example(schema), ensure_ascii=False)
        known = _shown_schemas[name] = (schema, texts)
    return known[1]


@lru_cache(maxsize=64)
def _joined(system: str, instruction: str) -> str:
    """The system message: thousands of runs hold one."""
    return f"{system}\n\n{instruction}"


def _timeouts(timeouts: Timeouts, total_s: float | None) -> Timeouts:
    """The timeouts with the whole run's replaced; no wait is longer than the run may take."""
    total_s = total_s or timeouts.total_s
    waits = timeouts.model_dump()
    return Timeouts(**{name: min(seconds, total_s) for name, seconds in waits.items()} | {"total_s": total_s})


def _too_long(candidate: Candidate) -> str:
    return (
        f"the input is too long for {candidate.route.model_id}: about {candidate.input_tokens:,} tokens, "
        f"and its context of {candidate.model.context:,} has room for {candidate.room:,}; "
        "shorten it, or choose a --model with a larger context"
    )
