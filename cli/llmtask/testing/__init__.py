"""Suites of cases: are the answers still valid, good, cheap, in the right language?"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtask.testing.items import Selection, items_of
    from llmtask.testing.run import Run, run_from_json
    from llmtask.testing.session import Options, Session
    from llmtask.testing.store import Store, store_path
    from llmtask.testing.suite import load_suite
    from llmtask.testing.summary import summarise

__all__ = [
    "Options",
    "Run",
    "Selection",
    "Session",
    "Store",
    "items_of",
    "load_suite",
    "run_from_json",
    "store_path",
    "summarise",
]

_HOME = {
    "Options": "session",
    "Run": "run",
    "Selection": "items",
    "Session": "session",
    "Store": "store",
    "items_of": "items",
    "load_suite": "suite",
    "run_from_json": "run",
    "store_path": "store",
    "summarise": "summary",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: the pytest plugin stands below here, and must be light."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"llmtask.testing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
