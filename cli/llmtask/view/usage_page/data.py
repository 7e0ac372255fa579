"""What the page knows of the log: sums by time and words that the browser filters, as small as it can be kept.

Where the log is larger than a page may be, less is told apart: weeks or months in place of days, the smallest values of
a word as others, latencies in coarser steps or for the whole span. The document says which, and the page says it too.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from llmtask.pages.inert import one_line
from llmtask.usage import Query, Summary, UsageLog, Word, report
from llmtask.view.usage_page.axis import Unit, axes

DIMENSIONS: tuple[Word, ...] = ("model", "task", "provider", "tier", "queue", "service", "locale", "prompt")
"""What the page filters by, besides time."""
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

_LONGEST_NAME = 120  # characters
_SAFE = 2**53  # beyond it JavaScript's numbers are not exact


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a page may hold; these keep it below 2 MB."""

    values: int = 24
    """Of a word that are told apart."""
    users: int = 20
    cells: int = 24_000
    marks: int = 40_000
    """Numbers of calls at a latency, and as many at a first token."""
    errors: int = 20_000

    @property
    def read(self) -> int:
        """The calls of a log up to which latencies are looked at by time."""
        return 10 * self.marks


LIMITS = Limits()

Key = tuple[int, tuple[int, ...]]
"""A period and the values of some words, as their places in the document's lists."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a word that the page tells apart."""

    word: Word
    named: Mapping[str, int]
    """The most used first, each with its place."""
    folded: int
    """How many are left: others, whose place is after the last named one."""

    def place(self, value: str) -> int:
        """Where a value is in the list."""
        return self.named.get(value, len(self.named))

    def document(self) -> dict[str, Any]:
        """For the page."""
        return {"word": self.word, "values": [_name(value) for value in self.named], "folded": self.folded}


@dataclass(frozen=True, slots=True)
class Cells:
    """Summaries by time and words."""

    unit: Unit | None
    """What time is told by; None where it is not."""
    labels: tuple[str, ...]
    """All periods in order, those without calls too."""
    values: tuple[Values, ...]
    sums: Mapping[Key, Summary]


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
    query = replace(query, marks=True, by=DIMENSIONS)
    whole = report(log, query)
    times = axes(report(log, replace(query, by=("day",), marks=False)).groups, query, now)
    has_marks = whole.total.calls <= limits.read
    cells = _cells(log, replace(query, marks=has_marks, errors=True), whole.groups, times, limits)
    words = _folded(whole.groups, cells.values)
    currencies = sorted(whole.total.cost_nanos)
    split = cells if has_marks else words
    return {
        "now": f"{now.astimezone(query.zone):%Y-%m-%d %H:%M}",
        "zone": _zone_name(query, now),
        "since": _moment(query.since, query.zone),
        "until": _moment(query.until, query.zone),
        "where": {word: [_name(value) for value in wanted] for word, wanted in query.where.items()},
        "unit": cells.unit,
        "periods": list(cells.labels),
        "words": [one.document() for one in cells.values],
        "currencies": [_name(currency) for currency in currencies],
        "fields": [*COUNTS, *(f"{sort}.{at}" for sort in ("cost", "saved") for at in range(len(currencies)))],
        "cube": _table(cells.values, cells.unit, ((key, _numbers(one, currencies)) for key, one in cells.sums.items())),
        "latencies": _marks(split, words, "latencies", limits.marks),
        "first_tokens": _marks(split, words, "first_tokens", limits.marks),
        **_errors(cells, words, limits),
        "users": _users(log, query, currencies, limits.users),
    }


def _cells(
    log: UsageLog, query: Query, groups: Sequence[Summary], times: Mapping[Unit, Sequence[str]], limits: Limits
) -> Cells:
    """The log by time and words, as fine as a page may have it."""
    most = limits.values
    while True:
        values = tuple(_values(groups, index, most) for index in range(len(DIMENSIONS)))
        found = _finest(log, query, values, times, limits.cells)
        if found is not None:
            return found
        most //= 2  # at 1 all are one, which fits


def _finest(
    log: UsageLog, query: Query, values: tuple[Values, ...], times: Mapping[Unit, Sequence[str]], most: int
) -> Cells | None:
    """The finest unit of time by which there are not too many cells; None where there are by the coarsest, too."""
    found = None
    for unit, labels in times.items():
        places = {label: at for at, label in enumerate(labels)}
        sums: dict[Key, Summary] = {}
        for one in report(log, replace(query, by=(unit, *DIMENSIONS))).groups:
            period = places.get(one.keys[0], len(labels) - 1)  # a call that came in meanwhile, in a new period
            key = period, _places(values, one.keys[1:])
            sums.setdefault(key, Summary()).add(one)
        if len(sums) > most:
            return found
        found = Cells(unit, tuple(labels), values, sums)
    return found


def _values(groups: Iterable[Summary], index: int, most: int) -> Values:
    """The values of a word, by the largest share that they have in the calls, or in what was paid in a currency."""
    by_value: dict[str, Summary] = {}
    total = Summary()
    for one in groups:
        part = Summary(calls=one.calls, cost_nanos=one.cost_nanos)
        by_value.setdefault(one.keys[index], Summary()).add(part)
        total.add(part)
    ordered = sorted(by_value, key=lambda value: (-_weight(by_value[value], total), value))
    kept = ordered if len(ordered) <= most else ordered[: most - 1]
    return Values(DIMENSIONS[index], _numbered(kept), len(ordered) - len(kept))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(names)}


def _weight(one: Summary, total: Summary) -> float:
    shares = [nanos / total.cost_nanos[currency] for currency, nanos in one.cost_nanos.items() if nanos]
    return max(one.calls / total.calls, *shares) if shares else one.calls / total.calls


def _places(values: Iterable[Values], keys: Iterable[str]) -> tuple[int, ...]:
    return tuple(one.place(key) for one, key in zip(values, keys, strict=True))


def _folded(groups: Iterable[Summary], values: tuple[Values, ...]) -> Cells:
    """What there is for the whole span, by words."""
    sums: dict[Key, Summary] = {}
    for one in groups:
        sums.setdefault((0, _places(values, one.keys)), Summary()).add(one)
    return Cells(None, (), values, sums)


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


def _marks(split: Cells, words: Cells, name: str, most: int) -> dict[str, Any]:
    """Latencies in the finest steps and by the most words of which there are not too many."""
    models = _reduced(words, ("model",))
    for cells in (split, words, _reduced(words, ("model", "task")), models):
        for bits in (7, 5):
            found = dict(_counted(cells, name, bits))
            if _pairs(found.values()) <= most:
                return _table(cells.values, cells.unit, found.items()) | {"bits": bits}
    return _table(models.values, None, _counted(models, name, 4)) | {"bits": 4}


def _pairs(rows: Iterable[Sequence[int]]) -> int:
    return sum(map(len, rows)) // 2


def _counted(cells: Cells, name: str, bits: int) -> Iterator[tuple[Key, list[int]]]:
    """Each mark of a cell, in so many binary digits, followed by how many calls have it."""
    for key, one in cells.sums.items():
        found: Counter[int] = Counter()
        for mark, calls in getattr(one, name).items():
            width = 1 << max(mark.bit_length() - bits, 0)
            found[mark // width * width] += calls
        if found:
            yield key, [number for pair in sorted(found.items()) for number in pair]


def _reduced(cells: Cells, words: tuple[Word, ...]) -> Cells:
    """The same by fewer words."""
    kept = [index for index, one in enumerate(cells.values) if one.word in words]
    sums: dict[Key, Summary] = {}
    for (period, places), one in cells.sums.items():
        sums.setdefault((period, tuple(places[index] for index in kept)), Summary()).add(one)
    return Cells(cells.unit, cells.labels, tuple(cells.values[index] for index in kept), sums)


def _errors(cells: Cells, words: Cells, limits: Limits) -> dict[str, Any]:
    """The classes of failure and how many calls ended in each, by time where there are not too many."""
    total: Counter[str] = Counter()
    for one in words.sums.values():
        total.update(one.errors)
    kept = _numbered(name for name, _ in total.most_common(limits.values - 1))
    tables = (
        (found, {key: _classes(one.errors, kept) for key, one in found.sums.items() if one.errors})
        for found in (cells, words, _reduced(words, ("model",)))
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
