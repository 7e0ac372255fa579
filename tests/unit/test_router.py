"""router: the seed's table, row by row, as the starter's config states it."""

import dataclasses

import pytest

from llmtask import get_job_vision_task_routing, get_task_routing, route_task
from llmtask.errors import UsageError
from llmtask.project import Project
from llmtask.router import Route, Router
from tests.conftest import MakeProject

CHAT = ("deepseek-chat", "q_deepseek_chat")
REASONER = ("deepseek-reasoner", "q_deepseek_reasoner")
GLM = ("glm-4.5-flash", "q_glm_flash")
VISION = "glm-4.1v-thinking-flash"

TABLE = [  # task, paid, free, worker
    ("resume_summary", CHAT, GLM, "structured"),
    ("job_summary", CHAT, GLM, "structured"),
    ("resume_customize", CHAT, GLM, "structured"),
    ("detailed_resume_summary", REASONER, GLM, "structured"),
    ("resume_detailed_summary", REASONER, GLM, "structured"),  # the seed's other name for it
    ("job_match", CHAT, GLM, "stream"),
    ("interview_prep", CHAT, GLM, "stream"),
]
Target = tuple[str, str]
rows = pytest.mark.parametrize(("task", "paid", "free", "worker"), TABLE)


@rows
def test_with_quota_a_task_takes_its_paid_route(
    starter: Project, task: str, paid: Target, free: Target, worker: str
) -> None:
    assert free != paid
    assert dataclasses.astuple(Router(starter).route_task(task, True)) == ("paid", *paid, worker)


@rows
def test_without_quota_a_task_takes_its_free_route(
    starter: Project, task: str, paid: Target, free: Target, worker: str
) -> None:
    assert free != paid
    assert dataclasses.astuple(Router(starter).route_task(task, False)) == ("free", *free, worker)


@rows
def test_a_paid_run_that_asks_for_reasoning_takes_the_reasoner(
    starter: Project, task: str, paid: Target, free: Target, worker: str
) -> None:
    assert REASONER not in (free, paid) or paid == REASONER
    found = Router(starter).route_task(task, True, prefer_reasoning=True)
    assert dataclasses.astuple(found) == ("paid", *REASONER, worker)


@rows
def test_a_free_run_that_asks_for_reasoning_stays_where_it_is(
    starter: Project, task: str, paid: Target, free: Target, worker: str
) -> None:
    assert free != paid
    found = Router(starter).route_task(task, False, prefer_reasoning=True)
    assert dataclasses.astuple(found) == ("free", *free, worker)


@pytest.mark.parametrize("task", ["job_summary", "job_match"])
@pytest.mark.parametrize(("has_quota", "queue"), [(True, "q_glm_vision_paid"), (False, "q_glm_vision_free")])
@pytest.mark.parametrize("prefer_reasoning", [False, True])
def test_a_job_with_an_image_takes_the_vision_model(
    starter: Project, task: str, has_quota: bool, queue: str, prefer_reasoning: bool
) -> None:
    found = Router(starter).route_task(task, has_quota, has_image=True, prefer_reasoning=prefer_reasoning)
    assert found == Route("paid" if has_quota else "free", VISION, queue, "structured")


@pytest.mark.parametrize("task", ["resume_summary", "detailed_resume_summary", "resume_customize", "interview_prep"])
def test_a_task_without_a_vision_route_says_so(starter: Project, task: str) -> None:
    with pytest.raises(
        UsageError, match=rf"'{task}' has no paid route with an image; add routes\.{task}\.vision\.paid"
    ):
        Router(starter).route_task(task, True, has_image=True)


def test_an_unknown_task_is_answered_with_the_nearest_one(starter: Project) -> None:
    with pytest.raises(UsageError, match="unknown task 'job_mach'; did you mean 'job_match'"):
        Router(starter).route_task("job_mach", True)


def test_the_seeds_functions_route_as_in_the_seed() -> None:
    assert get_task_routing("resume_summary", True) == Route("paid", *CHAT, "structured")
    assert get_task_routing("job_match", False) == Route("free", *GLM, "stream")
    assert get_job_vision_task_routing(True) == Route("paid", VISION, "q_glm_vision_paid", "structured")
    assert get_job_vision_task_routing(False) == Route("free", VISION, "q_glm_vision_free", "structured")


def test_the_functions_go_by_the_project_that_is_named(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project("routes: {job_match: {paid: {model: offline}, worker: structured}}").root
    monkeypatch.setenv("LLMTASK_PROJECT", str(root))
    assert route_task("job_match", True) == Route("paid", "offline", None, "structured")
    assert get_task_routing("job_match", True).model_id == "offline"


def test_each_part_of_a_route_comes_from_the_most_specific_rule_that_states_it(project: MakeProject) -> None:
    config = """
routes:
  "job_*": {paid: {model: glm-4.5-flash, queue: q_glm_flash}, worker: stream}
  "job_m*": {paid: {model: deepseek-reasoner, queue: q_deepseek_reasoner}}
  job_summary: {worker: structured}
"""
    router = Router(project(config))
    assert router.route_task("job_match", True) == Route("paid", *REASONER, "stream")
    assert router.route_task("job_summary", True) == Route("paid", *GLM, "structured")
    assert router.route_task("job_summary", False) == Route("free", *GLM, "structured")
    assert router.route_task("resume_summary", True) == Route("paid", *CHAT, "structured")


def test_a_task_of_the_users_own_falls_under_the_general_rule(project: MakeProject) -> None:
    own = project("tasks: {greeting: {schema: 'job_match:JobMatch'}}")
    assert Router(own).route_task("greeting", True) == Route("paid", *CHAT, "structured")


def test_a_route_that_was_removed_is_named(project: MakeProject) -> None:
    own = project('routes: {"*": {free: null}}')
    with pytest.raises(UsageError, match=r"'job_match' has no free route; add routes\.job_match\.free to config\.yaml"):
        Router(own).route_task("job_match", False)


def test_every_queue_and_model_that_the_starter_routes_to_is_declared(starter: Project) -> None:
    router = Router(starter)
    routes = [router.route_task(task, quota) for task in starter.config.tasks for quota in (True, False)]
    assert {route.model_id for route in routes} <= set(starter.config.models)
    assert {route.queue_id for route in routes} <= set(starter.config.queues)
