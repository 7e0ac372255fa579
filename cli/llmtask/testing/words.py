"""What came of an item, in a few lines for people, and in properties for machines."""

from collections.abc import Iterator

from llmtask.money import sums
from llmtask.testing.run import ItemResult, Outcome, Sample

_MOST_LINES = 8  # of one item; a long list of reasons is read by nobody


def failure_text(item: ItemResult) -> str:
    """Why an item did not pass: a line per failed check or missing answer, those of several repeats told once."""
    lines = list(dict.fromkeys(line for sample in item.samples for line in _complaints(sample)))
    more = [f"... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    head = [f"{item.passed} of {len(item.samples)} passed, {item.wanted} must"] if len(item.samples) > 1 else []
    return "\n".join([*head, *lines[:_MOST_LINES], *more])


def _complaints(sample: Sample) -> Iterator[str]:
    if sample.outcome is Outcome.PASSED:
        return
    failed = [check for check in sample.checks if not check.passed]
    if not failed:
        yield sample.reason or sample.outcome.value
    for check in failed:
        yield f"{check.name}: {check.reason}"


def properties(item: ItemResult) -> list[tuple[str, object]]:
    """What JUnit carries of an item besides its verdict."""
    answered = item.answered
    latencies = sorted(sample.latency_ms for sample in answered if sample.latency_ms is not None)
    costs = sums(cost for sample in item.samples for cost in sample.costs)
    scores = [sample.score for sample in answered if sample.score is not None]
    return [
        ("task", item.task),
        ("model", item.key.model_id),
        ("locale", item.key.locale),
        ("prompt", item.key.prompt),
        ("outcome", item.outcome.value),
        ("passed", f"{item.passed}/{len(item.samples)}"),
        *([("score", f"{sum(scores) / len(scores):.3f}")] if scores else []),
        *([("latency_ms", latencies[len(latencies) // 2])] if latencies else []),
        *((f"cost_{cost.currency.lower()}", f"{cost.amount:f}") for cost in costs),
        ("tokens", sum(sample.tokens.total for sample in item.samples)),
    ]
