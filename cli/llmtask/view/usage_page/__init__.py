"""The usage log for people: one self-contained HTML page with plots that filter each other."""

from llmtask.view.usage_page.page import usage_page

__all__ = ["usage_page"]
