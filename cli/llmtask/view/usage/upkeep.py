"""What the upkeep of the usage log shows: what will go, what has gone, what was found."""

from llmtask.money import NANOS, amount_text
from llmtask.service.reprice import Change, Repricing
from llmtask.usage.importing import Tally
from llmtask.usage.prune import Old
from llmtask.usage.purge import Belongings, Search
from llmtask.usage.rollup import HOURS
from llmtask.usage.verify import Difference, Verdict
from llmtask.view.console import answer, note, warn
from llmtask.view.tables import table

_MOST = 20
_LEVELS = {1: "hour", 24: "day"}


def rows(count: int) -> str:
    """A number of rows."""
    return "1 row" if count == 1 else f"{count:,} rows"


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} kB"


def old_rows(found: Old) -> None:
    """What a pruning takes."""
    first, last = ((at or "")[:16].replace("T", " ") for at in (found.first, found.last))
    note(
        f"{rows(found.rows)} of {first} to {last} UTC, about {size(found.size)}, are before {found.until:%Y-%m-%d} UTC"
    )
    note(
        "their sums stay, so reports of whole hours go on to count them; `usage list` and `export` no longer show them"
    )
    unfinished(found)


def unfinished(found: Old) -> None:
    """The calls without an end that stay."""
    if found.unfinished:
        note(f"{rows(found.unfinished)} of calls without an end stay: no sum has them")


def belongings(found: Belongings) -> None:
    """What a purge takes."""
    for name, count in found.tables.items():
        note(f"{rows(count)} of {name}")
    if found.waiting:
        note(f"{rows(found.waiting)} that wait in the spool")
    note("what the calls cost stays in the sums, as nobody's")


def search(found: Search, user: str) -> None:
    """What a search of the log's bytes has found."""
    searched = ", ".join(str(file) for file in found.files)
    note(f"searched: {searched}" if searched else "no file to search: the database is on a server")
    if found.parts:
        longer = ", ".join(repr(value) for value in found.longer)
        note(f"{user!r} is a part of something longer in {found.parts:,} places, which is not this user: {longer}")
    if found.other:
        note(f"{user!r} is the name of something else in {', '.join(found.other)}")
    for place in found.found[:_MOST]:
        warn(f"{user!r} is still in {place}")
    if found.was_busy:
        warn("another program reads the log, and keeps what was there before; end it, and purge again")
    if not found.found:
        answer(f"{user!r} is in no byte of it")


def verdict(found: Verdict) -> None:
    """Whether the sums say what the rows say."""
    span = f"since {found.since:%Y-%m-%d} UTC, as older ones were pruned" if found.since else "all there are"
    note(f"{rows(found.rows)} counted anew, {span}")
    if found.gaps:
        note(f"not compared: {found.gaps:,} hours of which rows were purged")
    if found.agrees:
        answer("the sums agree with the rows")
        return
    table(
        ("table", "period", "begin (UTC)", "group", "differs by"),
        [_difference_cells(one) for one in found.differences[:_MOST]],
        ("differs by",),
    )
    if len(found.differences) > _MOST:
        note(f"and {len(found.differences) - _MOST:,} more")


def _difference_cells(one: Difference) -> list[str]:
    group = " ".join(word for word in one.group if word) if isinstance(one.group, tuple) else f"number {one.group}"
    extra = "".join(f" {value}" for value in one.extra)
    hours = HOURS[one.level]
    period = _LEVELS.get(hours, f"{hours // 24} days")
    return [one.table, period, f"{one.begin:%Y-%m-%d %H:%M}", group + extra, f"{one.amounts[0]:+,} calls"]


def repricing(found: Repricing) -> None:
    """What changes, by model and currency."""
    changes = found.sorted()
    if changes:
        table(
            ("model", "rows", "estimated", "was", "is", "difference", "savings filled"),
            [_change_cells(one) for one in changes],
            ("rows", "estimated", "was", "is", "difference", "savings filled"),
        )
    for why, count in sorted(found.left.items()):
        note(f"{rows(count)} stay as they are: {why}")


def _change_cells(one: Change) -> list[str]:
    is_new = one.before != one.after
    is_priced = one.before is not None or not one.rows
    before = _amount(one.old_nanos, one.before or one.after) if is_priced else "unpriced"
    difference = "-" if is_new and one.rows else _amount(one.new_nanos - one.old_nanos, one.after, sign=True)
    counts = [f"{count:,}" if count else "-" for count in (one.rows, one.estimates)]
    return [
        one.model,
        *counts,
        before,
        _amount(one.new_nanos, one.after),
        difference,
        f"{one.savings:,}" if one.savings else "-",
    ]


def _amount(nanos: int, currency: str, *, sign: bool = False) -> str:
    from decimal import Decimal

    plus = "-" if nanos < 0 else "+" if sign else ""
    return plus + amount_text(abs(Decimal(nanos)) / NANOS, currency)


def tally(found: Tally) -> None:
    """What became of rows that were brought in."""
    answer(f"{found.new:,} new, {found.known:,} known, {found.finished:,} finished now, {found.refused:,} refused")
    for why, count in found.reasons.most_common():
        warn(f"{rows(count)} refused: {why}")
    for example in found.examples:
        note(f"  {example}")
