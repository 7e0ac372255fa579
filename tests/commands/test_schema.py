"""`llmtask schema`: the JSON Schema of an answer, or of a project file."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llmtask.errors import ExitCode
from tests.commands.conftest import ROOT, Command


@pytest.mark.parametrize(
    "task",
    [
        "resume_summary",
        "resume_detailed_summary",
        "job_summary",
        "job_match",
        "resume_customize",
        "interview_prep",
    ],
)
def test_a_tasks_schema_is_a_schema_that_its_sample_fits(command: Command, task: str) -> None:
    schema = json.loads(command("schema", task).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    sample = command("run", task, "--model", "offline", stdin="a text that is long enough to be quoted\n")
    jsonschema.validate(json.loads(sample.stdout), schema)


def test_fields_carry_their_docstrings(command: Command) -> None:
    score = json.loads(command("schema", "job_match").stdout)["properties"]["match_score"]
    assert (score["minimum"], score["maximum"]) == (0, 100)
    assert "0 (no fit) to 100" in score["description"]


def schema_of(command: Command, kind: str) -> jsonschema.Draft202012Validator:
    outcome = command("schema", "--file", kind)
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    schema = json.loads(outcome.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_json(path: Path) -> Any:
    """A YAML file as an editor sees it: its dates are strings."""
    return json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))


def test_an_editor_accepts_our_own_files(command: Command) -> None:
    schema_of(command, "config").validate(as_json(ROOT / "config.yaml"))
    prompt, locale = schema_of(command, "prompt"), schema_of(command, "locale")
    paths = sorted((ROOT / "prompts").glob("*/*.yaml"))
    assert len(paths) == 16
    for path in paths:
        (locale if path.name == "_locale.yaml" else prompt).validate(as_json(path))


def test_an_editor_accepts_a_config_of_one_line_and_marks_a_wrong_key(command: Command) -> None:
    config = schema_of(command, "config")
    config.validate({"providers": {"deepseek": {"base_url": "http://127.0.0.1:8000/v1"}}})
    assert not config.is_valid({"provider": {}})
    assert not config.is_valid({"models": {"deepseek-chat": {"temprature": 1}}})


SUITE = {
    "task": "job_match",
    "checks": [{"check": "value", "at": "match_score", "between": [0, 100]}],
    "cases": [{"name": "注入", "inputs": {"resume": "x", "job": {"file": "job.md"}}, "plant": {"resume": "y"}}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"repeat": 5},
        {"cases": []},
        {"cases": [{"name": "a[1]"}]},
        {"cases": [{"name": "a "}]},
        {"cases": [{"name": "a", "inputs": {"resume": {"fil": "x"}}}]},
        {"cases_from": [{}]},
        {"cases_from": [{"file": "a.csv", "call": "a:b"}]},
        {"checks": [{"check": "langauge"}]},
        {"checks": [{"at": "match_score"}]},
        {"checks": [{"check": "language", "wieght": 2}]},
        {"checks": [{"check": "value", "at": "match_score"}]},
        {"checks": [{"check": "value", "at": "match_score", "equals": 1, "one_of": [1]}]},
        {"checks": [{"check": "text", "contains": "a", "regex": "b"}]},
    ],
)
def test_an_editor_accepts_a_suite_and_marks_what_is_wrong_in_one(command: Command, change: dict[str, Any]) -> None:
    suite = schema_of(command, "suite")
    suite.validate(SUITE)
    suite.validate({"task": "job_match", "cases_from": [{"file": "a.csv"}, {"call": "a:b", "args": {"n": 1}}]})
    assert not suite.is_valid({"task": "job_match"})
    assert not suite.is_valid({**SUITE, **change})


def test_every_key_of_a_suite_says_what_it_is_for(command: Command) -> None:
    schema = json.loads(command("schema", "--file", "suite").stdout)
    for name, part in [("suite", schema), *schema["$defs"].items()]:
        for key, one in part.get("properties", {}).items():
            assert "description" in one or key == "check", (name, key)


@pytest.mark.parametrize(
    ("argv", "piece"),
    [
        ([], "name a task, or a kind of file"),
        (["job_match", "--file", "config"], "name a task, or a kind of file"),
        (["--file", "confg"], "did you mean 'config'?"),
        (["job_mach"], "did you mean 'job_match'?"),
    ],
)
def test_anything_else_is_refused(command: Command, argv: list[str], piece: str) -> None:
    outcome = command("schema", *argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert piece in outcome.stderr
