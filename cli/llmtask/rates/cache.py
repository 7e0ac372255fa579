"""Keeps a bank's rates in the user's cache folder, a file per source, in a form that is quick to ask."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from llmtask.download import without_password
from llmtask.errors import NoRateError, UsageError
from llmtask.rates.bank_file import BANK_CURRENCIES, RATE, Days

_HEAD = 3  # lines: where from, when, the columns
_COLUMNS = ",".join(("date", *BANK_CURRENCIES))


@dataclass(frozen=True)
class Table:
    """A bank's rates, a line per day: `2026-11-24,8.1423,1.1498`, the oldest first."""

    path: Path
    fetched_at: datetime
    lines: list[str]

    @property
    def oldest(self) -> date:
        """The first day that it knows."""
        return self._day(self.lines[0])

    @property
    def newest(self) -> date:
        """The last day that it knows."""
        return self._day(self.lines[-1])

    def per_eur(self, currencies: Iterable[str], on: date) -> tuple[date, dict[str, Decimal]] | None:
        """Rates of one day for all of some currencies: the last such day on or before `on`; None where there is none.

        Raises:
            NoRateError: The file is damaged.
        """
        wanted = list(currencies)
        for index in range(bisect_right(self.lines, f"{on.isoformat()}~") - 1, -1, -1):
            cells = self._cells(self.lines[index])
            if all(cells.get(currency) for currency in wanted):
                return self._day(self.lines[index]), {currency: self._rate(cells[currency]) for currency in wanted}
        return None

    def _cells(self, line: str) -> dict[str, str]:
        try:
            return dict(zip(BANK_CURRENCIES, line.split(",")[1:], strict=True))
        except ValueError as error:
            raise _damaged(self.path) from error

    def _rate(self, cell: str) -> Decimal:
        if not RATE.fullmatch(cell):
            raise _damaged(self.path)
        return Decimal(cell)

    def _day(self, line: str) -> date:
        try:
            return date.fromisoformat(line.partition(",")[0])
        except ValueError as error:
            raise _damaged(self.path) from error


def cache_path(url: str) -> Path:
    """The file that holds what came from a URL: a project with a source of its own never changes another's rates."""
    from platformdirs import user_cache_path  # only where a rate is needed

    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    return user_cache_path("llmtask", appauthor=False) / "rates" / f"{name}.csv"


def read_table(url: str) -> Table | None:
    """What is at hand of a URL's rates; None where nothing is.

    Raises:
        NoRateError: The file is damaged or cannot be read.
    """
    path = cache_path(url)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _damaged(path) from error
    except OSError as error:
        way_out = "pin rates with `rates: {pinned_per_eur: ...}`"
        message = f"{path}, which holds the exchange rates, cannot be read ({error.strerror}); {way_out}"
        raise NoRateError(message) from error
    if len(lines) <= _HEAD or lines[_HEAD - 1] != _COLUMNS:
        raise _damaged(path)
    try:
        return Table(path, datetime.fromisoformat(lines[1].removeprefix("# fetched ")), lines[_HEAD:])
    except ValueError as error:
        raise _damaged(path) from error


def store(url: str, days: Days, before: Table | None) -> Table:
    """Add rates to those that are at hand, whole or not at all.

    Args:
        url: Where they come from.
        days: The rates.
        before: What was at hand; of a day that both know, the new one holds.

    Raises:
        UsageError: They cannot be written.
    """
    lines = {line[:10]: line for line in before.lines} if before else {}
    lines |= {day: ",".join((day, *(rates.get(one, "") for one in BANK_CURRENCIES))) for day, rates in days.items()}
    table = Table(cache_path(url), datetime.now(UTC).replace(microsecond=0), sorted(lines.values()))
    head = (f"# {without_password(url)}", f"# fetched {table.fetched_at.isoformat()}", _COLUMNS)
    draft = table.path.with_suffix(f".{os.urandom(4).hex()}")
    try:
        table.path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text("\n".join((*head, *table.lines)) + "\n", encoding="utf-8")
        draft.replace(table.path)
    except OSError as error:
        message = f"{table.path} cannot be written ({error.strerror}); pin rates with `rates: {{pinned_per_eur: ...}}`"
        raise UsageError(message) from error
    return table


def _damaged(path: Path) -> NoRateError:
    message = f"{path}, which holds the exchange rates, is damaged; `llmtask prices rates --fetch` writes it anew"
    return NoRateError(message)
