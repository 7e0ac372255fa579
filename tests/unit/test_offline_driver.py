"""providers.offline_driver: every starter schema filled from the input, the same each time, streamed or whole."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage  # what the driver takes
from pydantic import BaseModel, Field

from llmtask.project import Model, Project, Provider, TokenEstimate, starter_root
from llmtask.providers import Request, get_model
from llmtask.providers.offline_driver import OfflineChatModel, Sample, call_arguments
from llmtask.schemas import json_schema, load_schema
from llmtask.tokens import estimate

TASKS = [
    "resume_summary",
    "detailed_resume_summary",
    "job_summary",
    "job_match",
    "resume_customize",
    "interview_prep",
]
RATE = TokenEstimate()
MODEL = OfflineChatModel(token_estimate=RATE)
every_task = pytest.mark.parametrize("task", TASKS)
every_locale = pytest.mark.parametrize("locale", ["zh", "en"])


def documents(locale: str) -> dict[str, str]:
    folder = Path(starter_root() / "examples")
    return {name: (folder / f"{name}.{locale}.md").read_text(encoding="utf-8") for name in ("resume", "job")}


def answer(schema: type[BaseModel], given: dict[str, str]) -> str:
    message = MODEL.invoke([HumanMessage("Go.")], schema=json_schema(schema), documents=given)
    return str(message.text)


def strings(node: Any) -> list[str]:
    """Every text in an answer."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return [text for one in node for text in strings(one)]
    return [node] if isinstance(node, str) else []


@every_locale
@every_task
def test_every_starter_schema_is_filled_with_verbatim_passages(starter: Project, task: str, locale: str) -> None:
    schema, given = load_schema(starter, task), documents(locale)
    text = answer(schema, given)
    schema.model_validate_json(text, strict=True)
    found = strings(json.loads(text))
    assert len(found) >= 3
    assert [one for one in found if one not in "\n".join(given.values())] == []
    assert all(one.strip() == one != "" for one in found)


@every_locale
@every_task
def test_the_same_input_gives_the_same_answer_and_another_another(starter: Project, task: str, locale: str) -> None:
    schema = load_schema(starter, task)
    assert answer(schema, documents(locale)) == answer(schema, documents(locale))
    assert answer(schema, documents("zh")) != answer(schema, documents("en"))


@every_task
def test_the_stream_is_the_answer_in_pieces(starter: Project, task: str) -> None:
    schema, given = json_schema(load_schema(starter, task)), documents("zh")
    chunks = list(MODEL.stream([HumanMessage("Go.")], schema=schema, documents=given))
    whole = MODEL.invoke([HumanMessage("Go.")], schema=schema, documents=given)
    assert len(chunks) > 3
    assert "".join(str(chunk.text) for chunk in chunks) == str(whole.text)
    total = sum(chunks[1:], chunks[0])
    assert isinstance(total, AIMessageChunk)
    assert total.usage_metadata == whole.usage_metadata
    assert total.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"] == "stop"
    assert total.response_metadata["model_name"] == whole.response_metadata["model_name"] == "offline"


def test_contact_details_are_found_by_their_form(starter: Project) -> None:
    header = json.loads(answer(load_schema(starter, "resume_summary"), documents("en")))["header"]
    assert header == {
        "name": "Elena Marsh",
        "email": "elena.marsh@example.com",
        "phone": "+1 555 0100",
        "linkedin": "linkedin.com/in/example-elena-marsh",
        "github": "github.com/example-emarsh",
    }
    header = json.loads(answer(load_schema(starter, "resume_summary"), documents("zh")))["header"]
    assert (header["name"], header["email"], header["phone"], header["github"]) == (
        "陈予安",
        "chen.yuan@example.cn",
        "138-0000-0000",
        "github.com/example-chenyuan",
    )


def test_tokens_are_counted_from_what_was_said(starter: Project) -> None:
    schema = json_schema(load_schema(starter, "job_match"))
    asked = [SystemMessage("你是招聘顾问。"), HumanMessage("Go on, please.")]
    message = MODEL.invoke(asked, schema=schema, documents=documents("zh"))
    given = estimate("你是招聘顾问。", RATE) + estimate("Go on, please.", RATE)
    produced = estimate(str(message.text), RATE)
    usage = message.usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (given, produced, given + produced)


def test_without_a_schema_the_answer_is_a_passage_of_the_message() -> None:
    assert str(MODEL.invoke("# A title of some length\n\nA second passage.").text) == "A title of some length"


def test_without_documents_the_message_is_the_input() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert json.loads(str(MODEL.invoke("Ann Example\nmore words", schema=schema).text)) == {"name": "Ann Example"}


def test_the_model_is_had_without_a_key(starter: Project) -> None:
    assert isinstance(get_model("offline", project=starter), OfflineChatModel)


def test_a_call_hands_over_the_schema_and_the_documents() -> None:
    request = Request("S", "U", {"type": "object"}, documents={"resume": "R"})
    model, provider = Model(provider="offline", name="offline", context=1), Provider(driver="offline")
    assert call_arguments(request, model, provider) == {"schema": {"type": "object"}, "documents": {"resume": "R"}}


# Schemas of a user's own


class Own(BaseModel):
    """What people put into schemas."""

    years: int = Field(gt=0)
    rank: int = Field(ge=1, le=10)
    share: float = Field(gt=0, lt=1)
    ratio: float = Field(ge=0, le=1)
    below: int = Field(lt=-5)
    few: list[str] = Field(max_length=2)
    many: list[str] = Field(min_length=5)
    short: str = Field(max_length=3)
    kind: Literal["b", "a"]
    only: Literal["one"]
    yes: bool
    nothing: None
    perhaps: str | None
    either: int | str
    nested: list["Own"] | None = None


def test_a_schema_of_ones_own_is_filled_within_its_bounds() -> None:
    properties = json_schema(Own)["properties"]
    del properties["nested"]
    filled = Sample("A first passage.\nA second passage.").of({"type": "object", "properties": properties})
    own = Own.model_validate(filled)
    assert (own.rank, own.ratio, own.share, own.kind, own.only) == (5, 0.5, 0.5, "b", "one")
    assert (len(own.few), len(own.many), len(own.short)) == (2, 5, 3)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 100}, 50),
        ({"type": "number", "minimum": 0, "maximum": 100}, 50),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.5),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2}, 1),
        ({"type": "integer", "exclusiveMinimum": 7, "maximum": 8}, 8),
        ({"type": "integer", "minimum": 7, "exclusiveMaximum": 8}, 7),
    ],
)
def test_a_number_is_the_middle_of_its_bounds(schema: dict[str, Any], value: float) -> None:
    found = Sample("text").of(schema)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["", "\n \n", "# \n- \n"])
def test_an_input_without_passages_still_fills_the_schema(text: str) -> None:
    assert Sample(text).of({"type": "array", "items": {"type": "string"}}) == ["-", "-", "-"]


def test_a_nullable_value_is_filled_whichever_way_it_is_written() -> None:
    for options in ([{"type": "null"}, {"type": "string"}], [{"type": "string"}, {"type": "null"}]):
        assert Sample("A passage.").of({"anyOf": options}) == "A passage."
    assert Sample("A passage.").of({"anyOf": [{"type": "null"}]}) is None
