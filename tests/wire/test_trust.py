"""A stranger's project on the wire: without trust no connection is made and no class imported; with it, all works."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import llmtask
from llmtask.errors import ExitCode, UntrustedError
from llmtask.project import Project, is_trusted
from tests.wire.conftest import DEEPSEEK_KEY, EXAMPLES, MATCH, Outcome
from tests.wire.vendor import Reply, VendorServer

RESUME = str(EXAMPLES / "resume.zh.md")
RUN = ("run", "job_match", "-i", RESUME, "-m", "deepseek-chat")
CHECK = ("models", "check", "deepseek-chat")


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTASK_TRUST")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port where nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def knocked(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize(
    "argv", [RUN, (*RUN, "--no-stream"), CHECK, ("doctor",)], ids=["run", "run at once", "check", "doctor"]
)
def test_a_strangers_host_sees_no_connection_before_it_is_trusted(
    argv: tuple[str, ...], command: Callable[..., Outcome], listener: socket.socket
) -> None:
    strange = {"base_url": url(listener)}
    providers = {name: strange for name in ("deepseek", "zhipu", "ollama")}
    outcome = command(*argv, providers=providers)
    assert outcome.code == ExitCode.PROJECT
    assert "not trusted" in outcome.stdout + outcome.stderr
    assert DEEPSEEK_KEY not in outcome.stdout + outcome.stderr
    assert outcome.rows == []
    assert not knocked(listener)


def test_the_doctor_knocks_once_it_is_trusted(command: Callable[..., Outcome], listener: socket.socket) -> None:
    command("doctor", "--trust", providers={name: {"base_url": url(listener)} for name in ("deepseek", "zhipu")})
    assert knocked(listener)


def test_a_key_goes_to_a_host_of_the_projects_own_once_it_is_trusted(
    command: Callable[..., Outcome], vendors: Callable[..., Project], deepseek: VendorServer
) -> None:
    deepseek.queue(Reply(json.dumps(MATCH)))
    assert command(*RUN).code == ExitCode.PROJECT
    assert deepseek.requests == []
    assert (
        command("models", "check", "deepseek-chat", "--trust").code == ExitCode.SCHEMA
    )  # the reply is no {"ok": true}
    assert {one.headers["authorization"] for one in deepseek.requests} == {f"Bearer {DEEPSEEK_KEY}"}
    assert command(*RUN).code == ExitCode.PROJECT
    assert not is_trusted(vendors())


def test_the_library_makes_no_connection_either(vendors: Callable[..., Project], deepseek: VendorServer) -> None:
    deepseek.queue(Reply(json.dumps(MATCH)))
    own = vendors()
    variables = {"resume": "八年后端开发"}
    with pytest.raises(UntrustedError):
        llmtask.run_structured_task("job_match", variables, project=own, model_id="deepseek-chat")
    with pytest.raises(UntrustedError):
        llmtask.get_model("deepseek-chat", project=own)
    assert deepseek.requests == []
    trusted = llmtask.load_project(own.root, trust=True)
    assert llmtask.run_structured_task("job_match", variables, project=trusted, model_id="deepseek-chat").data
    assert len(deepseek.requests) == 1


@pytest.mark.parametrize("argv", [("run", "job_match", "-i", RESUME, "-m", "m"), ("models", "check", "m")])
def test_a_strangers_class_is_not_imported_before_it_is_trusted(
    argv: tuple[str, ...], command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    name = f"stranger_{len(argv)}"
    (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config: dict[str, Any] = {
        "providers": {"x": {"driver": "langchain", "class": f"{name}.Model"}},
        "models": {"m": {"provider": "x", "name": "m", "context": 100_000}},
    }
    outcome = command(*argv, **config)
    assert outcome.code == ExitCode.PROJECT
    assert f"provider x imports {name}.Model" in outcome.stderr
    assert not marker.exists()
    outcome = command(*argv, "--trust", **config)
    assert outcome.code == ExitCode.PROJECT
    assert "has no 'Model'" in outcome.stderr
    assert marker.exists()
