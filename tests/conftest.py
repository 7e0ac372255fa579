"""What every test stands on: a log and an environment of its own, and projects made of real files."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from llmtask.project import Project, load_project, starter_root
from llmtask.usage import UsageLog
from tests.postgres.server import REQUIRED, Server, programs
from tests.redis.server import REQUIRED as BROKER_REQUIRED
from tests.redis.server import Server as Broker
from tests.redis.server import program as broker_program

MakeProject = Callable[..., Project]

_VARIABLES = (
    "DEEPSEEK_API_KEY",
    "ZHIPU_API_KEY",
    "ZHIPUAI_API_KEY",
    "OPENAI_API_KEY",
    "LLMTASK_PROJECT",
    "LLMTASK_BROKER",
    "PYTEST_XDIST_WORKER",  # a suite that a test runs is in no worker of pytest-xdist
)


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the keys, project, log, rates or trust of whoever runs it; what a test makes is trusted."""
    monkeypatch.setenv("LLMTASK_DB", str(tmp_path / "usage.db"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMTASK_TRUST", "1")
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    """Makes a project of files: its config's text, and the text of any other file by its path."""

    def make(config: str = "", files: Mapping[str, str] | None = None, folder: str = "project") -> Project:
        root = tmp_path / folder
        for name, text in {"config.yaml": config, **(files or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return load_project(root)

    return make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is about a log on both databases, unless it is about a file."""
    if "place" in metafunc.fixturenames:
        is_files = metafunc.definition.get_closest_marker("sqlite")
        metafunc.parametrize("place", ["sqlite"] if is_files else ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def broker_server(tmp_path: Path) -> Iterator[Broker]:
    """A Redis server; skipped where there is none, unless there has to be one."""
    found = broker_program()
    if found is None:
        if os.environ.get(BROKER_REQUIRED) == "1":
            pytest.fail(f"{BROKER_REQUIRED} is 1 and there is no Redis: tests/redis/install.sh")
        pytest.skip("needs Redis: tests/redis/install.sh")
    pytest.importorskip("docket")
    server = Broker(found, tmp_path / "redis")
    yield server
    server.thaw()
    server.kill()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server; skipped where there is none, unless there has to be one."""
    found = programs()
    if found is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED} is 1 and there is no PostgreSQL: tests/postgres/install.sh")
        pytest.skip("needs PostgreSQL: tests/postgres/install.sh")
    pytest.importorskip("psycopg")
    server = Server(found)
    yield server
    server.remove()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a log's file would be."""
    return tmp_path / "usage.db"


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Path | str:
    """Where a log is: a file's path, or the URL of a new database."""
    if request.param == "sqlite":
        return request.getfixturevalue("path")  # type: ignore[no-any-return]
    return request.getfixturevalue("server").database()  # type: ignore[no-any-return]


@pytest.fixture
def log(place: Path | str) -> Iterator[UsageLog]:
    """A log, in each of the databases."""
    found = UsageLog(place)
    yield found
    found.close()


@pytest.fixture
def starter() -> Project:
    """The starter project."""
    return load_project(starter_root())
