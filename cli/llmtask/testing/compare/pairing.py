"""Which items of two runs stand against each other, and what is left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from llmtask.errors import UsageError
from llmtask.testing.compare.change import Moved, Pairing
from llmtask.testing.run import ItemKey, ItemResult, Outcome, Run, Sample
from llmtask.testing.summary import case_of, failures_of

Pair: TypeAlias = tuple[ItemResult, ItemResult]


def pair_up(baseline: Run, run: Run, names: Mapping[str, str]) -> list[Pair]:
    """Every item of the baseline with the run's that stands against it.

    An item that is named goes before one that would pair with its like. In one run, none pairs with itself.

    Raises:
        UsageError: There is no such item, or a name is not there.
    """
    _require_names(baseline, run, names)
    theirs = {item.key: item for item in run.items}
    pairs = []
    for item in sorted(baseline.items, key=lambda item: _partner(item.key, names) == item.key):
        key = _partner(item.key, names)
        if key in theirs and not (baseline.id == run.id and key == item.key):
            pairs.append((item, theirs.pop(key)))
    if not pairs:
        problem = f"{_called(run)} has no item in common with {_called(baseline)}"
        if baseline.id == run.id:
            problem = f"{_called(run)} would be compared with itself; name another run"
        message = (
            f"{problem}, or which model or prompt version stands against which: --pair deepseek-chat=glm-4.5-flash"
        )
        raise UsageError(message)
    return pairs


def lone_names(baseline: Run, run: Run) -> dict[str, str]:
    """The one model, and the one prompt version, of each of two runs without a common item, where they differ."""
    names: dict[str, str] = {}
    if {item.key for item in baseline.items} & {item.key for item in run.items}:
        return names
    for name in ("model_id", "prompt"):
        ours, theirs = ({getattr(item.key, name) for item in one.items} for one in (baseline, run))
        if len(ours) == len(theirs) == 1 and ours != theirs:
            names[ours.pop()] = theirs.pop()
    return names


def _require_names(baseline: Run, run: Run, names: Mapping[str, str]) -> None:
    for one, wanted in ((baseline, names.keys()), (run, names.values())):
        there = {name for item in one.items for name in (item.key.model_id, item.key.prompt)}
        if missing := [name for name in wanted if name not in there]:
            message = f"{_called(one)} has no model or prompt version {missing[0]!r}; it has {', '.join(sorted(there))}"
            raise UsageError(message)


def _called(run: Run) -> str:
    return f"run {run.name or run.id!r}"


def _partner(key: ItemKey, names: Mapping[str, str]) -> ItemKey:
    if key.model_id not in names and key.prompt not in names:
        return key
    return replace(key, model_id=names.get(key.model_id, key.model_id), prompt=names.get(key.prompt, key.prompt))


def is_answered(pair: Pair) -> bool:
    """Whether both sides have an answer."""
    return bool(pair[0].answered and pair[1].answered)


def both(one: ItemResult, other: ItemResult) -> list[tuple[Sample, Sample]]:
    """The answers of the repeats that both sides answered: equally many, so that neither side is the steadier one."""
    theirs = {sample.repeat: sample for sample in other.answered}
    return [(sample, theirs[sample.repeat]) for sample in one.answered if sample.repeat in theirs]


def moved(answered: Iterable[Pair], before: Outcome, after: Outcome) -> tuple[Moved, ...]:
    """The items that came to one outcome in the baseline and to the other in the run, those that changed most first."""
    pairs = [pair for pair in answered if (pair[0].outcome, pair[1].outcome) == (before, after)]
    return tuple(_moved(*pair) for pair in sorted(pairs, key=lambda pair: -abs(_share(pair[1]) - _share(pair[0]))))


def _moved(one: ItemResult, other: ItemResult) -> Moved:
    failed = other if other.outcome is Outcome.FAILED else one
    reasons: dict[str, str] = {}
    for sample in failed.samples:
        for title, example in failures_of(failed, sample).items():
            reasons.setdefault(title, example.reason)
    ours, theirs = ((item.passed, len(item.answered)) for item in (one, other))
    return Moved(other.key.name, other.key.suite, ours, theirs, reasons)


def _share(item: ItemResult) -> float:
    return item.passed / len(item.answered)


def account(baseline: Run, run: Run, pairs: Sequence[Pair]) -> Pairing:
    """What was compared, and what was not."""
    answered = [pair for pair in pairs if is_answered(pair)]
    ours, theirs = {item.key for item, _ in pairs}, {item.key for _, item in pairs}
    if baseline.id == run.id:  # what stands on one side of it need not stand on the other, and is left out once
        ours, theirs = ours | theirs, {item.key for item in run.items}
    samples = sum(len(one.answered) + len(other.answered) for one, other in answered)
    return Pairing(
        items=len(answered),
        cases=len({case_of(item.key) for item, _ in answered}),
        only_in_baseline=tuple(item.key.name for item in baseline.items if item.key not in ours),
        only_in_run=tuple(item.key.name for item in run.items if item.key not in theirs),
        unanswered=tuple(pair[1].key.name for pair in pairs if not is_answered(pair)),
        samples_left_out=samples - 2 * sum(len(both(*pair)) for pair in answered),
        changed_inputs=tuple(other.key.name for one, other in answered if one.inputs != other.inputs),
        checks_left_out=_unmatched_checks(answered),
    )


def _unmatched_checks(answered: Iterable[Pair]) -> tuple[str, ...]:
    ours: dict[str, None] = {}
    theirs: dict[str, None] = {}
    for pair in answered:
        for titles, item in zip((ours, theirs), pair, strict=True):
            titles.update((check.name, None) for sample in item.answered for check in sample.checks)
    return tuple(title for title in {**ours, **theirs} if not (title in ours and title in theirs))
