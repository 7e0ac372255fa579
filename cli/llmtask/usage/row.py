"""A row of the usage log: one model call, never any content."""

import secrets
import time
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import cast, get_args

from llmtask.errors import Failure
from llmtask.money import Cost, Currency

_LONGEST_MESSAGE = 500  # characters of an error message that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One model call, as table `llm_usage_logs` holds it: a field per column, in the table's words."""

    id: str
    user_id: str | None = None
    service_id: str | None = None
    task_template_id: str
    provider: str
    model_id: str
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    latency_ms: int
    cost: float | None = None
    is_stream: bool = False
    is_success: bool = True
    error_message: str | None = None
    created_at: str
    cost_nanos: int | None = None
    currency: str | None = None
    upstream_model: str | None = None
    queue_id: str | None = None
    tier: str | None = None
    worker: str | None = None
    locale: str | None = None
    prompt_hash: str | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    first_token_ms: int | None = None
    attempt: int = 1
    run_id: str
    finish_reason: str | None = None
    error_class: str | None = None
    is_estimate: bool = False
    repair_level: str | None = None
    prompt_version: str | None = None
    images: int = 0
    saved_nanos: int | None = None

    @property
    def price(self) -> Cost | None:
        """What the call cost; None where it is unpriced."""
        if self.cost_nanos is None or self.currency not in get_args(Currency):
            return None
        return Cost(self.cost_nanos, cast("Currency", self.currency))

    @property
    def is_unfinished(self) -> bool:
        """Whether the call has no end: the process was killed during it, or it still goes on."""
        return self.error_class == Failure.UNFINISHED

    def opened(self) -> "UsageRow":
        """The row as it stands until its call has ended: unfinished, and of no known cost, which is not free."""
        return replace(
            self,
            latency_ms=0,
            cost=None,
            cost_nanos=None,
            currency=None,
            is_success=False,
            is_estimate=True,
            error_class=Failure.UNFINISHED.value,
        )

    def __post_init__(self) -> None:
        """Keep the error message to its length."""
        if self.error_message:
            object.__setattr__(self, "error_message", self.error_message[:_LONGEST_MESSAGE])


COLUMNS = tuple(one.name for one in fields(UsageRow))


def new_id() -> str:
    """An id that no other has and that sorts by time: 12 hex digits of milliseconds, 12 characters at random."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_urlsafe(9)}"


def storable(text: str) -> str:
    """The text as the log holds it: arguments that are no UTF-8 bring lone surrogates, which no database takes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def timestamp(at: datetime) -> str:
    """An instant as the log writes it, such as 2026-11-23T09:30:00.000Z."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
