"""`llmtask route`: argv -> the route."""

import json

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles

CHAT = ("deepseek-chat", "q_deepseek_chat", "deepseek-flash")
REASONER = ("deepseek-reasoner", "q_deepseek_reasoner", "deepseek-flash")
FREE = ("glm-4.5-flash", "q_glm_flash", "glm-4.7-flash")
STREAMED = ("job_match", "interview_prep")


@pytest.mark.parametrize(
    ("task", "argv", "target"),
    [
        *((task, [], CHAT) for task in ("resume_summary", "job_summary", "resume_customize", *STREAMED)),
        ("detailed_resume_summary", [], REASONER),
        *(
            (task, ["--free"], FREE)
            for task in ("resume_summary", "detailed_resume_summary", "job_summary", "resume_customize", *STREAMED)
        ),
        *((task, ["--paid", "--reasoning"], REASONER) for task in ("resume_summary", "job_match", "interview_prep")),
        *((task, ["--free", "--reasoning"], FREE) for task in ("resume_summary", "job_match")),
    ],
)
def test_the_table_of_the_specification(
    command: Command, task: str, argv: list[str], target: tuple[str, str, str]
) -> None:
    found = json.loads(command("route", task, *argv, "--json").stdout)
    assert list(found) == ["task", "tier", "model_id", "queue_id", "worker", "model_name"]
    assert (found["model_id"], found["queue_id"], found["model_name"]) == target
    assert found["task"] == task
    assert found["tier"] == ("free" if "--free" in argv else "paid")
    assert found["worker"] == ("stream" if task in STREAMED else "structured")


@pytest.mark.parametrize("task", ["job_summary", "job_match"])
@pytest.mark.parametrize("tier", ["paid", "free"])
def test_an_image_goes_to_the_vision_model(command: Command, task: str, tier: str) -> None:
    assert json.loads(command("route", task, "--image", f"--{tier}", "--json").stdout) == {
        "task": task,
        "tier": tier,
        "model_id": "glm-4.1v-thinking-flash",
        "queue_id": f"q_glm_vision_{tier}",
        "worker": "structured",
        "model_name": "glm-4.1v-thinking-flash",
    }


def test_for_people_the_route_is_one_line(command: Command) -> None:
    outcome = command("route", "resume_summary", "--free")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert outcome.stdout == (
        "resume_summary · free → glm-4.5-flash (glm-4.7-flash) · queue q_glm_flash · worker structured\n"
    )


def test_an_alias_is_routed_as_its_task(command: Command) -> None:
    assert json.loads(command("route", "resume_detailed_summary", "--json").stdout)["task"] == "detailed_resume_summary"


def test_a_project_changes_a_route_with_one_line(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": "routes: {job_match: {paid: {model: glm-4.5-flash, queue: q_glm_flash}}}\n"})
    assert json.loads(command("route", "job_match", "--json").stdout)["model_id"] == "glm-4.5-flash"
    assert json.loads(command("route", "interview_prep", "--json").stdout)["model_id"] == "deepseek-chat"


def test_an_unknown_task_is_answered_with_the_nearest(command: Command) -> None:
    outcome = command("route", "job_macth")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert outcome.stderr == "llmtask: unknown task 'job_macth'; did you mean 'job_match'?\n"


def test_an_image_for_a_task_without_a_vision_route_is_refused(command: Command) -> None:
    outcome = command("route", "interview_prep", "--image", "--free")
    assert outcome.code == ExitCode.USAGE
    assert "add routes.interview_prep.vision.free to config.yaml" in outcome.stderr


def test_routing_needs_no_key_and_leaves_no_log(command: Command) -> None:
    assert not command("route", "job_match").log.exists()
