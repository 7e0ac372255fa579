"""The object so far, while the answer is still streaming: for display only, never a result."""

from typing import Any

from pydantic_core import from_json


class Partial:
    """Takes the pieces of an answer and gives the object they amount to so far."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._text = ""
        self._start = -1

    def feed(self, piece: str) -> Any | None:
        """Take a piece.

        Returns:
            The object so far, strings cut where the stream is; None where there is none yet.
        """
        self._text += piece
        if self._start < 0:
            self._start = self._text.find("{")
        if self._start < 0:
            return None
        try:
            return from_json(self._text[self._start :], allow_partial="trailing-strings")
        except ValueError:
            return None
