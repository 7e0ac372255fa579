"""What the page knows of the log: sums by time and words that the browser filters, as small as it can be kept.

Where the log is larger than a page may be, less is told apart: weeks or months in place of days, the smallest values of
a word as others, fewer words, latencies in coarser steps or for the whole span. The document says which, and the page
says it too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from math import floor, log
from typing import Any

from llmtask.pages.inert import one_line
from llmtask.usage import Query, Summary, UsageLog, Word, report
from llmtask.usage.rollup import middle
from llmtask.view.usage_page.axis import Unit, axes
from llmtask.view.usage_page.cells import DIMENSIONS, LIMITS, Cells, Key, Limits, Values, finest, folded

COUNTS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "failed",
    "unfinished",
    "repaired",
    "retries",
    "unpriced",
    "estimated",
    "reasoning_tokens",
)
"""What is counted in each cell; amounts follow, per currency."""

_MODELS: tuple[Word, ...] = ("model", "task")
_MOST_CALLS_BY_TIME = 2  # a log's calls for each mark that a page may have, up to which latencies are read by time
_MOST_CALLS_BY_WORDS = 10  # likewise by all words
_STEPS = (0, 0.06, 0.12)
"""From one latency to the next that is told apart from it, where there are too many."""
_LONGEST_NAME = 120  # characters
_SAFE = 2**53  # beyond it JavaScript's numbers are not exact


def document(log: UsageLog, query: Query, now: datetime, limits: Limits = LIMITS) -> dict[str, Any]:
    """All that the page knows, as JSON.

    Args:
        log: The usage log.
        query: Which calls; what it groups by does not matter.
        now: Now, in any time zone.
        limits: How much of it at most.

    Raises:
        UsageLogError: The log cannot be read.
    """
    query = replace(query, marks=False, errors=True, by=DIMENSIONS)
    whole = report(log, query)
    times = axes(report(log, replace(query, by=("day",), errors=False)).groups, query, now)
    has_marks = whole.total.calls <= _MOST_CALLS_BY_TIME * limits.marks
    cells = finest(log, replace(query, marks=has_marks), whole.groups, times, limits)
    words = folded(whole.groups, DIMENSIONS, cells.values)
    currencies = sorted(whole.total.cost_nanos)
    marked = [cells] * has_marks + _marked(log, query, cells, whole.total.calls <= _MOST_CALLS_BY_WORDS * limits.marks)
    return {
        "now": f"{now.astimezone(query.zone):%Y-%m-%d %H:%M}",
        "zone": _zone_name(query, now),
        "since": _moment(query.since, query.zone),
        "until": _moment(query.until, query.zone),
        "where": {word: [_name(value) for value in wanted] for word, wanted in query.where.items()},
        "unit": cells.unit,
        "coarse": cells.unit != [*times][-1],
        "periods": list(cells.labels),
        "words": [
            {"word": one.word, "values": [_name(value) for value in one.named], "folded": one.folded}
            for one in cells.values
        ],
        "dropped": [word for word in DIMENSIONS if word not in cells.words],
        "currencies": [_name(currency) for currency in currencies],
        "fields": [*COUNTS, *(f"{sort}.{at}" for sort in ("cost", "saved") for at in range(len(currencies)))],
        "cube": _table(cells.values, cells.unit, ((key, _numbers(one, currencies)) for key, one in cells.sums.items())),
        "latencies": _marks(marked, "latencies", limits.marks),
        "first_tokens": _marks(marked, "first_tokens", limits.marks),
        **_errors(cells, words, limits),
        "users": _users(log, query, currencies, limits.users),
    }


def _numbers(one: Summary, currencies: Iterable[str]) -> list[int | str]:
    """A cell's numbers in the order of the document's fields; zeros at the end are left out."""
    amounts = [nanos.get(currency, 0) for nanos in (one.cost_nanos, one.saved_nanos) for currency in currencies]
    found: list[int | str] = [getattr(one, name) for name in COUNTS]
    found += [amount if abs(amount) < _SAFE else str(amount) for amount in amounts]
    while found and not found[-1]:
        found.pop()
    return found


def _table(values: Iterable[Values], unit: Unit | None, cells: Iterable[tuple[Key, list[Any]]]) -> dict[str, Any]:
    """Cells without what they share: the groups' values once, and of each group its periods with their numbers."""
    rows: dict[tuple[int, ...], list[list[Any]]] = {}
    for (period, places), numbers in sorted(cells):
        rows.setdefault(places, []).append([period, *numbers])
    words = [one.word for one in values]
    return {"by": ["period", *words] if unit else words, "groups": list(rows), "rows": list(rows.values())}


def _marked(log: UsageLog, query: Query, cells: Cells, by_all: bool) -> list[Cells]:
    """The latencies of the whole span, by fewer and fewer words."""
    words = cells.words if by_all else _MODELS
    groups = report(log, replace(query, by=words, marks=True)).groups
    found = folded(groups, words, cells.values)
    return [found, found.reduced(_MODELS), found.reduced(_MODELS[:1])]


def _marks(sources: Iterable[Cells], name: str, most: int) -> dict[str, Any]:
    """Latencies in the finest steps and by the most words of which there are not too many."""
    *_, last = sources
    for cells in sources:
        for step in _STEPS[:2]:
            found = dict(_counted(cells, name, step))
            if _pairs(found.values()) <= most:
                return _table(cells.values, cells.unit, found.items()) | {"error": _error(step)}
    return _table(last.values, None, _counted(last, name, _STEPS[-1])) | {"error": _error(_STEPS[-1])}


def _error(step: float) -> float:
    """How far what stands for a latency may be from it: half a step, and what the rollup rounds."""
    return round(0.01 + step / 2, 3)


def _pairs(rows: Iterable[Sequence[int]]) -> int:
    return sum(map(len, rows)) // 2


def _counted(cells: Cells, name: str, step: float) -> Iterator[tuple[Key, list[int]]]:
    """The milliseconds that stand for a cell's marks, each followed by how many calls have it.

    Args:
        cells: With latencies.
        name: `latencies` or `first_tokens`.
        step: From one to the next, as a share of it; 0 for what the rollup has.
    """
    for key, one in cells.sums.items():
        found: Counter[int] = Counter()
        for mark, calls in getattr(one, name).items():
            found[_rounded(middle(mark), step)] += calls
        if found:
            yield key, [number for pair in sorted(found.items()) for number in pair]


def _rounded(value: float, step: float) -> int:
    if not step or value < 1:
        return round(value)
    middle_of_step: float = (1 + step) ** (floor(log(value, 1 + step)) + 0.5)
    return round(middle_of_step)


def _errors(cells: Cells, words: Cells, limits: Limits) -> dict[str, Any]:
    """The classes of failure and how many calls ended in each, by time where there are not too many."""
    total: Counter[str] = Counter()
    for one in words.sums.values():
        total.update(one.errors)
    kept = {name: at for at, (name, _) in enumerate(total.most_common(limits.values - 1))}
    tables = (
        (found, {key: _classes(one.errors, kept) for key, one in found.sums.items() if one.errors})
        for found in (cells, words, words.reduced(("model",)))
    )
    found, rows = next(
        table for table in tables if len(table[0].values) == 1 or _pairs(table[1].values()) <= limits.errors
    )
    return {
        "classes": [*map(_name, kept), *[""][: len(total) - len(kept)]],
        "errors": _table(found.values, found.unit, rows.items()),
    }


def _classes(errors: Mapping[str, int], kept: Mapping[str, int]) -> list[int]:
    found: Counter[int] = Counter()
    for name, calls in errors.items():
        found[kept.get(name, len(kept))] += calls
    return [number for pair in sorted(found.items()) for number in pair]


def _users(log: UsageLog, query: Query, currencies: Sequence[str], most: int) -> dict[str, Any]:
    """The users with the most calls, and the sums of the others; the page's filters don't reach them."""
    found = [one for one in report(log, replace(query, by=("user",), marks=False)).groups if one.keys[0]]
    shown, rest = found[:most], Summary()
    for one in found[most:]:
        rest.add(one)
    rows = [[_name(one.keys[0]), _numbers(one, currencies)] for one in shown]
    return {"rows": rows, "folded": len(found) - len(shown), "others": _numbers(rest, currencies)}


def _name(value: str) -> str:
    """What others wrote, made visible and no longer than a line."""
    return one_line(value, _LONGEST_NAME)


def _moment(at: datetime | None, zone: tzinfo | None) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else ""


def _zone_name(query: Query, now: datetime) -> str:
    """Whose time it is: `Asia/Shanghai (UTC+08:00)`; in a span with a change of the clocks, both."""
    ends = [at.astimezone(query.zone) for at in (query.since, query.until, now) if at is not None]
    key = getattr(query.zone, "key", None)
    names = dict.fromkeys(str(key or at.tzname()) for at in ends)
    offsets = dict.fromkeys(map(_offset, ends))
    name = "/".join(names)
    return name if name == "UTC" else f"{name} (UTC{'/'.join(offsets)})"


def _offset(at: datetime) -> str:
    minutes = round((at.utcoffset() or timedelta()).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
