"""Foreign errors -> CallError with its failure class. What a vendor's sign means stands in config.yaml, not here."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from llmtask.errors import CallError, Failure, LlmtaskError
from llmtask.project import FailureMap, Project

_LOWEST_ERROR = 300  # HTTP status; a redirect is not followed: it would take the documents elsewhere
_LONGEST_DETAIL = 300  # characters of a vendor's message that are shown

_WAY_OUT = {
    Failure.REFUSED_KEY: "check the key; `llmtask doctor` says which variable it came from",
    Failure.NO_BALANCE: "top up the account, or run with --free or another --model",
    Failure.RATE_LIMITED: "wait a little, or lower the concurrency",
    Failure.OVERLOADED: "try again later, or choose another --model",
    Failure.BAD_REQUEST: "`--dry-run` shows what is sent; `llmtask models list` shows the models",
    Failure.CONTEXT_TOO_LONG: "shorten the input, or choose a --model with a larger context",
    Failure.FILTERED: "the vendor's content filter refused this input or answer",
    Failure.NETWORK: "check the network and the provider's base_url; `llmtask doctor` tries it",
    Failure.TIMEOUT: "raise defaults.timeouts.total_s in config.yaml, or the run's --timeout",
    Failure.STALLED: "try again later; how long to wait is defaults.timeouts in config.yaml",
    Failure.LENGTH: "raise the model's max_tokens in config.yaml",
    Failure.CUT_STREAM: "the answer is incomplete; try again",
}

_BY_CLASS = (  # by class name, since drivers bring their own copies of the HTTP libraries
    ("ConnectTimeout", Failure.NETWORK),
    ("ConnectError", Failure.NETWORK),
    ("TimeoutException", Failure.STALLED),
    ("APITimeoutError", Failure.STALLED),
    ("TimeoutError", Failure.STALLED),
    ("RemoteProtocolError", Failure.CUT_STREAM),
    ("ReadError", Failure.CUT_STREAM),
    ("SSEError", Failure.BAD_REQUEST),  # it answered with an error instead of a stream, and the class hides which
    ("TransportError", Failure.NETWORK),
    ("APIConnectionError", Failure.NETWORK),
    ("ConnectionError", Failure.NETWORK),
)


def combined(project: Project, provider_id: str) -> FailureMap:
    """What the provider's signs mean: its own, over the ones that all vendors share."""
    general = project.config.failures
    own = project.config.providers[provider_id].failures
    return FailureMap(
        code=general.code | own.code,
        message=own.message | general.message | own.message,  # its own are tried first, and stand
        finish=general.finish | own.finish,
        http=general.http | own.http,
    )


def call_error(
    error: Exception, failures: FailureMap, provider_id: str, secret: str = "", *, is_foreign: bool = False
) -> CallError | None:
    """The foreign error as one of ours; None where it is no sign of a failed call but a bug.

    Args:
        error: What the driver raised.
        failures: What the provider's signs mean.
        provider_id: For the sentence.
        secret: The key; never shown.
        is_foreign: Whether it comes from a driver's library, so that whatever it is, it is no bug of ours.
    """
    if isinstance(error, LlmtaskError):
        return error if isinstance(error, CallError) else None
    chain = list(_chain(error))
    status = next((found for one in chain if (found := _status(one)) is not None), None)
    code, detail = next((body for one in chain if any(body := _body(one))), ("", ""))
    failure = _classified(failures, code, detail or str(error), status) or _by_class(chain)
    is_answered = code or (status is not None and status >= _LOWEST_ERROR)
    if failure is None and not is_answered:
        if not is_foreign:
            return None
        # Not a completion, or a class with errors of its own: its text may hold anything, so only its name is told.
        return failed(provider_id, Failure.CUT_STREAM, f"the answer is no chat completion ({type(error).__name__})")
    failure = failure or Failure.BAD_REQUEST
    what = detail or _innermost(chain)
    after_s = next((seconds for one in chain if (seconds := _retry_after(one)) is not None), None)
    return failed(provider_id, failure, _clean(what, secret), status=status, code=code or None, retry_after_s=after_s)


def failed(
    provider_id: str,
    failure: Failure,
    detail: str = "",
    *,
    status: int | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> CallError:
    """A CallError with its sentence: who, what, in the vendor's words, and the way out."""
    sign = ", ".join(part for part in (f"HTTP {status}" if status else "", f"code {code}" if code else "") if part)
    sentence = f"{provider_id}: {failure.value.replace('_', ' ')}"
    sentence += f" ({sign})" if sign else ""
    sentence += f": {detail}" if detail else ""
    way_out = _WAY_OUT.get(failure)
    sentence = f"{sentence.rstrip('.。 ')}; {way_out}" if way_out else sentence
    return CallError(sentence, failure, status=status, code=code, retry_after_s=retry_after_s)


def failure_of(project: Project, provider_id: str, finish_reason: str | None) -> Failure | None:
    """The failure class that a finish reason of the provider's stands for; None for a good end."""
    own, general = project.config.providers[provider_id].failures.finish, project.config.failures.finish
    return own.get(finish_reason or "") or general.get(finish_reason or "")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _retry_after(error: BaseException) -> float | None:
    """Seconds from now that the response's `Retry-After` names, as a number or as a date (RFC 9110, 10.2.3)."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    said = str(headers.get("retry-after") or "").strip() if headers is not None else ""
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _body(error: BaseException) -> tuple[str, str]:
    """The vendor's code and message, as far as the error carries them."""
    body = getattr(error, "body", None)
    if body is None and error.args and isinstance(error.args[0], dict):
        body = error.args[0]
    if body is None:
        body = _response_json(error)
    if isinstance(body, dict):
        inner: Any = body.get("error", body)
        if isinstance(inner, dict):
            return str(inner.get("code") or ""), str(inner.get("message") or "")
        return "", str(inner)
    return "", str(body) if isinstance(body, str) else ""


def _response_json(error: BaseException) -> Any:
    """The body of the response that an error of an HTTP library carries, where it was read and is JSON."""
    response = getattr(error, "response", None)
    try:
        return response.json() if response is not None else None
    except Exception:  # noqa: BLE001  # each library has its own error for a body that was not read
        return None


def _classified(failures: FailureMap, code: str, message: str, status: int | None) -> Failure | None:
    if code in failures.code:
        return failures.code[code]
    lowered = message.lower()
    for piece, failure in failures.message.items():
        if piece.lower() in lowered:
            return failure
    if status is None or status < _LOWEST_ERROR:
        return None
    return failures.http.get(str(status)) or (Failure.OVERLOADED if status >= 500 else Failure.BAD_REQUEST)


def _by_class(chain: list[BaseException]) -> Failure | None:
    for error in reversed(chain):  # the innermost knows best
        names = {one.__name__ for one in type(error).__mro__}
        for name, failure in _BY_CLASS:
            if name in names:
                return failure
    return None


def _innermost(chain: list[BaseException]) -> str:
    return next((text for error in reversed(chain) if (text := str(error).strip())), type(chain[0]).__name__)


def _clean(text: str, secret: str) -> str:
    """One line, not too long, without the key."""
    line = " ".join(text.split())
    if secret:
        line = line.replace(secret, "***")
    return line if len(line) <= _LONGEST_DETAIL else line[: _LONGEST_DETAIL - 3] + "..."
