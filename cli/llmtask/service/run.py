"""The four ways to run a task: structured or streaming, sync or async. One run, two drivers."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import BaseModel
from typing_extensions import TypeVar

from llmtask.providers import open_chat
from llmtask.service.plan import Plan, RunOptions, plan
from llmtask.service.result import Event, ResultEvent, TaskResult
from llmtask.service.steps import Ask, Pull, Steps, TaskRun
from llmtask.usage import UsageLog

if TYPE_CHECKING:
    from llmtask.providers.chat import Chat

Schema = TypeVar("Schema", bound=BaseModel, default=BaseModel)


def run_structured_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> TaskResult[Schema]:
    """Run a task and give its valid answer.

    Args:
        task: A task or one of its aliases, such as `job_match`.
        variables: Text per variable of its prompt, such as `{"resume": "..."}`.
        schema: A class of your own for the answer, which also makes the result typed; the task's where it is left out.
        options: See `RunOptions`.

    Raises:
        UsageError: Something asked for does not exist, is missing, or is too long for the model.
        ProjectError: A project file is wrong.
        UntrustedError: The project would run code or use a provider of its own, and is not trusted.
        KeyMissingError: The provider's key was not found.
        CallError: No valid answer came; `failure` says of what kind. Its calls are in the usage log all the same.
    """
    planned = plan(task, variables, options, schema)
    return _last(execute(planned, _log(options), live=False))


async def arun_structured_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> TaskResult[Schema]:
    """As `run_structured_task`, in the caller's event loop."""
    planned = plan(task, variables, options, schema)
    return _only([event async for event in aexecute(planned, _log(options), live=False)])


def run_streaming_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> Generator[Event[Schema]]:
    """Run a task and give its events as they come; the last one is a ResultEvent with the valid answer.

    Closing the iterator early ends the call; its row is written all the same.

    Args:
        task: As `run_structured_task`.
        variables: As `run_structured_task`.
        schema: As `run_structured_task`.
        options: See `RunOptions`.

    Raises:
        LlmtaskError: As `run_structured_task`, some of them only while the iterator is read.
    """
    return execute(plan(task, variables, options, schema), _log(options), live=True)


def arun_streaming_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> AsyncGenerator[Event[Schema]]:
    """As `run_streaming_task`, in the caller's event loop."""
    return aexecute(plan(task, variables, options, schema), _log(options), live=True)


def execute(planned: Plan, log: UsageLog | None, *, live: bool) -> Generator[Event[Any]]:
    """Carry a decided run out.

    Args:
        planned: The run.
        log: The usage log; None for none.
        live: Whether its calls stream.

    Raises:
        LlmtaskError: As `run_structured_task`.
    """
    chat = open_chat(planned.project, planned.route.model_id, planned.timeouts)
    return _drive(TaskRun(planned, chat.failure_of, log, live=live).steps(), chat, live=live)


async def aexecute(planned: Plan, log: UsageLog | None, *, live: bool) -> AsyncGenerator[Event[Any]]:
    """As `execute`, in the caller's event loop."""
    # The first call brings LangChain in, which takes seconds: not in the loop.
    chat = await asyncio.to_thread(open_chat, planned.project, planned.route.model_id, planned.timeouts)
    events = _adrive(TaskRun(planned, chat.failure_of, log, live=live).steps(), chat, live=live)
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()


def _drive(steps: Steps, chat: "Chat", *, live: bool) -> Generator[Event[Any]]:
    """Do what the steps say; hand their events on."""
    deltas: Any = None
    try:
        step = next(steps)
        while True:
            if isinstance(step, Ask):
                deltas = chat.ask(step.request, live=live)
                step = next(steps)
            elif isinstance(step, Pull):
                try:
                    delta = next(deltas, None)
                except BaseException as error:  # noqa: BLE001  # Ctrl-C too: the run writes its row, then it goes on up
                    step = steps.throw(error)
                else:
                    step = steps.send(delta)
            else:
                yield step
                step = next(steps)
    except StopIteration:
        return
    finally:
        steps.close()
        if deltas is not None:
            deltas.close()
        chat.close()


async def _adrive(steps: Steps, chat: "Chat", *, live: bool) -> AsyncGenerator[Event[Any]]:
    """As `_drive`, in the caller's event loop."""
    deltas: Any = None
    try:
        step = next(steps)
        while True:
            if isinstance(step, Ask):
                deltas = chat.aask(step.request, live=live)
                step = next(steps)
            elif isinstance(step, Pull):
                try:
                    delta = await anext(deltas, None)
                except BaseException as error:  # noqa: BLE001  # cancellation too: the run writes its row first
                    step = steps.throw(error)
                else:
                    step = steps.send(delta)
            else:
                yield step
                step = next(steps)
    except StopIteration:
        return
    finally:
        steps.close()
        if deltas is not None:
            await deltas.aclose()
        await chat.aclose()


def _last(events: Iterator[Event[Any]]) -> TaskResult[Any]:
    return _only(list(events))


def _only(events: list[Event[Any]]) -> TaskResult[Any]:
    """The result at the end of a run's events."""
    last = events[-1]
    if not isinstance(last, ResultEvent):
        message = f"a run ended with {type(last).__name__}"
        raise TypeError(message)
    return last.result


def _log(options: RunOptions) -> UsageLog | None:
    return options["log"] if "log" in options else UsageLog()
