"""llmtask: run and test LLM tasks from the command line and as a library.

Importing it is light; LangChain comes in with the first call of a model.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtask.batch.library import BatchResult, run_batch
    from llmtask.documents import Image
    from llmtask.errors import (
        AnswerInvalidError,
        BatchStoppedError,
        CallError,
        CappedError,
        ExitCode,
        Failure,
        KeyMissingError,
        LlmtaskError,
        ProjectError,
        UntrustedError,
        UsageError,
        UsageLogError,
    )
    from llmtask.money import Cost
    from llmtask.prices import get_cost, get_provider
    from llmtask.project import Project, load_project
    from llmtask.providers import get_model
    from llmtask.router import Route, get_job_vision_task_routing, get_task_routing, route_task
    from llmtask.service import (
        FallbackEvent,
        PartialEvent,
        ReasoningEvent,
        ResultEvent,
        RetryEvent,
        RunOptions,
        TaskResult,
        TextEvent,
        arun_streaming_task,
        arun_structured_task,
        run_streaming_task,
        run_structured_task,
    )
    from llmtask.tokens import Tokens
    from llmtask.usage import UsageLog

__version__ = "0.1.0"

__all__ = [
    "AnswerInvalidError",
    "BatchResult",
    "BatchStoppedError",
    "CallError",
    "CappedError",
    "Cost",
    "ExitCode",
    "Failure",
    "FallbackEvent",
    "Image",
    "KeyMissingError",
    "LlmtaskError",
    "PartialEvent",
    "Project",
    "ProjectError",
    "ReasoningEvent",
    "ResultEvent",
    "RetryEvent",
    "Route",
    "RunOptions",
    "TaskResult",
    "TextEvent",
    "Tokens",
    "UntrustedError",
    "UsageError",
    "UsageLog",
    "UsageLogError",
    "arun_streaming_task",
    "arun_structured_task",
    "get_cost",
    "get_job_vision_task_routing",
    "get_model",
    "get_provider",
    "get_task_routing",
    "load_project",
    "route_task",
    "run_batch",
    "run_streaming_task",
    "run_structured_task",
]

_HOME = {  # where each name lives
    "batch.library": ("BatchResult", "run_batch"),
    "documents": ("Image",),
    "errors": (
        "AnswerInvalidError",
        "BatchStoppedError",
        "CallError",
        "CappedError",
        "ExitCode",
        "Failure",
        "KeyMissingError",
        "LlmtaskError",
        "ProjectError",
        "UntrustedError",
        "UsageError",
        "UsageLogError",
    ),
    "money": ("Cost",),
    "prices": ("get_cost", "get_provider"),
    "project": ("Project", "load_project"),
    "providers": ("get_model",),
    "router": ("Route", "get_job_vision_task_routing", "get_task_routing", "route_task"),
    "service": (
        "FallbackEvent",
        "PartialEvent",
        "ReasoningEvent",
        "ResultEvent",
        "RetryEvent",
        "RunOptions",
        "TaskResult",
        "TextEvent",
        "arun_streaming_task",
        "arun_structured_task",
        "run_streaming_task",
        "run_structured_task",
    ),
    "tokens": ("Tokens",),
    "usage": ("UsageLog",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in _MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"llmtask.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
