"""docs/quota.md: its configs are configs, its commands are accepted, its table has every key."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmtask.main import app
from llmtask.project import Budget, QuotaRules, load_project
from tests.docs.test_docs import ROOT, blocks

GUIDE = (ROOT / "docs/quota.md").read_text(encoding="utf-8")


def test_its_configs_are_configs(tmp_path: Path) -> None:
    quota, budgets = blocks(GUIDE, "yaml")
    (tmp_path / "config.yaml").write_text(quota + budgets, encoding="utf-8")
    config = load_project(tmp_path).config
    assert config.quota == QuotaRules(unknown="refuse", unreachable="refuse", timezone="Asia/Shanghai")
    assert [budget.per for budget in config.budgets] == ["day", "month", "week", "day", "run"]


def test_its_commands_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resume.md").write_text("Engineer since 2020.", encoding="utf-8")
    for line in "".join(blocks(GUIDE, "sh")).splitlines():
        argv = shlex.split(line)[1:]
        ran = CliRunner().invoke(app, [*argv, *(["--dry-run"] if argv[0] == "run" else [])])
        assert ran.exit_code == 0, (line, ran.stderr)


def test_its_table_has_every_key_of_a_budget() -> None:
    named = {
        name for line in re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert named | {"timezone"} == set(Budget.model_fields)
