"""llmtask: what a caller imports, and what importing it costs."""

import subprocess
import sys

import pytest

import llmtask

PUBLIC = [
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
HEAVY = {"langchain_core", "langchain_openai", "openai", "httpx2", "pydantic", "yaml", "jinja2", "sqlite_utils", "rich"}


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running the code."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(  # our own interpreter and code
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_public_names_are_these_and_sorted() -> None:
    assert llmtask.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    assert dir(llmtask) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_imports(name: str) -> None:
    found = getattr(llmtask, name)
    assert getattr(found, "__name__", None) == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'run_task'"):
        _ = llmtask.run_task


def test_importing_llmtask_is_light() -> None:
    held = modules_after("import llmtask")
    assert "llmtask" in held
    assert not held & HEAVY


def test_routing_costing_and_reading_the_log_need_no_langchain() -> None:
    code = """
from llmtask import Tokens, UsageLog, get_cost, get_provider, get_task_routing, load_project
route = get_task_routing("resume_summary", True)
get_cost(route.model_id, Tokens(1, 1)), get_provider(route.model_id), UsageLog().latest(1)
"""
    assert not modules_after(code) & {"langchain_core", "langchain_openai", "openai", "httpx2"}
