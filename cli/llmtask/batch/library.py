"""`run_batch`: a batch in somebody's own event loop, its results one after the other."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from llmtask.batch.broker import Reports
from llmtask.batch.inputs import STDIN
from llmtask.batch.job import Inputs, Outcome, Record, State
from llmtask.batch.run import Told
from llmtask.batch.spec import Plans, Spec
from llmtask.batch.start import Settings, Source, Started, begin, fixed, go_on, source_of
from llmtask.documents import sound
from llmtask.errors import BatchStoppedError, Failure
from llmtask.money import Cost
from llmtask.project import Project, load_project
from llmtask.usage import UsageLog, place_of

_UNTAKEN = 100  # results that wait for the caller; then the batch waits

Given: TypeAlias = str | Path | Iterable[Mapping[str, str]]
"""A file or folder as `--inputs` takes it, or a mapping of text per variable for each record; `id` names it."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of one record of a batch."""

    batch: str
    """The batch's id: `run_batch(..., resume=...)` and `llmtask batch` take it."""
    id: str
    """The record's own id, or its number from 1."""
    answer: dict[str, Any] | None
    """The valid object; None where there is none."""
    failure: Failure | None
    """How it failed; None where it did not, or was never asked."""
    reason: str | None
    """Why there is no answer."""
    costs: tuple[Cost, ...]
    """What its job cost, an amount per currency; records that are equal share a job."""


async def run_batch(  # noqa: PLR0913  # options of a library function, each by its name
    task: str,
    inputs: Given = (),
    *,
    project: Project | None = None,
    log: UsageLog | None = None,
    resume: str | None = None,
    concurrency: int | None = None,
    max_cost: Cost | None = None,
    broker: str | None = None,
    **spec: Any,
) -> AsyncGenerator[BatchResult]:
    """Run a task on many inputs, and give what came of each as it finishes.

    Whoever takes results slowly slows the batch down. Leaving the iterator early breaks off what is in flight; the
    journal, in the project's .llmtask/batches/, stays sound, and `resume` goes on.

    Args:
        task: A task or one of its aliases.
        inputs: What it is run on; with `resume` the same again: what the journal does not have is taken from it.
        project: The project; the nearest where it is left out.
        log: The usage log; the default one where it is left out.
        resume: The id of a batch to go on with, or `latest`; what is done is given no more.
        concurrency: The most calls of a queue at once; the queue's own where that is less.
        max_cost: Begin no more once so much is spent.
        broker: The URL of the broker whose workers do it, such as `redis://...`; this process where it is left out.
        spec: As `llmtask.batch.spec.Spec` has it: `locale`, `model_id`, `has_quota`, `strict`, `user_id` ...

    Raises:
        BatchStoppedError: A queue was stopped, or the amount is spent; the rest is still to be done.
        LlmtaskError: As `run_structured_task`.
    """
    project = project or load_project()
    log = log or UsageLog(place_of(project))
    how = {"concurrency": concurrency, "max_cost": max_cost, "broker": broker}

    def start() -> Started:
        if resume is not None:
            return _gone_on(resume, inputs, project, how, Reports(log))
        return _begun(Plans(_spec(task, project, spec), project), inputs, how, Reports(log))

    started = await asyncio.to_thread(start)
    batch = started.batch
    results: asyncio.Queue[BatchResult | None] = asyncio.Queue(_UNTAKEN)

    async def tell(items: Told) -> None:
        for name, outcome in items:
            await results.put(_result(batch.journal.run_id, name, outcome))

    async def work() -> None:
        try:
            await batch.run(started.records, tell=tell)
        finally:
            with suppress(asyncio.QueueFull):
                results.put_nowait(None)

    task_of_batch = asyncio.create_task(work())
    try:
        async for result in _until_over(results, task_of_batch):
            yield result
        await task_of_batch
    finally:
        task_of_batch.cancel()
        await asyncio.gather(task_of_batch, return_exceptions=True)
        batch.journal.close()
    if batch.note is not None:
        message = f"batch {batch.journal.run_id} stopped: {batch.note}; `resume={batch.journal.run_id!r}` goes on"
        raise BatchStoppedError(message)


async def _until_over(
    results: "asyncio.Queue[BatchResult | None]", work: "asyncio.Task[None]"
) -> AsyncGenerator[BatchResult]:
    """Results until the batch is over and none is left."""
    while not (work.done() and results.empty()):
        result = await results.get()
        if result is not None:
            yield result


def _gone_on(run: str, inputs: Given, project: Project, how: Mapping[str, Any], reports: Reports) -> Started:
    if isinstance(inputs, str | Path):
        return go_on(project, run, {"inputs": fixed(str(inputs)), **how}, reports)
    return go_on(project, run, how, reports, source=Source(_records(inputs)))


def _begun(plans: Plans, inputs: Given, how: Mapping[str, Any], reports: Reports) -> Started:
    if isinstance(inputs, str | Path):
        settings = Settings(inputs=fixed(str(inputs)), **how)
        return begin(plans, settings, source_of(plans, settings), reports)
    return begin(plans, Settings(inputs=STDIN, **how), Source(_records(inputs)), reports)


def _spec(task: str, project: Project, said: Mapping[str, Any]) -> Spec:
    has_quota = said.get("has_quota", project.config.defaults.tier == "paid")
    return Spec(**{**said, "task": project.task_id(task), "has_quota": has_quota})


def _records(inputs: Iterable[Mapping[str, str]]) -> Iterator[Record]:
    for number, given in enumerate(inputs, start=1):
        texts = {name: sound(str(text)) for name, text in given.items() if name != "id"}
        yield Record(sound(str(given.get("id", number))), Inputs(texts))


def _result(batch: str, name: str, outcome: Outcome) -> BatchResult:
    answer = json.loads(outcome.answer) if outcome.state is State.DONE and outcome.answer else None
    return BatchResult(batch, name, answer, outcome.failure, outcome.reason, outcome.costs)
