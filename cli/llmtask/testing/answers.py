"""Where the answers of a test run come from: a cassette, an earlier run, the model; and who keeps them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from llmtask.errors import AnswerInvalidError, CallError, Failure
from llmtask.money import sums
from llmtask.prices import get_cost
from llmtask.providers import Chats
from llmtask.service import Asking, Event, Lane, Plan, ResultEvent, RetryEvent, TaskResult, aexecute, asking, execute
from llmtask.service.used import used
from llmtask.testing.cassettes import Cassettes
from llmtask.testing.run import ANSWERED, ItemKey, Outcome, Sample, Source
from llmtask.testing.store import Store
from llmtask.testing.tape import BAD_ANSWERS, Find, NotRecordedError, Player, Recorder, Recording
from llmtask.tokens import Tokens
from llmtask.usage import Ledger, UsageRow

_MOST_HELD = 100  # samples of answers that were there already, until they are written down together
_MEASURED = ("tokens", "costs", "unpriced_calls", "calls", "latency_ms", "first_token_ms")


@dataclass(frozen=True, slots=True)
class Given:
    """What came of asking a model, or a tape, or of not asking."""

    sample: Sample
    """Nobody has examined it yet: passed stands for a valid answer."""
    recordings: tuple[Recording, ...] = ()
    """Its calls that were answered."""


@dataclass(frozen=True, slots=True)
class Line:
    """How a model is asked."""

    chats: Chats
    """The open lines to models."""
    lane: Lane
    """Where the run has its place."""
    is_live: bool
    """Whether the answer streams."""


class Answers:
    """The sources of answers, and what is kept of them."""

    def __init__(
        self,
        store: Store | None = None,
        run_id: str = "",
        *,
        log: Ledger | None = None,
        cassettes: Cassettes | None = None,
        sources: Collection[Source] = (),
    ) -> None:
        """Take the sources.

        Args:
            store: The results of the project's runs; None keeps nothing.
            run_id: This run's id in it.
            log: The usage log; None for none.
            cassettes: The folder of cassettes; written, unless it is a source.
            sources: Where answers are looked for before a model is asked: cached is any earlier run; replayed are the
                cassettes, and then no model is asked.
        """
        self.replays = Source.REPLAYED in sources
        self.service_id = f"test:{run_id}" if run_id else "test"
        """As the usage log has it."""
        self._store, self._run_id, self._log = store, run_id, log
        self._cassettes = cassettes
        self._resumes, self._caches = False, Source.CACHED in sources
        self._unwritten: dict[ItemKey, list[Recording]] = {}
        self._held: list[tuple[ItemKey, Sample]] = []

    def resume(self, run_id: str) -> None:
        """Go on with a run that was broken off: what it has is not asked again."""
        self._run_id, self.service_id = run_id, f"test:{run_id}"
        self._resumes = True

    def held(self, decided: Plan, key: ItemKey, repeat: int, *, is_sample: bool = True) -> Given | None:
        """The answer, where a source holds it.

        Args:
            decided: What is asked.
            key: The item.
            repeat: From 1.
            is_sample: Whether it is the item's own answer, and not a judge's.
        """
        for source, find in self._sources(key):
            player = Player(find, repeat)
            try:
                result, error = _ended(execute(decided, None, live=True, chats=player, waits=False))
            except NotRecordedError:  # nothing, or a call that followed it was never answered
                continue
            given = _played(decided, repeat, _verdict(result, error), source, player.take.recordings)
            return self._as_kept(key, given) if is_sample and source is Source.CALLED else given
        return None

    def _as_kept(self, key: ItemKey, given: Given) -> Given:
        """What this run had, with the times and costs that it measured before it was broken off."""
        kept = self._store.sample(self._run_id, key, given.sample.repeat) if self._store is not None else None
        if kept is None or kept.outcome not in ANSWERED:
            return given
        measured = {name: getattr(kept, name) for name in _MEASURED}
        return replace(given, sample=replace(given.sample, **measured))

    def complaint(self, decided: Plan, key: ItemKey, repeat: int) -> str:
        """Why a replay has no answer."""
        what = _asking(decided)
        return self._cassettes.complaint(key, what, repeat) if self._cassettes else "not recorded"

    async def asked(self, decided: Plan, key: ItemKey, repeat: int, line: Line) -> Given:
        """The model's answer; each of its calls is logged, and kept when it is answered.

        Args:
            decided: What is asked.
            key: The item.
            repeat: From 1.
            line: How.
        """
        recorder = Recorder(line.chats, self._log, partial(self._keep, key), repeat)
        result: TaskResult[Any] | None = None
        error: CallError | None = None
        try:
            async for event in aexecute(decided, recorder, live=line.is_live, chats=recorder):
                if isinstance(event, RetryEvent) and event.failure is Failure.RATE_LIMITED:
                    line.lane.refused()
                if isinstance(event, ResultEvent):
                    result = event.result
        except CallError as caught:
            error = caught
            if error.failure is Failure.RATE_LIMITED:
                line.lane.refused()
        if result is not None:
            line.lane.answered()
        given = _called(repeat, _verdict(result, error), recorder)
        if line.is_live:
            return given
        return replace(given, sample=replace(given.sample, first_token_ms=None))  # a whole answer has none

    def done(self, key: ItemKey, sample: Sample, recordings: Sequence[Recording]) -> None:
        """Keep a sample.

        Raises:
            ProjectError: It cannot be written.
        """
        if self._store is not None:
            self._held.append((key, sample))
            if sample.source is Source.CALLED or len(self._held) >= _MOST_HELD:
                self.flush()
        if self._cassettes is not None and not self.replays:
            self._unwritten.setdefault(key, []).extend(recordings)

    def flush(self) -> None:
        """Write down the samples that were held back: those that nobody was asked for, which a kill may cost.

        Raises:
            ProjectError: They cannot be written.
        """
        if self._store is not None and self._held:
            held, self._held = self._held, []
            self._store.add(self._run_id, held)

    def close(self, key: ItemKey, *, is_whole: bool) -> None:
        """Write an item's cassette, now that all its samples are there.

        Args:
            key: The item.
            is_whole: Whether all were answered; else what its cassette has stays in it.

        Raises:
            ProjectError: It cannot be written.
        """
        if self._cassettes is not None and not self.replays:
            found = {one.key: one for one in self._unwritten.pop(key, [])}
            before = {} if is_whole or not found else self._cassettes.recordings(key)
            self._cassettes.write(key, (before | found).values())

    def _keep(self, key: ItemKey, recording: Recording | None, row: UsageRow) -> None:
        if self._store is not None:
            self._store.keep(self._run_id, key, recording, row)

    def _sources(self, key: ItemKey) -> Iterable[tuple[Source, Find]]:
        if self.replays:
            if self._cassettes is not None:
                yield Source.REPLAYED, self._cassettes.recordings(key).get
            return
        if self._store is not None and self._resumes:
            store, run_id = self._store, self._run_id
            yield Source.CALLED, partial(store.find_of, run_id, key)
        if self._store is not None and self._caches:
            yield Source.CACHED, self._store.find


def _asking(decided: Plan) -> Asking:
    return asking(decided.model, decided.request)


def _ended(events: Iterable[Event[Any]]) -> tuple[TaskResult[Any] | None, CallError | None]:
    """How a run ended."""
    try:
        results = [event.result for event in events if isinstance(event, ResultEvent)]
    except CallError as error:
        return None, error
    return results[-1], None


def _called(repeat: int, verdict: dict[str, Any], recorder: Recorder) -> Given:
    rows = recorder.rows
    last = rows[-1] if rows else None
    whole = used(rows)
    timed = {"latency_ms": whole.latency_ms, "first_token_ms": None}
    sample = Sample(
        repeat,
        tokens=whole.tokens,
        costs=whole.costs,
        unpriced_calls=whole.unpriced_calls,
        calls=whole.calls,
        finish_reason=last.finish_reason if last else None,
        upstream_model=last.upstream_model if last else None,
        **timed | verdict,
    )
    return Given(sample, tuple(recorder.take.recordings))


def _played(
    decided: Plan, repeat: int, verdict: dict[str, Any], source: Source, recordings: Sequence[Recording]
) -> Given:
    """As it was when it was recorded: times and prices of then."""
    model_id, project = decided.route.model_id, decided.project
    costs = [
        get_cost(model_id, one.tokens, at=datetime.fromisoformat(one.at), project=project)
        for one in recordings
        if one.tokens
    ]
    tokens = Tokens()
    for one in recordings:
        tokens += one.tokens or Tokens()
    timed = {
        "latency_ms": sum(one.latency_ms for one in recordings),
        "first_token_ms": recordings[0].first_token_ms,
    }
    sample = Sample(
        repeat,
        source=source,
        tokens=tokens,
        costs=sums(costs),
        unpriced_calls=costs.count(None),
        calls=len(recordings),
        finish_reason=recordings[-1].finish_reason,
        upstream_model=recordings[-1].model,
        **verdict | timed,
    )
    return Given(sample, tuple(recordings))


def _verdict(result: TaskResult[Any] | None, error: CallError | None) -> dict[str, Any]:
    """What a run's end says of its sample."""
    if result is not None:
        return {
            "outcome": Outcome.PASSED,
            "answer": result.to_json(),
            "repair_level": result.repair_level.value,
            "latency_ms": result.latency_ms,
            "first_token_ms": result.first_token_ms,
        }
    failure = error.failure if error else Failure.BUG
    return {
        "outcome": _unanswered(failure),
        "text": error.text if isinstance(error, AnswerInvalidError) else None,
        "failure": failure,
        "reason": str(error),
    }


def _unanswered(failure: Failure) -> Outcome:
    """What a sample is whose run gave no valid answer."""
    if failure is Failure.CAPPED:
        return Outcome.CAPPED
    return Outcome.FAILED if failure in BAD_ANSWERS else Outcome.ERROR
