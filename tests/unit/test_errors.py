"""errors: exit codes, and what an error says."""

import pytest

from llmtask.errors import (
    AnswerInvalidError,
    CallError,
    DownloadError,
    ExitCode,
    Failure,
    KeyMissingError,
    LlmtaskError,
    NoRateError,
    ProjectError,
    UsageError,
    UsageLogError,
    did_you_mean,
)

EXITS = {
    Failure.BLANK: 5,
    Failure.REASONING_ONLY: 5,
    Failure.LENGTH: 5,
    Failure.CUT_STREAM: 5,
    Failure.STALLED: 5,
    Failure.FILTERED: 7,
    Failure.REFUSED_KEY: 4,
    Failure.NO_BALANCE: 5,
    Failure.RATE_LIMITED: 5,
    Failure.OVERLOADED: 5,
    Failure.BAD_REQUEST: 5,
    Failure.CONTEXT_TOO_LONG: 2,
    Failure.SCHEMA_INVALID: 6,
    Failure.NETWORK: 5,
    Failure.TIMEOUT: 5,
    Failure.BUG: ExitCode.BUG,
    Failure.INTERRUPTED: 130,
    Failure.UNFINISHED: 5,
    Failure.CAPPED: 8,
}


def test_every_exit_code_of_the_spec_has_its_name() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "BUG": 70,
        "FAILED": 1,
        "CAPPED": 8,
        "USAGE": 2,
        "PROJECT": 3,
        "KEY": 4,
        "PROVIDER": 5,
        "SCHEMA": 6,
        "FILTERED": 7,
        "HUNG_UP": 129,
        "INTERRUPTED": 130,
        "PIPE_CLOSED": 141,
        "TERMINATED": 143,
    }


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (ProjectError, 3),
        (UsageLogError, 3),
        (KeyMissingError, 4),
        (LlmtaskError, 70),
        (NoRateError, 2),
        (DownloadError, 5),
    ],
)
def test_each_handled_error_has_its_exit_code(kind: type[LlmtaskError], code: int) -> None:
    assert kind("x").exit_code == code


@pytest.mark.parametrize("failure", Failure)
def test_a_failed_call_exits_by_its_failure_class(failure: Failure) -> None:
    assert CallError("x", failure).exit_code == EXITS[failure]


def test_a_call_error_carries_the_vendors_signs() -> None:
    error = CallError("zhipu: no balance", Failure.NO_BALANCE, status=429, code="1113")
    assert (str(error), error.status, error.code) == ("zhipu: no balance", 429, "1113")


def test_an_invalid_answer_is_kept_with_its_problems() -> None:
    error = AnswerInvalidError("does not fit", text="{}", problems=("a: missing",), kinds=("a: missing",))
    assert isinstance(error, CallError)
    assert (error.text, error.problems, error.exit_code) == ("{}", ("a: missing",), ExitCode.SCHEMA)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("deepseek-chatt", ["deepseek-chat", "offline"], "; did you mean 'deepseek-chat'?"),
        ("zzz", ["b", "a"], "; known: a, b"),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_known_word_is_suggested_else_all_are_listed(word: str, known: list[str], said: str) -> None:
    assert did_you_mean(word, known) == said
