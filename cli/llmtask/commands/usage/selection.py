"""Options that say which calls are meant, and what becomes of them."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from llmtask.commands.options import locale_names, model_names, task_names
from llmtask.errors import UsageError, did_you_mean
from llmtask.money import Cost, Currency
from llmtask.usage import GROUPS, TIMES, WORDS, GroupBy, Query, Word, span

if TYPE_CHECKING:
    from llmtask.rates import Converted

_WHEN = "7d, 12h, today, last month, 2026-11, 2026-11-01, 2026-11-01T08:00."

Since = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help=f"From then on: {_WHEN} A month is the whole of it.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Before then.")]
By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        metavar="GROUPS",
        help=f"What to group by, of {', '.join(GROUPS)}: --by task,day. One time at most.  [dim]\\[default: model][/]",
        autocompletion=lambda incomplete: [name for name in GROUPS if name.startswith(incomplete)],
    ),
]


def _filter(name: str, what: str, names: Callable[[str], list[str]] | None = None) -> "typer.models.OptionInfo":
    found = typer.Option(f"--{name}", metavar=name.upper(), help=what, autocompletion=names)
    return cast("typer.models.OptionInfo", found)


Task = Annotated[
    list[str] | None, _filter("task", "Only this task; * stands for anything. Repeatable, as all filters.", task_names)
]
Model = Annotated[list[str] | None, _filter("model", "Only this model: deepseek-*.", model_names)]
Provider = Annotated[list[str] | None, _filter("provider", "Only this provider.")]
Tier = Annotated[list[str] | None, _filter("tier", "Only this tier.")]
Queue = Annotated[list[str] | None, _filter("queue", "Only this queue.")]
User = Annotated[list[str] | None, _filter("user", "Only this user; '' for calls on nobody's behalf.")]
Service = Annotated[list[str] | None, _filter("service", "Only this service.")]
Locale = Annotated[list[str] | None, _filter("locale", "Only this locale.", locale_names)]
Prompt = Annotated[list[str] | None, _filter("prompt", "Only this version of a prompt, or the beginning of its hash.")]

Convert = Annotated[
    str | None,
    typer.Option(
        "--currency",
        metavar="CURRENCY",
        help="CNY, USD or EUR: turn all amounts into it, by the rate of each call's day.",
        autocompletion=lambda incomplete: [one for one in get_args(Currency) if one.startswith(incomplete.upper())],
    ),
]


class Curves(StrEnum):
    """What the curves of a table are of."""

    CALLS = "calls"
    COST = "cost"
    NONE = "none"


Spark = Annotated[
    Curves | None,
    typer.Option(
        "--spark",
        metavar="WHAT",
        help="What a table's curves are of: calls, cost or none.  [dim]\\[default: calls; by user none][/]",
    ),
]


def curves(chosen: Curves | None, query: Query) -> Literal["calls", "cost", "none"]:
    """What `--spark` means; every user's every day takes long to know, and is told when it is asked for."""
    if chosen is None:
        return "none" if "user" in query.by and "user" not in query.where else "calls"
    return chosen.value


def where(**filters: list[str] | None) -> dict[Word, Sequence[str]]:
    """The filters that were given, by word."""
    return {word: values for word in WORDS if (values := filters.get(word))}


def groups(by: list[str] | None) -> tuple[GroupBy, ...]:
    """What `--by` names.

    Raises:
        UsageError: A group is unknown, or there are two times.
    """
    names = [name.strip().lower() for text in by or ["model"] for name in text.split(",")]
    for name in names:
        if name not in GROUPS:
            known = ", ".join(repr(one) for one in GROUPS)
            near = did_you_mean(name[:40], GROUPS).partition("; known")[0]
            message = f"--by {name[:40]!r}: no such group{near}; give any of {known}"
            raise UsageError(message)
    found = tuple(dict.fromkeys(names))
    times = [name for name in found if name in TIMES]
    if len(times) > 1:
        message = f"--by {' and '.join(times)}: of times, give one; a {times[0]} has its {times[1]}"
        raise UsageError(message)
    return cast("tuple[GroupBy, ...]", found)


def bounds(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The instants that `--since` and `--until` name.

    Raises:
        UsageError: One is no time, or the span ends before it begins.
    """
    begin, end = span(since, until)
    if begin and end and begin >= end:
        message = f"--since {since!r} ({begin:%Y-%m-%d %H:%M}) is not before --until {until!r} ({end:%Y-%m-%d %H:%M})"
        raise UsageError(message)
    return begin, end


def currency(text: str | None) -> Currency | None:
    """The currency that `--currency` names.

    Raises:
        UsageError: It is none of ours.
    """
    if text is None:
        return None
    known = get_args(Currency)
    if text.upper() not in known:
        message = f"--currency {text[:20]!r}: give {', '.join(known)}"
        raise UsageError(message)
    return cast("Currency", text.upper())


def converter(to: Currency, project: str | None) -> "Callable[[Cost, date], Converted]":
    """Turns amounts into a currency, as the project's config says."""
    from llmtask.project import load_project  # 100 ms that reports without --currency save
    from llmtask.rates import load_rates

    rates = load_rates(load_project(project))
    return lambda cost, on: rates.convert(cost, to, on)
