"""What every test stands on: a log and an environment of its own, and projects made of real files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llmtask.project import Project, load_project, starter_root

MakeProject = Callable[..., Project]

_VARIABLES = ("DEEPSEEK_API_KEY", "ZHIPU_API_KEY", "ZHIPUAI_API_KEY", "OPENAI_API_KEY", "LLMTASK_PROJECT")


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


@pytest.fixture
def starter() -> Project:
    """The starter project."""
    return load_project(starter_root())
