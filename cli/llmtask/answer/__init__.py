"""Model text -> validated object."""

from llmtask.answer.errors import InvalidError
from llmtask.answer.parse import Answer, Level, read
from llmtask.answer.partial import Partial

__all__ = ["Answer", "InvalidError", "Level", "Partial", "read"]
