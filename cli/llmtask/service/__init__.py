"""One run of a task: the only door to a model call."""

from llmtask.service.asking import Asking, asking
from llmtask.service.check import check_model
from llmtask.service.decided import Decided, QuotaWarning, asks_quota, decide_run
from llmtask.service.lanes import Lane, QueueState, StoppedError
from llmtask.service.most import read_most, require_price
from llmtask.service.plan import Plan, Planner, RunOptions, plan
from llmtask.service.recovery import Ceiling, ceilings
from llmtask.service.result import (
    Event,
    FallbackEvent,
    PartialEvent,
    ReasoningEvent,
    ResultEvent,
    RetryEvent,
    TaskResult,
    TextEvent,
)
from llmtask.service.run import (
    Opener,
    aexecute,
    arun_streaming_task,
    arun_structured_task,
    execute,
    execute_decided,
    run_streaming_task,
    run_structured_task,
)

__all__ = [
    "Asking",
    "Ceiling",
    "Decided",
    "Event",
    "FallbackEvent",
    "Lane",
    "Opener",
    "PartialEvent",
    "Plan",
    "Planner",
    "QueueState",
    "QuotaWarning",
    "ReasoningEvent",
    "ResultEvent",
    "RetryEvent",
    "RunOptions",
    "StoppedError",
    "TaskResult",
    "TextEvent",
    "aexecute",
    "arun_streaming_task",
    "arun_structured_task",
    "asking",
    "asks_quota",
    "ceilings",
    "check_model",
    "decide_run",
    "execute",
    "execute_decided",
    "plan",
    "read_most",
    "require_price",
    "run_streaming_task",
    "run_structured_task",
]
