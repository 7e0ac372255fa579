"""What it all cost: the usage log, summed up by group. Its cost follows the days and groups, not the rows.

Whole days and hours of the span come from the rollup, by stretches of 512, 64 and 8 days as far as they go, parts of
hours at its edges from the rows themselves.
Percentiles of a user's calls come from the rows of that user; by user there are none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, get_args

from llmtask.errors import Failure
from llmtask.usage import rollup
from llmtask.usage.instants import span_before
from llmtask.usage.local import Clock
from llmtask.usage.log import UsageLog
from llmtask.usage.periods import Edge, Part, Periods, cover
from llmtask.usage.row import storable, timestamp
from llmtask.usage.summary import COUNTS, Summary

Word = Literal["model", "task", "provider", "tier", "queue", "user", "service", "locale", "prompt"]
Time = Literal["hour", "day", "week", "month"]
GroupBy = Literal[
    "model", "task", "provider", "tier", "queue", "user", "service", "locale", "prompt", "hour", "day", "week", "month"
]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
WORDS: tuple[Word, ...] = get_args(Word)
TIMES: tuple[Time, ...] = get_args(Time)

_COLUMNS: dict[str, str] = {
    "model": "model_id",
    "task": "task_template_id",
    "provider": "provider",
    "tier": "tier",
    "queue": "queue_id",
    "user": "user_id",
    "service": "service_id",
    "locale": "locale",
}
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_UNFINISHED = f"error_class = '{Failure.UNFINISHED.value}'"
_COUNTED = ", ".join(f"sum({{source}}{name})" for name in (*COUNTS, "cost_nanos", "saved_nanos"))


@dataclass(frozen=True)
class Query:
    """What a report is asked for."""

    by: tuple[GroupBy, ...] = ("model",)
    """What to group by; of times, one at most. Nothing makes one group of all."""
    since: datetime | None = None
    """The first instant that counts."""
    until: datetime | None = None
    """The first instant that no longer counts."""
    where: Mapping[Word, Sequence[str]] = field(default_factory=dict)
    """Only calls with one of these values each; `*` in a value stands for anything, an empty one for none."""
    zone: tzinfo | None = None
    """Whose hours, days, weeks and months they are; the local time zone's where it is left out."""
    marks: bool = True
    """Whether to bring latencies and errors."""
    errors: bool = False
    """Whether to bring errors where latencies are left out."""

    @property
    def time(self) -> Time | None:
        """The time that is grouped by."""
        return next((one for one in TIMES if one in self.by), None)

    @property
    def words(self) -> tuple[str, ...]:
        """What else is grouped by."""
        return tuple(one for one in self.by if one not in TIMES)

    @property
    def previous(self) -> "Query | None":
        """The same for the span before, as `span_before` has it; None where it has no begin, or nothing before it."""
        if self.since is None:
            return None
        found = span_before(self.since, self.until, self.zone)
        return replace(self, since=found[0], until=found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Report:
    """The calls of a span of time, by group."""

    by: tuple[GroupBy, ...]
    groups: list[Summary]
    """Sorted: times by the calendar, all else by the number of calls."""
    total: Summary


def report(log: UsageLog, query: Query | None = None) -> Report:
    """Sum the log up.

    Args:
        log: The usage log; one that does not exist yet is empty.
        query: What of it, and by what; all of it by model where it is left out.

    Raises:
        UsageLogError: The log cannot be read.
    """
    query = query or Query()
    groups = _Groups()

    def group(keys: Sequence[Any]) -> Summary:
        name = tuple(str(key) if key is not None else "" for key in keys)
        return groups[name]

    reader = _Reader(log, query)
    for keys, currency, *counts, cost, saved in reader.sums():
        group(keys).count(counts, currency, cost, saved)
    for keys, *found in reader.unfinished():
        count, tokens, output, estimated = map(int, found)
        part = Summary(calls=count, unfinished=count, input_tokens=tokens, output_tokens=output, estimated=estimated)
        group(keys).add(part)
    for keys, kind, mark, calls in reader.marks():
        one = group(keys)
        (one.latencies if kind == rollup.LATENCY else one.first_tokens)[int(mark)] += int(calls)
    for keys, error_class, calls in reader.errors():
        group(keys).errors[error_class] += int(calls)
    called = [one for one in groups.values() if one.calls]
    total = Summary(("total",))
    for one in called:
        total.add(one)
    return Report(query.by, sorted(called, key=lambda one: _order(query, one)), total)


class _Groups(dict[tuple[str, ...], Summary]):
    """The groups by their keys; one that is asked for is there."""

    def __missing__(self, keys: tuple[str, ...]) -> Summary:
        """Begin a group."""
        return self.setdefault(keys, Summary(keys))


def _order(query: Query, one: Summary) -> tuple[Any, ...]:
    if query.time:
        return (one.keys[query.by.index(query.time)], -one.calls, one.keys)
    return (-one.calls, one.keys)


class _Reader:
    """Reads what a report is made of, from as few rows as it takes."""

    def __init__(self, log: UsageLog, query: Query) -> None:
        self._log, self._query = log, query
        self._clock = Clock(query.zone, query.time) if query.time else None
        self._segments = list(self._clock.segments(query.since, query.until, log)) if self._clock else []
        self._has_user = "user" in query.words or "user" in query.where

    def sums(self) -> Iterator[tuple[Any, ...]]:
        """Keys, currency, and what is summed up, of finished calls."""
        for part, offset_s in self._parts():
            if isinstance(part, Edge):
                counted = ", ".join(f"sum({expression})" for expression in rollup.sums("r."))
                yield from self._rows(part, offset_s, f"{rollup.word('currency', 'r.')}, {counted}", 1)
            else:
                table, counted = "usage_users" if self._has_user else "usage_sums", _COUNTED.format(source="s.")
                yield from self._periods(part, offset_s, table, f"g.currency, {counted}", 1)

    def unfinished(self) -> Iterator[tuple[Any, ...]]:
        """Keys, calls, input and output tokens and estimates of calls without an end."""
        what = "count(*), sum(r.input_tokens), sum(r.output_tokens), sum(r.is_estimate)"
        for part, offset_s in self._edges():
            yield from self._rows(part, offset_s, what, 0, condition=f"r.{_UNFINISHED}")

    def marks(self) -> Iterator[tuple[Any, ...]]:
        """Keys, kind, mark and calls."""
        if not self._query.marks or (self._has_user and "user" not in self._query.where):
            return
        for part, offset_s in self._edges() if self._has_user else self._parts():
            if isinstance(part, Periods):
                what = "s.kind, s.mark, sum(s.calls)"
                yield from self._periods(part, offset_s, "usage_marks", what, 2)
                continue
            for kind, value in ((rollup.LATENCY, "r.latency_ms"), (rollup.FIRST_TOKEN, "r.first_token_ms")):
                what = f"{kind}, {rollup.mark(value)}, count(*)"
                condition = f"{rollup.finished('r.')} AND {value} IS NOT NULL"
                yield from self._rows(part, offset_s, what, 2, condition=condition)

    def errors(self) -> Iterator[tuple[Any, ...]]:
        """Keys, class of failure and calls."""
        wanted = self._query.marks or self._query.errors
        if not wanted or (self._has_user and "user" not in self._query.where):
            return
        for part, offset_s in self._edges() if self._has_user else self._parts():
            if isinstance(part, Periods):
                what = "s.error_class, sum(s.calls)"
                yield from self._periods(part, offset_s, "usage_errors", what, 1)
            else:
                condition = f"{rollup.finished('r.')} AND r.error_class IS NOT NULL"
                yield from self._rows(part, offset_s, "r.error_class, count(*)", 1, condition=condition)

    def _parts(self) -> Iterator[tuple[Part, int]]:
        """The span in parts, each with the seconds that the local clock is ahead in it."""
        query = self._query
        day = {"finest": rollup.DAY, "coarsest": rollup.DAY}
        if self._clock is None:
            levels = day if self._has_user else {}
            yield from ((part, 0) for part in cover(query.since, query.until, **levels))
            return
        for segment in self._segments:
            is_whole = segment.offset_s % 3600 == 0
            if not is_whole or (self._has_user and segment.offset_s) or (self._has_user and query.time == "hour"):
                yield Edge(segment.since, segment.until), segment.offset_s
                continue
            coarsest = rollup.DAY if segment.offset_s == 0 and query.time != "hour" else rollup.HOUR
            levels = day if self._has_user else {"finest": rollup.HOUR, "coarsest": coarsest}
            yield from ((part, segment.offset_s) for part in cover(segment.since, segment.until, **levels))

    def _edges(self) -> Iterator[tuple[Edge, int]]:
        """The span, to be read from the rows."""
        query = self._query
        if self._clock is None:
            yield Edge(query.since or _FIRST, query.until or _LAST), 0
            return
        for segment in self._segments:
            yield Edge(segment.since, segment.until), segment.offset_s

    def _periods(self, part: Periods, offset_s: int, table: str, what: str, more: int) -> Iterator[tuple[Any, ...]]:
        """What a table of the rollup has of some periods."""
        keys = [_key(word, "g.", "s." if word == "user" else "g.") for word in self._query.words]
        if self._clock is not None:
            scale = rollup.HOURS[part.level]
            keys.append(self._clock.number(f"(s.period * {scale} + {offset_s // 3600})", 1))
        condition, values = self._conditions("g.", "s.", "s.calls <> 0")  # rows that are gone leave zeros
        levels = [part.level] if table != "usage_users" else []
        level = "s.level = ? AND " if levels else ""
        sql = (
            f"SELECT {', '.join([*keys, what])} FROM {table} s JOIN usage_groups g ON g.id = s.group_id "
            f"WHERE {level}s.period >= ? AND s.period < ? AND {condition}{_grouping(len(keys) + more)}"
        )
        yield from self._keyed(sql, (*levels, part.first, part.end, *values), len(keys))

    def _rows(
        self, edge: Edge, offset_s: int, what: str, more: int, condition: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """What the rows of a span say."""
        keys = [_key(word, "r.", "r.") for word in self._query.words]
        if self._clock is not None:
            seconds = f"({self._log.sql.seconds('r.created_at')} + {offset_s})"
            keys.append(self._clock.number(seconds, 3600))
        condition, values = self._conditions("r.", "r.", condition or rollup.finished("r."))
        sql = (
            f"SELECT {', '.join([*keys, what])} FROM {rollup.ROWS} r "
            f"WHERE r.created_at >= ? AND r.created_at < ? AND {condition}{_grouping(len(keys) + more)}"
        )
        yield from self._keyed(sql, (_bound(edge.since), _bound(edge.until), *values), len(keys))

    def _keyed(self, sql: str, values: Sequence[Any], keys: int) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, with the keys of each in the order of the query."""
        for row in self._log.query(sql, values):
            if row[-1] is None:  # a sum over nothing
                continue
            own = list(row[: len(self._query.words)])
            if self._clock is not None and self._query.time is not None:
                own.insert(self._query.by.index(self._query.time), self._clock.label(row[keys - 1]))
            yield (tuple(own), *row[keys:])

    def _conditions(self, source: str, user: str, condition: str) -> tuple[str, list[str]]:
        conditions, values = filtered(self._query.where, source, user)
        return " AND ".join([condition, *conditions]), values


def filtered(where: Mapping[Word, Sequence[str]], source: str = "", user: str = "") -> tuple[list[str], list[str]]:
    """SQL: the conditions of filters, and what is bound to them.

    Args:
        where: As `Query.where`.
        source: The table's name and a dot.
        user: The same of the table that knows users.
    """
    conditions: list[str] = []
    values: list[str] = []
    for word, wanted in where.items():
        ways = []
        for value in wanted:
            way, bound = _way(word, user if word == "user" else source, value)
            ways.append(way)
            values += map(storable, bound)
        conditions.append(f"({' OR '.join(ways)})" if ways else "1 = 0")
    return conditions, values


def _key(word: str, source: str, user: str) -> str:
    """SQL: a word's value, empty where there is none."""
    if word == "prompt":
        version = rollup.word("prompt_version", source)
        return f"{version} || CASE WHEN {version} <> '' THEN ' ' ELSE '' END || {rollup.word('prompt_hash', source)}"
    return rollup.word(_COLUMNS[word], user if word == "user" else source)


def _way(word: str, source: str, value: str) -> tuple[str, list[str]]:
    """SQL: whether a word has a value, and what is bound to it."""
    if word == "prompt":
        version, digest = rollup.word("prompt_version", source), rollup.word("prompt_hash", source)
        return f"({version} = ? OR {digest} LIKE ? ESCAPE '!')", [value, _like(value + "*")]
    column = f"{source}{_COLUMNS[word]}" if value else rollup.word(_COLUMNS[word], source)
    if "*" in value:
        return f"{column} LIKE ? ESCAPE '!'", [_like(value)]
    return f"{column} = ?", [value]


def _like(value: str) -> str:
    for special in "!%_":
        value = value.replace(special, f"!{special}")
    return value.replace("*", "%")


def _grouping(columns: int) -> str:
    return f" GROUP BY {', '.join(str(number) for number in range(1, columns + 1))}" if columns else ""


def _bound(at: datetime) -> str:
    """An instant as text that sorts among those of the log, the first and the last that there are included."""
    if at in (_FIRST, _LAST):
        return "" if at == _FIRST else "~"
    return timestamp(at)
