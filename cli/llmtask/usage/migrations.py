"""The usage log's tables, by sqlite-utils' Migrations. A released migration never changes; new ones are added below."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmtask.errors import Failure
from llmtask.usage import holdings
from llmtask.usage.rollup import ROWS, SQLITE, sqlite_triggers, tables

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

SET = "llmtask"
NAMES = ("0001_usage_log", "0002_repair_level", "0003_rollup", "0004_quota", "0005_sync")
"""The migrations of this release, in order: known without importing sqlite-utils."""


def migrate(connection: "Connection", is_done: Callable[["Connection"], bool]) -> None:
    """Bring a database to this release's tables; safe in many processes at once: the first one in does it.

    Args:
        connection: The open database.
        is_done: Whether another process has done it meanwhile.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_done(connection):
            # 0.1 s, in the lock: of 24 processes that start at once, one spends it and the others wait for that one.
            from sqlite_utils import Database

            _migrations().apply(Database(connection))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrations() -> "Migrations":
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(SET)
    for name, step in zip(NAMES, (_usage_log, _repair_level, _rollup, _quota, _sync), strict=True):
        migrations(name=name)(step)
    return migrations


def _usage_log(db: "Database") -> None:
    """The seed's LlmUsageLog in snake_case, and what else the job needs."""
    columns = {
        "id": str,
        "user_id": str,
        "service_id": str,
        "task_template_id": str,
        "provider": str,
        "model_id": str,
        "input_tokens": int,
        "output_tokens": int,
        "total_tokens": int,
        "latency_ms": int,
        "cost": float,  # for people and their SQL; sums are made over cost_nanos
        "is_stream": int,
        "is_success": int,
        "error_message": str,
        "created_at": str,  # ISO 8601 in UTC, to the millisecond: 2026-11-23T09:30:00.000Z; when the call began
        "cost_nanos": int,  # billionths of the currency's unit, exact; null is unpriced
        "currency": str,
        "upstream_model": str,  # the name that the response carried
        "queue_id": str,
        "tier": str,
        "worker": str,
        "locale": str,
        "prompt_hash": str,
        "cached_tokens": int,
        "reasoning_tokens": int,
        "first_token_ms": int,
        "attempt": int,
        "run_id": str,
        "finish_reason": str,
        "error_class": str,
        "is_estimate": int,
    }
    zero = dict.fromkeys(
        (
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "cached_tokens",
            "reasoning_tokens",
            "is_stream",
            "is_estimate",
        ),
        0,
    )
    required = {
        "task_template_id",
        "provider",
        "model_id",
        "latency_ms",
        "is_success",
        "created_at",
        "attempt",
        "run_id",
        *zero,
    }
    db.table("llm_usage_logs").create(columns, pk="id", not_null=required, defaults=zero)
    for column in ("user_id", "task_template_id"):
        db.execute(f"CREATE INDEX llm_usage_logs_{column}_created_at ON llm_usage_logs ({column}, created_at DESC)")


def _repair_level(db: "Database") -> None:
    """How much an answer had to be helped before it fitted; null for older calls, and for those without an answer."""
    db.table("llm_usage_logs").add_column("repair_level", str)


def _rollup(db: "Database") -> None:
    """The rollup, of the rows that are there and by triggers of those to come; what reports ask of a row besides."""
    table = db.table(ROWS)
    table.add_column("prompt_version", str)  # null is the prompt in use
    table.add_column("images", int, not_null_default=0)
    table.add_column("saved_nanos", int)  # what the vendor's prompt cache saved; null is unpriced
    # Reports by task have no need of its index any more, and a user's rows are few: 130 bytes of each row.
    for column in ("user_id", "task_template_id"):
        db.execute(f"DROP INDEX {ROWS}_{column}_created_at")
    db.execute(f"CREATE INDEX {ROWS}_user_id ON {ROWS} (user_id)")
    db.execute(f"CREATE INDEX {ROWS}_created_at ON {ROWS} (created_at)")
    unfinished = f"error_class = '{Failure.UNFINISHED.value}'"
    db.execute(f"CREATE INDEX {ROWS}_unfinished ON {ROWS} (created_at) WHERE {unfinished}")
    for statement in (*tables(), *SQLITE.filling(), *sqlite_triggers()):
        db.execute(statement)


def _quota(db: "Database") -> None:
    """Quotas, their history, and what is reserved for calls and runs that go on."""
    for statement in holdings.tables():
        db.execute(statement)


def _sync(db: "Database") -> None:
    """What was pushed to other logs, such as a team's."""
    # Up to which row of the table all were pushed, and that row's id: VACUUM numbers the rows anew.
    db.execute("CREATE TABLE usage_sync (target TEXT PRIMARY KEY, position INTEGER NOT NULL, row_id TEXT NOT NULL)")
    # Rows up to there that have to be pushed again: they had no end, or were refused.
    whole = "target TEXT NOT NULL, row_id TEXT NOT NULL, PRIMARY KEY (target, row_id)"
    db.execute(f"CREATE TABLE usage_sync_again ({whole}) WITHOUT ROWID")
