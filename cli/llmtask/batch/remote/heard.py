"""What docket says by itself, for people: it warns of what is waited for here, and prints tracebacks."""

import logging
from collections.abc import Callable

from llmtask.batch.remote.link import passes


def hear_docket(tell: Callable[[str], None]) -> None:
    """Tell of docket's errors in a line each, but for those of a broker that is away: that is told here."""
    heard = logging.getLogger("docket")
    heard.addHandler(_Lines(tell))
    heard.propagate = False


class _Lines(logging.Handler):
    """Tells of errors, without their tracebacks."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not passes(error):
            self._tell(f"docket: {record.getMessage()}{f': {type(error).__name__}: {error}' if error else ''}")
