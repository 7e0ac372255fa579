"""Single calls, and the story of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from llmtask.money import NANOS
from llmtask.usage import UsageRow
from llmtask.view import words
from llmtask.view.console import draw, harmless, note, room
from llmtask.view.fitting import Column, fitted, one_line
from llmtask.view.usage.figures import exact, seconds
from llmtask.view.usage.notes import unfinished

_RUN_DIGITS = 16  # of a run's id: the time, and enough to tell apart those of a millisecond


def show_rows(rows: Sequence[UsageRow]) -> None:
    """The last calls, a line each."""
    columns = [
        Column("when", [_when(row) for row in rows], [_when(row)[5:] for row in rows], is_number=False, least=40),
        Column("run", [one_line(row.run_id[:_RUN_DIGITS]) for row in rows], rank=5, is_number=False, least=40),
        Column("task", [one_line(row.task_template_id) for row in rows], is_number=False, least=12),
        Column("model", [one_line(row.model_id) for row in rows], is_number=False, least=14),
        Column("tokens", [f"{'~' if row.is_estimate else ''}{row.total_tokens:,}" for row in rows], rank=3),
        Column("cost", ["unknown" if row.is_unfinished else words.cost(row.price) for row in rows], rank=1),
        Column("s", ["-" if row.is_unfinished else seconds(row.latency_ms) for row in rows], rank=2),
        Column(
            "first\ntoken s",
            ["-" if row.first_token_ms is None else seconds(row.first_token_ms) for row in rows],
            rank=8,
        ),
        Column("end", [end(row) for row in rows], is_number=False, least=12, rank=1),
        Column("user", [one_line(row.user_id or "-") for row in rows], is_number=False, least=8, rank=6),
    ]
    found = fitted([one for one in columns if set(one.cells) != {"-"}], room())
    draw(found.table, room=found.width)
    count = sum(row.is_unfinished for row in rows)
    if count:
        note(unfinished(count), style="yellow")


def end(row: UsageRow) -> str:
    """How a call ended."""
    return "ok" if row.is_success else one_line(row.error_class or "failed")


def _at(row: UsageRow) -> datetime:
    return datetime.fromisoformat(row.created_at).astimezone()


def _when(row: UsageRow) -> str:
    try:
        return f"{_at(row):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return one_line(row.created_at)


def run_json(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """A run as JSON values: its calls as the log has them, and what they come to."""
    return {
        "run_id": rows[0].run_id,
        "calls": [asdict(row) for row in rows],
        "total": {
            "calls": len(rows),
            "input_tokens": sum(row.input_tokens for row in rows),
            "output_tokens": sum(row.output_tokens for row in rows),
            "cost": {currency: exact(amount) for currency, amount in _costs(rows).items()},
            "unpriced": sum(_is_unpriced(row) for row in rows),
            "unfinished": sum(row.is_unfinished for row in rows),
            "is_success": rows[-1].is_success,
        },
    }


def show_story(rows: Sequence[UsageRow]) -> None:
    """A run, attempt by attempt."""
    from rich.text import Text

    text = Text()
    for line, style in _story(rows):
        text.append(harmless(line) + "\n", style=style)
    text.rstrip()
    draw(text, soft_wrap=True)


def _story(rows: Sequence[UsageRow]) -> Iterator[tuple[str, str]]:
    first = rows[0]
    yield one_line(f"{first.task_template_id} · run {first.run_id}"), "bold"
    yield one_line(" · ".join(filter(None, (f"{_when(first)}{_offset(first)}", *_about(first))))), "dim"
    for row in rows:
        yield "", ""
        yield from _attempt(row, first)
    yield "", ""
    yield _total(rows), "bold"


def _about(row: UsageRow) -> Iterator[str]:
    """What holds for all of a run."""
    yield row.locale or ""
    prompt = " ".join(filter(None, (row.prompt_version, row.prompt_hash)))
    yield f"prompt {prompt}" if prompt else ""
    yield f"user {row.user_id}" if row.user_id else ""
    yield f"service {row.service_id}" if row.service_id else ""


def _offset(row: UsageRow) -> str:
    try:
        return f"{_at(row):%z}"
    except (ValueError, OverflowError):
        return ""


def _attempt(row: UsageRow, first: UsageRow) -> Iterator[tuple[str, str]]:
    served = f" (served by {row.upstream_model})" if row.upstream_model and row.upstream_model != row.model_id else ""
    where = filter(None, (row.tier, row.queue_id and f"queue {row.queue_id}", row.worker and f"worker {row.worker}"))
    yield one_line(" · ".join((f"{row.attempt}  {_later(row, first)}{row.model_id}{served}", *where))), ""
    yield f"   {_tokens(row)} · {_cost(row)}{_times(row)}", ""
    ended, style = _ended(row)
    yield f"   {one_line(ended)}", style
    if row.error_message:
        yield f"   {' '.join(row.error_message.split())}", "yellow"


def _later(row: UsageRow, first: UsageRow) -> str:
    """How long after the run's first call it began."""
    if row is first:
        return ""
    try:
        return f"{_clock(row)} (+{(_at(row) - _at(first)).total_seconds():.1f} s)  "
    except (ValueError, OverflowError):
        return ""


def _clock(row: UsageRow) -> str:
    return f"{_at(row):%H:%M:%S}"


def _tokens(row: UsageRow) -> str:
    about = "~" if row.is_estimate else ""
    cached = f" ({row.cached_tokens:,} cached)" if row.cached_tokens else ""
    reasoning = f" ({row.reasoning_tokens:,} reasoning)" if row.reasoning_tokens else ""
    images = f" + {row.images} {'image' if row.images == 1 else 'images'}" if row.images else ""
    return f"{about}{row.input_tokens:,} in{cached}{images} + {about}{row.output_tokens:,} out{reasoning} tokens"


def _cost(row: UsageRow) -> str:
    return "cost unknown" if row.is_unfinished else words.cost(row.price)


def _times(row: UsageRow) -> str:
    if row.is_unfinished:
        return ""
    first = f" · first token {words.seconds(row.first_token_ms)}" if row.first_token_ms is not None else ""
    return f"{first} · {words.seconds(row.latency_ms)}"


def _ended(row: UsageRow) -> tuple[str, str]:
    """How a call ended, and the style to say it in."""
    if row.is_unfinished:
        return "no end: killed, or still going on", "yellow"
    finish = f" · finish {row.finish_reason}" if row.finish_reason else ""
    if not row.is_success:
        return f"failed: {row.error_class or 'no class'}{finish}", "red"
    helped = {None: "", "strict": ""}.get(row.repair_level, f" · mended: {row.repair_level}")
    return f"valid{helped}{finish}", "green"


def _total(rows: Sequence[UsageRow]) -> str:
    calls = f"{len(rows)} {'call' if len(rows) == 1 else 'calls'}"
    total, output = (sum(getattr(row, name) for row in rows) for name in ("input_tokens", "output_tokens"))
    cost = words.costs(_costs(rows), sum(map(_is_unpriced, rows)), sum(row.is_unfinished for row in rows))
    return f"{calls} · {total:,} in + {output:,} out tokens · {cost}{_took(rows)}"


def _took(rows: Sequence[UsageRow]) -> str:
    try:
        end_at = max(_at(row) + timedelta(milliseconds=row.latency_ms) for row in rows)
        return f" · {words.seconds(round((end_at - _at(rows[0])).total_seconds() * 1000))} in all"
    except (ValueError, OverflowError):
        return ""


def _is_unpriced(row: UsageRow) -> bool:
    return row.price is None and not row.is_unfinished


def _costs(rows: Sequence[UsageRow]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in rows:
        if row.price is not None:
            found[row.price.currency] = found.get(row.price.currency, Decimal(0)) + Decimal(row.price.nanos) / NANOS
    return dict(sorted(found.items()))
