# ruff: noqa: INP001 -- no package: users get a copy of the folder
"""Records cassettes/ from answers/.

No live model gave these answers. They were written by hand, as a good model would give them, and recorded against the
loopback vendor of tests/wire, so that the suites can be replayed without a key and without a network. What their times
and token counts say is the loopback vendor's, too.

    python -m tests.suites.record

Do so again after every change of a suite, an input, an answer, a prompt or a schema: a cassette is found by what was
asked.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from tests.wire.vendor import Reply, Request, VendorServer

from llmtask.project import Project, load_project
from llmtask.prompts import load_prompt
from llmtask.testing.items import Item, items_of
from llmtask.testing.suite import load_suite

SUITES = Path(__file__).parent
ROOT = SUITES.parents[1]
ANSWERS = SUITES / "answers"
CASSETTES = SUITES / "cassettes"
KEY = "sk-loopback"


def answer_path(item: Item) -> Path:
    """Where an item's answer stands: answers/<suite>/<case>-<locale>.json."""
    return ANSWERS / item.key.suite_name / f"{item.key.case}-{item.key.locale}.json"


def items(project: Project) -> list[Item]:
    """Every item of the suites."""
    return list(items_of(project, [load_suite(project, path) for path in sorted(SUITES.glob("*.llm.yaml"))]))


def vendor(project: Project) -> VendorServer:
    """DeepSeek on the loopback, with an answer to each item: it is known by its user message."""
    asked = items(project)
    replies = {_question(project, item): answer_path(item).read_text(encoding="utf-8").strip() for item in asked}

    def respond(request: Request) -> Reply:
        *_, last = (request.body or {})["messages"]
        return Reply(content=replies[last["content"]], chunk_chars=200)

    return VendorServer("deepseek", key=KEY, respond=respond)


def record(folder: Path) -> int:
    """Write the cassettes anew; gives the exit code of `llmtask test`."""
    with tempfile.TemporaryDirectory() as place, vendor(load_project(ROOT)) as server:
        project = _make_project(Path(place), server.base_url)
        shutil.rmtree(folder / "suites", ignore_errors=True)
        return _run(project, "--record", str(folder.absolute()))


def _question(project: Project, item: Item) -> str:
    _, user = load_prompt(project, item.suite.task, item.key.locale).render(item.case.inputs)
    return user


def _make_project(folder: Path, base_url: str) -> Path:
    """A project with these suites, whose DeepSeek is the loopback vendor; prompts and schemas are the starter's."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(SUITES / "inputs", folder / "tests" / "suites" / "inputs")
    for suite in SUITES.glob("*.llm.yaml"):
        shutil.copy(suite, folder / "tests" / "suites")
    config = {"providers": {"deepseek": {"base_url": base_url}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def _run(project: Path, *options: str) -> int:
    command = [sys.executable, "-m", "llmtask", "test", *options, "--project", str(project), "--trust", "--no-log"]
    environment = {**os.environ, "DEEPSEEK_API_KEY": KEY, "PYTHONPATH": str(ROOT / "cli")}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(record(CASSETTES))
