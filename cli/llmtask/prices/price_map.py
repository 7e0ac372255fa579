"""Reads LiteLLM's public price map, and works out what an import of it would change.

The map (`model_prices_and_context_window.json`) is one JSON object with a row per model, named `provider/name` or, for
some providers, by the bare name:

    "zai/glm-4.7": {"litellm_provider": "zai", "input_cost_per_token": 6e-07, "output_cost_per_token": 2.2e-06,
                    "cache_read_input_token_cost": 1.1e-07, "input_cost_per_image": ..., ...}

Its prices are in USD. What a price list of ours cannot say is not taken: a price by the hour or by the tier.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

from llmtask.errors import UsageError, did_you_mean
from llmtask.project import CONFIG, Price, PriceFile, PriceList, Project, read_yaml

PUBLIC_MAP = "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json"
MOST_BYTES = 64 * 2**20

Row = Mapping[str, Any]
Kind = Literal["new", "changed", "same", "kept", "skipped", "missing"]
"""new, changed: what an import writes. same: it has that price already. kept: it has one of another origin.
skipped: the map's cannot be taken. missing: the map has none."""

_VARYING = {
    "off_peak_pricing": "by the hour",
    "tiered_pricing": "by the tier",
    "pricing_periods": "by the period",
}
_ABOVE = re.compile(r"(?:input|output)_cost_per_token_above_(\w+)_tokens")
_DEAREST = 1  # USD a token, or 100 a piece: beyond every price there is
_DEAREST_PIECE = 100
_FINEST = -15  # the power of ten of a price per token
_MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Change:
    """What an import does with one model."""

    name: str
    """`provider/name`, by the project's own provider ids: the key of `prices`."""
    kind: Kind
    key: str = ""
    """The row of the map; empty where it has none."""
    before: PriceList | None = None
    """The USD list in force without the import."""
    after: PriceList | None = None
    """The map's list."""
    notes: tuple[str, ...] = ()
    """Why it is kept or skipped, and what the list does not say."""
    source: str = ""

    @property
    def is_written(self) -> bool:
        """Whether an import writes it."""
        return self.kind in ("new", "changed")


def read_map(data: bytes, label: str) -> dict[str, Row]:
    """The rows of a price map by their names.

    Args:
        data: The file.
        label: Its name, for messages.

    Raises:
        UsageError: It is no such map.
    """
    try:
        content = json.loads(data.decode("utf-8-sig"), parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        message = f"{label} is no price map of LiteLLM's: it is not JSON ({why})"
        raise UsageError(message) from error
    rows = content if isinstance(content, dict) else {}
    found: dict[str, Row] = {key: row for key, row in rows.items() if key.isprintable() and _is_row(row)}
    found.pop("sample_spec", None)  # the map's own explanation of its fields
    if not found:
        message = f"{label} is no price map of LiteLLM's: it has no rows with `litellm_provider`"
        raise UsageError(message)
    return found


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("litellm_provider"), str)


def changes(
    project: Project, rows: Mapping[str, Row], patterns: Sequence[str], aliases: Mapping[str, str]
) -> tuple[Change, ...]:
    """What an import of a map does, a change per chosen model.

    Args:
        project: The project.
        rows: The map.
        patterns: Which models: `provider/name`, a name or a model id, with `*`; the project's own where there are none.
        aliases: The map's names of the project's providers, where they differ: `{"google": "gemini"}`.

    Raises:
        UsageError: A pattern matches nothing, or a provider is unknown.
        ProjectError: config.yaml or prices.yaml cannot be read.
    """
    for provider_id in aliases:
        if provider_id not in project.config.providers:
            message = f"unknown provider {provider_id!r}{did_you_mean(provider_id, project.config.providers)}"
            raise UsageError(message)
    known = dict(_by_name(project, rows, aliases))
    names = _chosen(project, known, patterns) if patterns else _own_names(project)
    own, imported = _stated(project), imported_prices(project)
    return tuple(_change(project, name, known.get(name), rows, name in own, name in imported.prices) for name in names)


def imported_prices(project: Project) -> PriceFile:
    """What prices.yaml holds; empty where there is none.

    Raises:
        ProjectError: It cannot be read.
    """
    from llmtask.project import PRICES

    path = project.root / PRICES
    return read_yaml(path).validate_as(PriceFile) if path.is_file() and not project.is_starter else PriceFile()


def _stated(project: Project) -> set[str]:
    """The names of the prices that config.yaml (null, too) or the starter states: none is an import's to write."""
    own = read_yaml(project.root / CONFIG).data.get("prices") or {}
    return {*own, *project.below.get("prices", {})}


def _by_name(project: Project, rows: Mapping[str, Row], aliases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each `provider/name` of the project's providers, and its row; the row that is named so in full comes last."""
    theirs = {aliases.get(provider_id, provider_id): provider_id for provider_id in project.config.providers}
    for is_full in (False, True):
        for key, row in rows.items():
            prefix, slash, name = key.partition("/")
            if is_full and slash and name and prefix in theirs:
                yield f"{theirs[prefix]}/{name}", key
            elif not is_full and row["litellm_provider"] in theirs and prefix != row["litellm_provider"]:
                yield f"{theirs[row['litellm_provider']]}/{key}", key


def _own_names(project: Project) -> list[str]:
    """The names of the project's models, and of what was imported before."""
    config = project.config
    models = [model for model in config.models.values() if config.providers[model.provider].driver != "offline"]
    return list(dict.fromkeys([*(f"{one.provider}/{one.name}" for one in models), *imported_prices(project).prices]))


def _chosen(project: Project, known: Mapping[str, str], patterns: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        model = project.config.models.get(pattern)
        wanted = f"{model.provider}/{model.name}" if model else pattern
        matching = [name for name in known if _matches(name, wanted)]
        if not matching and not model:
            raise _unmatched(project, known, pattern)
        found |= dict.fromkeys(matching or [wanted])
    return list(found)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[2], pattern)


def _unmatched(project: Project, known: Mapping[str, str], pattern: str) -> UsageError:
    provider = pattern.partition("/")[0]
    if "/" in pattern and not any(fnmatchcase(one, provider) for one in project.config.providers):
        known_ones = did_you_mean(provider, project.config.providers)
        return UsageError(
            f"unknown provider {provider!r} in {pattern!r}{known_ones}; "
            "the map's names of your providers can be given with --provider OURS=THEIRS"
        )
    names = {name.partition("/")[2] if "/" not in pattern else name: name for name in known}
    close = [names[one] for one in difflib.get_close_matches(pattern, names, n=3)]
    hint = (
        f"; did you mean {' or '.join(map(repr, close))}?" if close else f"; it has {len(known):,} of your providers'"
    )
    return UsageError(f"the map has no model {pattern!r} of your providers{hint}")


def _change(
    project: Project, name: str, key: str | None, rows: Mapping[str, Row], is_stated: bool, is_imported: bool
) -> Change:
    provider_id = name.partition("/")[0]
    provider = project.config.providers.get(provider_id)
    before = _in_usd(project, name)
    if key is None:
        return Change(name, "missing", before=before, notes=tuple(_alike(name, rows)))
    after, notes = _price_list(rows[key])
    source = _source(key, rows[key])
    if (origin := _origin(project, name, is_stated)) is not None:
        why = f"priced by {origin!r}" if origin in project.config.prices else f"{CONFIG} leaves it unpriced"
        return Change(name, "kept", key, _in_usd(project, origin), after, (why,), source)
    if after is None:
        return Change(name, "skipped", key, before, None, notes, source)
    if provider and provider.currency not in ("USD", None):
        why = f"provider {provider_id!r} bills in {provider.currency}, and the map has USD alone"
        return Change(name, "skipped", key, before, after, (why,), source)
    if provider and provider.currency is None:
        notes = (*notes, f"in force once providers.{provider_id} says `currency: USD`")
    if is_imported and before == after:
        return Change(name, "same", key, before, after, notes, source)
    return Change(name, "changed" if is_imported else "new", key, before, after, notes, source)


def _alike(name: str, rows: Mapping[str, Row]) -> Iterator[str]:
    """Rows of other providers that name the same model: whether one of them is meant, only its user knows."""
    provider_id, _, bare = name.partition("/")
    prefixes = sorted({key.partition("/")[0] for key in rows if key.partition("/")[2] == bare})
    if prefixes:
        yield f"other providers have it: --provider {provider_id}={prefixes[0]} takes it from there"
    if len(prefixes) > 1:
        yield f"or from {', '.join(prefixes[1:4])}"


def _origin(project: Project, name: str, is_stated: bool) -> str | None:
    """The key of `prices` that is not an import's and prices a model; None where an import may price it."""
    if is_stated:
        return name
    models = (one for one in project.config.models.values() if f"{one.provider}/{one.name}" == name)
    return next((model.price for model in models if model.price is not None and model.price != name), None)


def _in_usd(project: Project, name: str) -> PriceList | None:
    """The newest USD list of a price, whatever the account is billed in."""
    prices: Sequence[Price] = project.config.prices.get(name, ())
    newest = max(prices, key=lambda price: price.effective_from, default=None)
    return newest.lists.get("USD") if newest else None


def _price_list(row: Row) -> tuple[PriceList | None, tuple[str, ...]]:
    """What a row says as a list of ours, or None and why not; and what the list leaves out."""
    varying = [words for field, words in _VARYING.items() if row.get(field)]
    if varying:
        return None, (f"its price goes {' and '.join(varying)}: state it in {CONFIG}",)
    try:
        per_token = [_amount(row, field) for field in ("input_cost_per_token", "output_cost_per_token")]
        hit = _amount(row, "cache_read_input_token_cost")
        reasoning = _amount(row, "output_cost_per_reasoning_token")
        image, search = _piece(row, "input_cost_per_image"), _search(row)
    except ValueError as error:
        return None, (str(error),)
    miss, output = per_token
    if miss is None or output is None:
        return None, ("the map has no price per token of it",)
    if reasoning not in (None, output):
        return None, (f"its reasoning costs more than the rest of its output: state it in {CONFIG}",)
    found = {"cache_hit": miss if hit is None else hit, "cache_miss": miss, "output": output}
    millions = {field: _plain(amount.scaleb(6)) for field, amount in found.items()}
    return PriceList(**millions, image=image, search=search), tuple(_left_out(row, hit))


def _left_out(row: Row, hit: Decimal | None) -> Iterator[str]:
    if hit is None:
        yield "cache hits cost as misses: the map has no price of them"
    above = sorted({found[1] for field in row if (found := _ABOVE.fullmatch(field)) and row[field] is not None})
    if above:
        yield f"another price above {' and '.join(above)} tokens is not in it"
    if row.get("cache_creation_input_token_cost"):
        yield "what it takes to write to the cache is not in it"
    fees = row.get("search_context_cost_per_query")
    if isinstance(fees, dict) and len({str(fee) for fee in fees.values()}) > 1:
        yield "a search costs by its size: the medium one is taken"
    if isinstance(retired := row.get("deprecation_date"), str) and re.fullmatch(r"\d{4}-\d\d-\d\d", retired):
        yield f"the map says that it retires on {retired}"


def _search(row: Row) -> Decimal | None:
    fees = row.get("search_context_cost_per_query")
    return _piece(fees, "search_context_size_medium") if isinstance(fees, dict) else None


def _piece(row: Row, field: str) -> Decimal | None:
    """A price of one piece; None where the map has none, and where it is 0 beside a price of tokens."""
    amount = _amount(row, field, _DEAREST_PIECE)
    return _plain(amount) if amount else None


def _amount(row: Row, field: str, most: int = _DEAREST) -> Decimal | None:
    """The amount in a field, exactly as its digits say.

    Raises:
        ValueError: It is no price.
    """
    value = row.get(field)
    if value is None:
        return None
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        amount = Decimal(value)
        if amount.is_finite() and 0 <= amount <= most and _is_short(amount):
            return amount
    message = f"its {field} is no price: {str(value)[:40]!r}"
    raise ValueError(message)


def _is_short(amount: Decimal) -> bool:
    digits = "".join(map(str, amount.as_tuple().digits)).strip("0")
    return not amount or (amount.adjusted() >= _FINEST and len(digits) <= _MOST_DIGITS)


def _plain(amount: Decimal) -> Decimal:
    """The same amount without trailing zeros and without an exponent."""
    return Decimal(format(amount.normalize(), "f"))


def _source(key: str, row: Row) -> str:
    where = row.get("source")
    is_shown = isinstance(where, str) and where.isprintable() and len(where) < 200
    return f"LiteLLM's price map, {key}" + (f", from {where}" if is_shown else "")
