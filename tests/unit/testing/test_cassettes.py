import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llmtask.errors import ProjectError, UsageError
from llmtask.project import Model, Project
from llmtask.providers import Request
from llmtask.service import Asking, asking
from llmtask.testing.cassettes import Cassettes, require_folder
from llmtask.testing.run import ItemKey
from llmtask.testing.tape import Recording
from llmtask.tokens import Tokens

KEY = ItemKey("tests/match.llm.yaml", "资深", "ollama/qwen3:8b", "zh")
MODEL = Model(provider="deepseek", name="flash", context=1000)
REQUEST = Request("system", "user", {"type": "object"})
SPOKEN = Recording(
    key="k1",
    parts={"input": "a", "system": "b"},
    repeat=1,
    at="2026-11-24T09:00:00.000Z",
    latency_ms=812,
    first_token_ms=210,
    text='{"score": 82, "text": "匹配"}',
    finish_reason="stop",
    model="flash-2",
    tokens=Tokens(100, 20, 5, 0),
)


@pytest.fixture
def cassettes(starter: Project, tmp_path: Path) -> Callable[[], Cassettes]:
    return lambda: Cassettes(tmp_path / "tapes", starter)


def test_what_is_written_is_read_again_to_the_byte(cassettes: Callable[[], Cassettes]) -> None:
    texts = [
        SPOKEN.text,
        '{"score":82,"text":"匹配"}',
        json.dumps({"a": [1.0, None, 1e300]}, indent=2),
        '{"a": 1E5}',
        '{"a": 1, "a": 2}',
        "```json\n{}\n```",
        "no JSON",
        "[1]",
        "\ufeff{}",
        '{"a": NaN}',
        '{"a": "\\u2028 \\/"}',
    ]
    recordings = [replace(SPOKEN, key=f"k{index}", text=text) for index, text in enumerate(texts)]
    recordings.append(replace(SPOKEN, key="tool", text="", tool_arguments='{"a": 1}', reasoning="hm", tokens=None))
    recordings.append(replace(SPOKEN, key="no", text="", refusal="zhipu: filtered", first_token_ms=None))
    cassettes().write(KEY, recordings)
    assert cassettes().recordings(KEY) == {one.key: one for one in recordings}


def test_a_cassette_is_a_readable_file_per_item_whose_name_fits_every_system(
    cassettes: Callable[[], Cassettes],
) -> None:
    tapes = cassettes()
    tapes.write(KEY, [SPOKEN])
    path = tapes.path(KEY)
    assert path.relative_to(tapes.folder).as_posix() == "match/资深@ollama%2fqwen3%3a8b-zh.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["calls"][0]["text"] == {"form": "spaced", "json": {"score": 82, "text": "匹配"}}
    assert "匹配" in path.read_text(encoding="utf-8")


def test_no_key_is_ever_in_a_cassette(cassettes: Callable[[], Cassettes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary-0123456789")
    monkeypatch.setenv("ZHIPU_API_KEY", "canaryid.canary-secret")
    tapes = cassettes()
    said = "the key is sk-canary-0123456789, or canaryid.canary-secret, or canary-secret"
    tapes.write(KEY, [replace(SPOKEN, text=said, reasoning=said), replace(SPOKEN, key="k2", refusal=said)])
    assert "canary" not in tapes.path(KEY).read_text(encoding="utf-8")


def test_a_miss_says_what_has_changed(cassettes: Callable[[], Cassettes]) -> None:
    tapes = cassettes()
    assert "there is no" in tapes.complaint(KEY, Asking({"input": "a"}), 1)
    tapes.write(KEY, [SPOKEN])
    assert "the prompt changed since" in tapes.complaint(KEY, Asking({"input": "a", "system": "c"}), 1)
    assert "repeat 2 is not in it" in tapes.complaint(KEY, Asking({"input": "a", "system": "b"}), 2)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"calls": 1}', '{"calls": [{"key": 1}]}', '{"calls": [{"x": 1}]}'])
def test_what_is_no_cassette_is_said_with_its_name(cassettes: Callable[[], Cassettes], text: str) -> None:
    path = cassettes().path(KEY)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError, match=r"qwen3%3a8b-zh\.json: is no cassette"):
        cassettes().recordings(KEY)


def test_a_folder_that_is_not_there_is_said_before_the_first_item(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        require_folder(tmp_path / "gone")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "pro"},
        {"temperature": 0.5},
        {"max_tokens": 7},
        {"thinking": "enabled"},
        {"structured": "tool"},
        {"extra_body": {"seed": 1}},
        {"provider": "zhipu"},
    ],
)
def test_the_key_changes_with_the_model_and_its_parameters(change: dict[str, object]) -> None:
    assert _key(MODEL.model_copy(update=change)) != _key(MODEL)


@pytest.mark.parametrize("change", [{"queue": "q"}, {"price": "p"}, {"description": "d"}, {"context": 5}])
def test_the_key_stays_where_the_answer_does(change: dict[str, object]) -> None:
    assert _key(MODEL.model_copy(update=change)) == _key(MODEL)


def test_the_key_changes_with_messages_schema_repeat_and_what_went_before() -> None:
    whole = asking(MODEL, REQUEST)
    others = [
        asking(MODEL, replace(REQUEST, system="other")).key(1, 0),
        asking(MODEL, replace(REQUEST, user="other")).key(1, 0),
        asking(MODEL, replace(REQUEST, schema={"type": "array"})).key(1, 0),
        whole.key(2, 0),
        whole.key(1, 1),
    ]
    assert len({whole.key(1, 0), *others}) == 6
    assert asking(MODEL, Request("system", "user", {"type": "object"})).key(1, 0) == whole.key(1, 0)


def _key(model: Model) -> str:
    return asking(model, REQUEST).key(1, 0)
