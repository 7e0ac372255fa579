"""A project that points at loopback vendors, and a way to run a command in it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from llmtask.main import app
from llmtask.project import Project, load_project
from llmtask.project.load import merge
from llmtask.usage import UsageLog, UsageRow
from tests.wire.vendor import VendorServer

DEEPSEEK_KEY = "sk-canary-deepseek"
ZHIPU_KEY = "canaryid.canarysecret-long-enough-for-hs256"
EXAMPLES = Path(__file__).parents[2] / "examples"

MATCH = {
    "match_score": 82,
    "overall_assessment": "匹配度高",
    "strengths": [{"point": "支付经验", "evidence": "对接两家第三方支付渠道"}],
    "weaknesses": [{"point": "无 Kubernetes", "suggestion": "补一个项目"}],
    "cover_letter_script": "尊敬的招聘经理：……",
}
ONE_CALL = {
    "models": {"deepseek-chat": {"fallbacks": []}},
    "rules": {name: {"retry": 0} for name in ("overloaded", "rate_limited", "network", "cut_stream", "stalled")},
}
"""A failed call stays the only one, except where the answer is asked for again; the rest is in test_recovery."""
JOB = {"jobTitle": "Engineer", "company": None, "mustHaves": ["Go"], "niceToHaves": []}


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str
    rows: list[UsageRow]

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def deepseek() -> Iterator[VendorServer]:
    with VendorServer("deepseek", key=DEEPSEEK_KEY) as server:
        yield server


@pytest.fixture
def zhipu() -> Iterator[VendorServer]:
    with VendorServer("zhipu", key=ZHIPU_KEY) as server:
        yield server


@pytest.fixture
def vendors(
    tmp_path: Path, deepseek: VendorServer, zhipu: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Project]:
    """Makes a project whose providers are the loopback vendors; takes what else its config should say."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", DEEPSEEK_KEY)
    monkeypatch.setenv("ZHIPU_API_KEY", ZHIPU_KEY)

    def make(**config: Any) -> Project:
        said = {"deepseek": {"base_url": deepseek.base_url}, "zhipu": {"base_url": zhipu.base_url}}
        for name, provider in config.pop("providers", {}).items():
            said[name] = {**said.get(name, {}), **provider}
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        text = yaml.safe_dump(merge(ONE_CALL, {"providers": said, **config}))
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        return load_project(folder)

    return make


@pytest.fixture
def command(tmp_path: Path, vendors: Callable[..., Project]) -> Callable[..., Outcome]:
    """Runs llmtask in that project, with a log of its own."""

    def run(*argv: str, **config: Any) -> Outcome:
        project = vendors(**config)
        path = tmp_path / "usage.db"
        result = CliRunner().invoke(app, [*argv, "--project", str(project.root), "--db", str(path)])
        return Outcome(result.exit_code, result.stdout, result.stderr, UsageLog(path).latest(100)[::-1])

    return run
