"""`deploy/`: what its manifests start is started here, by Debian's Redis and by this llmtask; Docker itself is not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtask.errors import ExitCode
from tests.redis.server import Server

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "letmein"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def containers() -> dict[str, Any]:
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]
        for document in documents("kubernetes.yaml")
        if "template" in document["spec"]
    }


def commands() -> dict[str, list[str]]:
    [compose] = documents("compose.yaml")
    return {
        "compose redis": compose["services"]["redis"]["command"],
        "kubernetes redis": containers()["llmtask-redis"]["command"],
        "compose worker": compose["services"]["worker"]["command"],
        "kubernetes worker": containers()["llmtask-worker"]["args"],
    }


@pytest.mark.parametrize("name", ["compose redis", "kubernetes redis"])
def test_the_broker_that_they_start_has_a_password_and_keeps_what_it_is_told(
    broker_server: Server, tmp_path: Path, name: str
) -> None:
    said = [one.replace("${BROKER_PASSWORD:?}", PASSWORD).replace("$(PASSWORD)", PASSWORD) for one in commands()[name]]
    assert said[0] == "redis-server"
    server = Server(broker_server.program, tmp_path / "own", PASSWORD, said=said[1:])
    redis = pytest.importorskip("redis").Redis.from_url(server.url)
    redis.set("paid", "for")
    assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    redis.close()
    server.kill()
    server.start()
    assert redis.get("paid") == b"for"
    redis.close()
    server.kill()


@pytest.mark.parametrize("name", ["compose worker", "kubernetes worker"])
def test_the_worker_that_they_start_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTASK_BROKER", "redis://127.0.0.1:1/0")
    argv = [sys.executable, "-m", "llmtask", *commands()[name]]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == ExitCode.PROVIDER, ended.stderr
    assert "is it running" in ended.stderr


def test_the_image_gets_signals_itself() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["llmtask"]' in text
    assert 'CMD ["worker"]' in text
    assert shutil.which("llmtask"), "the command that it names"
