"""schemas: loading classes by path, and the JSON Schema that a model reads."""

import json
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, ValidationError

from llmtask.errors import ProjectError, UsageError
from llmtask.project import Project
from llmtask.schemas import example, json_schema, load_schema
from tests.conftest import MakeProject

FIELDS = {  # the seed's Zod objects, field by field
    "resume_summary": ["header", "summary", "experience", "education", "skills"],
    "detailed_resume_summary": ["header", "summary", "experience", "education", "skills"],
    "job_summary": ["jobTitle", "company", "mustHaves", "niceToHaves"],
    "job_match": ["match_score", "overall_assessment", "strengths", "weaknesses", "cover_letter_script"],
    "resume_customize": ["customized_resume_markdown", "customization_summary"],
    "interview_prep": ["self_introduction_script", "potential_questions", "reverse_questions"],
}
INNER = {
    ("resume_summary", "header"): ["name", "email", "phone", "linkedin", "github"],
    ("resume_summary", "experience"): ["role", "company", "duration", "highlights"],
    ("resume_summary", "education"): ["degree", "school", "duration"],
    ("job_match", "strengths"): ["point", "evidence"],
    ("job_match", "weaknesses"): ["point", "suggestion"],
    ("resume_customize", "customization_summary"): ["section", "change_reason"],
    ("interview_prep", "potential_questions"): ["question", "answer_guideline"],
}
OWN = "tasks: {mine: {schema: 'mine:Mine'}}"


def object_in(schema: dict[str, Any]) -> dict[str, Any]:
    """The object schema inside `X | None` and lists."""
    if "anyOf" in schema:
        return object_in(schema["anyOf"][0])
    return object_in(schema["items"]) if schema["type"] == "array" else schema


@pytest.mark.parametrize(("task", "fields"), FIELDS.items())
def test_the_schemas_have_the_seeds_fields(starter: Project, task: str, fields: list[str]) -> None:
    assert list(load_schema(starter, task).model_fields) == fields


@pytest.mark.parametrize(("where", "fields"), INNER.items())
def test_the_nested_objects_have_the_seeds_fields(starter: Project, where: tuple[str, str], fields: list[str]) -> None:
    schema = json_schema(load_schema(starter, where[0]))
    assert list(object_in(schema["properties"][where[1]])["properties"]) == fields


@pytest.mark.parametrize("task", FIELDS)
def test_every_field_says_to_the_model_what_it_holds(starter: Project, task: str) -> None:
    def silent(node: Any) -> list[str]:
        if not isinstance(node, dict):
            return []
        mine = [name for name, one in node.get("properties", {}).items() if not one.get("description")]
        inner = [*node.get("properties", {}).values(), *node.get("anyOf", []), node.get("items")]
        return mine + [name for one in inner for name in silent(one)]

    assert silent(json_schema(load_schema(starter, task))) == []


@pytest.mark.parametrize(("score", "fits"), [(0, True), (100, True), (72.5, True), (-1, False), (101, False)])
def test_a_match_score_is_from_0_to_100(starter: Project, score: float, fits: bool) -> None:
    schema = load_schema(starter, "job_match")
    answer = {"overall_assessment": "", "strengths": [], "weaknesses": [], "cover_letter_script": ""}
    if fits:
        assert schema.model_validate({**answer, "match_score": score}).model_dump()["match_score"] == score
    else:
        with pytest.raises(ValidationError):
            schema.model_validate({**answer, "match_score": score})


def test_the_model_is_told_the_bounds_of_the_score(starter: Project) -> None:
    score = json_schema(load_schema(starter, "job_match"))["properties"]["match_score"]
    assert (score["type"], score["minimum"], score["maximum"]) == ("number", 0, 100)


@pytest.mark.parametrize("task", FIELDS)
def test_references_are_inlined(starter: Project, task: str) -> None:
    schema = json_schema(load_schema(starter, task))
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema
    jsonschema.Draft202012Validator.check_schema(schema)


def test_a_recursive_schema_keeps_its_reference_and_what_it_means() -> None:
    class Node(BaseModel):
        name: str
        children: list["Node"] = []

    schema = json_schema(Node)
    jsonschema.validate({"name": "a", "children": [{"name": "b", "children": []}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "children": [{"name": "b", "children": [{"name": 3}]}]}, schema)


def test_two_classes_of_one_shape_are_each_inlined() -> None:
    class Leaf(BaseModel):
        x: int

    class Pair(BaseModel):
        left: Leaf
        right: Leaf | None = None

    properties = json_schema(Pair)["properties"]
    assert properties["left"]["properties"] == properties["right"]["anyOf"][0]["properties"]


@pytest.mark.parametrize("task", FIELDS)
def test_the_example_is_a_skeleton_of_every_key(starter: Project, task: str) -> None:
    schema = load_schema(starter, task)
    skeleton = example(json_schema(schema))
    assert list(skeleton) == FIELDS[task]
    schema.model_validate(skeleton)


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "boolean"}, True),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number"}, 0),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "..."),
        ({"anyOf": [{"type": "null"}]}, None),
        ({"type": "array", "items": {"type": "integer"}}, [0]),
    ],
)
def test_the_example_shows_each_type(schema: dict[str, Any], shown: Any) -> None:
    assert example(schema) == shown


# Loading


def test_an_alias_loads_the_schema_of_its_task(starter: Project) -> None:
    assert load_schema(starter, "resume_detailed_summary") is load_schema(starter, "resume_summary")


def test_an_unknown_task_is_answered_with_the_nearest(starter: Project) -> None:
    with pytest.raises(UsageError, match="unknown task 'job_matc'; did you mean 'job_match'"):
        load_schema(starter, "job_matc")


def source(field: str) -> str:
    return f"from pydantic import BaseModel\n\n\nclass Mine(BaseModel):\n    {field}: int\n"


def test_the_schemas_of_two_projects_do_not_mix(project: MakeProject) -> None:
    one = project(OWN, {"schemas/mine.py": source("one")}, "one")
    two = project(OWN, {"schemas/mine.py": source("two")}, "two")
    assert list(load_schema(one, "mine").model_fields) == ["one"]
    assert list(load_schema(two, "mine").model_fields) == ["two"]
    assert list(load_schema(one, "mine").model_fields) == ["one"]


def test_a_schema_of_the_users_own_goes_before_the_starters(project: MakeProject) -> None:
    own = project("", {"schemas/job_match.py": source("points").replace("Mine", "JobMatch")})
    assert list(load_schema(own, "job_match").model_fields) == ["points"]
    assert list(load_schema(own, "job_summary").model_fields) == FIELDS["job_summary"]


def test_a_schema_file_may_import_its_neighbour(project: MakeProject) -> None:
    text = "from .base import Base\n\n\nclass Mine(Base):\n    more: str\n"
    base = source("first").replace("Mine", "Base")
    own = project(OWN, {"schemas/mine.py": text, "schemas/base.py": base})
    assert list(load_schema(own, "mine").model_fields) == ["first", "more"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\n\nraise ValueError('no')\n", r"schemas/mine\.py:3: fails to import \(ValueError: no\)"),
        ("import nothing_like_it\n", r"schemas/mine\.py:1: fails to import \(ModuleNotFoundError: No module named"),
        ("x = 1\nclass Mine(:\n", r"schemas/mine\.py:2: fails to import \(SyntaxError: "),
        ("\n\ndef f():\n    return nobody\n\n\nf()\n", r"schemas/mine\.py:4: fails to import \(NameError: "),
        ("x = '\x00'\n", r"schemas/mine\.py:\d+: fails to import \("),
    ],
)
def test_a_file_that_fails_to_import_names_file_and_line(project: MakeProject, text: str, said: str) -> None:
    own = project(OWN, {"schemas/mine.py": text})
    with pytest.raises(ProjectError, match=said):
        load_schema(own, "mine")


def test_a_file_that_failed_is_read_again_when_it_is_mended(project: MakeProject) -> None:
    own = project(OWN, {"schemas/mine.py": "raise ValueError\n"})
    with pytest.raises(ProjectError):
        load_schema(own, "mine")
    (own.root / "schemas/mine.py").write_text(source("mended"), encoding="utf-8")
    assert list(load_schema(own, "mine").model_fields) == ["mended"]


@pytest.mark.parametrize("text", [source("x").replace("Mine", "Mien"), "class Mien:\n    pass\n", "Mien = int\n"])
def test_a_missing_class_is_answered_with_the_nearest(project: MakeProject, text: str) -> None:
    own = project(OWN, {"schemas/mine.py": text})
    with pytest.raises(ProjectError, match=r"schemas/mine\.py: has no pydantic class 'Mine'; did you mean 'Mien'\?"):
        load_schema(own, "mine")


def test_a_name_that_is_no_schema_is_refused(project: MakeProject) -> None:
    own = project(OWN, {"schemas/mine.py": "class Mine:\n    pass\n"})
    with pytest.raises(ProjectError, match=r"schemas/mine\.py: has no pydantic class 'Mine'"):
        load_schema(own, "mine")


def test_a_missing_file_is_named_with_the_task_that_wants_it(project: MakeProject) -> None:
    own = project(OWN)
    with pytest.raises(ProjectError, match=r"tasks\.mine\.schema is 'mine:Mine', and there is no .*/schemas/mine\.py"):
        load_schema(own, "mine")
