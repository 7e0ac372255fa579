"""`llmtask doctor`: is everything in place?"""

import socket
from pathlib import Path

import pytest

from llmtask import __version__
from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles


def test_a_fresh_machine_is_sound_and_misses_only_keys(command: Command) -> None:
    outcome = command("doctor", "--offline")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith(f"✓ llmtask {__version__}, Python 3.")
    assert any(line.endswith("(the starter): 7 tasks, 5 models") for line in lines)
    assert "✓ prompts and schemas are sound (en, zh)" in lines
    assert f"✓ usage log {outcome.log} can be written" in lines
    assert "- deepseek: no key (set DEEPSEEK_API_KEY)" in lines
    assert "- zhipu: no key (set ZHIPU_API_KEY or ZHIPUAI_API_KEY)" in lines
    assert "✓ offline: embedded, needs no key and no network" in lines


def test_a_key_is_found_and_not_shown(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    shown = command("doctor", "--offline").stdout
    assert "✓ deepseek: key from DEEPSEEK_API_KEY" in shown
    assert "sk-canary" not in shown


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ({"config.yaml": "defaults:\n  locall: zh\n"}, "✗ config.yaml:2: unknown key 'locall'"),
        (
            {"config.yaml": "defaults: {}\n", "prompts/zh/job_match.yaml": "description: ["},
            "✗ prompts/zh/job_match.yaml:",
        ),
        (
            {"config.yaml": "defaults: {}\n", "schemas/job_match.py": "import not_there\n"},
            "✗ schemas/job_match.py:1: fails to import",
        ),
    ],
)
def test_a_project_that_is_wrong_fails(
    command: Command, files: WriteFiles, contents: dict[str, str | bytes], problem: str
) -> None:
    files(contents)
    outcome = command("doctor", "--offline")
    assert outcome.code == ExitCode.PROJECT
    assert problem in outcome.stdout
    assert "are sound" not in outcome.stdout


def test_a_log_that_cannot_be_written_fails(command: Command, work: Path) -> None:
    outcome = command("doctor", "--offline", "--db", str(work))
    assert outcome.code == ExitCode.PROJECT
    assert f"✗ usage log {work}: Is a directory; name another log with --db or LLMTASK_DB" in outcome.stdout
    assert "✓ prompts and schemas are sound" in outcome.stdout


def test_endpoints_are_tried_and_one_that_is_down_is_no_failure(command: Command, files: WriteFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        up = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        down = "http://127.0.0.1:9/v1"
        files(
            {
                "config.yaml": "providers:\n"
                f"  deepseek: {{base_url: '{up}'}}\n  zhipu: {{base_url: '{down}'}}\n  ollama: {{base_url: '{down}'}}\n"
            }
        )
        outcome = command("doctor")
    assert outcome.code == ExitCode.DONE
    assert f"✓ deepseek: {up} answers" in outcome.stdout
    assert f"- ollama: {down} cannot be reached: Connection refused" in outcome.stdout
