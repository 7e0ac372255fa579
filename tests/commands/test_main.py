"""The app itself: help, version, and what it says to a command line that is wrong."""

import pytest

from llmtask import __version__
from llmtask.errors import ExitCode
from llmtask.main import COMMANDS
from tests.commands.conftest import Command

NAMES = [
    *(
        "run",
        "route",
        "batch",
        "worker",
        "test",
        "compare",
        "usage",
        "prices",
        "budget",
        "quota",
        "tasks",
        "prompts",
        "schema",
        "models",
        "doctor",
        "trust",
        "init",
    ),
]
LEAVES = [
    ["run"],
    ["route"],
    ["batch", "start"],
    ["batch", "resume"],
    ["batch", "retry"],
    ["batch", "status"],
    ["batch", "cancel"],
    ["batch", "results"],
    ["worker"],
    ["test"],
    ["compare"],
    ["usage", "report"],
    ["usage", "list"],
    ["usage", "path"],
    ["prices", "list"],
    ["prices", "check"],
    ["prices", "import"],
    ["prices", "rates"],
    ["budget", "show"],
    ["quota", "show"],
    ["quota", "set"],
    ["quota", "add"],
    ["quota", "history"],
    ["tasks", "list"],
    ["tasks", "show"],
    ["prompts", "show"],
    ["prompts", "lint"],
    ["schema"],
    ["models", "list"],
    ["models", "check"],
    ["doctor"],
    ["trust"],
    ["init"],
]


def test_version_is_the_packages(command: Command) -> None:
    outcome = command("--version")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (ExitCode.DONE, f"llmtask {__version__}\n", "")


@pytest.mark.parametrize("argv", [["--help"], ["-h"]])
def test_help_lists_every_command_and_a_line_to_begin_with(command: Command, argv: list[str]) -> None:
    outcome = command(*argv)
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert list(COMMANDS) == NAMES
    for name in NAMES:
        assert f"│ {name} " in outcome.stdout
    assert "llmtask run job_match --input resume.md --model offline" in outcome.stdout


@pytest.mark.parametrize("argv", LEAVES)
def test_every_command_has_help(command: Command, argv: list[str]) -> None:
    outcome = command(*argv, "--help")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert f"Usage: llmtask {' '.join(argv)} " in outcome.stdout or f" {' '.join(argv)} [OPTIONS]" in outcome.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_line_in_the_list_is_the_commands_own(command: Command, name: str) -> None:
    shown = " ".join(command(name, "--help").stdout.split())
    assert COMMANDS[name] in shown


@pytest.mark.parametrize("argv", [["run"], ["route"], ["schema"], ["usage", "report"]], ids=lambda argv: " ".join(argv))
def test_help_has_examples(command: Command, argv: list[str]) -> None:
    assert f"llmtask {' '.join(argv)} " in command(*argv, "--help").stdout.split("╭")[0].split("\n", 2)[2]


def test_without_a_command_there_is_help_and_a_usage_error(command: Command) -> None:
    outcome = command()
    assert outcome.code == ExitCode.USAGE
    assert "Usage: " in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("argv", "piece"),
    [
        (["runn"], "Did you mean 'run'?"),
        (["--nonsense"], "--nonsense"),
        (["run"], "Missing argument 'TASK'"),
        (["run", "job_match", "--inptu", "x"], "--input"),
        (["run", "job_match", "more"], "unexpected extra argument"),
        (["route", "job_match", "--input", "x"], "--input"),
    ],
)
def test_a_command_line_that_is_wrong_is_a_usage_error(command: Command, argv: list[str], piece: str) -> None:
    outcome = command(*argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert piece in outcome.stderr
    assert "Traceback" not in outcome.stderr
