"""`llmtask compare`: what is better, what is worse, what cannot be told."""

import json
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.testing.run import Run
from llmtask.testing.store import Store
from tests.commands.conftest import Command, WriteFiles
from tests.unit.testing.runs import World

WORLD = World(1, cases=60, models=("deepseek-chat",), locales=("zh",), repeats=2)


@pytest.fixture
def runs(files: WriteFiles) -> Path:
    """The working folder is a project with three runs: main, another like it, and a worse one, the latest."""
    root = files({"config.yaml": "defaults: {locale: en}\n"})
    store = Store(root / ".llmtask" / "runs.db")
    for number, (name, rate) in enumerate((("main", 0.9), ("same", 0.9), ("worse", 0.5))):
        keep(store, WORLD.run(number, rate=rate), f"20261124-20000{number}-0000", name)
    store.close()
    return root


def keep(store: Store, run: Run, run_id: str, name: str) -> None:
    store.begin(run_id, name, {"models": "deepseek-chat"}, name)
    store.plan(run_id, run.items)
    for item in run.items:
        for sample in item.samples:
            store.add(run_id, [(item.key, sample)])
    store.end(run_id)


@pytest.mark.usefixtures("runs")
def test_a_real_regression_is_called_worse_and_fails_where_that_is_asked_for(command: Command) -> None:
    outcome = command("compare", "main")
    assert outcome.code == ExitCode.DONE
    assert "worse" in outcome.stdout
    assert outcome.stdout.rstrip().splitlines()[-1].startswith("Worse: pass (deepseek-chat · zh)")
    assert command("compare", "main", "--fail-on-regression").code == ExitCode.FAILED


@pytest.mark.usefixtures("runs")
def test_noise_is_no_regression_and_says_what_would_tell(command: Command) -> None:
    outcome = command("compare", "main", "same", "--fail-on-regression")
    assert outcome.code == ExitCode.DONE
    assert "cannot tell" in outcome.stdout
    assert "No difference can be told" in outcome.stdout


@pytest.mark.usefixtures("runs")
def test_as_json_it_says_the_same(command: Command) -> None:
    document = json.loads(command("compare", "main", "--json").stdout)
    assert document["is_regression"] is True
    assert (document["baseline"]["name"], document["run"]["name"]) == ("main", "worse")
    assert {change["verdict"] for change in document["changes"]} >= {"worse"}


@pytest.mark.usefixtures("runs")
def test_without_a_baseline_the_runs_are_listed(command: Command) -> None:
    lines = command("compare").stdout.splitlines()
    assert [line.split()[1] for line in lines if "20261124" in line] == ["worse", "same", "main"]


def test_run_documents_are_compared_without_results(command: Command, work: Path) -> None:
    for number, rate in enumerate((0.9, 0.5)):
        (work / f"{number}.json").write_text(json.dumps(WORLD.run(number, rate=rate).to_json()), encoding="utf-8")
    assert command("compare", "0.json", "1.json", "--fail-on-regression").code == ExitCode.FAILED
    itself = command("compare", "0.json", "0.json")
    assert itself.code == ExitCode.USAGE
    assert "would be compared with itself" in itself.stderr


def test_a_page_and_a_comment_are_written(command: Command, runs: Path) -> None:
    outcome = command("compare", "main", "--report", "page.html", "--markdown", "comment.md")
    assert "wrote page.html" in outcome.stderr
    assert "<html" in (runs / "page.html").read_text(encoding="utf-8")
    assert "orse" in (runs / "comment.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nothing"], "no run 'nothing' in .llmtask/runs.db; the last ones are worse (20261124-200002-0000)"),
        (["main", "nothing"], "no run 'nothing'"),
        (["gone.json"], "'gone.json' cannot be read (No such file or directory)"),
        (["main", "--pair", "a"], "--pair 'a': give OLD=NEW"),
        (["main", "--pair", "nope=deepseek-chat"], "nope"),
        (["main", "--report", "gone/page.html"], "its folder is missing"),
    ],
)
def test_what_is_not_there_is_refused(command: Command, argv: list[str], words: str) -> None:
    outcome = command("compare", *argv)
    assert outcome.code == ExitCode.USAGE
    assert words in outcome.stderr


def test_a_project_without_results_says_so(command: Command, files: WriteFiles) -> None:
    root = files({"config.yaml": "defaults: {locale: en}\n"})
    assert "no runs yet" in command("compare").stderr
    assert "there are no results in .llmtask/runs.db yet" in command("compare", "main").stderr
    assert not (root / ".llmtask").exists()
