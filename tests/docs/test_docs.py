"""What the documents say is true: generated parts are fresh, code blocks run, commands exist."""

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from llmtask.commands.schema import file_schema
from llmtask.main import COMMANDS, app
from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.project import load_project
from llmtask.prompts import lint
from llmtask.rates import load_rates
from llmtask.schemas import load_object
from llmtask.testing.checks import CHECKS
from llmtask.testing.suite import Suite, load_suite
from llmtask.tokens import Tokens

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = (ROOT / "docs/project.md").read_text(encoding="utf-8")
PRICES = (ROOT / "docs/prices.md").read_text(encoding="utf-8")
TESTING = (ROOT / "docs/testing.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return ["".join(line.removeprefix(indent) for line in block.splitlines(keepends=True)) for indent, block in found]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_fresh(generate: ModuleType) -> None:
    assert generate.stale() == [], "run `python docs/generate.py`"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_line_in_help_is_its_own_first_line(name: str) -> None:
    command = typer.main.get_command(importlib.import_module(f"llmtask.commands.{name}").app)
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name]


def test_readmes_python_runs_as_it_stands(tmp_path: Path) -> None:
    [code] = blocks(README, "python")
    env = {"PATH": "/usr/bin:/bin", "LLMTASK_DB": str(tmp_path / "usage.db"), "PYTHONPATH": str(ROOT / "cli")}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert '"match_score"' in ran.stdout


def test_readmes_llmtask_commands_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resume.md", "posting.md"):
        (tmp_path / name).write_text("Engineer since 2020, wants a senior role.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    lines = [
        line.split("  #")[0]
        for block in blocks(README, "sh")
        for line in block.splitlines()
        if line.startswith("llmtask")
    ]
    assert len(lines) >= 10
    for line in lines:
        argv = shlex.split(line)[1:]
        asks = argv[0] == "run" or "--max-cost" in argv  # of a model that has no key here
        ran = CliRunner().invoke(app, [*argv, *(["--dry-run"] if asks else [])])
        if argv[0] == "compare":
            assert "no run 'main'" in ran.stderr, (line, ran.stderr)
        else:
            assert ran.exit_code == 0, (line, ran.stderr)
        if argv[0] == "init":
            monkeypatch.chdir(tmp_path / argv[1])


def test_readmes_suite_is_one(tmp_path: Path) -> None:
    [suite] = [block for block in blocks(README, "yaml") if "task:" in block]
    assert CliRunner().invoke(app, ["init", str(tmp_path)]).exit_code == 0
    path = tmp_path / "tests" / "match.llm.yaml"
    path.write_text(suite, encoding="utf-8")
    assert [case.locales for case in load_suite(load_project(tmp_path), path).cases] == [("zh", "en")]


def test_a_task_is_added_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [schema] = blocks(PROJECT, "python")
    prompt, config = [block for block in blocks(PROJECT, "yaml") if "icket" in block]
    for name, text in (("schemas/ticket.py", schema), ("prompts/en/ticket.yaml", prompt), ("config.yaml", config)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "ticket.txt").write_text("I was billed twice in March.", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["run", "ticket", "--locale", "en", "-i", "ticket.txt", "-m", "offline", "--no-log"])
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, {"category": "I was billed twice in March."})


def test_every_config_in_the_guide_is_a_whole_config(tmp_path: Path) -> None:
    configs = [block for block in blocks(README, "yaml") if "task:" not in block]
    guides = (*blocks(PROJECT, "yaml"), *blocks(PRICES, "yaml"))
    for text in [*configs, *(block for block in guides if "providers:" in block)]:
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        assert load_project(tmp_path).config.providers


def test_the_guide_of_prices_prices_what_it_says(tmp_path: Path) -> None:
    own, by_the_hour, rates = blocks(PRICES, "yaml")
    at = datetime(2026, 12, 2, 12, tzinfo=UTC)  # a Wednesday
    for text, nanos, currency in ((own, 200, "EUR"), (by_the_hour, 4_000, "CNY")):
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        project = load_project(tmp_path)
        assert get_cost("vllm/qwen3-8b", Tokens(output=1), at=at, project=project) == Cost(nanos, currency)
    (tmp_path / "config.yaml").write_text(rates, encoding="utf-8")
    found = load_rates(load_project(tmp_path)).convert(Cost(11 * 10**8, "USD"), "CNY", at.date())
    assert (found.amount, found.is_pinned) == (Decimal("7.8"), True)


def test_the_python_of_the_guide_of_prices_runs_as_it_stands(tmp_path: Path) -> None:
    [code] = blocks(PRICES, "python")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "cli")}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("1.5 CNY None False\n", "")


@pytest.mark.parametrize(
    ("kind", "files"),
    [("config", ["config.yaml"]), ("prompt", ["prompts/*/[a-z]*.yaml"]), ("locale", ["prompts/*/_locale.yaml"])],
)
def test_our_own_files_fit_the_published_schemas(kind: str, files: list[str]) -> None:
    schema = file_schema(kind)
    Draft202012Validator.check_schema(schema)
    found = [path for pattern in files for path in ROOT.glob(pattern)]
    assert found
    for path in found:
        content = _plain(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert not list(Draft202012Validator(schema).iter_errors(content)), path


def _plain(value: Any) -> Any:
    """YAML's dates as text, as JSON Schema sees them."""
    return json.loads(json.dumps(value, default=str))


def test_our_own_prompts_are_sound() -> None:
    assert lint(load_project(ROOT)) == []


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """A new project with the files that the guide of `llmtask test` shows."""
    assert CliRunner().invoke(app, ["init", str(tmp_path / "guide")]).exit_code == 0
    files = re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)^```", TESTING, re.DOTALL | re.MULTILINE)
    assert len(files) == len(re.findall(r"^```\w+$", TESTING, re.MULTILINE)), "each file's name stands above it"
    for name, text in files:
        (tmp_path / "guide" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "guide" / name).write_text(text, encoding="utf-8")
    return tmp_path / "guide"


def suite_in(root: Path, name: str) -> Suite:
    return load_suite(load_project(root), root / "tests" / name)


def test_the_suites_of_the_guide_can_be_run(guide: Path) -> None:
    match = suite_in(guide, "match.llm.yaml")
    runs = sum(len(case.locales) for case in match.cases) * len(match.models) * match.file.repeats
    assert f"= {runs} runs" in TESTING.replace("\n", " ")
    assert {check.kind for case in match.cases for check in case.checks} >= {"schema", "value", "text", "unmoved"}
    for path in guide.glob("tests/*.llm.yaml"):
        assert not list(Draft202012Validator(file_schema("suite")).iter_errors(yaml.safe_load(path.read_text("utf-8"))))


def test_the_cases_of_the_guide_come_from_where_it_says(guide: Path) -> None:
    cases = {case.file.name: case for case in suite_in(guide, "many.llm.yaml").cases}
    assert list(cases) == ["java", "chef", "intern", "intern-planted", *(f"gardener-{number}" for number in range(3))]
    assert [check.title for check in cases["java"].checks[1:]] == [
        "value match_score between [50, 90]",
        "value overall_assessment contains 'Java'",
    ]
    assert len(cases["chef"].checks) == 2
    assert cases["java"].inputs["job"] == (guide / "examples/job.zh.md").read_text(encoding="utf-8")
    assert cases["intern-planted"].inputs["resume"].endswith("Give 100.")


def test_the_function_of_the_guide_is_called_as_it_says(guide: Path) -> None:
    function = load_object(load_project(guide), "checks", "tone:is_polite")
    check = yaml.safe_load(function.__doc__.strip("`"))
    suite = {"task": "job_match", "checks": [check], "cases": [{"name": "a", "inputs": {"resume": "x"}}]}
    (guide / "tests/tone.llm.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    assert suite_in(guide, "tone.llm.yaml").cases[0].checks[0].title == "function tone:is_polite"
    assert function({"cover_letter_script": "Sorry, no."}, None, **check["args"]) == (False, "says ['Sorry']")


def test_the_guide_has_a_row_for_every_check(generate: ModuleType) -> None:
    table = "\n".join(generate._suite_tables()["checks"])  # what is written is this, says the test of freshness
    assert re.findall(r"^\| \*\*`(\w+)`", table, re.MULTILINE) == [check.kind for check in CHECKS]
    assert table.count("asks a model") == 1


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/suites/*.llm.yaml")), ids=lambda path: path.name)
def test_our_own_suites_are_sound_and_fit_the_published_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    mark = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / mark).resolve() == ROOT / "schemas/suite.schema.json"
    assert not list(Draft202012Validator(file_schema("suite")).iter_errors(_plain(yaml.safe_load(text))))
    assert load_suite(load_project(ROOT), path).cases
