"""How a batch looks: its progress on stderr, its standing on stdout."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from llmtask.batch.job import BAD_INPUT
from llmtask.batch.journal import Standing
from llmtask.batch.run import Batch, Progress
from llmtask.batch.start import Estimate
from llmtask.money import Cost, amount_text
from llmtask.service.lanes import QueueState
from llmtask.view.console import answer, note, stderr, warn

Form: TypeAlias = Literal["bar", "plain", "json", "none"]

_EVERY_S: dict[Form, float] = {"bar": 0.25, "plain": 5.0, "json": 1.0, "none": 3600.0}
_SHOWN_PROBLEMS = 5


class Watch:
    """Tells on stderr how far a batch is, while it runs: a moving line, or one every few seconds, or JSON."""

    def __init__(self, batch: Batch, form: Form | None) -> None:
        """Take the batch, and how; where that is left out, as stderr can show it."""
        self._batch = batch
        self._form: Form = form or ("bar" if stderr().is_terminal else "plain")
        self._live: Any = None

    async def run(self) -> None:
        """Tell until cancelled."""
        if self._form == "bar":
            from rich.live import Live  # only for a terminal

            self._live = Live("", console=stderr(), auto_refresh=False, transient=True)
            self._live.start()
        try:
            while True:
                await asyncio.sleep(_EVERY_S[self._form])
                self._tell("progress")
        finally:
            if self._live is not None:
                self._live.stop()

    def end(self) -> None:
        """Tell the end."""
        if self._form == "json":
            self._tell("end")

    def _tell(self, event: str) -> None:
        progress, queues = self._batch.progress, self._batch.queues
        if self._form == "json":
            stderr().print(json.dumps(_document(event, self._batch)), markup=False)
        elif self._live is not None:
            lines = [progress_line(progress), *(line for queue in queues if (line := _queue_line(queue)))]
            self._live.update("\n".join(lines), refresh=True)
        elif self._form == "plain":
            notes = [line for queue in queues if queue.why and (line := _queue_line(queue))]
            note("; ".join([progress_line(progress), *notes]), style="")


def progress_line(progress: Progress) -> str:
    """How far it is, such as `120 of 500 done, 2 failed, 9.8/s, 51,200 tokens, ¥0.31 of about ¥1.30, 39 s left`."""
    total = progress.total
    parts = [f"{progress.done:,}{f' of {total:,}' if total is not None else ''} done"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    parts += [f"{progress.per_second:.1f}/s", f"{progress.tokens:,} tokens"]
    spent, expected = money(progress.spent), money(progress.expected)
    parts.append(f"{spent} of about {expected}" if expected else spent or "nothing spent")
    if progress.unpriced_calls:
        parts.append(f"{progress.unpriced_calls:,} calls unpriced")
    left_s = progress.left_s
    if left_s:
        parts.append(f"{_duration(left_s)} left")
    return ", ".join(part for part in parts if part)


def money(costs: Iterable[Cost]) -> str:
    """Amounts of one or several currencies."""
    return " and ".join(amount_text(cost.amount, cost.currency) for cost in costs)


def show_estimate(estimate: Estimate, count: int | None, max_cost: Cost | None) -> None:
    """Say what a batch would be, before it is one."""
    records = f"{count:,} records" if count is not None else "records from standard input"
    most = money(estimate.highest)
    about = f"; about {estimate.input_tokens:,} tokens in; at most about {most} without retries" if most else ""
    free = " and calls of a model that has no price" if estimate.unpriced else ""
    cap = f"; stops at {money([max_cost])}" if max_cost else ""
    note(f"{records}{about}{free}{cap}", style="")
    for problem in estimate.problems[:_SHOWN_PROBLEMS]:
        warn(problem)
    more = len(estimate.problems) - _SHOWN_PROBLEMS
    if more > 0:
        warn(f"and {more:,} more of the first {estimate.looked_at:,} that cannot be asked")


def show_end(batch: Batch, standing: Standing, seconds: float) -> None:
    """Say what came of a batch, and how it goes on."""
    failed = f", {standing.failed:,} failed" if standing.failed else ""
    note(
        f"batch {standing.run_id}: {standing.done:,} done{failed}, {standing.records:,} records, "
        f"{standing.calls:,} calls, {standing.tokens:,} tokens, {money(standing.spent) or 'nothing spent'}, "
        f"{_duration(seconds)}",
        style="",
    )
    if standing.failures:
        note("failed: " + ", ".join(f"{count:,} {failure}" for failure, count in standing.failures.items()), style="")
    if batch.note:
        warn(f"stopped: {batch.note}; `llmtask batch resume {standing.run_id}` goes on")
    elif standing.failed > standing.failures.get(BAD_INPUT, 0):
        note(f"`llmtask batch retry {standing.run_id}` asks for the failed ones again")
    for queue in batch.queues:
        if queue.lowest < queue.most:
            note(f"{queue.queue_id} was slowed down by refusals: to {queue.lowest} at once, of {queue.most}")


def show_standings(found: list[tuple[Standing, int]], *, as_json: bool) -> None:
    """Write how batches stand; each with the number of calls that have no end in the usage log."""
    if as_json:
        answer(json.dumps([_standing(one, open_calls) for one, open_calls in found], ensure_ascii=False, indent=2))
        return
    for one, open_calls in found:
        state = "done" if one.is_over else "stopped" if one.ended_at else "running or broken off"
        line = (
            f"{one.run_id}  {one.settings['spec']['task']}  {state}: {one.done:,} done, {one.failed:,} failed, "
            f"{one.pending:,} to do, {one.calls:,} calls, {money(one.spent) or 'nothing spent'}"
        )
        answer(line)
        if one.note:
            answer(f"  {one.note}")
        if open_calls and not one.is_over:
            answer(f"  {open_calls:,} calls have no end: they go on, or a kill cut them off; those are asked again")
        elif open_calls:
            answer(f"  {open_calls:,} calls were cut off by a kill, and asked again")


def _standing(one: Standing, open_calls: int) -> dict[str, Any]:
    return {
        "batch": one.run_id,
        "task": one.settings["spec"]["task"],
        "began_at": one.began_at,
        "ended_at": one.ended_at,
        "note": one.note,
        "is_over": one.is_over,
        "is_read": one.is_read,
        "records": one.records,
        "jobs": one.jobs,
        "done": one.done,
        "failed": one.failed,
        "pending": one.pending,
        "calls": one.calls,
        "open_calls": open_calls,
        "tokens": one.tokens,
        "spent": {cost.currency: float(cost.amount) for cost in one.spent},
        "unpriced_calls": one.unpriced_calls,
        "failures": dict(one.failures),
    }


def _document(event: str, batch: Batch) -> dict[str, Any]:
    progress = batch.progress
    return {
        "event": event,
        "batch": batch.journal.run_id,
        "done": progress.done,
        "failed": progress.failed,
        "total": progress.total,
        "calls": progress.calls,
        "tokens": progress.tokens,
        "per_second": round(progress.per_second, 2),
        "spent": {cost.currency: float(cost.amount) for cost in progress.spent},
        "expected": {cost.currency: float(cost.amount) for cost in progress.expected},
        "left_s": round(progress.left_s) if progress.left_s is not None else None,
        "queues": [
            {"queue": one.queue_id, "running": one.running, "limit": one.limit, "most": one.most, "why": one.why}
            for one in batch.queues
        ],
    }


def _queue_line(queue: QueueState) -> str:
    limit = f"{queue.limit}" if queue.limit == queue.most else f"{queue.limit} (of {queue.most})"
    return f"{queue.queue_id}: {queue.running} running, at most {limit}{f'; {queue.why}' if queue.why else ''}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
