"""Model text -> validated object."""

from llmtask.answer.parse import Answer, InvalidError, Level, read
from llmtask.answer.partial import Partial

__all__ = ["Answer", "InvalidError", "Level", "Partial", "read"]
