"""What a quota counts: runs, or money in a currency."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from llmtask.errors import UsageError
from llmtask.money import MOST_UNITS, NANOS, amount_text, read_amount

Unit = Literal["runs", "CNY", "USD", "EUR"]
UNITS: tuple[Unit, ...] = get_args(Unit)

_RUNS = re.compile(r"([0-9]{1,12})\s*runs?", re.IGNORECASE)
_ALLOWANCE = re.compile(r"([0-9]{1,12})\s*(?:runs?)?\s*(?:/|per|a)\s*(day|month)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """So many runs, or so much money."""

    amount: int
    """Runs, or nano-units of the currency."""
    unit: Unit


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many free runs a day or a month."""

    runs: int
    per: Literal["day", "month"]


def read_quantity(text: str) -> Quantity:
    """The credit that somebody wrote: `10CNY`, `$2.50`, `100runs`.

    Raises:
        UsageError: It is none.
    """
    if found := _RUNS.fullmatch(text.strip()):
        return Quantity(_count(found[1], text), "runs")
    try:
        nanos, currency = read_amount(text)
    except ValueError as error:
        message = f"{text!r} {error}; a credit is 10CNY, 2.50USD or 100runs"
        raise UsageError(message) from error
    if currency is None:
        message = f"{text!r} does not say of what; give {text.strip()}CNY or {text.strip()}runs"
        raise UsageError(message)
    return Quantity(nanos, currency)


def read_allowance(text: str) -> Allowance:
    """The free runs that somebody wrote: `5/day`, `100/month`; `0` for none.

    Raises:
        UsageError: It is none.
    """
    if text.strip() == "0":
        return Allowance(0, "day")
    found = _ALLOWANCE.fullmatch(text.strip())
    if not found:
        message = f"{text!r} is no number of free runs; give 5/day, 100/month or 0"
        raise UsageError(message)
    return Allowance(_count(found[1], text), "day" if found[2].lower() == "day" else "month")


def _count(digits: str, text: str) -> int:
    if int(digits) > MOST_UNITS:
        message = f"{text!r} is more than {MOST_UNITS:,}"
        raise UsageError(message)
    return int(digits)


def quantity_text(amount: int, unit: str) -> str:
    """A quantity for people: 3 runs, ¥2.50."""
    if unit == "runs":
        return f"{amount:,} run{'' if abs(amount) == 1 else 's'}"
    return amount_text(Decimal(amount) / NANOS, unit)
