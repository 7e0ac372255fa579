"""The error tree, the failure classes of a model call, and the exit codes.

LlmtaskError                 a handled error: one sentence plus the way out
├── UsageError               what was asked cannot be done as asked             exit 2
│   └── NoRateError          an amount cannot be converted: no rate of that day  exit 2
├── ProjectError             a project file is wrong: names file and line       exit 3
├── UntrustedError           the project would run code or reach for keys        exit 3
├── KeyMissingError          no key for the provider                            exit 4
├── UsageLogError            the usage log cannot be read or written            exit 3
├── DownloadError            a file cannot be fetched, or is another one         exit 5
├── BatchStoppedError        a batch ended before all was done; it can go on      exit 5
├── BrokerError              a batch's broker cannot be used                      exit 5
└── CallError                a model call gave no answer; carries its Failure   exit 4, 5, 6, 7 or 8
    ├── CappedError          a budget or a quota has no room for it: not made   exit 8
    └── AnswerInvalidError   it answered, but not with the schema's object      exit 6

Everything else that escapes is a bug (exit 70).
"""

import difflib
from collections.abc import Iterable
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Every exit code of the command line."""

    DONE = 0
    """It worked; what stdout carries is valid."""
    FAILED = 1
    """An answer is bad (`test`) or worse than before (`compare --fail-on-regression`), or a price (`prices check`)."""
    USAGE = 2
    """The command, an option or an input is wrong."""
    PROJECT = 3
    """A project file (config, prompt, schema) or the usage log is wrong, or the project is not trusted."""
    KEY = 4
    """The provider's key is missing or was refused."""
    PROVIDER = 5
    """The provider failed, after the retries: network, overload, limits, balance, time."""
    SCHEMA = 6
    """The answer does not fit the schema, after the re-ask."""
    FILTERED = 7
    """The vendor's content filter refused."""
    CAPPED = 8
    """A budget or a quota has no room for a call, which was not made; or `llmtask test` did not ask everything."""
    BUG = 70
    """A fault in llmtask itself."""
    HUNG_UP = 129
    """The terminal or the connection went away (SIGHUP)."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Whoever read stdout left early (`| head`)."""
    TERMINATED = 143
    """Somebody ended it (SIGTERM: `kill`, `timeout`, a container that stops)."""


class Failure(StrEnum):
    """What can go wrong in a model call; the `error_class` of its usage row."""

    BLANK = "blank"
    REASONING_ONLY = "reasoning_only"
    LENGTH = "length"
    CUT_STREAM = "cut_stream"
    STALLED = "stalled"
    FILTERED = "filtered"
    REFUSED_KEY = "refused_key"
    NO_BALANCE = "no_balance"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    SCHEMA_INVALID = "schema_invalid"
    NETWORK = "network"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    UNFINISHED = "unfinished"
    """The process ended during the call, or the call still goes on: its row was opened and never closed."""
    CAPPED = "capped"
    """A budget or a quota has no room for the call: it was not made, and has no row."""
    BUG = "bug"


_EXIT_CODES = {
    Failure.REFUSED_KEY: ExitCode.KEY,
    Failure.FILTERED: ExitCode.FILTERED,
    Failure.SCHEMA_INVALID: ExitCode.SCHEMA,
    Failure.CONTEXT_TOO_LONG: ExitCode.USAGE,
    Failure.INTERRUPTED: ExitCode.INTERRUPTED,
    Failure.CAPPED: ExitCode.CAPPED,
    Failure.BUG: ExitCode.BUG,
}


class LlmtaskError(Exception):
    """A handled error: its text is one sentence plus the way out, fit to be shown as it is."""

    exit_code = ExitCode.BUG


class UsageError(LlmtaskError):
    """What was asked cannot be done as asked."""

    exit_code = ExitCode.USAGE


class NoRateError(UsageError):
    """An amount cannot be converted into another currency: no exchange rate of that day is at hand."""


class ProjectError(LlmtaskError):
    """A project file is wrong; the text begins with `file:line:` where there is a line."""

    exit_code = ExitCode.PROJECT


class UntrustedError(LlmtaskError):
    """The project would run code of its own or reach for keys, and nobody said that it may."""

    exit_code = ExitCode.PROJECT


class UsageLogError(LlmtaskError):
    """The usage log cannot be read or written."""

    exit_code = ExitCode.PROJECT


class DownloadError(LlmtaskError):
    """A file cannot be fetched, or what came is not what it should be."""

    exit_code = ExitCode.PROVIDER


class BatchStoppedError(LlmtaskError):
    """A batch ended before all was done: a queue was stopped, or its amount is spent. It can be gone on with."""

    exit_code = ExitCode.PROVIDER


class BrokerError(LlmtaskError):
    """A batch's broker cannot be reached, or refuses. The batch can be gone on with."""

    exit_code = ExitCode.PROVIDER


class KeyMissingError(LlmtaskError):
    """No key was found for the provider; the text names the variables and the ways on."""

    exit_code = ExitCode.KEY


class CallError(LlmtaskError):
    """A model call gave no usable answer.

    Attributes:
        failure: The failure class, as the usage log records it.
        status: The HTTP status of the answer, where there was one.
        code: The vendor's own error code, where it sent one.
        retry_after_s: Seconds after which the vendor asks to be asked again, where it said so.
    """

    def __init__(
        self,
        message: str,
        failure: Failure,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Take the sentence to show and the failure class behind it."""
        super().__init__(message)
        self.failure = failure
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def log_text(self) -> str:
        """What the usage log may keep of it: never content."""
        return str(self)

    @property
    def exit_code(self) -> ExitCode:  # type: ignore[override]  # an instance's code follows its failure class
        """The exit code that the failure class stands for."""
        return _EXIT_CODES.get(self.failure, ExitCode.PROVIDER)


class CappedError(CallError):
    """A budget or a quota has no room for a call, which was not made: nothing was spent, and it has no row.

    Attributes:
        falls_to_free: Whether config lets the run go on in the free tier.
    """

    def __init__(self, message: str, *, falls_to_free: bool = False) -> None:
        """Take the sentence to show: what is left, and when there is more."""
        super().__init__(message, Failure.CAPPED)
        self.falls_to_free = falls_to_free


class AnswerInvalidError(CallError):
    """The model answered, but not with an object that fits the schema.

    Attributes:
        text: The answer as it came.
        problems: One line per thing that does not fit, such as `match_score: must be at most 100`.
        kinds: The same for the log: places by the schema's own names, and pydantic's words for the kinds of error.
    """

    def __init__(self, message: str, *, text: str, problems: tuple[str, ...], kinds: tuple[str, ...]) -> None:
        """Take the sentence to show, the raw answer and what is wrong with it."""
        super().__init__(message, Failure.SCHEMA_INVALID)
        self.text = text
        self.problems = problems
        self.kinds = kinds

    @property
    def log_text(self) -> str:
        """The kinds of what does not fit: a schema's own validators and an answer's own keys may quote content."""
        return f"the answer does not fit the schema: {'; '.join(self.kinds)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that suggests the nearest known word, or lists the known ones.

    Args:
        word: What was given.
        known: What could have been meant.

    Returns:
        `; did you mean 'deepseek-chat'?`, or `; known: a, b`, or an empty string where nothing is known.
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
