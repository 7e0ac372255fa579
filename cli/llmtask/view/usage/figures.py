"""A report's numbers in words."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from itertools import pairwise

from llmtask.money import amount_text
from llmtask.view.console import can_say
from llmtask.view.usage.measures import Change, Kind, Number

NONE = "-"
_MANY = 10_000  # above it, the short form of a number is in thousands
_MOST_DIGITS, _LEAST_DIGITS = 6, 2  # after the point of an amount
_UNITS = "kMGT"
BLOCKS = "▁▂▃▄▅▆▇█"
_EIGHTHS = "▏▎▍▌▋▊▉█"


def figure(value: Number | None, kind: Kind, *, short: bool = False) -> str:
    """A number of a table."""
    if value is None:
        return NONE
    if kind == "share":
        return share(float(value))
    if kind == "ms":
        return seconds(float(value))
    return shorter(int(value)) if short else f"{int(value):,}"


def share(value: float) -> str:
    """Hundredths to a tenth; never 100 where something is missing, never 0 where there is something."""
    if value <= 0:
        return "0"
    if value >= 1:
        return "100"
    return f"{min(max(value * 100, 0.1), 99.9):.1f}"


def seconds(milliseconds: float) -> str:
    """Seconds in three digits: 0.42, 12.4, 420."""
    value = milliseconds / 1000
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def shorter(value: int) -> str:
    """A count in at most five characters: 9,999, 12.3k, 4.56M."""
    if abs(value) < _MANY:
        return f"{value:,}"
    power = 1
    while abs(value) >= 999.5 * 1000**power and power < len(_UNITS):
        power += 1
    size = value / 1000**power
    digits = 0 if abs(size) >= 99.95 else 1 if abs(size) >= 9.995 else 2
    return f"{size:.{digits}f}{_UNITS[power - 1]}"


def amounts(values: Sequence[Decimal | None], currency: str, *, short: bool = False) -> list[str]:
    """Amounts of one currency as a column: as many digits after the point as the finest of them needs, up to six.

    Args:
        values: None where there is none.
        currency: The currency.
        short: Fewer digits: four where all are below 1, else two.
    """
    known = [abs(value) for value in values if value is not None]
    if short:
        digits = 4 if known and max(known) < 1 else _LEAST_DIGITS
    else:
        digits = max([_LEAST_DIGITS, *(min(_places(value), _MOST_DIGITS) for value in known)])
    return [NONE if value is None else amount(value, currency, digits) for value in values]


def amount(value: Decimal, currency: str, digits: int | None = None) -> str:
    """An amount such as ¥0.002831; one that rounds to nothing and is something is told as less than the least."""
    if digits is None:
        digits = min(max(_places(value), _LEAST_DIGITS), _MOST_DIGITS)
    symbol, least = amount_text(Decimal(0), currency).removesuffix("0.00"), Decimal(1).scaleb(-digits)
    if not can_say(symbol):
        symbol = f"{currency} "
    if not value:
        return f"{symbol}0"
    rounded = abs(value).quantize(least, ROUND_HALF_UP)
    if not rounded:
        return f"<{symbol}{least}"
    return f"{'-' if value < 0 else ''}{symbol}{rounded:,.{digits}f}"


def _places(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def exact(value: Decimal) -> str:
    """An amount as programs read it: all its digits, down to a billionth of the unit for one that was converted."""
    nano = Decimal("1e-9")
    text = format(value.quantize(nano, ROUND_HALF_UP).normalize() if _places(value) > 9 else value.normalize(), "f")
    return "0" if text == "-0" else text


def changed(found: Change | None, kind: Kind, *, short: bool = False) -> str:
    """A change in words: `+134 +12.1%`, `-0.8pt`; in short without the 134."""
    if found is None:
        return ""
    if not found.delta:
        return "="
    sign = "-" if found.delta < 0 else "+"
    if kind == "share":
        return f"{sign}{max(abs(float(found.delta)) * 100, 0.1):.1f}pt"
    if short and found.percent is not None:
        return percent(found.percent)
    return f"{sign}{figure(abs(found.delta), kind, short=True)} {percent(found.percent)}"


def percent(value: float | None) -> str:
    """A change in hundredths; of what was nothing there are none."""
    if value is None:
        return "new"
    return f"{value:+.1f}%" if abs(value) < 99.95 else f"{value:+,.0f}%"


def spark(values: Iterable[Decimal | int], cells: int) -> str:
    """A curve of blocks: a character for one value, or for several neighbours where there are more than `cells`."""
    every = [Decimal(value) for value in values]
    if not every:
        return ""
    count = min(cells, len(every))
    bounds = [len(every) * index // count for index in range(count + 1)]
    means = [sum(every[low:high], Decimal(0)) / (high - low) for low, high in pairwise(bounds)]
    most = max(means)
    return "".join(_block(value, most) for value in means)


def _block(value: Decimal, most: Decimal) -> str:
    if value <= 0 or most <= 0:
        return " "
    return BLOCKS[int((value / most * (len(BLOCKS) - 1)).to_integral_value(ROUND_HALF_UP))]


def bar(value: Decimal | int, most: Decimal | int, cells: int) -> str:
    """A bar of so many characters for the most."""
    if not most or value <= 0:
        return ""
    eighths = max(int((Decimal(value) / Decimal(most) * cells * 8).to_integral_value(ROUND_DOWN)), 1)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8 - 1] if eighths % 8 else "")
