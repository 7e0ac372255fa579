"""Checks on single strings of an answer: their language, their place in the input, the facts they name."""

from llmtask.testing.text.facts import ALL, Fact, FactKind, invented
from llmtask.testing.text.grounding import fold, ungrounded
from llmtask.testing.text.language import require_detector, wrong_language

__all__ = ["ALL", "Fact", "FactKind", "fold", "invented", "require_detector", "ungrounded", "wrong_language"]
