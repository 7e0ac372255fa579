"""What is said of a run in every report: its verdict in sentences, and what has no answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmtask.testing.run import ItemResult, Outcome, Run
from llmtask.testing.summary import Example, FailureGroup, Summary

MANY = 60
"""Failed samples asked of a summary: enough to name some items though all of one's repeats failed."""

GLYPHS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✕",
    Outcome.ERROR: "!",
    Outcome.CAPPED: "¤",
    Outcome.SKIPPED: "–",
}
"""So that an outcome is not told by its colour alone."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The samples that have no answer for one reason."""

    outcome: Outcome
    reason: str
    count: int
    items: Sequence[ItemResult]


def sentences(found: Summary) -> list[tuple[str, dict[str, object]]]:
    """The verdict on a run, as keys of WORDS and their values."""
    total = found.total
    failed, items = total.outcomes[Outcome.FAILED], total.items
    missing, unasked = total.outcomes[Outcome.ERROR], total.outcomes[Outcome.CAPPED] + total.outcomes[Outcome.SKIPPED]
    if not items:
        return [("nothing", {})]
    said: list[tuple[str, dict[str, object]]] = []
    if failed:
        said.append(("some_bad", {"failed": failed, "items": items}))
    else:
        said.append(("none_bad", {}) if missing or unasked else ("all_good", {"items": items}))
    if missing:
        said.append(("some_missing", {"count": missing}))
    if unasked:
        said.append(("some_unasked", {"count": unasked}))
    if found.run.ended_at is None:
        said.append(("not_all_asked", {}))
    return said


def examples(group: FailureGroup, most: int) -> list[Example]:
    """Failed samples of so many items at most, one of each."""
    return list({(one.suite, one.item): one for one in reversed(group.examples)}.values())[: -most - 1 : -1]


def missing(run: Run) -> list[Missing]:
    """Why samples have no answer, the commonest reason first; nothing that has none is left out."""
    found: dict[tuple[Outcome, str], list[ItemResult]] = {}
    for item in run.items:
        for sample in item.samples:
            if sample.outcome in (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED):
                found.setdefault((sample.outcome, sample.reason or ""), []).append(item)
    groups = [
        Missing(outcome, reason, len(items), list({item.key: item for item in items}.values()))
        for (outcome, reason), items in found.items()
    ]
    return sorted(groups, key=lambda group: -group.count)
