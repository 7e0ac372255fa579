"""`llmtask init`: a project of one's own."""

import json
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles


def test_init_makes_a_project_that_runs_as_it_is(command: Command, work: Path) -> None:
    outcome = command("init", "mine")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert sorted(path.name for path in (work / "mine").iterdir()) == [
        ".gitignore",
        "config.yaml",
        "examples",
        "prompts",
        "schemas",
        "tests",
    ]
    assert command("doctor", "--offline", "--project", "mine").code == ExitCode.DONE
    [suggested] = [line for line in outcome.stderr.splitlines() if line.startswith("next: llmtask ")]
    ran = command(*suggested.removeprefix("next: llmtask ").split())
    assert json.loads(ran.stdout)["match_score"] == 50


def test_the_new_projects_suites_pass_without_a_key(command: Command, work: Path) -> None:
    command("init", "mine")
    suites = work / "mine" / "tests" / "suites"
    assert len(list(suites.glob("*.llm.yaml"))) == 6
    assert {path.name for path in suites.iterdir() if path.suffix != ".yaml"} == {"cassettes", "inputs"}
    replayed = command("test", "--project", "mine", "--replay", str(suites / "cassettes"))
    assert (replayed.code, replayed.rows) == (ExitCode.DONE, [])


def test_without_a_folder_the_project_is_made_here_and_is_used_from_below(
    command: Command, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("init").code == ExitCode.DONE
    (work / "config.yaml").write_text("defaults: {locale: en}\n", encoding="utf-8")
    below = work / "deep" / "down"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert command("run", "job_match", "--model", "offline", stdin="a resume").rows[0].locale == "en"


def test_the_new_project_keeps_keys_out_of_git(command: Command, work: Path) -> None:
    command("init", "mine")
    assert ".env" in (work / "mine" / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_nothing_that_python_or_git_left_behind_is_copied(command: Command, work: Path) -> None:
    command("init", "mine")
    names = {path.name for path in (work / "mine").rglob("*")}
    assert "__pycache__" not in names
    assert {name for name in names if name.startswith(".")} == {".gitignore"}


@pytest.mark.parametrize("taken", ["config.yaml", "prompts/zh/mine.yaml", "schemas/mine.py"])
def test_a_folder_that_holds_a_project_is_left_as_it_was(
    command: Command, files: WriteFiles, work: Path, taken: str
) -> None:
    files({f"mine/{taken}": "mine"})
    outcome = command("init", "mine")
    assert outcome.code == ExitCode.USAGE
    assert "exists already; nothing was changed. Choose another folder" in outcome.stderr
    assert [path.relative_to(work / "mine").as_posix() for path in (work / "mine").rglob("*") if path.is_file()] == [
        taken
    ]


def test_other_files_in_the_folder_are_no_hindrance_and_stay(command: Command, files: WriteFiles, work: Path) -> None:
    files({"mine/.gitignore": "mine\n", "mine/notes.md": "mine\n"})
    assert command("init", "mine").code == ExitCode.DONE
    assert (work / "mine" / ".gitignore").read_text(encoding="utf-8") == "mine\n"


def test_a_folder_that_cannot_be_made_is_refused(command: Command, files: WriteFiles) -> None:
    files({"file": "a file"})
    outcome = command("init", "file/mine")
    assert outcome.code == ExitCode.USAGE
    assert "'file/mine' cannot be written (Not a directory); choose another folder" in outcome.stderr
