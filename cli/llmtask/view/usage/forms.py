"""A report for programs and for other people's pages: JSON, CSV, Markdown."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from llmtask.usage import Line, Statement
from llmtask.view.console import harmless
from llmtask.view.usage.figures import NONE, changed, exact, figure, percent
from llmtask.view.usage.figures import amount as money
from llmtask.view.usage.measures import MEASURES, Measure, change
from llmtask.view.usage.notes import notes, rates_text
from llmtask.view.usage.table import errors

_SUMS = (
    "calls",
    "failed",
    "unfinished",
    "repaired",
    "retries",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "estimated",
    "unpriced",
)
_MEASURES = {measure.name: measure for measure in MEASURES}
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def as_json(stated: Statement) -> dict[str, Any]:
    """The report as JSON values; amounts are strings, so that none is rounded."""
    query = stated.query
    found: dict[str, Any] = {
        "by": list(query.by),
        "since": query.since.isoformat() if query.since else None,
        "until": query.until.isoformat() if query.until else None,
        "where": {word: list(values) for word, values in query.where.items()},
        "groups": [_group(line, stated) for line in stated.lines],
        "total": _group(stated.total, stated),
    }
    if stated.previous and stated.previous.since and stated.previous.until:
        found["previous"] = {"since": stated.previous.since.isoformat(), "until": stated.previous.until.isoformat()}
    if rates_text(stated):
        first, last = [day.isoformat() for day in stated.rate_dates] or (None, None)
        found["rates"] = {"first": first, "last": last, "pinned": stated.is_pinned}
    return found


def _group(line: Line, stated: Statement) -> dict[str, Any]:
    is_total = line is stated.total
    keys = {} if is_total else dict(zip(stated.query.by, line.sums.keys, strict=True))
    found = {"group": "total" if is_total else line.sums.group, "keys": keys, **_told(line)}
    if line.before is not None:
        found["previous"] = _told(line.before)
        found["change"] = _changes(line, line.before)
    return found


def _told(line: Line) -> dict[str, Any]:
    """The numbers of a group."""
    sums = line.sums
    found: dict[str, Any] = {name: getattr(sums, name) for name in _SUMS}
    found |= {
        "success_rate": sums.success_rate,
        "repair_rate": sums.repair_rate,
        "mean_latency_ms": sums.mean_latency_ms,
        "latency_ms": {name: sums.latency(share) for name, share in _SHARES.items()},
        "first_token_ms": {name: sums.first_token(share) for name, share in _SHARES.items()},
        "cost": _exact(sums.costs),
        "saved": _exact(sums.savings),
        "errors": {name: count for name, count in sums.errors.most_common() if count > 0},
    }
    if line.costs != sums.costs or line.savings != sums.savings:
        found |= {"converted_cost": _exact(line.costs), "converted_saved": _exact(line.savings)}
    return found


def _changes(now: Line, before: Line) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for measure in MEASURES:
        one = change(measure.value(now.sums), measure.value(before.sums))
        found[measure.name] = {"delta": one.delta, "percent": one.percent} if one else None
    found["cost"] = {}
    for currency in sorted({*now.costs, *before.costs}):
        delta = change(now.costs.get(currency, Decimal(0)), before.costs.get(currency, Decimal(0)))
        if delta:
            found["cost"][currency] = {"delta": exact(Decimal(delta.delta)), "percent": delta.percent}
    return found


def _exact(amounts: dict[str, Decimal]) -> dict[str, str]:
    return {currency: exact(value) for currency, value in amounts.items()}


def as_csv(stated: Statement) -> str:
    """A line per group and currency, without the total; a group of two currencies is two lines of the same counts."""
    names = list(dict.fromkeys((*_SUMS, *_MEASURES, "mean_latency_ms")))
    head = [*stated.query.by, *_beside(names, stated), "errors", "currency", *_beside(["cost"], stated), "saved"]
    lines = [head]
    for line in stated.lines:
        own = [*line.sums.keys, *_numbers(names, line), errors(line)]
        for currency in _currencies(line):
            lines.append([*own, currency, *_amounts(line, currency), _amount(line.savings.get(currency))])
    return "\n".join(",".join(_safe(cell) for cell in cells) for cells in lines)


def _beside(names: Sequence[str], stated: Statement) -> list[str]:
    """Headings, with those of a comparison."""
    if not stated.previous:
        return list(names)
    return [f"{name}{end}" for name in names for end in ("", "_previous", "_delta", "_percent")]


def _currencies(line: Line) -> list[str]:
    found = {*line.costs, *(line.before.costs if line.before else ())}
    return sorted(found) or [""]


def _numbers(names: Sequence[str], line: Line) -> Iterator[str]:
    for name in names:
        now, before = (_value(name, one) if one else None for one in (line, line.before))
        yield _plain(now)
        if line.before:
            found = change(now, before)
            yield from (
                _plain(before),
                _plain(found.delta if found else None),
                _plain(found.percent if found else None),
            )


def _value(name: str, line: Line) -> Any:
    return _MEASURES[name].value(line.sums) if name in _MEASURES else getattr(line.sums, name)


def _amounts(line: Line, currency: str) -> Iterator[str]:
    now = line.costs.get(currency)
    yield _amount(now)
    if line.before:
        before = line.before.costs.get(currency)
        found = change(now or Decimal(0), before or Decimal(0)) if now is not None or before is not None else None
        yield _amount(before)
        yield _amount(Decimal(found.delta) if found else None)
        yield _plain(found.percent if found else None)


def _amount(value: Decimal | None) -> str:
    return "" if value is None else exact(value)


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


_FORMULA = re.compile(
    r"[=+\-@＝＋－＠\t\r\n]"
)  # the full-width ones are taken for the others by spreadsheets of East Asia
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_SPECIAL = re.compile(r"[\",;|\t\n]|^\s|\s$")  # a semicolon and a tab part cells where a spreadsheet takes them to


def _safe(cell: str) -> str:
    """A cell of CSV that no spreadsheet runs as a formula and no terminal obeys."""
    if _FORMULA.match(cell.lstrip(" \ufeff\u200b\u3000\xa0")) and not _NUMBER.fullmatch(cell):
        cell = f"'{cell}"
    cell = harmless(cell)
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def as_markdown(stated: Statement) -> str:
    """A table for a pull request or a chat, with the total and what there is to say."""
    every = [*stated.lines, stated.total] if len(stated.lines) != 1 else stated.lines
    measures = [one for one in MEASURES if not one.rank or any(one.value(line.sums) for line in every)]
    currencies = sorted({currency for line in every for currency in _currencies(line) if currency})
    head = [*stated.query.by, *(one.heading.replace("-\n", "").replace("\n", " ") for one in measures)]
    head += [*(f"cost {currency}" for currency in currencies or [""]), "errors"]
    rows = [
        [
            *_names(line, stated),
            *(_marked(one, line) for one in measures),
            *_costs(line, currencies, stated),
            _escaped(errors(line)) or NONE,
        ]
        for line in every
    ]
    align = ["---"] * len(stated.query.by) + ["---:"] * (len(head) - len(stated.query.by) - 1) + ["---"]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, align, *rows)]
    said = [f"\n{_escaped(one)}" for one in notes(stated)]
    return "\n".join([*lines, *said])


def _names(line: Line, stated: Statement) -> list[str]:
    if line is stated.total and len(stated.lines) != 1:
        return ["**total**", *[""] * (len(stated.query.by) - 1)][: len(stated.query.by)]
    return [_code(key) if key else f"(no {name})" for name, key in zip(stated.query.by, line.sums.keys, strict=True)]


def _marked(measure: Measure, line: Line) -> str:
    value = measure.value(line.sums)
    about = "~" if measure.kind == "tokens" and line.sums.estimated and value else ""
    text = (
        NONE if not value and measure.rank and measure.name != "success_rate" else about + figure(value, measure.kind)
    )
    return text + _in_brackets(
        changed(change(value, measure.value(line.before.sums)), measure.kind) if line.before else ""
    )


def _costs(line: Line, currencies: Sequence[str], stated: Statement) -> Iterator[str]:
    nothing = "unpriced" if line.sums.unpriced else "unknown" if line.sums.unfinished else NONE
    if not currencies:
        yield nothing
    for index, currency in enumerate(currencies):
        value = line.costs.get(currency)
        is_converted = rates_text(stated) and set(line.sums.costs) - set(line.costs)
        about = "≈" if is_converted else "~" if line.sums.estimated > line.sums.unfinished else ""
        text = (nothing if not line.costs and index == 0 else NONE) if value is None else about + money(value, currency)
        yield text + _in_brackets(_change_of_cost(line, currency))


def _change_of_cost(line: Line, currency: str) -> str:
    if not line.before:
        return ""
    now, before = (one.costs.get(currency, Decimal(0)) for one in (line, line.before))
    found = change(now, before)
    if not found or not found.delta:
        return "="
    return f"{'-' if found.delta < 0 else '+'}{money(abs(Decimal(found.delta)), currency)} {percent(found.percent)}"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text not in ("", "=") else ""


def _code(text: str) -> str:
    """A name as code: nothing in it is markup, and nobody is mentioned by it."""
    text = " ".join(harmless(text).split()) or " "
    if "\\|" in text:  # where a backslash stands before it, nothing keeps a bar from ending the cell but an entity
        return f"<code>{escape(text).replace('|', '&#124;')}</code>"
    text = text.replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", " ".join(harmless(text).split()))
