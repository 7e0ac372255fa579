"""`llmtask tasks`: what there is to run."""

import json

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles

TASKS = [
    "resume_summary",
    "detailed_resume_summary",
    "job_summary",
    "job_match",
    "resume_customize",
    "interview_prep",
    "judge",
]


def test_list_has_a_line_per_task_with_its_inputs_and_routes(command: Command) -> None:
    outcome = command("tasks", "list")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    rows = [line.split() for line in outcome.stdout.splitlines() if line.strip()][2:]
    assert [row[0] for row in rows] == TASKS
    assert rows[TASKS.index("job_match")][1:5] == ["resume", "[job]", "deepseek-chat", "glm-4.5-flash"]


def test_list_as_json_says_the_same(command: Command) -> None:
    found = {one["task"]: one for one in json.loads(command("tasks", "list", "--json").stdout)}
    assert list(found) == TASKS
    assert found["job_match"]["variables"]["resume"]["input"] is True
    assert found["job_match"]["variables"]["job"]["required"] is False
    assert found["job_match"]["worker"] == "stream"


def test_show_takes_an_alias_and_names_it(command: Command) -> None:
    shown = command("tasks", "show", "resume_detailed_summary").stdout
    assert shown.startswith("detailed_resume_summary: ")
    assert "  resume (required, a bare --input): " in shown
    assert "  routes: paid deepseek-reasoner, free glm-4.5-flash, worker structured\n" in shown
    assert "  schema: asset_summary:AssetSummary; locales: en, zh\n" in shown
    assert "  also known as: resume_detailed_summary\n" in shown


def test_show_as_json_is_the_tasks_entry_of_the_list(command: Command) -> None:
    listed = json.loads(command("tasks", "list", "--json").stdout)
    assert json.loads(command("tasks", "show", "job_match", "--json").stdout) in listed


def test_a_task_is_added_by_adding_files(command: Command, files: WriteFiles) -> None:
    files(
        {
            "config.yaml": 'tasks: {greeting: {schema: "greeting:Greeting"}}\n',
            "prompts/zh/greeting.yaml": "description: 问候\nvariables: {name: {description: 名字}}\n"
            "system: 问候\nuser: '{{ name }}'\n",
            "schemas/greeting.py": "from pydantic import BaseModel\nclass Greeting(BaseModel):\n    text: str\n",
        }
    )
    assert "greeting" in command("tasks", "list").stdout
    outcome = command("run", "greeting", "--var", "name=a good long name", "--model", "offline")
    assert json.loads(outcome.stdout) == {"text": "a good long name"}


@pytest.mark.parametrize("argv", [["show", "nope"], ["show"], ["shw"]])
def test_what_is_not_there_is_refused(command: Command, argv: list[str]) -> None:
    outcome = command("tasks", *argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert outcome.stderr
