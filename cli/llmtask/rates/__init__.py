"""Turns amounts into another currency, by the rate of the day: the European Central Bank's, or a pinned one.

Rates come from a cache. They are fetched when somebody asks for it (`fetch_rates`, `llmtask prices rates --fetch`), or
where config says `rates: {fetch: when_stale}` and a day is needed that the cache is too old for.
"""

import contextlib
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import get_args

from llmtask.download import download, without_password
from llmtask.errors import DownloadError, NoRateError, UsageError, did_you_mean
from llmtask.money import Cost, Currency
from llmtask.project import Project, require_rates_trust
from llmtask.rates.bank_file import MOST_BYTES, read_bank_file
from llmtask.rates.cache import Table, cache_path, read_table, store

__all__ = ["Converted", "Rates", "RatesStaleWarning", "fetch_rates", "load_rates"]

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_RETRY_AFTER_S = 6 * 3600  # after a fetch that nobody asked for
_WAY_OUT = (
    "`llmtask prices rates --fetch` fetches the ECB's, "
    "and `rates: {pinned_per_eur: {CNY: 7.80, USD: 1.10}}` in config.yaml does without"
)


class RatesStaleWarning(UserWarning):
    """New exchange rates could not be fetched; those at hand go on."""


@dataclass(frozen=True, slots=True)
class Converted:
    """An amount in another currency."""

    amount: Decimal
    """In units of the currency: multiplied first and divided once, 60 digits. Round where it is shown."""
    currency: Currency
    rate_date: date | None
    """The bank's day whose rate it is; None where no rate of the bank's was needed."""
    is_pinned: bool
    """Whether a pinned rate is in it."""


@dataclass(frozen=True, slots=True)
class _Factor:
    times: Decimal
    by: Decimal
    rate_date: date | None
    is_pinned: bool


class Rates:
    """Exchange rates by day. The bank's are read when the first one is needed."""

    def __init__(self, project: Project, today: date | None = None) -> None:
        """Take the project whose config says where rates come from, and today, for tests."""
        self._project = project
        self._source = project.config.rates
        self._today = today or datetime.now(UTC).date()
        self._factors: dict[tuple[str, str, date], _Factor] = {}
        self._table: Table | None = None
        self._is_read = self._has_tried = False

    @property
    def pinned_per_eur(self) -> Mapping[str, Decimal]:
        """The pinned rates, in units for 1 EUR."""
        return {str(currency): rate for currency, rate in self._source.pinned_per_eur.items()}

    @property
    def source(self) -> str:
        """Where the bank's rates come from."""
        return without_password(self._source.url)

    @property
    def fetched_at(self) -> datetime | None:
        """When the bank's rates were fetched; None where none are at hand."""
        table = self._at_hand()
        return table.fetched_at if table else None

    @property
    def newest(self) -> date | None:
        """The last day of the bank's rates at hand; None where none are."""
        table = self._at_hand()
        return table.newest if table else None

    @property
    def is_stale(self) -> bool:
        """Whether the bank's rates at hand are older than config allows, or missing."""
        return self.newest is None or (self._today - self.newest).days > self._source.stale_after_days

    def convert(self, cost: Cost, to: Currency, on: date) -> Converted:
        """An amount in another currency, by the rate of the last day on or before `on`.

        Args:
            cost: The amount.
            to: The currency to have it in.
            on: The day, such as that of the call; one without a rate has that of the day before.

        Raises:
            NoRateError: No such rate is at hand, or the currency is none of ours; names the ways out.
            UntrustedError: Config has rates fetched from a source that is not the starter's, and nobody trusted it.
        """
        factor = self._factor(cost.currency, to, on)
        amount = _EXACT.divide(_EXACT.multiply(cost.amount, factor.times), factor.by)
        return Converted(amount, to, factor.rate_date, factor.is_pinned)

    def _factor(self, base: str, to: str, on: date) -> _Factor:
        key = (base, to, on)
        if key not in self._factors:
            self._factors[key] = self._found(base, to, on)
        return self._factors[key]

    def _found(self, base: str, to: str, on: date) -> _Factor:
        """The cross rate over EUR, both legs of one day."""
        for currency in (base, to):
            if currency not in get_args(Currency):
                message = f"unknown currency {currency!r}{did_you_mean(currency, get_args(Currency))}"
                raise NoRateError(message)
        if base == to:
            return _Factor(Decimal(1), Decimal(1), None, False)
        needed = {base, to} - {"EUR"}
        pinned = self.pinned_per_eur
        day, per_eur = self._of_the_bank(sorted(needed - pinned.keys()), on)
        per_eur = {"EUR": Decimal(1), **pinned, **per_eur}
        return _Factor(per_eur[to], per_eur[base], day, bool(needed & pinned.keys()))

    def _of_the_bank(self, currencies: list[str], on: date) -> tuple[date | None, dict[str, Decimal]]:
        if not currencies:
            return None, {}
        table = self._for(on)
        found = table.per_eur(currencies, on) if table else None
        if found is None:
            since = f" on or before {on}: those at hand begin on {table.oldest}" if table else " at hand"
            message = f"no exchange rates of {' and '.join(currencies)}{since}; {_WAY_OUT}"
            raise NoRateError(message)
        return found

    def _at_hand(self) -> Table | None:
        if not self._is_read:
            self._table, self._is_read = read_table(self._source.url), True
        return self._table

    def _for(self, on: date) -> Table | None:
        """The bank's rates, fetched anew where `on` needs newer ones and config allows it."""
        table = self._at_hand()
        is_enough = table is not None and (table.newest >= on or not self.is_stale)
        if is_enough or self._has_tried or self._source.fetch == "never":
            return table
        self._has_tried = True
        if not _tried_lately(self._source.url):
            self._table = self._fetched_unasked(table)
        return self._table

    def _fetched_unasked(self, table: Table | None) -> Table | None:
        try:
            return _fetch(self._project, self._today)
        except (DownloadError, UsageError) as error:
            if table is None:
                message = f"{error}; {_WAY_OUT}"
                raise NoRateError(message) from error
            warnings.warn(f"{error}; the rates of {table.newest} go on", RatesStaleWarning, stacklevel=2)
            return table


def load_rates(project: Project, *, today: date | None = None) -> Rates:
    """The exchange rates that a project converts by. Nothing is read, fetched or raised before one is needed.

    Args:
        project: The project.
        today: Today, for tests.
    """
    return Rates(project, today)


def fetch_rates(project: Project, *, today: date | None = None) -> Rates:
    """Fetch the bank's rates now, add them to those at hand, and give both.

    Raises:
        DownloadError: They cannot be fetched, or what came is not the bank's file.
        UntrustedError: They would come from a source that is not the starter's, and nobody trusted the project.
        UsageError: They cannot be stored.
    """
    _fetch(project, today or datetime.now(UTC).date())
    return Rates(project, today)


def _fetch(project: Project, today: date) -> Table:
    source = project.config.rates
    require_rates_trust(project)
    with contextlib.suppress(OSError):
        _mark(source.url).parent.mkdir(parents=True, exist_ok=True)
        _mark(source.url).touch()
    days = read_bank_file(download(source.url, most_bytes=MOST_BYTES), without_password(source.url), today)
    try:
        before = read_table(source.url)
    except NoRateError:  # damaged: it is written anew
        before = None
    return store(source.url, days, before)


def _mark(url: str) -> Path:
    """A file whose time says when the rates were last asked for."""
    return cache_path(url).with_suffix(".asked")


def _tried_lately(url: str) -> bool:
    try:
        return 0 <= time.time() - _mark(url).stat().st_mtime < _RETRY_AFTER_S
    except OSError:
        return False
