"""The cases of a run as a page shows them: the worst first, whole as far as the page's budget goes."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from llmtask.pages.inert import MOST_CHARACTERS, visible
from llmtask.testing.checks import CheckResult
from llmtask.testing.report.answers import json_text
from llmtask.testing.run import ItemKey, ItemResult, Outcome, Sample
from llmtask.testing.summary import SCHEMA

BUDGET = 8_000_000
"""Characters of inputs and answers on a page: more makes browsers slow."""
_ROOM = 900  # characters that a sample's markup takes
_WORST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED, Outcome.PASSED)


@dataclass(slots=True)
class ShownItem:
    """An item and how it is shown."""

    id: str
    """Of its element; the end of its link."""
    item: ItemResult
    failed: Mapping[str, str]
    """The reason per title of the checks that any of its samples failed."""
    reason: str
    """Why it did not pass, for its line; empty where it did."""
    is_whole: bool = True

    @property
    def titles(self) -> str:
        """The titles of the failed checks, as the page's script reads them."""
        return json.dumps([visible(title) for title in self.failed])


@dataclass(slots=True)
class ShownCase:
    """A case with its items: a model, locale and prompt version each."""

    suite: str
    name: str
    task: str
    tags: Sequence[str]
    inputs: Mapping[str, str]
    items: list[ShownItem] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether its input is shown."""
        return any(one.is_whole for one in self.items)

    @property
    def rank(self) -> int:
        """The lower, the earlier it is shown."""
        return min(_rank(one.item) for one in self.items)


def shown_cases(items: Iterable[ItemResult], budget: int = BUDGET) -> list[ShownCase]:
    """The cases, those with failures first, each with its items.

    Args:
        items: Of a run.
        budget: Characters of input and answer up to which items are shown whole, failures first.
    """
    cases: dict[tuple[object, ...], ShownCase] = {}
    ids: set[str] = set()
    for item in items:
        key = item.key
        group = (key.suite, key.case, tuple(item.inputs.items()))
        case = cases.setdefault(group, ShownCase(key.suite, key.case, item.task, item.tags, item.inputs))
        failed = failed_checks(item)
        case.items.append(ShownItem(_id(key, ids), item, failed, _reason(item, failed)))
    ranked = sorted(cases.values(), key=lambda case: case.rank)
    _spend(ranked, budget)
    return ranked


def failed_checks(item: ItemResult) -> dict[str, str]:
    """A reason per title of the checks that any sample of the item failed."""
    found: dict[str, str] = {}
    for sample in item.samples:
        if sample.outcome is Outcome.FAILED and not sample.checks:
            found.setdefault(SCHEMA, sample.reason or "")
        for check in failures(sample):
            found.setdefault(check.name, check.reason)
    return found


def failures(sample: Sample) -> list[CheckResult]:
    """The checks that a sample failed."""
    return [check for check in sample.checks if not check.passed]


def item_id(key: ItemKey) -> str:
    """What an item's link ends in: `job_match/senior@deepseek-chat-zh`."""
    return re.sub(r"[^\w.@/+-]+", "-", f"{key.suite_name}/{key.name}")


def _id(key: ItemKey, taken: set[str]) -> str:
    found = item_id(key)
    if found in taken:  # suites of one name in two folders
        found += "~" + hashlib.sha256(repr(key).encode("utf-8", "replace")).hexdigest()[:8]
    taken.add(found)
    return found


def _reason(item: ItemResult, failed: Mapping[str, str]) -> str:
    if item.outcome is Outcome.PASSED:
        return ""
    if failed and item.outcome is Outcome.FAILED:
        return "; ".join(f"{title}: {reason}" if reason else title for title, reason in failed.items())
    return next((sample.reason for sample in item.samples if sample.outcome is item.outcome and sample.reason), "")


def _rank(item: ItemResult) -> int:
    return _WORST_FIRST.index(item.outcome)


def _spend(cases: Sequence[ShownCase], budget: int) -> None:
    """Decide which items are shown whole: the worst of all cases first; a case's input counts with its first item."""
    order = sorted(chain.from_iterable(((one, case) for one in case.items) for case in cases), key=_rank_of)
    begun: set[int] = set()
    for one, case in order:
        size = _size(one.item) + (0 if id(case) in begun else sum(_cut(text) for text in case.inputs.values()))
        one.is_whole = size <= budget
        if one.is_whole:
            begun.add(id(case))
            budget -= size


def _rank_of(pair: tuple[ShownItem, ShownCase]) -> int:
    return _rank(pair[0].item)


def _size(item: ItemResult) -> int:
    """About how many characters of the page an item takes."""
    return sum(
        _ROOM
        + _cut(json_text(sample.answer) if sample.answer is not None else sample.text or "")
        + sum(len(check.reason) + _cut(check.found or "") for check in failures(sample))
        for sample in item.samples
    )


def _cut(text: str) -> int:
    return min(len(text), MOST_CHARACTERS)
