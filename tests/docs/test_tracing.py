"""docs/tracing.md: its table is what spans say, its program runs, its config is one."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from llmtask.project import load_project

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/tracing.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_table_has_a_row_for_every_attribute_and_no_other() -> None:
    source = (ROOT / "cli/llmtask/tracing/spans.py").read_text(encoding="utf-8")
    said = set(re.findall(r'"((?:gen_ai|server|error|llmtask)\.[\w.]+)"', source))
    said -= {"gen_ai.token.modality", "gen_ai.client.inference.duration"}  # of measurements
    assert set(re.findall(r"^\| `([\w.]+\.[\w.]+)` \| (?:✓ )?\| (?:✓ )?\| ", GUIDE, re.MULTILINE)) == said


def test_its_program_runs_as_it_stands(tmp_path: Path) -> None:
    [code] = blocks("python")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "cli"), "LLMTASK_DB": str(tmp_path / "usage.db")}
    here = code.replace("BatchSpanProcessor(OTLPSpanExporter())", "SimpleSpanProcessor(ConsoleSpanExporter())").replace(
        "import BatchSpanProcessor", "import ConsoleSpanExporter, SimpleSpanProcessor"
    )
    done = subprocess.run(
        [sys.executable, "-c", here], cwd=ROOT, env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r'"name": "(.+)"', done.stdout) == ["chat offline", "llmtask job_match", "screen an applicant"]


def test_its_config_is_one(tmp_path: Path) -> None:
    [config] = blocks("yaml")
    (tmp_path / "config.yaml").write_text(config, encoding="utf-8")
    assert load_project(tmp_path).config.tracing.enabled is yaml.safe_load(config)["tracing"]["enabled"] is True
