"""Reads the European Central Bank's files of reference rates: zip, CSV and XML, of all days or of the last one.

The bank states units of a currency for 1 EUR, by working day of TARGET:

    eurofxref-hist.csv   Date,USD,JPY,...,CNY,...,        2026-11-24,1.1498,179.2,...     N/A where there is none
    eurofxref.csv        Date, USD, JPY, ..., CNY, ...,   24 November 2026, 1.1498, 179.2, ...
    eurofxref-*.xml      <Cube time='2026-11-24'><Cube currency='USD' rate='1.1498'/>...</Cube>
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from llmtask.errors import DownloadError

BANK_CURRENCIES = ("CNY", "USD")
"""What is kept of the bank's currencies, in the order of the cache's columns."""
MOST_BYTES = 32 * 2**20  # all days since 1999 are 2 MiB as CSV and 8 as XML
RATE = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,10})?")

Days = dict[str, dict[str, str]]
"""Rates as the bank writes them, by ISO day and currency: `{"2026-11-24": {"USD": "1.1498"}}`."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")  # never the locale's
_TAG = re.compile(r"<Cube\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*["']([^"']*)["']""")


def read_bank_file(data: bytes, label: str, today: date) -> Days:
    """The rates in a file of the bank's.

    Args:
        data: The file.
        label: Its name, for messages.
        today: Today; a file that knows the day after tomorrow is not the bank's.

    Raises:
        DownloadError: It is not such a file, or not whole.
    """
    days: Days = {}
    for day, currency, rate in _rates(_text(data, label), label):
        if currency not in BANK_CURRENCIES or rate in ("", "N/A"):
            continue
        if not RATE.fullmatch(rate) or not Decimal(rate):
            raise _bad(label, f"its rate of {currency} on {day} is {rate[:20]!r}")
        if day > today + timedelta(days=1):
            raise _bad(label, f"it has a rate of {day}, which is still to come")
        days.setdefault(day.isoformat(), {})[currency] = rate
    if not days:
        raise _bad(label, f"it has no rates of {' or '.join(BANK_CURRENCIES)}")
    return days


def _bad(label: str, why: str) -> DownloadError:
    message = f"{label} is no whole file of the ECB's reference rates: {why}; rates at hand stay as they are"
    return DownloadError(message)


def _text(data: bytes, label: str) -> str:
    if data.startswith(b"PK"):
        data = _unzipped(data, label)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(label, "it is not UTF-8 text") from error


def _unzipped(data: bytes, label: str) -> bytes:
    """The first file of a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(archive.infolist()[0]) as file:
            found = file.read(MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, IndexError, NotImplementedError, RuntimeError, OSError) as error:
        raise _bad(label, f"the archive cannot be read ({str(error) or type(error).__name__})") from error
    if len(found) > MOST_BYTES:
        raise _bad(label, f"it unpacks to more than {MOST_BYTES // 2**20} MiB")
    return found


def _rates(text: str, label: str) -> Iterator[tuple[date, str, str]]:
    """Day, currency and rate of every cell, the currencies that are not ours among them."""
    start = text.lstrip()[:1]
    if start == "<" and "<Cube" not in text:
        raise _bad(label, "it is a web page")
    yield from _from_xml(text, label) if start == "<" else _from_csv(text, label)


def _from_xml(text: str, label: str) -> Iterator[tuple[date, str, str]]:
    """By the pattern that the bank itself publishes: no parser of XML, and none of the traps of one."""
    day = None
    for tag in _TAG.finditer(text):
        attributes = dict(_ATTRIBUTE.findall(tag[1]))
        if "time" in attributes:
            day = _day(attributes["time"], label)
        elif "currency" in attributes:
            if day is None:
                raise _bad(label, "a rate stands before the first day")
            yield day, attributes["currency"], attributes.get("rate", "")
    if not text.rstrip().endswith("Envelope>"):
        raise _bad(label, "its end is missing")


def _from_csv(text: str, label: str) -> Iterator[tuple[date, str, str]]:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise _bad(label, str(error)) from error
    if not rows or rows[0][0] != "Date":
        raise _bad(label, "its first line does not begin with Date")
    for row in rows[1:]:
        if len(row) != len(rows[0]):
            raise _bad(label, f"the line of {row[0][:20]!r} has {len(row)} cells, the first line {len(rows[0])}")
        day = _day(row[0], label)
        for currency, rate in zip(rows[0][1:], row[1:], strict=True):
            yield day, currency, rate


def _day(text: str, label: str) -> date:
    """The day in `2026-11-24` or `24 November 2026`."""
    try:
        if " " not in text:
            return date.fromisoformat(text)
        day, month, year = text.split()
        return date(int(year), _MONTHS.index(month[:3].lower()) + 1, int(day))
    except ValueError as error:
        raise _bad(label, f"{text[:20]!r} is no day") from error
