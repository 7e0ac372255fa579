"""The four ways to run a task: structured or streaming, sync or async. One run, two drivers."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, Protocol, Unpack

from pydantic import BaseModel
from typing_extensions import TypeVar

from llmtask.budgets import budgeted
from llmtask.project import Model, Project, load_project
from llmtask.providers import Asked, Delta, open_chat
from llmtask.service.decided import Decided, decide_run
from llmtask.service.plan import Candidate, Plan, RunOptions
from llmtask.service.result import Event, ResultEvent, TaskResult
from llmtask.service.steps import Ask, Pull, TaskRun, Wait
from llmtask.tracing import Trace, trace
from llmtask.usage import Ledger, UsageLog, place_of

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
    return _last(_begun(task, variables, options, schema, live=False))


async def arun_structured_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> TaskResult[Schema]:
    """As `run_structured_task`, in the caller's event loop."""
    return _only([event async for event in _abegun(task, variables, options, schema, live=False)])


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
    return _begun(task, variables, options, schema, live=True)


def arun_streaming_task(
    task: str, variables: Mapping[str, str], *, schema: type[Schema] | None = None, **options: Unpack[RunOptions]
) -> AsyncGenerator[Event[Schema]]:
    """As `run_streaming_task`, in the caller's event loop."""
    return _abegun(task, variables, options, schema, live=True)


def _begun(
    task: str, variables: Mapping[str, str], options: RunOptions, schema: type[BaseModel] | None, *, live: bool
) -> Generator[Event[Any]]:
    """A run that is ready to go, in the tier that its options say, or its user's quota."""
    decided, ledger = _decided(task, variables, options, schema)
    if type(decided) is Decided:
        return execute(decided.plan, ledger, live=live)
    return _admitted(decided, ledger, live=live)


def _abegun(
    task: str, variables: Mapping[str, str], options: RunOptions, schema: type[BaseModel] | None, *, live: bool
) -> AsyncGenerator[Event[Any]]:
    """As `_begun`, in the caller's event loop."""
    decided, ledger = _decided(task, variables, options, schema)
    if type(decided) is Decided:
        return aexecute(decided.plan, ledger, live=live)
    return _aadmitted(decided, ledger, live=live)


def _decided(
    task: str, variables: Mapping[str, str], options: RunOptions, schema: type[BaseModel] | None
) -> tuple[Decided, Ledger | None]:
    """A run, and the ledger of its calls."""
    log = log_of(options)
    decided = decide_run(task, variables, options, log, schema)
    planned, max_cost = decided.plan, options.get("max_cost")
    return decided, budgeted(planned.project, log, max_cost=max_cost, total_s=planned.timeouts.total_s)


def _admitted(decided: Decided, ledger: Ledger | None, *, live: bool) -> Generator[Event[Any]]:
    with decided, closing(execute_decided(decided, ledger, live=live)) as events:
        yield from events


async def _aadmitted(decided: Decided, ledger: Ledger | None, *, live: bool) -> AsyncGenerator[Event[Any]]:
    with decided:
        async with aclosing(aexecute(decided.plan, ledger, live=live, run_id=decided.run_id)) as events:
            async for event in events:
                if isinstance(event, ResultEvent):
                    decided.settle(event.result)
                yield event


def execute_decided(decided: Decided, ledger: Ledger | None, *, live: bool) -> Generator[Event[Any]]:
    """Carry a run out within its `with`, and settle what it has cost.

    Raises:
        LlmtaskError: As `execute`.
    """
    with closing(execute(decided.plan, ledger, live=live, run_id=decided.run_id)) as events:
        for event in events:
            if isinstance(event, ResultEvent):
                decided.settle(event.result)
            yield event


def execute(
    planned: Plan,
    log: Ledger | None,
    *,
    live: bool,
    chats: "Opener | None" = None,
    waits: bool = True,
    run_id: str | None = None,
) -> Generator[Event[Any]]:
    """Carry a decided run out.

    Args:
        planned: The run.
        log: The usage log; None for none.
        live: Whether its calls stream.
        chats: As `aexecute`.
        waits: Whether time goes by before a call is tried again; there is no need where nobody is asked.
        run_id: The run's id; a new one where it is left out.

    Raises:
        LlmtaskError: As `run_structured_task`.
    """
    traced = trace(planned.project, log) if waits else Trace(log)  # where nobody is asked there is nothing to trace
    run = TaskRun(planned, traced.ledger, live=live, previews=chats is None, run_id=run_id)
    line = _Line(planned, run, traced, live=live, chats=chats)  # opened before the first event: no key is no call
    return _drive(run, line, time.sleep if waits else lambda _: None)


class Opener(Protocol):
    """Gives the lines to models that runs share, and closes them itself: `Chats`, or what stands in for it."""

    def open(self, project: Project, model: Model) -> Asked:
        """The line to a model.

        Raises:
            UntrustedError, KeyMissingError, ProjectError: As `run_structured_task`.
        """
        ...


async def aexecute(
    planned: Plan, log: Ledger | None, *, live: bool, chats: Opener | None = None, run_id: str | None = None
) -> AsyncGenerator[Event[Any]]:
    """As `execute`, in the caller's event loop.

    Args:
        planned: The run.
        log: The usage log; None for none.
        live: Whether its calls stream.
        chats: Where its models are opened, for runs that share them, which nobody watches: they give no PartialEvents.
            Its owner has opened the first model, which takes a while. The run's own where it is left out.
        run_id: As `execute`.
    """
    traced = trace(planned.project, log)
    run = TaskRun(planned, traced.ledger, live=live, previews=chats is None, run_id=run_id)
    if chats is None:  # the first call brings LangChain in, which takes seconds: not in the loop
        line = await asyncio.to_thread(_Line, planned, run, traced, live=live)
    else:
        line = _Line(planned, run, traced, live=live, chats=chats)
    events = _adrive(run, line)
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()


class _Line:
    """The model that a run asks now, and its answer so far."""

    def __init__(self, planned: Plan, run: TaskRun, traced: Trace, *, live: bool, chats: Opener | None = None) -> None:
        """Open the line to the run's first model.

        Raises:
            UntrustedError, KeyMissingError, ProjectError: As `run_structured_task`.
        """
        self._project, self._patience, self._live = planned.project, run.patience, live
        self._traced, self._chats = traced, chats
        self._model = planned.model
        self._chat = self._opened(planned.model)
        self._deltas: Any = None

    def _opened(self, model: Model) -> Asked:
        return self._chats.open(self._project, model) if self._chats else open_chat(self._project, model)

    def ask(self, candidate: Candidate) -> None:
        """Begin a call, of the model that the line is open to or of another."""
        if self._deltas is not None:
            self._deltas.close()
        if candidate.model is not self._model:
            self._hang_up()
            self._model, self._chat = candidate.model, self._opened(candidate.model)
        self._traced.asks(candidate.model)
        self._deltas = self._chat.ask(candidate.request, self._patience, live=self._live)

    async def aask(self, candidate: Candidate) -> None:
        """As `ask`, in the caller's event loop."""
        if self._deltas is not None:
            await self._deltas.aclose()
        if candidate.model is not self._model:
            await self._ahang_up()
            self._model, self._chat = candidate.model, await asyncio.to_thread(self._opened, candidate.model)
        self._traced.asks(candidate.model)
        self._deltas = self._chat.aask(candidate.request, self._patience, live=self._live)

    def pull(self) -> Delta | None:
        """The call's next piece; None at its end."""
        with self._traced.current():
            return next(self._deltas, None)

    async def apull(self) -> Delta | None:
        """As `pull`, in the caller's event loop."""
        with self._traced.current():
            return await anext(self._deltas, None)

    def close(self) -> None:
        """End the call, the connections and the trace."""
        with closing(self._traced):
            if self._deltas is not None:
                self._deltas.close()
            self._hang_up()

    async def aclose(self) -> None:
        """As `close`, in the caller's event loop."""
        with closing(self._traced):
            if self._deltas is not None:
                await self._deltas.aclose()
            await self._ahang_up()

    def _hang_up(self) -> None:
        if self._chats is None:  # else its owner closes it, after all the runs
            self._chat.close()

    async def _ahang_up(self) -> None:
        if self._chats is None:
            await self._chat.aclose()


def _drive(run: TaskRun, line: _Line, sleep: Callable[[float], None]) -> Generator[Event[Any]]:
    """Do what the run's steps say; hand their events on."""
    steps = run.steps()
    try:
        step = next(steps)
        while True:
            delta: Delta | None = None
            if isinstance(step, Ask | Pull | Wait):
                try:
                    delta = _do(step, line, sleep)
                except BaseException as error:  # noqa: BLE001  # Ctrl-C too: the run writes its row, then it goes on up
                    step = steps.throw(error)
                    continue
            else:
                yield step
            step = steps.send(delta)
    except StopIteration:
        return
    finally:
        with closing(line):
            steps.close()


def _do(step: Ask | Pull | Wait, line: _Line, sleep: Callable[[float], None]) -> Delta | None:
    if isinstance(step, Pull):
        return line.pull()
    if isinstance(step, Ask):
        line.ask(step.candidate)
    else:
        sleep(step.seconds)
    return None


async def _adrive(run: TaskRun, line: _Line) -> AsyncGenerator[Event[Any]]:
    """As `_drive`, in the caller's event loop."""
    steps = run.steps()
    try:
        step = next(steps)
        while True:
            delta: Delta | None = None
            if isinstance(step, Ask | Pull | Wait):
                try:
                    delta = await _ado(step, line)
                except BaseException as error:  # noqa: BLE001  # cancellation too: the run writes its row first
                    step = steps.throw(error)
                    continue
            else:
                yield step
            step = steps.send(delta)
    except StopIteration:
        return
    finally:
        async with aclosing(line):
            steps.close()


async def _ado(step: Ask | Pull | Wait, line: _Line) -> Delta | None:
    if isinstance(step, Pull):
        return await line.apull()
    if isinstance(step, Ask):
        await line.aask(step.candidate)
    else:
        await asyncio.sleep(step.seconds)
    return None


def _last(events: Iterator[Event[Any]]) -> TaskResult[Any]:
    return _only(list(events))


def _only(events: list[Event[Any]]) -> TaskResult[Any]:
    """The result at the end of a run's events."""
    last = events[-1]
    if not isinstance(last, ResultEvent):
        message = f"a run ended with {type(last).__name__}"
        raise TypeError(message)
    return last.result


def log_of(options: RunOptions) -> UsageLog | None:
    """The usage log of a run: the one that is given, LLMTASK_DB's, the config's, or the user's own.

    Raises:
        ProjectError: A project file is wrong.
        UntrustedError: The project is not trusted with the log that its config names.
    """
    if "log" in options:
        return options["log"]
    project = options["project"] = options.get("project") or load_project()
    return UsageLog(place_of(project))
