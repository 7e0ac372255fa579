"""Text that others wrote, made so that it can be seen and does nothing."""

import re

# What is invisible, or moves what stands around it: controls, soft hyphen, zero width (but not the joiners that Persian
# and emoji need), bidi (Trojan Source, CVE-2021-42574), separators, tags that smuggle text, half a surrogate pair.
_ODD = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
MOST_CHARACTERS = 100_000
"""Of one text on a page."""


def visible(text: str) -> str:
    """The text with every character that hides, or that would move others, as its code: `⟨U+202E⟩`."""
    return _ODD.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text.replace("\r\n", "\n"))


def one_line(text: str, most: int) -> str:
    """The text in one line of at most so many characters."""
    line = " ".join(visible(text[: most * 4]).split())  # blanks shrink, so more is taken than will be shown
    return line if len(line) <= most and len(text) <= most * 4 else f"{line[: most - 1]}…"


def cut(text: str, most: int = MOST_CHARACTERS) -> tuple[str, int]:
    """The beginning of a text, and how many characters of it were left out."""
    return text[:most], max(len(text) - most, 0)
