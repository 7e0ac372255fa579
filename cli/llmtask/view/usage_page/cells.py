"""The log by time and words, told apart as finely as a page can hold it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from llmtask.usage import Query, Summary, UsageLog, Word, report
from llmtask.view.usage_page.axis import Unit

DIMENSIONS: tuple[Word, ...] = ("model", "task", "provider", "tier", "queue", "service", "locale", "prompt")
"""What the page filters by, besides time."""

_SETS: dict[tuple[Word, ...], float] = {
    DIMENSIONS: 0,
    ("model", "task", "tier", "locale"): 1,
    ("model", "task"): 2,
    ("model",): 5.5,
}
"""What is told apart of a log, and of larger and larger ones, with what is lost by that."""
_WORTH = 2.5  # what is won by a finer unit of time, on the same scale
_DOUBT = 1.5  # calls come in bursts, and words come and go: there are fewer cells than by chance

Key = tuple[int, tuple[int, ...]]
"""A period and the values of some words, as their places in the document's lists."""


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


LIMITS = Limits()


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


@dataclass(frozen=True, slots=True)
class Cells:
    """Summaries by time and words."""

    unit: Unit | None
    """What time is told by; None where it is not."""
    labels: tuple[str, ...]
    """All periods in order, those without calls too."""
    values: tuple[Values, ...]
    sums: Mapping[Key, Summary]

    @property
    def words(self) -> tuple[Word, ...]:
        """What is told apart besides time."""
        return tuple(one.word for one in self.values)

    def reduced(self, words: Iterable[Word]) -> "Cells":
        """The same by fewer words."""
        kept = [index for index, word in enumerate(self.words) if word in words]
        sums: dict[Key, Summary] = {}
        for (period, places), one in self.sums.items():
            sums.setdefault((period, tuple(places[index] for index in kept)), Summary()).add(one)
        return Cells(self.unit, self.labels, tuple(self.values[index] for index in kept), sums)


def finest(
    log: UsageLog, query: Query, whole: Sequence[Summary], times: Mapping[Unit, Sequence[str]], limits: Limits
) -> Cells:
    """The log by time and words, as fine as a page may have it.

    Args:
        log: The usage log.
        query: Which calls, and whether with their latencies and errors.
        whole: The same by `DIMENSIONS`.
        times: The periods of every unit that may be told, the coarsest first.
        limits: What a page may have.
    """
    most = limits.values
    while True:
        values = tuple(_values(whole, index, most) for index in range(len(DIMENSIONS)))
        for words, unit in _choices(whole, values, times, limits.cells):
            found = _read(log, query, [one for one in values if one.word in words], unit, times)
            if len(found.sums) <= limits.cells:
                return found
        most //= 2  # at 1 all are one, which fits


def folded(groups: Iterable[Summary], words: Sequence[Word], values: Sequence[Values]) -> Cells:
    """What there is for the whole span, by words.

    Args:
        groups: Of a report.
        words: What it is by.
        values: Those of a word of these that are told apart; of other words none.
    """
    told = [(words.index(one.word), one) for one in values if one.word in words]
    sums: dict[Key, Summary] = {}
    for group in groups:
        places = tuple(one.place(group.keys[index]) for index, one in told)
        sums.setdefault((0, places), Summary()).add(group)
    return Cells(None, (), tuple(one for _, one in told), sums)


def _choices(
    whole: Sequence[Summary], values: Sequence[Values], times: Mapping[Unit, Sequence[str]], most: int
) -> Iterator[tuple[tuple[Word, ...], Unit]]:
    """The words and units of time that may have no more cells, those that tell the most apart first."""
    cells = folded(whole, DIMENSIONS, values)
    sets = {words: [one.calls for one in cells.reduced(words).sums.values()] for words in _SETS}
    ordered = sorted((_SETS[words] - _WORTH * rank, words, unit) for words in _SETS for rank, unit in enumerate(times))
    for _, words, unit in ordered:
        if _expected(sets[words], len(times[unit])) <= _DOUBT * most:
            yield words, unit


def _expected(calls: Iterable[int], periods: int) -> float:
    """In how many cells groups of so many calls lie, where each call has any period by chance."""
    return sum(periods * (1 - (1 - 1 / periods) ** count) for count in calls)


def _read(
    log: UsageLog, query: Query, values: Sequence[Values], unit: Unit, times: Mapping[Unit, Sequence[str]]
) -> Cells:
    """The log by a unit of time and words."""
    labels = times[unit]
    places = {label: at for at, label in enumerate(labels)}
    sums: dict[Key, Summary] = {}
    for group in report(log, replace(query, by=(unit, *(one.word for one in values)))).groups:
        period = places.get(group.keys[0], len(labels) - 1)  # a call that came in meanwhile, in a new period
        key = tuple(one.place(name) for one, name in zip(values, group.keys[1:], strict=True))
        sums.setdefault((period, key), Summary()).add(group)
    return Cells(unit, tuple(labels), tuple(values), sums)


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
    return Values(DIMENSIONS[index], {name: at for at, name in enumerate(kept)}, len(ordered) - len(kept))


def _weight(one: Summary, total: Summary) -> float:
    shares = [nanos / total.cost_nanos[currency] for currency, nanos in one.cost_nanos.items() if nanos]
    return max(one.calls / total.calls, *shares) if shares else one.calls / total.calls
