"""Nobody else is called: which hosts a process looks up and connects to, told by Python's own audit events.

The environment asks for LangSmith, for another OpenAI server and for a proxy; config.yaml asks for none of it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtask.project import Project
from tests.wire.conftest import MATCH
from tests.wire.test_langchain_driver import community
from tests.wire.vendor import Reply, VendorServer

ANSWER = json.dumps(MATCH, ensure_ascii=False)
RUN = ("run", "job_match", "--var", "resume=Go, 5 years")
WATCH = """
import os, sys

def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    with open(os.environ["HOSTS_SEEN"], "a") as file:
        file.write(f"{host.decode() if isinstance(host, bytes) else host}\\n")

sys.addaudithook(watch)
"""
TEMPTATIONS = {
    "LANGSMITH_TRACING": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGSMITH_API_KEY": "ls-key",
    "LANGSMITH_ENDPOINT": "http://langsmith.invalid",
    "OPENAI_BASE_URL": "http://openai.invalid/v1",
    "OPENAI_API_BASE": "http://openai.invalid/v1",
    "OPENAI_API_KEY": "sk-openai",
    "OPENAI_PROXY": "http://proxy.invalid:3128",
    "ZHIPUAI_API_BASE": "http://zhipu.invalid",
}


@pytest.mark.parametrize(
    "argv",
    [
        (*RUN, "--stream"),
        (*RUN, "--no-stream"),
        (*RUN, "--stream", "-m", "glm-community"),
        (*RUN, "--no-stream", "-m", "glm-community"),
        ("models", "check", "deepseek-chat"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_only_hosts_of_the_config_are_looked_up(
    argv: tuple[str, ...],
    vendors: Callable[..., Project],
    deepseek: VendorServer,
    zhipu: VendorServer,
    tmp_path: Path,
) -> None:
    for server in (deepseek, zhipu):
        server.queue(Reply('{"ok": true}' if argv[0] == "models" else ANSWER))
    config: dict[str, Any] = {}
    if "glm-community" in argv:
        pytest.importorskip("langchain_community", reason="the extra llmtask[community] is not installed")
        pytest.importorskip("jwt", reason="the extra llmtask[community] is not installed")
        config = community(zhipu)
        config["providers"]["glm"]["base_url"] = by_name(zhipu)
    providers = {"deepseek": {"base_url": by_name(deepseek)}, "zhipu": {"base_url": by_name(zhipu)}}
    project = vendors(**{**config, "providers": {**config.get("providers", {}), **providers}})
    allowed = {provider.base_url.split("/")[2].split(":")[0] for provider in used(project)}
    hosts = watched([*argv, "--project", str(project.root), "--db", str(tmp_path / "usage.db")], tmp_path)
    assert "localhost" in allowed
    assert "localhost" in hosts, "the watch sees what is looked up"
    assert hosts <= allowed | {"127.0.0.1", "::1"}


def by_name(server: VendorServer) -> str:
    """The server's address with a name in it, which has to be looked up."""
    return server.base_url.replace("127.0.0.1", "localhost")


def used(project: Project) -> list[Any]:
    """The providers that have an address."""
    return [provider for provider in project.config.providers.values() if provider.base_url]


def watched(argv: list[str], folder: Path) -> set[str]:
    """The hosts that a process of llmtask looks up or connects to."""
    seen, watch = folder / "hosts", folder / "watch"
    seen.touch()
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    environment = {**os.environ, **TEMPTATIONS, "PYTHONPATH": str(watch), "HOSTS_SEEN": str(seen)}
    done = subprocess.run([sys.executable, "-m", "llmtask", *argv], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return set(seen.read_text(encoding="utf-8").split())
