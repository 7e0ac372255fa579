"""Prices for people: the board, what is wrong with them, what an import changes, and exchange rates."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

from llmtask.money import symbol
from llmtask.prices.board import Finding, Standing
from llmtask.prices.price_map import Change
from llmtask.project import PriceList
from llmtask.view.console import draw, harmless, note, stderr
from llmtask.view.tables import table

_AMOUNTS = ("hit", "miss", "output")
_NARROWEST = 72  # a narrower terminal breaks the lines itself
_KINDS = {"new": "[green]+ new[/]", "changed": "[yellow]~ changed[/]", "same": "= same"}
_MARKS = {True: "[red]✗[/]", False: "[yellow]-[/]"}


def exact(amount: Decimal | None) -> str:
    """An amount with all its places and no more, such as 0.02 or 13.5."""
    return "" if amount is None else format(amount.normalize(), "f")


def price_board(found: Sequence[Standing]) -> None:
    """What each model costs now, a line each; amounts are for 1,000,000 tokens."""
    has_fees = any(_fees(one.prices) for one in found)
    columns = ("model", "provider", "price", "since", *_AMOUNTS, *(["fees"] if has_fees else []), "hours")
    table(columns, (_board_row(one, has_fees) for one in found), (*_AMOUNTS, "since"))
    for one in found:
        if one.why_unpriced:
            note(f"{one.model_id} is unpriced: {one.why_unpriced}", style="yellow")
    zone = datetime.now().astimezone().tzname() or "local time"
    note(f"per 1,000,000 tokens, in the currency that the provider bills in; hours in {zone}; sources:")
    sources = {one.price: one.tariff.price.source for one in found if one.tariff and one.tariff.price.source}
    for name, source in sources.items():
        note(f"  {name}: {source}")


def _board_row(one: Standing, has_fees: bool) -> list[str]:
    since = str(one.tariff.price.effective_from) if one.tariff else ""
    fees = [_fees(one.prices, one.currency or "")] if has_fees else []
    return [one.model_id, one.provider_id, one.price or "", since, *_amounts(one), *fees, _hours(one)]


def _hours(one: Standing) -> str:
    """Such as `peak to 18:00`, by the clock of whoever reads it; with the day where that is not today."""
    now = {None: "", True: "peak", False: "off-peak"}[one.is_peak]
    if one.next_change is None:
        return now
    then, today = one.next_change.astimezone(), datetime.now().astimezone().date()
    form = "%H:%M" if then.date() == today else "%m-%d %H:%M" if then.year == today.year else "%Y-%m-%d"
    return f"{now} to {then.strftime(form)}".strip()


def _amounts(one: Standing) -> list[str]:
    if one.prices is None or one.currency is None:
        return ["", "", "unpriced"]
    amounts = (one.prices.cache_hit, one.prices.cache_miss, one.prices.output)
    return [f"{symbol(one.currency)}{exact(amount)}" for amount in amounts]


def _fees(prices: PriceList | None, currency: str = "") -> str:
    """What is billed by the piece, such as `image ¥0.01, search ¥0.005`."""
    fees = {"image": prices.image, "search": prices.search} if prices else {}
    return ", ".join(f"{name} {symbol(currency)}{exact(fee)}" for name, fee in fees.items() if fee is not None)


def price_findings(found: Sequence[Finding]) -> None:
    """What is wrong, then what is worth a look, a line each."""
    from rich.markup import escape

    for one in sorted(found, key=lambda one: not one.is_problem):
        draw(f"{_MARKS[one.is_problem]} {escape(harmless(f'{one.subject}: {one.text}'))}", soft_wrap=True)


def price_changes(found: Sequence[Change]) -> None:
    """What an import changes, to stderr: stdout is for its JSON."""
    taken = [one for one in found if one.kind in _KINDS]
    if taken:
        _draw_changes(taken)
        note("in USD per 1,000,000 tokens")
    for one in found:
        for text in one.notes if one.kind in _KINDS else (_left(one),):
            note(f"{one.name}: {text}")


def _draw_changes(found: Sequence[Change]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in ("change", "model", *_AMOUNTS, "fees"):
        justify: Literal["left", "right"] = "right" if name in _AMOUNTS else "left"
        is_text = name in ("model", "fees")
        drawn.add_column(name, justify=justify, no_wrap=not is_text, overflow="fold", min_width=8 if is_text else None)
    for one in found:
        cells = (Text(harmless(cell)) for cell in (one.name, *_changed_amounts(one)))
        drawn.add_row(_KINDS[one.kind], *cells)
    console = stderr()
    width = max(console.width, _NARROWEST) if console.is_terminal else 10_000  # a pipe has no edge
    console.print(drawn, soft_wrap=False, crop=False, width=width)


def _left(one: Change) -> str:
    """Why an import leaves a model as it is."""
    why = "; ".join(one.notes)
    if one.kind == "missing":
        return f"not in the map{f' ({why})' if why else ''}"
    differs = one.kind == "kept" and one.after is not None and one.after != one.before
    amounts = _triple(one.after) if differs and one.after else ""
    return f"{one.kind}: {why}{f'; the map says {amounts}' if amounts else ''}"


def _triple(prices: PriceList) -> str:
    return " / ".join(f"${exact(amount)}" for amount in (prices.cache_hit, prices.cache_miss, prices.output))


def _changed_amounts(one: Change) -> Iterator[str]:
    """Each amount in USD; one that an import changes with what it was before."""
    for name in ("cache_hit", "cache_miss", "output"):
        yield _changed(exact(getattr(one.before, name, None)), exact(getattr(one.after, name, None)), one)
    yield _changed(_fees(one.before, "USD"), _fees(one.after, "USD"), one)


def _changed(before: str, after: str, one: Change) -> str:
    return f"{before or 'none'} → {after or 'none'}" if one.kind == "changed" and before != after else after


def rate_table(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Exchange rates, a line per pair."""
    table(("1 unit of", "is", "in", "of"), rows, ("is",))
