"""`usage verify`: whether the rollup says what the rows say, and the rollup mended where it does not.

Triggers keep it right, whoever writes. What they do not see is a row that `INSERT OR REPLACE` of another program has
overwritten, and what somebody did to the rollup itself. Hours are compared with the rows, and the coarser levels with
the hours. Of hours whose rows were removed, by `prune` or `purge`, nobody can say any more what is right: they keep
what they have, and only whether their levels agree is looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llmtask.usage import rollup
from llmtask.usage.database import Connection
from llmtask.usage.gaps import Gaps, gaps
from llmtask.usage.log import UsageLog
from llmtask.usage.pace import Pace
from llmtask.usage.periods import begin_of, period_of
from llmtask.usage.rollup import DAY, FIRST_TOKEN, HOUR, HOURS, LATENCY, ROWS, SUMS, WORDS, Writer, finished, mark, word
from llmtask.usage.row import timestamp

_FIRST, _LAST = -(2**31), 2**31
_LAST_BOUND = "~"  # sorts after every instant


@dataclass(frozen=True)
class _Table:
    """A table of the rollup, and how the rows make it."""

    name: str
    extra: tuple[str, ...]
    """What it tells apart beside level, period and group."""
    counts: tuple[str, ...]
    sources: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]
    """SQL: extra, counts and a condition; the table counts the rows under each of them."""
    level: int = HOUR
    """Its finest level; coarser ones follow, where it has any."""

    @property
    def has_levels(self) -> bool:
        """Whether it has the coarser levels, too."""
        return self.level == HOUR


_SUMS = tuple(rollup.sums("r."))
_NAMES = tuple(SUMS)
_ONE = ("1",)
_TABLES = (
    _Table("usage_sums", (), _NAMES, (((), _SUMS, "1 = 1"),)),
    _Table(
        "usage_marks",
        ("kind", "mark"),
        ("calls",),
        tuple(
            ((str(kind), mark(value)), _ONE, f"{value} IS NOT NULL")
            for kind, value in ((LATENCY, "r.latency_ms"), (FIRST_TOKEN, "r.first_token_ms"))
        ),
    ),
    _Table("usage_errors", ("error_class",), ("calls",), ((("r.error_class",), _ONE, "r.error_class IS NOT NULL"),)),
    _Table("usage_users", ("user_id",), _NAMES, (((word("user_id", "r."),), _SUMS, "1 = 1"),), level=DAY),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """What the rollup would have to change by."""

    table: str
    level: int
    period: int
    group: tuple[str, ...] | int
    """The group's words, or its number."""
    extra: tuple[Any, ...]
    amounts: tuple[int, ...]
    """What is to be added, in the order of the table's columns."""

    @property
    def begin(self) -> datetime:
        """When the period begins."""
        return begin_of(self.period, self.level)


@dataclass(slots=True)
class Verdict:
    """What was compared, and what came of it."""

    rows: int = 0
    """Rows of finished calls that were counted anew."""
    since: datetime | None = None
    """The begin of what rows can still prove; None for all of it."""
    gaps: int = 0
    """Hours after that whose rows were purged."""
    differences: list[Difference] = field(default_factory=list)
    """What is not the same; empty where all agrees."""

    @property
    def agrees(self) -> bool:
        """Whether the rollup says what the rows say."""
        return not self.differences


def verify(log: UsageLog) -> Verdict:
    """Count every row anew, a day at a time, and compare. Nobody waits for it.

    Raises:
        UsageLogError: The log cannot be read.
    """
    if not log.exists:
        return Verdict()
    known = gaps(log)
    [(rows,)] = log.query(
        f"SELECT count(*) FROM {ROWS} r WHERE {finished('r.')} AND r.created_at >= ?", (_bound(known.begin),)
    )
    found = [*_against_rows(log, known), *_against_hours(log)]
    return Verdict(rows, known.begin, len(known.hours), found)


def mend(log: UsageLog) -> int:
    """Add to the rollup what it lacks, and take away what it has too much.

    Returns:
        How many of its entries were changed.

    Raises:
        UsageLogError: The log cannot be written.
    """
    log.atomic(_without_strays)
    return _mended(log, list(_against_rows(log, gaps(log)))) + _mended(log, list(_against_hours(log)))


def _without_strays(connection: Connection) -> None:
    """Take out what belongs to no group: a new group might take its number, and what it never came to."""
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table.name} WHERE group_id NOT IN (SELECT id FROM usage_groups)")


def _mended(log: UsageLog, left: list[Difference]) -> int:
    pace, changed = Pace(), 0
    while changed < len(left):
        some = left[changed : changed + pace.size]
        changed += pace.atomic(log, lambda connection, some=some: _applied(connection, some))  # type: ignore[misc]
    return changed


def _against_rows(log: UsageLog, known: Gaps) -> Iterator[Difference]:
    """Where the finest level differs from the rows."""
    for table in _TABLES:
        total: dict[tuple[Any, ...], list[int]] = {}
        for since, until in _days(log, known):
            for period, *rest in _unlike_rows(log, table, since, until):
                if not (known.has(period) if table.level == HOUR else known.has_day(period)):
                    key, amounts = (period, *rest[: -len(table.counts)]), rest[-len(table.counts) :]
                    before = total.get(key, [0] * len(amounts))
                    total[key] = [one + int(more) for one, more in zip(before, amounts, strict=True)]
        for (period, *keys), summed in total.items():
            if any(summed):  # a row with a strange instant is found on one day and counted on another
                words, extra = tuple(keys[: len(WORDS)]), tuple(keys[len(WORDS) :])
                yield Difference(table.name, table.level, period, words, extra, tuple(summed))


def _unlike_rows(log: UsageLog, table: _Table, since: datetime | None, until: datetime | None) -> list[tuple[Any, ...]]:
    """The periods and groups of a span of which a table says something else than the rows, and by how much."""
    bounds = (_bound(since), _bound(until) or _LAST_BOUND)
    first = _FIRST if since is None else period_of(since, table.level)
    last = _LAST if until is None else period_of(until, table.level)
    return log.query(_row_difference(table, log.sql), (*bounds * len(table.sources), first, last))


def _days(log: UsageLog, known: Gaps) -> Iterator[tuple[datetime | None, datetime | None]]:
    """The days of which rows and rollup may say something, in UTC: no bound before the first and after the last."""
    days = f"SELECT DISTINCT period / {HOURS[DAY]} FROM usage_sums WHERE level = {HOUR} ORDER BY 1"
    begins = [begin_of(day, DAY) for (day,) in log.query(days)]
    since = known.begin
    for begin in begins[1:]:
        if since is None or begin > since:
            yield since, begin
            since = begin
    yield since, None


def _bound(at: datetime | None) -> str:
    return "" if at is None else timestamp(at)


def _row_difference(table: _Table, sql: Writer) -> str:
    """SQL: what the rows of a span say, less what the table says of it, where that is not the same."""
    period = sql.period("r.created_at", table.level)
    words = [word(name, "r.") for name in WORDS]
    keys = ["period", *WORDS, *table.extra]
    parts = []
    for extra, counts, condition in table.sources:
        columns = _named([period, *words, *extra, *counts], [*keys, *table.counts])
        parts.append(
            f"SELECT {columns} FROM {ROWS} r WHERE r.created_at >= ? AND r.created_at < ? AND {finished('r.')} "
            f"AND {condition}"
        )
    own = [
        "s.period",
        *(f"g.{name}" for name in WORDS),
        *(f"s.{name}" for name in table.extra),
        *(f"-s.{name}" for name in table.counts),
    ]
    level = f"s.level = {table.level} AND " if table.has_levels else ""
    parts.append(
        f"SELECT {_named(own, [*keys, *table.counts])} FROM {table.name} s JOIN usage_groups g ON g.id = s.group_id "
        f"WHERE {level}s.period >= ? AND s.period < ?"
    )
    return _unequal(" UNION ALL ".join(parts), keys, table.counts)


def _against_hours(log: UsageLog) -> Iterator[Difference]:
    """Where a coarser level differs from the hours."""
    for table in _TABLES:
        for level in range(DAY, len(HOURS)) if table.has_levels else ():
            keys = ["period", "group_id", *table.extra]
            finer = ", ".join([f"period / {HOURS[level]} AS period", *keys[1:], *table.counts])
            own = ", ".join([*keys, *(f"-{name} AS {name}" for name in table.counts)])
            parts = (
                f"SELECT {finer} FROM {table.name} WHERE level = {HOUR} UNION ALL "
                f"SELECT {own} FROM {table.name} WHERE level = {level}"
            )
            for period, group, *rest in log.query(_unequal(parts, keys, table.counts)):
                extra, amounts = tuple(rest[: len(table.extra)]), tuple(map(int, rest[len(table.extra) :]))
                yield Difference(table.name, level, period, group, extra, amounts)


def _named(expressions: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(f"{expression} AS {name}" for expression, name in zip(expressions, names, strict=True))


def _unequal(parts: str, keys: Sequence[str], counts: Sequence[str]) -> str:
    totals = ", ".join(f"sum({name})" for name in counts)
    unequal = " OR ".join(f"sum({name}) <> 0" for name in counts)
    return f"SELECT {', '.join(keys)}, {totals} FROM ({parts}) d GROUP BY {', '.join(keys)} HAVING {unequal}"


def _applied(connection: Connection, differences: Sequence[Difference]) -> int:
    """Change the rollup, in a transaction of the caller's."""
    tables = {table.name: table for table in _TABLES}
    for one in differences:
        table = tables[one.table]
        place = [*(["level"] if table.has_levels else []), "period", *table.extra, "group_id"]
        values = [*([one.level] if table.has_levels else []), one.period, *one.extra]
        group, chosen = _group(connection, one.group)
        more = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in table.counts)
        marks = ", ".join("?" * len(values))
        amounts = ", ".join("?" * len(table.counts))
        connection.execute(
            f"INSERT INTO {table.name} ({', '.join([*place, *table.counts])}) SELECT {marks}, g.id, {amounts} "
            f"FROM usage_groups g WHERE {group} ON CONFLICT ({', '.join(place)}) DO UPDATE SET {more}",
            (*values, *one.amounts, *chosen),
        )
    return len(differences)


def _group(connection: Connection, group: tuple[str, ...] | int) -> tuple[str, tuple[Any, ...]]:
    """SQL: which group it is, made where there is none, and what is bound to it."""
    if isinstance(group, int):
        return "g.id = ?", (group,)
    same = " AND ".join(f"g.{name} = ?" for name in WORDS)
    connection.execute(
        f"INSERT INTO usage_groups ({', '.join(WORDS)}) SELECT {', '.join('?' * len(WORDS))} "
        f"WHERE NOT EXISTS (SELECT 1 FROM usage_groups g WHERE {same})",
        (*group, *group),
    )
    return same, group
