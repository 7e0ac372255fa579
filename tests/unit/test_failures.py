"""providers.failures: what each sign of a failed call stands for, and the sentence that is shown."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from llmtask.errors import CallError, Failure, UsageError
from llmtask.project import Project, load_project, starter_root
from llmtask.project.config import FailureMap
from llmtask.providers.failures import call_error, combined, failed
from tests.conftest import MakeProject

SECRET = "sk-canary-0123456789"
STARTER = load_project(starter_root()).config

# What the vendors document (providers.md, 2.6), read from there and not from config.yaml.
ZHIPU = {
    Failure.REFUSED_KEY: "1000 1001 1002 1003 1004 1005 1110 1111 1112 1120 1121 1220",
    Failure.NO_BALANCE: "1113 1304 1308 1309 1310 1313",
    Failure.BAD_REQUEST: "1210 1211 1212 1213 1214 1215 1221 1222 1311",
    Failure.OVERLOADED: "1230 1234 1305 1312",
    Failure.CONTEXT_TOO_LONG: "1261",
    Failure.FILTERED: "1300 1301",
    Failure.RATE_LIMITED: "1302 1303",
}
OPENAI = [
    ("insufficient_quota", Failure.NO_BALANCE),
    ("context_length_exceeded", Failure.CONTEXT_TOO_LONG),
    ("invalid_api_key", Failure.REFUSED_KEY),
    ("rate_limit_exceeded", Failure.RATE_LIMITED),
]
CODES = [*((code, failure) for failure, codes in ZHIPU.items() for code in codes.split()), *OPENAI]
STATUSES = {
    400: Failure.BAD_REQUEST,
    401: Failure.REFUSED_KEY,
    402: Failure.NO_BALANCE,
    403: Failure.REFUSED_KEY,
    404: Failure.BAD_REQUEST,
    408: Failure.STALLED,
    409: Failure.OVERLOADED,
    413: Failure.CONTEXT_TOO_LONG,
    422: Failure.BAD_REQUEST,
    429: Failure.RATE_LIMITED,
    500: Failure.OVERLOADED,
    502: Failure.OVERLOADED,
    503: Failure.OVERLOADED,
    504: Failure.STALLED,
    418: Failure.BAD_REQUEST,  # not in the config: the caller's fault
    599: Failure.OVERLOADED,  # not in the config: the server's fault
}


class SdkError(Exception):
    """Carries what openai's APIStatusError carries."""

    def __init__(self, message: str = "Error", status: int | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.status_code = status
        self.body = body


@dataclass
class Response:
    """What an HTTP library's error holds."""

    status_code: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class HTTPStatusError(Exception):
    """Carries what httpx's error carries."""

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response


def mapped(error: Exception, provider: str = "zhipu", project: Project | None = None) -> CallError:
    """The error as ours."""
    project = project or load_project(starter_root())
    found = call_error(error, combined(project, provider), provider, SECRET)
    assert found is not None
    return found


# Codes, messages, statuses, finish reasons


@pytest.mark.parametrize(("code", "failure"), CODES)
@pytest.mark.parametrize("status", [200, 400, 429, 500, None])
def test_a_vendors_code_goes_before_the_status(code: str, failure: Failure, status: int | None) -> None:
    error = mapped(SdkError("Error", status, {"error": {"code": code, "message": "words"}}))
    assert (error.failure, error.code, error.status) == (failure, code, status)


def test_no_code_of_the_config_is_untested() -> None:
    assert STARTER.failures.code | STARTER.providers["zhipu"].failures.code == dict(CODES)
    assert set(STARTER.failures.http) == {str(status) for status in STATUSES} - {"418", "599"}


def test_zhipus_empty_account_comes_as_429_and_is_no_balance() -> None:
    error = mapped(SdkError("Error", 429, {"error": {"code": 1113, "message": "您的账户已欠费，请充值后重试。"}}))
    assert error.failure is Failure.NO_BALANCE
    assert str(error) == (
        "zhipu: no balance (HTTP 429, code 1113): 您的账户已欠费，请充值后重试; "
        "top up the account, or run with --free or another --model"
    )


@pytest.mark.parametrize(("status", "failure"), STATUSES.items())
@pytest.mark.parametrize("provider", ["deepseek", "zhipu", "ollama"])
def test_a_status_stands_for_its_failure(provider: str, status: int, failure: Failure) -> None:
    error = mapped(
        SdkError("Error", status, {"error": {"message": "words", "code": "invalid_request_error"}}), provider
    )
    assert (error.failure, error.status) == (failure, status)


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("This model's Maximum Context Length is 1000000 tokens", Failure.CONTEXT_TOO_LONG),
        ("context length exceeded", Failure.CONTEXT_TOO_LONG),
        ("Insufficient Balance", Failure.NO_BALANCE),
        ("litellm.ContextWindowExceededError: litellm.BadRequestError: too long", Failure.CONTEXT_TOO_LONG),
        ("the request exceeds the available context size", Failure.CONTEXT_TOO_LONG),
    ],
)
def test_a_message_goes_before_the_status(message: str, failure: Failure) -> None:
    assert mapped(SdkError("Error", 400, {"error": {"message": message}}), "deepseek").failure is failure


@pytest.mark.parametrize(
    ("provider", "finish", "failure"),
    [
        ("deepseek", "length", Failure.LENGTH),
        ("zhipu", "length", Failure.LENGTH),
        ("deepseek", "content_filter", Failure.FILTERED),
        ("deepseek", "insufficient_system_resource", Failure.OVERLOADED),
        ("zhipu", "sensitive", Failure.FILTERED),
        ("zhipu", "model_context_window_exceeded", Failure.CONTEXT_TOO_LONG),
        ("zhipu", "network_error", Failure.CUT_STREAM),
        ("zhipu", "stop", None),
    ],
)
def test_a_finish_reason_stands_for_its_failure(
    starter: Project, provider: str, finish: str, failure: Failure | None
) -> None:
    assert combined(starter, provider).finish.get(finish) is failure


def test_a_providers_own_signs_go_before_the_general_ones(project: MakeProject) -> None:
    own = project(
        "providers:\n  zhipu:\n    failures:\n"
        "      code: {1113: rate_limited}\n"
        "      http: {401: overloaded}\n"
        "      finish: {length: filtered}\n"
        "      message: {balance: filtered, insufficient balance: overloaded}\n"
    )
    signs = combined(own, "zhipu")
    assert signs.finish["length"] is Failure.FILTERED
    assert signs.message["insufficient balance"] is Failure.OVERLOADED
    assert mapped(SdkError("E", 429, {"error": {"code": "1113"}}), project=own).failure is Failure.RATE_LIMITED
    assert mapped(SdkError("E", 401, {}), project=own).failure is Failure.OVERLOADED
    assert (
        mapped(SdkError("E", 400, {"error": {"message": "Insufficient balance"}}), project=own).failure
        is Failure.FILTERED
    )
    assert mapped(SdkError("E", 402, {}), project=own).failure is Failure.NO_BALANCE
    assert mapped(SdkError("E", 401, {}), "deepseek", own).failure is Failure.REFUSED_KEY


# Where the signs stand


@pytest.mark.parametrize(
    "error",
    [
        SdkError("Error code: 429", 429, {"error": {"code": "1113", "message": "words"}}),
        SdkError("Error code: 429", 429, {"code": "1113", "message": "words"}),  # the SDK takes the envelope off
        HTTPStatusError("429", Response(429, '{"error": {"code": "1113", "message": "words"}}')),
    ],
    ids=["enveloped", "bare", "in the response"],
)
def test_the_vendors_words_are_found_wherever_the_error_holds_them(error: Exception) -> None:
    found = mapped(error)
    assert (found.failure, found.status, found.code) == (Failure.NO_BALANCE, 429, "1113")
    assert "words" in str(found)


def test_an_error_in_a_stream_has_no_status() -> None:
    found = mapped(ValueError({"code": "1302", "message": "slow down"}))
    assert (found.failure, found.status, found.code) == (Failure.RATE_LIMITED, None, "1302")
    assert str(found) == "zhipu: rate limited (code 1302): slow down; wait a little, or lower the concurrency"


def test_signs_are_found_in_what_caused_the_error() -> None:
    inner = SdkError("inner", 402, {"error": {"message": "Insufficient Balance"}})
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert mapped(outer, "deepseek").failure is Failure.NO_BALANCE


def test_errors_that_cause_each_other_do_no_harm() -> None:
    one, other = SdkError("one", 500), SdkError("other")
    one.__cause__, other.__cause__ = other, one
    assert mapped(one).failure is Failure.OVERLOADED


@pytest.mark.parametrize("text", ["<html>Bad gateway</html>", ""])
def test_a_body_that_is_no_json_leaves_the_status(text: str) -> None:
    assert mapped(HTTPStatusError("502 Bad Gateway", Response(502, text))).failure is Failure.OVERLOADED


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("ConnectError", Failure.NETWORK),
        ("ConnectTimeout", Failure.NETWORK),
        ("APIConnectionError", Failure.NETWORK),
        ("APITimeoutError", Failure.STALLED),
        ("ReadTimeout", Failure.STALLED),
        ("RemoteProtocolError", Failure.CUT_STREAM),
        ("ReadError", Failure.CUT_STREAM),
    ],
)
def test_an_error_without_signs_is_known_by_its_class(name: str, failure: Failure) -> None:
    base = type("TimeoutException", (Exception,), {}) if name == "ReadTimeout" else Exception
    error: Exception = type(name, (base,), {})("it broke")
    found = mapped(error)
    assert (found.failure, found.status) == (failure, None)
    assert "it broke" in str(found)


def test_the_innermost_class_decides() -> None:
    outer = type("APIConnectionError", (Exception,), {})("Connection error.")
    outer.__cause__ = type("ReadError", (Exception,), {})("reset by peer")
    found = mapped(outer)
    assert found.failure is Failure.CUT_STREAM
    assert "reset by peer" in str(found)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), KeyError("choices"), ZeroDivisionError(), UsageError("no such file")]
)
def test_what_is_no_sign_of_a_failed_call_is_not_made_one(error: Exception) -> None:
    assert call_error(error, FailureMap(), "deepseek", SECRET) is None


def test_what_a_foreign_class_raises_is_never_a_bug_of_ours() -> None:
    found = call_error(KeyError("choices"), FailureMap(), "mine", SECRET, is_foreign=True)
    assert found is not None
    assert (found.failure, found.status) == (Failure.CUT_STREAM, None)


def test_what_a_foreign_error_says_is_not_passed_on() -> None:
    found = call_error(ValueError("张三 138-0000-0000"), FailureMap(), "mine", SECRET, is_foreign=True)
    assert "ValueError" in str(found)
    assert "138" not in str(found)


def test_an_error_that_is_ours_already_stays_as_it_is() -> None:
    ours = CallError("x", Failure.STALLED)
    assert call_error(ours, FailureMap(), "deepseek", SECRET) is ours


# The sentence


@pytest.mark.parametrize(
    "error",
    [
        SdkError(f"Invalid API key: {SECRET}", 401, None),
        SdkError("Error", 401, {"error": {"message": f"Authentication Fails, Your api key: {SECRET} is invalid"}}),
        SdkError("Error", 400, f"key={SECRET}&x={SECRET}"),
        SdkError("x" * 290 + SECRET, 500),
        ConnectionError(f"cannot reach https://{SECRET}@host"),
    ],
)
def test_the_key_is_never_in_the_sentence(error: Exception) -> None:
    sentence = str(mapped(error))
    assert SECRET not in sentence
    assert SECRET[:12] not in sentence


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_sentence_of_one_line(failure: Failure) -> None:
    error = failed("deepseek", failure, "Some words.", status=400, code="c")
    assert str(error).startswith(f"deepseek: {failure.value.replace('_', ' ')} (HTTP 400, code c): Some words")
    assert "\n" not in str(error)
    assert (error.failure, error.status, error.code) == (failure, 400, "c")


def test_a_sentence_without_details_is_whole() -> None:
    assert str(failed("zhipu", Failure.BLANK)) == "zhipu: blank"
    assert (
        str(failed("zhipu", Failure.TIMEOUT))
        == "zhipu: timeout; raise defaults.timeouts.total_s in config.yaml, or the run's --timeout"
    )


def test_a_long_message_of_many_lines_is_cut_to_one_short_line() -> None:
    sentence = str(mapped(SdkError("Error", 500, {"error": {"message": "first\nsecond " + "x" * 1000}}), "deepseek"))
    assert sentence.startswith("deepseek: overloaded (HTTP 500): first second xxx")
    assert sentence.endswith("xxx; try again later, or choose another --model")
    assert len(sentence) < 450
    assert "\n" not in sentence
