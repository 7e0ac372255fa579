"""`llmtask prices`: what models cost, whether that is in order, where it comes from, and exchange rates."""

import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtask.commands.options import AsJson, ProjectFolder, TrustOnce, open_project
from llmtask.download import download, without_password
from llmtask.errors import ExitCode, NoRateError, UsageError
from llmtask.money import NANOS, Cost, Currency
from llmtask.prices.board import Standing, check_prices, holiday_findings, standings
from llmtask.prices.price_file import write_changes
from llmtask.prices.price_map import MOST_BYTES, PUBLIC_MAP, Change, changes, read_map
from llmtask.project import PriceList, Project, load_project, shown
from llmtask.rates import Rates, fetch_rates, load_rates
from llmtask.usage import instant
from llmtask.view.console import answer, can_ask, is_yes, json_text, note, warn

_STDIN = "-"
_FIRST_YEAR, _LAST_YEAR = 1970, 2200

app = typer.Typer(no_args_is_help=True, help="What models cost: lists, checks, imports, exchange rates.")

At = Annotated[
    str | None, typer.Option("--at", metavar="WHEN", help="Then instead of now: 2026-10-01, 2026-10-01T10:00, 7d.")
]


@app.command("list")
def show_list(at: At = None, as_json: AsJson = False, project: ProjectFolder = None) -> None:
    """Show what each model costs now: the list in force, whether it is the one of peak hours, and until when.

    [bold]llmtask prices list --at 2026-11-30T10:00[/]
    """
    loaded, instant_at = load_project(project), _instant(at)
    found = standings(loaded, instant_at)
    for one in holiday_findings(loaded, found, instant_at):
        warn(one.text)
    if as_json:
        answer(json_text([_standing_json(one) for one in found]))
        return
    from llmtask.view.prices import price_board  # Rich's tables, only for a table

    price_board(found)


@app.command("check")
def show_check(
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=1, help="Name prices that hold for longer.")
    ] = 365,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 also for what is only worth a look.")] = False,
    at: At = None,
    as_json: AsJson = False,
    project: ProjectFolder = None,
) -> None:
    """Check that each model has a price in its provider's currency; exits 1 where a cost would be wrong or missing."""
    loaded = load_project(project)
    found = check_prices(loaded, _instant(at), older_than)
    if as_json:
        answer(json_text([asdict(one) for one in found]))
    else:
        from llmtask.view.prices import price_findings

        price_findings(found)
        if not found:
            note(f"{len(loaded.config.models)} models: each has a price in its provider's currency", style="green")
    if any(one.is_problem or strict for one in found):
        raise typer.Exit(ExitCode.FAILED)


@app.command("import")
def show_import(
    source: Annotated[
        str | None, typer.Argument(metavar="[FILE|URL]", help="LiteLLM's price map; - is standard input.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PATTERN",
            help="Take these: provider/name, a name or a model id, with *.  [dim]\\[default: the project's models][/]",
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="OURS=THEIRS", help="The map's name of one of your providers."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: AsJson = False,
    project: ProjectFolder = None,
) -> None:
    """Import prices from LiteLLM's public price map into prices.yaml; shows what changes first.

    What config.yaml and the starter say stays, and wins. Nothing is fetched but a URL that is given.

    [bold]llmtask prices import model_prices_and_context_window.json --model 'openai/gpt-5*'[/]
    """
    loaded = load_project(project)
    data, label = _map(source)
    found = changes(loaded, read_map(data, label), model or [], _aliases(provider or []))
    if not as_json:
        from llmtask.view.prices import price_changes

        price_changes(found)
    count = sum(one.is_written for one in found)
    path = _write(loaded, found) if count and (yes or (not as_json and _is_agreed(loaded, count))) else None
    if as_json:
        answer(json_text({"written": path and str(path), "changes": [_change_json(one) for one in found]}))
    elif path:
        note(f"{_prices(count)} written to {shown(path)}", style="green")
    else:
        note("nothing to write" if not count else f"nothing was written; --yes writes {_prices(count)}")


@app.command("rates")
def show_rates(
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch them now, from the European Central Bank.")] = False,
    on: Annotated[
        str | None, typer.Option("--on", metavar="DAY", help="Of that day.  [dim]\\[default: today][/]")
    ] = None,
    as_json: AsJson = False,
    project: ProjectFolder = None,
    trust: TrustOnce = False,
) -> None:
    """Show the exchange rates that amounts are converted by, and of which day they are.

    [bold]llmtask prices rates --fetch[/]
    """
    loaded = open_project(project, trust) if fetch else load_project(project)
    rates = fetch_rates(loaded) if fetch else load_rates(loaded)
    pairs = _pairs(rates, _day(on))
    if as_json:
        fetched = rates.fetched_at.isoformat() if rates.fetched_at else None
        told = {"source": rates.source, "fetched_at": fetched, "newest": rates.newest and rates.newest.isoformat()}
        answer(json_text({**told, "is_stale": rates.is_stale, "rates": pairs}))
        return
    from llmtask.view.prices import rate_table

    rate_table([(one["from"], _six_digits(one["rate"]), one["to"], one["rate_date"] or "pinned") for one in pairs])
    _note_source(rates)


def _instant(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    found = instant(at)
    if not _FIRST_YEAR <= found.year < _LAST_YEAR:
        message = f"{at!r} is further away than prices go; give a day such as 2026-10-01"
        raise UsageError(message)
    return found


def _day(text: str | None) -> date:
    if text is None:
        return datetime.now().astimezone().date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is no day; give one as 2026-11-01"
        raise UsageError(message) from error


def _map(source: str | None) -> tuple[bytes, str]:
    """The map's bytes, and what to call it."""
    if source is None:
        message = f"name a file, or a URL to fetch; the public map is {PUBLIC_MAP}"
        raise UsageError(message)
    if source.lower().startswith(("http://", "https://")):
        return download(source, most_bytes=MOST_BYTES), without_password(source)
    label = "standard input" if source == _STDIN else repr(source)
    try:
        data = sys.stdin.buffer.read(MOST_BYTES + 1) if source == _STDIN else _read(source)
    except (OSError, ValueError) as error:
        message = f"{label} cannot be read ({getattr(error, 'strerror', None) or error})"
        raise UsageError(message) from error
    if len(data) > MOST_BYTES:
        message = f"{label} is larger than {MOST_BYTES // 2**20} MiB, which no price map is"
        raise UsageError(message)
    return data, label


def _read(path: str) -> bytes:
    with Path(path).expanduser().open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _aliases(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            message = f"--provider {text!r}: give your provider and the map's name of it, such as google=gemini"
            raise UsageError(message)
        pairs[ours] = theirs
    return pairs


def _is_agreed(project: Project, count: int) -> bool:
    return can_ask() and not project.is_starter and is_yes(f"Write {_prices(count)} to prices.yaml?")


def _write(project: Project, found: tuple[Change, ...]) -> Path:
    return write_changes(project, found, datetime.now(UTC).date())


def _prices(count: int) -> str:
    return "1 price" if count == 1 else f"{count:,} prices"


def _standing_json(one: Standing) -> dict[str, Any]:
    price = one.tariff.price if one.tariff else None
    return {
        "model": one.model_id,
        "provider": one.provider_id,
        "currency": one.currency,
        "price": one.price,
        "effective_from": price and price.effective_from.isoformat(),
        "source": price.source if price else None,
        "is_peak": one.is_peak,
        "per_million": _list_json(one.prices),
        "next_change": one.next_change and one.next_change.isoformat(),
        "unpriced": one.why_unpriced or None,
    }


def _list_json(prices: PriceList | None) -> dict[str, str] | None:
    """A list's amounts as strings, so that none is rounded."""
    if prices is None:
        return None
    amounts = {name: getattr(prices, name) for name in PriceList.model_fields}
    return {name: format(amount.normalize(), "f") for name, amount in amounts.items() if amount is not None}


def _change_json(one: Change) -> dict[str, Any]:
    lists = {"before": _list_json(one.before), "after": _list_json(one.after)}
    return {"model": one.name, "change": one.kind, "row": one.key or None, **lists, "notes": list(one.notes)}


def _pairs(rates: Rates, on: date) -> list[dict[str, Any]]:
    """The rates of a day, those over EUR first."""
    pairs: tuple[tuple[Currency, Currency], ...] = (("EUR", "CNY"), ("EUR", "USD"), ("USD", "CNY"), ("CNY", "USD"))
    found, missing = [], None
    for base, to in pairs:
        try:
            one = rates.convert(Cost(NANOS, base), to, on)
        except NoRateError as error:
            missing = error
            continue
        day = one.rate_date and one.rate_date.isoformat()
        found.append({"from": base, "to": to, "rate": str(one.amount), "rate_date": day, "is_pinned": one.is_pinned})
    if missing and not found:
        raise missing
    return found


def _six_digits(rate: str) -> str:
    return format(Decimal(rate).quantize(Decimal("0.000001")).normalize(), "f")


def _note_source(rates: Rates) -> None:
    if rates.pinned_per_eur:
        pinned = ", ".join(f"{currency} {rate.normalize():f}" for currency, rate in rates.pinned_per_eur.items())
        note(f"pinned in config.yaml, per EUR: {pinned}")
    if rates.newest and rates.fetched_at:
        fetched = f"{rates.fetched_at.astimezone():%Y-%m-%d %H:%M}"
        note(f"of the ECB, up to {rates.newest}, fetched {fetched} from {rates.source}")
        if rates.is_stale:
            note("they are stale; --fetch fetches newer ones", style="yellow")
