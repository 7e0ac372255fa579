"""`llmtask prompts`: look at templates, and check them."""

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import ROOT, Command, WriteFiles

PROMPT = """\
description: 一
variables:
  resume: {description: 简历, input: true}
  job: {description: 岗位, required: false}
system: 一 {{ job }}
user: "{{ resume }}"
"""


def test_show_writes_the_templates_as_they_are(command: Command) -> None:
    outcome = command("prompts", "show", "job_match", "--locale", "en")
    assert outcome.code == ExitCode.DONE
    assert outcome.stdout.startswith("--- system ---\n")
    assert '{{ resume | document("resume") }}' in outcome.stdout
    assert str(ROOT / "prompts" / "en" / "job_match.yaml") in outcome.stderr
    assert "(version " in outcome.stderr


def test_without_a_locale_show_takes_the_configs(command: Command) -> None:
    shown = command("prompts", "show", "job_match").stdout
    assert shown == command("prompts", "show", "job_match", "--locale", "zh").stdout
    assert shown != command("prompts", "show", "job_match", "--locale", "en").stdout


def test_our_own_prompts_are_sound(command: Command) -> None:
    outcome = command("prompts", "lint")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert outcome.stderr == "all prompts are sound (en, zh: 7 tasks)\n"


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace("{{ job }}", "{{ jb }} {{ job }}"),
            "prompts/zh/job_match.yaml:2: variable 'jb' is used and not declared",
        ),
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace("{{ job }}", ""),
            "prompts/zh/job_match.yaml:2: variable 'job' is declared and not used",
        ),
        ("prompts/zh/job_match.yaml", PROMPT.replace("{{ job }}", "{% if %}"), "prompts/zh/job_match.yaml:5: system: "),
        (
            "prompts/zh/job_match.yaml",
            PROMPT.replace(", required: false", ""),
            "variable 'job' is required here and optional in",
        ),
        ("prompts/zh/job_match.yaml", "description: [", "prompts/zh/job_match.yaml:"),
        ("prompts/zh/job_mach.yaml", PROMPT, "no task 'job_mach' under `tasks:` in config.yaml; did you mean"),
        ("prompts/fr/job_match.yaml", PROMPT, "locale 'fr' has no prompts/fr/_locale.yaml"),
    ],
)
def test_lint_names_what_is_wrong(command: Command, files: WriteFiles, path: str, text: str, problem: str) -> None:
    files({"config.yaml": "defaults: {}\n", path: text})
    outcome = command("prompts", "lint")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert problem in outcome.stderr


def test_a_prompt_of_ones_own_that_is_sound_passes(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": "defaults: {}\n", "prompts/zh/job_match.yaml": PROMPT})
    assert command("prompts", "lint").code == ExitCode.DONE


@pytest.mark.parametrize("argv", [["nope"], ["job_match", "--locale", "fr"]])
def test_what_is_not_there_is_refused_with_what_is(command: Command, argv: list[str]) -> None:
    outcome = command("prompts", "show", *argv)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "known: " in outcome.stderr
