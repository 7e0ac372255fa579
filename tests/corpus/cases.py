"""The corpus: every answer that the parser is measured against."""

from collections import Counter
from collections.abc import Iterator
from functools import cache

from tests.corpus.case import LOCALES, Case, Seed, data, seeds
from tests.corpus.cuts import cut
from tests.corpus.refused import foreign, refused
from tests.corpus.syntax import broken
from tests.corpus.values import valued
from tests.corpus.wrapping import wrapped


@cache
def cases() -> list[Case]:
    """All cases, in the same order each time; an id tells the kind, the task, the locale and the count of these."""
    found = [*_handwritten()]
    counts: Counter[str] = Counter()
    for one in _generated():
        counts[one.id] += 1
        found.append(Case(f"{one.id}-{counts[one.id]}", one.kind, one.task, one.locale, one.text, one.expected))
    return found


def _handwritten() -> Iterator[Case]:
    for name in ("handwritten.yaml", "handwritten.refused.yaml"):
        for one in data(name)["cases"]:
            yield Case(
                f"handwritten-{one['id']}", one["kind"], one["task"], one["locale"], one["text"], one["expected"]
            )


def _generated() -> Iterator[Case]:
    for nth, seed in enumerate(seeds()):
        yield from _of_seed(seed, nth)
    tasks = list(dict.fromkeys(one.task for one in seeds()))
    for nth, (kind, text) in enumerate(foreign()):
        for index, task in enumerate(tasks):
            locale = LOCALES[(nth + index) % len(LOCALES)]
            yield Case(f"{kind}-{task}-{locale}", kind, task, locale, text, None)


def _of_seed(seed: Seed, nth: int) -> Iterator[Case]:
    def case(kind: str, text: str, expected: object) -> Case:
        value = expected if isinstance(expected, dict) else None
        return Case(f"{kind}-{seed.task}-{seed.locale}", kind, seed.task, seed.locale, text, value)

    for kind, text in [*broken(seed, nth), *wrapped(seed)]:
        yield case(kind, text, seed.value)
    for kind, text, expected in valued(seed, nth):
        yield case(kind, text, expected)
    for kind, text in [*cut(seed), *refused(seed)]:
        yield case(kind, text, None)
