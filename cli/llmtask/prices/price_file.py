"""Writes prices.yaml: the prices that were imported, for people to read and for git to compare."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from llmtask.errors import ProjectError, UsageError
from llmtask.prices.price_map import Change, imported_prices
from llmtask.project import PRICES, Price, PriceFile, PriceList, Project, shown
from llmtask.project.yaml_file import parse_yaml

_HEAD = """\
# Written by `llmtask prices import`, which adds lists and keeps older ones: they price calls of their time.
# Prices of your own belong into config.yaml: it wins, and what you add here beside the lists is not kept.
prices:
"""
_BARE = re.compile(r"[A-Za-z][\w./@-]*")
_MOST_DIGITS = 15  # that YAML's floating point numbers hold exactly


def write_changes(project: Project, found: Sequence[Change], today: date) -> Path:
    """Add what an import changes to the project's prices.yaml, whole or not at all.

    Args:
        project: The project.
        found: The changes; those that an import does not write are left out.
        today: The day from which on the lists hold.

    Raises:
        UsageError: The project is the starter.
        ProjectError: The file cannot be read or written.
    """
    if project.is_starter:
        message = "the starter's prices are not a project's to write; `llmtask init DIR` makes a project"
        raise UsageError(message)
    path = project.root / PRICES
    if not any(change.is_written for change in found):
        return path
    prices = {name: list(lists) for name, lists in imported_prices(project).prices.items()}
    for change in found:
        if change.is_written and change.after:
            others = [price for price in prices.get(change.name, []) if price.effective_from != today]
            new = Price(effective_from=today, source=change.source, lists={"USD": change.after})
            prices[change.name] = sorted([new, *others], key=lambda price: price.effective_from, reverse=True)
    text = _HEAD + "\n".join(_lines(prices)) + "\n"
    written = PriceFile(prices={name: tuple(lists) for name, lists in prices.items()})
    if parse_yaml(text, path).validate_as(PriceFile) != written:
        message = f"{shown(path)} would not say what it should; it was left as it is. Please report it"
        raise ProjectError(message)
    _replace(path, text)
    return path


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        message = f"{shown(path)} cannot be written ({error.strerror})"
        raise ProjectError(message) from error


def _lines(prices: dict[str, list[Price]]) -> Iterator[str]:
    for name, lists in prices.items():
        yield f"  {_text(name)}:{'' if lists else ' []'}"
        for price in lists:
            yield f"    - effective_from: {price.effective_from}"
            if price.source:
                yield f"      source: {_text(price.source)}"
            if price.peak:
                yield f"      peak: {_text(price.peak)}"
            yield from _list_lines("lists", price)
            yield from _list_lines("peak_lists", price)


def _list_lines(field: str, price: Price) -> Iterator[str]:
    lists: dict[str, PriceList] = getattr(price, field)
    if lists or field == "lists":
        yield f"      {field}:{'' if lists else ' {}'}"
    for currency, one in lists.items():
        amounts = {name: getattr(one, name) for name in PriceList.model_fields}
        inside = ", ".join(f"{name}: {_number(amount)}" for name, amount in amounts.items() if amount is not None)
        yield f"        {currency}: {{{inside}}}"


def _number(amount: Decimal) -> str:
    text = format(amount.normalize(), "f")
    return text if len(text.replace(".", "").strip("0")) <= _MOST_DIGITS else f'"{text}"'


def _text(text: str) -> str:
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())
