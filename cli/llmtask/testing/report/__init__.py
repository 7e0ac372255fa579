"""Reports of a run for people: one self-contained HTML page, and Markdown for a pull request."""

from llmtask.testing.report.comment import markdown
from llmtask.testing.report.page import html_page
from llmtask.testing.report.words import Language

__all__ = ["Language", "html_page", "markdown"]
