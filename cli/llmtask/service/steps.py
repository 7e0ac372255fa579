"""A run as a generator without I/O of its own: it says what to do next, a sync or an async driver does it."""

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

from llmtask.answer import InvalidError, Level, Partial, read
from llmtask.errors import AnswerInvalidError, CallError, CappedError, Failure
from llmtask.interrupts import held
from llmtask.money import Cost, sums
from llmtask.providers import Delta, Patience, failed, failure_of
from llmtask.service.charge import Charge, charge
from llmtask.service.plan import Candidate, Plan
from llmtask.service.recovery import Recovery, takes_over
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
from llmtask.tokens import Tokens, estimate, estimate_all
from llmtask.usage import Ledger, UsageRow, new_id, timestamp

_USED_NOTHING = frozenset(
    {
        Failure.NETWORK,
        Failure.REFUSED_KEY,
        Failure.NO_BALANCE,
        Failure.RATE_LIMITED,
        Failure.BAD_REQUEST,
        Failure.CONTEXT_TOO_LONG,
    }
)


@dataclass(frozen=True, slots=True)
class Ask:
    """To the driver: open a call."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Pull:
    """To the driver: send the call's next Delta in, None at its end; throw its error in."""


@dataclass(frozen=True, slots=True)
class Wait:
    """To the driver: let so much time go by."""

    seconds: float


Step: TypeAlias = Ask | Pull | Wait | Event
Steps: TypeAlias = Generator[Step, Delta | None, None]


@dataclass
class _Call:
    """One model call while it goes on."""

    attempt: int
    candidate: Candidate
    id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    begun: float = field(default_factory=time.perf_counter)
    text: list[str] = field(default_factory=list)
    tool_arguments: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tokens: Tokens | None = None
    finish_reason: str | None = None
    model: str | None = None
    first_token_ms: int | None = None
    level: Level | None = None

    def take(self, delta: Delta) -> None:
        """Keep a piece of the answer."""
        for kept, piece in (
            (self.text, delta.text),
            (self.tool_arguments, delta.tool_arguments),
            (self.reasoning, delta.reasoning),
        ):
            if piece:
                kept.append(piece)
                if self.first_token_ms is None:
                    self.first_token_ms = self.elapsed_ms
        self.tokens = delta.tokens or self.tokens
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.model = delta.model or self.model

    @property
    def answer(self) -> str:
        """The answer's text: the tool's arguments where the model called it."""
        return "".join(self.tool_arguments) or "".join(self.text)

    @property
    def elapsed_ms(self) -> int:
        """Since the call began."""
        return round((time.perf_counter() - self.begun) * 1000)


class TaskRun:
    """One run of a task: its calls, their rows, its result."""

    def __init__(
        self, plan: Plan, log: Ledger | None, *, live: bool, previews: bool = True, run_id: str | None = None
    ) -> None:
        """Take the decided run.

        Args:
            plan: The decided run.
            log: The usage log; None for none.
            live: Whether the calls stream.
            previews: Whether there are PartialEvents, which cost more than all else together.
            run_id: The run's id; a new one where it is left out.
        """
        self.patience = Patience(plan.timeouts)
        self._plan = plan
        self._log = log
        self._live = live
        self._previews = previews
        self._run_id = run_id or new_id()
        self._begun = time.perf_counter()
        self._calls = 0
        self._tokens = Tokens()
        self._costs: list[Cost | None] = []
        self._first_token_ms: int | None = None

    def steps(self) -> Steps:
        """The run, step by step: the route's model, then its fallbacks as far as the rules allow.

        Raises:
            CallError: It gave no valid answer.
        """
        self._begun = time.perf_counter()  # the clock starts when somebody reads the first event, not before
        self.patience.start_run()
        candidates = list(self._plan.candidates)
        while True:
            candidate = candidates.pop(0)
            try:
                result = yield from self._ask(candidate)
            except CallError as error:
                candidates = self._left(candidates, candidate, error)
                if not candidates or self.patience.is_over:
                    raise
                following = candidates[0].route.model_id
                yield FallbackEvent(self._calls + 1, str(error), candidate.route.model_id, following)
            else:
                yield ResultEvent(result)
                return

    def _left(self, candidates: list[Candidate], failed: Candidate, error: CallError) -> list[Candidate]:
        """Those that may take over, the next one first."""
        free = self._plan.free
        if isinstance(error, CappedError) and error.falls_to_free and free and failed.route.tier != free.route.tier:
            return [free]
        while candidates and not takes_over(self._plan, failed, candidates[0], error.failure):
            candidates.pop(0)
        return candidates

    def _ask(self, candidate: Candidate) -> Generator[Step, Delta | None, TaskResult]:
        """One model's calls, as many as the rules allow.

        Raises:
            CallError: None of them gave a valid answer.
        """
        recovery = Recovery(self._plan)
        while True:
            self._calls += 1
            call = _Call(self._calls, candidate)
            try:
                return (yield from self._attempt(call))
            except CappedError:
                self._calls -= 1  # it was not made
                raise
            except CallError as error:
                has_thought = bool(call.reasoning) or bool(call.tokens and call.tokens.reasoning)
                retry = recovery.retry(candidate, error, has_thought=has_thought, left_s=self.patience.left_s)
                if retry is None:
                    raise
                yield RetryEvent(self._calls + 1, str(error), candidate.route.model_id, retry.wait_s, error.failure)
            candidate = retry.candidate
            if retry.wait_s:
                yield Wait(retry.wait_s)

    def _attempt(self, call: _Call) -> Generator[Step, Delta | None, TaskResult]:
        """One call, from the opening of its row to its close."""
        error: CallError | None = CallError("interrupted", Failure.INTERRUPTED)
        try:
            self._open_row(call)
            yield Ask(call.candidate)
            yield from self._listen(call)
            result = self._result(call)
            error = None
        except CallError as caught:
            error = caught
            raise
        except Exception as caught:
            error = CallError(type(caught).__name__, Failure.BUG)
            raise
        finally:
            if not isinstance(error, CappedError):  # which was not made
                with held():
                    self._account(call, error)
        return replace(result, tokens=self._tokens, costs=sums(self._costs), unpriced_calls=self._costs.count(None))

    def _listen(self, call: _Call) -> Generator[Step, Delta | None, None]:
        """Take the call's pieces until its end, passing them on as events."""
        partial = Partial()
        while (delta := (yield Pull())) is not None:
            call.take(delta)
            if self._first_token_ms is None and call.first_token_ms is not None:
                self._first_token_ms = self._elapsed_ms
            if self.patience.is_over:
                raise failed(
                    call.candidate.model.provider, Failure.TIMEOUT, f"{self._plan.timeouts.total_s:g} s are over"
                )
            if delta.reasoning:
                yield ReasoningEvent(delta.reasoning)
            piece = delta.tool_arguments or delta.text
            if piece:
                yield TextEvent(piece)
                value = partial.feed(piece) if self._previews else None
                if isinstance(value, dict) and value:
                    yield PartialEvent(value)

    def _result(self, call: _Call) -> TaskResult:
        """The valid object in the call's answer.

        Raises:
            CallError: There is none.
        """
        provider_id = call.candidate.model.provider
        failure = failure_of(self._plan.project, provider_id, call.finish_reason)
        if failure is not None:
            raise failed(provider_id, failure, f"the answer ended with finish reason {call.finish_reason!r}")
        if not call.answer.strip():
            failure = Failure.REASONING_ONLY if call.reasoning else Failure.BLANK
            raise failed(provider_id, failure, "the model gave no answer")
        try:
            answer = read(call.answer, self._plan.schema, strictly=self._plan.is_strict)
        except InvalidError as error:
            if self._live and call.finish_reason is None:
                raise failed(provider_id, Failure.CUT_STREAM, "the answer broke off") from error
            raise self._invalid(call, error) from error
        call.level = answer.level
        if self._live and call.finish_reason is None and answer.level is not Level.STRICT:
            raise failed(provider_id, Failure.CUT_STREAM, "the answer broke off")
        return TaskResult(
            data=answer.data,
            task=self._plan.task,
            locale=self._plan.locale,
            route=call.candidate.route,
            run_id=self._run_id,
            upstream_model=call.model,
            tokens=self._tokens,
            costs=(),
            unpriced_calls=0,
            latency_ms=self._elapsed_ms,
            first_token_ms=self._first_token_ms,
            attempts=call.attempt,
            repair_level=answer.level,
            is_sample=self._plan.project.config.providers[provider_id].driver == "offline",
        )

    def _invalid(self, call: _Call, error: InvalidError) -> AnswerInvalidError:
        model = call.candidate.route.model_id
        first = error.problems[0]
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        message = f"{model}: the answer does not fit the schema of {self._plan.task}: {first}{more}"
        return AnswerInvalidError(message, text=call.answer, problems=error.problems, kinds=error.kinds)

    def _open_row(self, call: _Call) -> None:
        """Write the call's row before the call, so that it is there whatever ends the process."""
        if self._log is not None:
            row = self._row(call, self._estimated(call, None), Charge(None, None), None)
            self._log.begin(row, call.candidate.most)
            call.begun = time.perf_counter()  # a log that has to be waited for is no latency of the model's
        if call.attempt == 1:
            self._begun = call.begun

    def _account(self, call: _Call, error: CallError | None) -> None:
        """Count the call's tokens and money, and close its row."""
        tokens = call.tokens or self._estimated(call, error)
        candidate = call.candidate
        charged = charge(self._plan.project, candidate.route.model_id, tokens, call.at, len(candidate.request.images))
        self._tokens = tokens if call.attempt == 1 else self._tokens + tokens
        if tokens.total:
            self._costs.append(charged.cost)
        if self._log is not None:
            self._log.finish(self._row(call, tokens, charged, error))

    def _estimated(self, call: _Call, error: CallError | None) -> Tokens:
        """Tokens by the characters, for a call that reported none; one that was refused or never arrived used none."""
        rate = self._plan.project.config.defaults.token_estimate
        reasoning = estimate("".join(call.reasoning), rate)
        output = reasoning + estimate(call.answer, rate)
        if not output and error and (error.status is not None or error.failure in _USED_NOTHING):
            return Tokens(is_estimate=True)
        return Tokens(estimate_all(call.candidate.request.texts, rate), output, 0, reasoning, is_estimate=True)

    def _row(self, call: _Call, tokens: Tokens, charged: Charge, error: CallError | None) -> UsageRow:
        plan, route, cost = self._plan, call.candidate.route, charged.cost
        return UsageRow(
            id=call.id,
            user_id=plan.user_id,
            service_id=plan.service_id,
            task_template_id=plan.task,
            provider=call.candidate.model.provider,
            model_id=route.model_id,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            total_tokens=tokens.total,
            latency_ms=call.elapsed_ms,
            cost=float(cost.amount) if cost else None,
            is_stream=self._live,
            is_success=error is None,
            error_message=error.log_text if error else None,
            created_at=timestamp(call.at),
            cost_nanos=cost.nanos if cost else None,
            currency=cost.currency if cost else None,
            upstream_model=call.model,
            queue_id=route.queue_id,
            tier=route.tier,
            worker=route.worker,
            locale=plan.locale,
            prompt_hash=plan.prompt.hash,
            cached_tokens=tokens.cached,
            reasoning_tokens=tokens.reasoning,
            first_token_ms=call.first_token_ms,
            attempt=call.attempt,
            run_id=self._run_id,
            finish_reason=call.finish_reason,
            error_class=error.failure.value if error else None,
            is_estimate=tokens.is_estimate,
            repair_level=call.level.value if call.level else None,
            prompt_version=plan.prompt_version,
            images=len(call.candidate.request.images),
            saved_nanos=charged.saved_nanos,
        )

    @property
    def _elapsed_ms(self) -> int:
        return round((time.perf_counter() - self._begun) * 1000)
