"""One run of suites from its start to its record, in a thread of its own: whoever started it can wait, or not."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from llmtask.budgets import budgeted
from llmtask.collecting import collecting_seldom
from llmtask.errors import LlmtaskError, UsageError
from llmtask.money import Cost, sums
from llmtask.project import Project
from llmtask.store import new_run_id
from llmtask.testing.answers import Answers
from llmtask.testing.cassettes import Cassettes, require_folder
from llmtask.testing.engine import Engine
from llmtask.testing.items import Item
from llmtask.testing.run import ANSWERED, ItemKey, ItemResult, Outcome, Run, Source
from llmtask.testing.store import Store
from llmtask.usage import UsageLog

_SMALL_WINDOW = 4  # calls at once where the first failure ends the run: what is in flight then is paid for in vain


@dataclass(frozen=True)
class Options:
    """How a run goes."""

    record: Path | None = None
    """The folder to which cassettes are written."""
    replay: Path | None = None
    """The folder of cassettes that are played; nothing else is asked."""
    caches: bool = False
    """Whether answers of earlier runs will do, where the very same was asked."""
    fresh: bool = False
    """Whether to begin anew where the last run of the same items was broken off."""
    concurrency: int | None = None
    """The most calls of one model at once; its queue's where that is less."""
    max_cost: Cost | None = None
    """Ask no more once so much is spent."""
    streams: bool | None = None
    """Whether answers stream; as they need to where it is left out."""
    most_failures: int | None = None
    """Ask no more after so many items that did not pass."""
    name: str | None = None
    """What the run is called."""

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            UsageError: Two options rule each other out.
        """
        if self.replay and (self.record or self.caches):
            message = f"--replay plays cassettes alone; leave {'--record' if self.record else '--cache'} out"
            raise UsageError(message)


class Session:
    """A run of items."""

    def __init__(
        self, project: Project, items: Sequence[Item], options: Options, *, store: Store, log: UsageLog | None
    ) -> None:
        """Begin a run, or go on with the last one of the same items where it was broken off; ask nothing yet.

        Args:
            project: The project of the suites.
            items: What to ask.
            options: How.
            store: Where results are kept.
            log: The usage log; None for none.

        Raises:
            LlmtaskError: Something cannot be asked.
        """
        self.project, self.items = project, list(items)
        self.options, self._store = options, store
        self.outcomes: Counter[Outcome] = Counter()
        """Of the items that are done."""
        run_id = new_run_id()
        self._answers = self._sources(project, run_id, log)
        self.engine = Engine(
            project,
            self.items,
            self._answers,
            concurrency=_concurrency(options),
            max_cost=options.max_cost,
            streams=options.streams,
        )
        # A replay asks nobody, and what somebody named is not another's to go on with.
        alike = f"{self.engine.likeness} {options.name or ''}{' replay' if options.replay else ''}"
        before = None if options.fresh or options.replay else store.broken_off(alike)
        self.resumed = _answered(before) if before else 0
        """Samples that were there already."""
        if before is not None:
            run_id = before.id
            self._answers.resume(run_id)
            self.engine.spent = list(before.paid)
        self.run_id = run_id
        self._head = before or store.begin(run_id, alike, _settings(self.items, options), options.name)
        store.plan(run_id, [item.result() for item in self.items])
        self._results: dict[ItemKey, Future[ItemResult]] = {item.key: Future() for item in self.items}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="llmtask")
        self._is_cancelled = False
        self.error: BaseException | None = None
        """What ended the run before it was over."""

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def result(self, key: ItemKey) -> ItemResult:
        """What came of an item; waits for it.

        Raises:
            LlmtaskError: The run could not go on.
            CancelledError: It was cancelled.
        """
        return self._results[key].result()

    def stop(self, why: str) -> None:
        """Ask nothing more; what is in flight comes to its end."""
        self.engine.stop(why)

    def cancel(self) -> None:
        """Break off what is in flight; the next run of the same items goes on from here."""
        self._is_cancelled = True
        if self._loop is not None and self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def finish(self) -> Run:
        """The run's record, when the last answer is there, without inputs and answers: those are in the store.

        A run that was broken off or capped may be gone on with.
        """
        if self._thread.ident is not None:
            self._thread.join()
        done = [future for future in self._results.values() if future.done() and not future.cancelled()]
        items = tuple(future.result() for future in done if future.exception() is None)
        unasked = (Outcome.CAPPED, Outcome.SKIPPED)
        is_whole = not any(sample.outcome in unasked for item in items for sample in item.samples)
        try:
            if len(items) == len(self.items) and is_whole:
                self._store.end(self._head.id)
            head = self._store.head(self._head.id)
        except LlmtaskError as error:  # what was paid for is told all the same
            self.error = self.error or error
            head = replace(self._head, paid=sums(self.engine.spent))
        return replace(head, items=items)

    def _sources(self, project: Project, run_id: str, log: UsageLog | None) -> Answers:
        options = self.options
        folder = options.replay or options.record
        if options.replay:
            require_folder(options.replay)
            sources = {Source.REPLAYED}
        else:
            sources = {Source.CACHED} if options.caches else set()
        cassettes = Cassettes(folder, project) if folder else None
        return Answers(self._store, run_id, log=budgeted(project, log), cassettes=cassettes, sources=sources)

    def _run(self) -> None:
        """In the thread: ask everything, and leave nobody waiting."""
        try:
            with collecting_seldom():
                asyncio.run(self._ask())
        except BaseException as error:  # noqa: BLE001  # whoever waits for a result raises it
            if not isinstance(error, asyncio.CancelledError):
                self.error = error
            for future in self._results.values():
                if not future.done():
                    future.set_exception(error)

    async def _ask(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self.engine.run(self._tell))
        if self._is_cancelled:  # before there was anything to cancel
            self._task.cancel()
        await self._task

    def _tell(self, result: ItemResult) -> None:
        self.outcomes[result.outcome] += 1
        bad = self.outcomes[Outcome.FAILED] + self.outcomes[Outcome.ERROR]
        if self.options.most_failures and bad >= self.options.most_failures:
            self.stop(f"{bad} did not pass")
        kept = replace(result, samples=tuple(sample.slim() for sample in result.samples), inputs={})
        self._results[result.key].set_result(kept)


def _answered(run: Run) -> int:
    return sum(sample.outcome in ANSWERED for item in run.items for sample in item.samples)


def _concurrency(options: Options) -> int | None:
    if options.most_failures is None:
        return options.concurrency
    return min(options.concurrency or _SMALL_WINDOW, _SMALL_WINDOW)


def _settings(items: Sequence[Item], options: Options) -> dict[str, str]:
    """What a run was started with, in the words of the command's options."""
    said = {
        "models": " ".join(dict.fromkeys(item.key.model_id for item in items)),
        "locales": " ".join(dict.fromkeys(item.key.locale for item in items)),
        "prompts": " ".join(dict.fromkeys(item.key.prompt for item in items)),
        "replay": str(options.replay or ""),
        "record": str(options.record or ""),
        "cache": "yes" if options.caches else "",
        "max_cost": f"{options.max_cost.amount:f} {options.max_cost.currency}" if options.max_cost else "",
    }
    return {name: value for name, value in said.items() if value}
