"""A server that nobody here wrote: LiteLLM's proxy with an answer of its own making; deselected by default.

python -m venv proxy && proxy/bin/pip install 'litellm[proxy]'
LLMTASK_LITELLM=proxy/bin/litellm pytest -m foreign
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.wire.conftest import MATCH, Outcome, command, deepseek, vendors, zhipu

__all__ = ["command", "deepseek", "vendors", "zhipu"]  # fixtures

pytestmark = pytest.mark.foreign
STARTS_S = 120
MOCKS = {
    "good": {"mock_response": json.dumps(MATCH, ensure_ascii=False)},
    "prose": {"mock_response": "抱歉，我不能。"},
    "busy": {"mock_response": "litellm.RateLimitError"},
    "broken": {"mock_response": "litellm.InternalServerError"},
    "too-long": {"mock_response": "litellm.ContextWindowExceededError"},
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """LiteLLM's proxy on a free port; gives its base URL."""
    program = shutil.which(os.environ.get("LLMTASK_LITELLM", "litellm"))
    if program is None:
        pytest.skip("LLMTASK_LITELLM names no program")
    folder = tmp_path_factory.mktemp("litellm")
    path: Path = folder / "config.yaml"
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "sk-upstream", **mock}}
        for name, mock in MOCKS.items()
    ]
    config = {
        "model_list": models,
        "litellm_settings": {"num_retries": 0},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + STARTS_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    pytest.fail("the proxy does not come up")


def through(proxy: str, name: str, method: str) -> dict[str, Any]:
    """The config that asks one of the proxy's models."""
    model = {"provider": "proxy", "name": name, "structured": method, "context": 32000, "max_tokens": 1000}
    return {
        "providers": {"proxy": {"driver": "openai", "base_url": proxy, "api_key_env": ["DEEPSEEK_API_KEY"]}},
        "models": {"subject": model},
    }


def run(command: Callable[..., Outcome], config: dict[str, Any], form: str) -> Outcome:
    return command("run", "job_match", "--var", "resume=Go, 5 years", "-m", "subject", form, **config)


@pytest.mark.parametrize("form", ["--stream", "--no-stream"])
@pytest.mark.parametrize("method", ["prompt", "json_object", "json_schema", "tool_auto"])
def test_its_answer_is_valid(proxy: str, command: Callable[..., Outcome], method: str, form: str) -> None:
    outcome = run(command, through(proxy, "good", method), form)
    assert (outcome.code, outcome.json) == (0, MATCH), outcome.stderr
    assert [row.error_class for row in outcome.rows] == [None]


@pytest.mark.parametrize("form", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    ("name", "code", "failure"),
    [
        ("prose", 6, "schema_invalid"),
        ("busy", 5, "rate_limited"),
        ("broken", 5, "overloaded"),
        ("too-long", 2, "context_too_long"),
    ],
)
def test_its_faults_have_their_names(
    proxy: str, command: Callable[..., Outcome], name: str, code: int, failure: str, form: str
) -> None:
    outcome = run(command, through(proxy, name, "prompt"), form)
    assert outcome.stdout == ""
    assert (outcome.code, {row.error_class for row in outcome.rows}) == (code, {failure}), outcome.stderr
