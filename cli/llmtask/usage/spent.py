"""What was spent since an instant, and what calls in flight hold: asked inside a transaction, before a call.

As a report does, it sums up the rollup, and rows only where the rollup has no line for a part of the span.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from llmtask.money import Cost
from llmtask.usage.database import Connection
from llmtask.usage.log import stored
from llmtask.usage.periods import Edge, Periods, cover
from llmtask.usage.rollup import DAY, ROWS, word
from llmtask.usage.row import UsageRow, timestamp

Scope = Mapping[str, str]
"""Which calls count: columns of the log, and the value that each must have."""

_MOST_DAYS = 500

SKEW = timedelta(hours=1)
"""How far clocks may differ: what was reserved further in the future than this was reserved by a clock gone wrong."""


def spent(connection: Connection, scope: Scope, since: datetime | None) -> Counter[str]:
    """What the calls since an instant have cost, in nano-units per currency; calls without an end are in none of it."""
    found: Counter[str] = Counter()
    is_users = "user_id" in scope
    levels = {"finest": DAY, "coarsest": DAY} if is_users else {}
    for part in cover(since, None, **levels):
        if isinstance(part, Edge):
            sql, values = _in_rows(part, scope)
        else:
            sql, values = _in_days(connection, part, scope) if is_users else _in_periods(part, scope)
        for currency, nanos in connection.execute(sql, values).fetchall():
            if currency:
                found[currency] += int(nanos)
    return found


def _in_rows(edge: Edge, scope: Scope) -> tuple[str, list[Any]]:
    """The rows of a part of a day, found by time: a user's own, found by the user, are of all the time there is."""
    conditions = "".join(f" AND {word(name)} = ?" for name in scope)
    sql = (
        f"SELECT currency, sum(cost_nanos) FROM {ROWS} WHERE created_at >= ? AND created_at < ? "
        f"AND cost_nanos IS NOT NULL{conditions} GROUP BY currency"
    )
    return sql, [timestamp(edge.since), timestamp(edge.until), *scope.values()]


def _in_periods(part: Periods, scope: Scope) -> tuple[str, list[Any]]:
    conditions = "".join(f" AND g.{name} = ?" for name in scope)
    sql = (
        "SELECT g.currency, sum(s.cost_nanos) FROM usage_sums s JOIN usage_groups g ON g.id = s.group_id "
        f"WHERE s.level = ? AND s.period >= ? AND s.period < ?{conditions} GROUP BY g.currency"
    )
    return sql, [part.level, part.first, part.end, *scope.values()]


def _in_days(connection: Connection, part: Periods, scope: Scope) -> tuple[str, list[Any]]:
    """A user's calls, day by day as long as that is less to look at than everybody's."""
    ends = "SELECT (SELECT min(period) FROM usage_users), (SELECT max(period) FROM usage_users)"  # each from the key
    [(first, last)] = connection.execute(ends).fetchall()
    days = [] if first is None else range(max(int(first), part.first), min(int(last) + 1, part.end))
    conditions = "".join(f" AND {'s' if name == 'user_id' else 'g'}.{name} = ?" for name in scope)
    if not days:
        when, values = "1 = 0", []
    elif len(days) <= _MOST_DAYS:
        when, values = f"s.period IN ({', '.join('?' * len(days))})", [*days]
    else:
        when, values = "s.period >= ? AND s.period < ?", [part.first, part.end]
    sql = (
        "SELECT g.currency, sum(s.cost_nanos) FROM usage_users s JOIN usage_groups g ON g.id = s.group_id "
        f"WHERE {when}{conditions} GROUP BY g.currency"
    )
    return sql, [*values, *scope.values()]


def reserved(connection: Connection, scope: Scope, since: datetime | None, now: datetime) -> Counter[str]:
    """The most that calls in flight can cost, in nano-units per currency."""
    conditions = "".join(f" AND {name} = ?" for name in scope)
    sql = (
        "SELECT currency, sum(nanos) FROM budget_reservations "
        f"WHERE expires_at > ? AND created_at >= ? AND created_at <= ?{conditions} GROUP BY currency"
    )
    values = [timestamp(now), timestamp(since) if since else "", timestamp(now + SKEW), *scope.values()]
    return Counter({currency: int(nanos) for currency, nanos in connection.execute(sql, values).fetchall()})


def reserve(connection: Connection, row: UsageRow, most: Cost, expires_at: datetime) -> None:
    """Hold the most that a call can cost until it ends."""
    said = (row.user_id or "", row.service_id or "", row.task_template_id, row.provider, row.model_id)
    words = map(stored, said)
    connection.execute(
        "INSERT INTO budget_reservations (call_id, run_id, user_id, service_id, task_template_id, provider, model_id, "
        "currency, nanos, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row.id, row.run_id, *words, most.currency, most.nanos, row.created_at, timestamp(expires_at)),
    )


def release(connection: Connection, call_id: str) -> None:
    """Hold no more for a call that has ended."""
    connection.execute("DELETE FROM budget_reservations WHERE call_id = ?", (call_id,))


def release_expired(connection: Connection, now: datetime) -> None:
    """Hold no more for calls whose process was killed."""
    connection.execute(
        "DELETE FROM budget_reservations WHERE expires_at <= ? OR created_at > ?",
        (timestamp(now), timestamp(now + SKEW)),
    )
