"""`llmtask models`: what can be asked, and whether it answers."""

import json

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles

MODELS = ["deepseek-chat", "deepseek-reasoner", "glm-4.5-flash", "glm-4.1v-thinking-flash", "offline"]


def keys(command: Command) -> dict[str, str]:
    return {one["model"]: one["key"] for one in json.loads(command("models", "list", "--json").stdout)}


def test_list_has_a_line_per_model(command: Command) -> None:
    outcome = command("models", "list")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    rows = [line.split() for line in outcome.stdout.splitlines() if line.strip()][2:]
    assert [row[0] for row in rows] == MODELS
    assert rows[0][1:4] == ["deepseek", "deepseek-flash", "1,000,000"]


def test_list_says_where_a_key_comes_from_and_never_shows_it(
    command: Command, files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys(command)["deepseek-chat"] == "missing: DEEPSEEK_API_KEY"
    assert keys(command)["offline"] == "none needed"
    files({"config.yaml": "defaults: {}\n", ".env": "ZHIPUAI_API_KEY=canary-in-file\n"})
    monkeypatch.setenv("DEEPSEEK_API_KEY", "canary-in-environment")
    assert keys(command)["deepseek-chat"] == "DEEPSEEK_API_KEY"
    assert keys(command)["glm-4.5-flash"] == "ZHIPUAI_API_KEY in .env"
    assert "canary" not in command("models", "list").stdout


def test_openais_key_is_nobodys(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    assert keys(command)["deepseek-chat"] == "missing: DEEPSEEK_API_KEY"


def test_the_embedded_model_answers(command: Command) -> None:
    outcome = command("models", "check", "offline")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert outcome.stderr == "offline: answered as offline\n"


@pytest.mark.parametrize(
    ("model", "code", "piece"),
    [
        ("deepseek-chat", ExitCode.KEY, "set DEEPSEEK_API_KEY"),
        ("deepseek-cht", ExitCode.USAGE, "did you mean 'deepseek-chat'?"),
    ],
)
def test_a_model_that_cannot_be_asked_says_why_in_one_line(
    command: Command, model: str, code: ExitCode, piece: str
) -> None:
    outcome = command("models", "check", model)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert piece in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_a_server_that_is_not_there_exits_as_run_would(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": "providers: {ollama: {base_url: 'http://127.0.0.1:9/v1'}}\n"})
    outcome = command("models", "check", "ollama/qwen3:8b")
    assert outcome.code == ExitCode.PROVIDER
    assert "ollama: network" in outcome.stderr
