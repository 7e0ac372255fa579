"""Whether a quote stands in the input: exactly, or within a number of edits, after folding."""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»「」『』〝〞", '"'),
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("‐‑‒–—―−－﹣~〜～", "-"),
        "。": ".",
        "、": ",",
        "\u00ad": None,  # what is not seen: soft hyphen, zero-width signs, byte order mark
        "\u200b": None,
        "\u200c": None,
        "\u200d": None,
        "\u2060": None,
        "\ufeff": None,
    }
)
_EMPHASIS = re.compile(r"\*\*|__|`+")
_SPACED = r"[^\W\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_NEEDLESS_SPACE = re.compile(rf"(?<!{_SPACED})\s+|\s+(?!{_SPACED}|\s)")
_SPACE = re.compile(r"\s+")
_FARTHEST = 0.4  # of the quote's length: a passage with more edits than that resembles nothing
_SHOWN = 80


def fold(text: str, *, casefold: bool = False) -> str:
    """The text without what differs between two ways of typing the same.

    NFKC (full-width letters and punctuation), one kind of quotes and of dashes, no Markdown emphasis. White space
    stays, as one space, only between two words of a script that writes spaces: a line break inside Chinese, a space
    beside punctuation and the one of `8 年` go.

    Args:
        text: Any text.
        casefold: Take upper and lower case as the same, too.
    """
    plain = unicodedata.normalize("NFKC", _EMPHASIS.sub("", text).translate(_SIGNS)).translate(_SIGNS).strip()
    plain = _SPACE.sub(" ", _NEEDLESS_SPACE.sub("", plain))
    return plain.casefold() if casefold else plain


def ungrounded(quote: str, sources: Sequence[str], edits: int = 0) -> str | None:
    """Why a quote does not count as taken from the sources, or None.

    Quotes around it and punctuation at its end are not compared. An ellipsis is compared as it is: a quote that leaves
    something out is a paraphrase. Upper and lower case differ.

    Args:
        quote: What the answer gives as quoted.
        sources: The inputs. The quote must stand in one of them, not across two.
        edits: Letters that may be inserted, left out or changed (Levenshtein); of a short quote at most a quarter of
        its
            length, since any text is within three edits of a word of three letters.

    Returns:
        None, or such as `not in the input; nearest: 'Led migration of 4.6M orders' (3 edits)`.
    """
    wanted = fold(quote)
    if wanted and any(quote in source for source in sources):
        return None
    folded = [_folded(source) for source in sources]
    bare = wanted.strip("\"'").rstrip(".,;:!?\"'")
    if not bare:
        return "quotes nothing"
    ellipsis = "..." in wanted
    if any(wanted in source or (bare in source and not ellipsis) for source in folded):
        return None
    passage, distance = min(
        (nearest(bare, source) for source in folded), key=lambda found: found[1], default=("", len(bare))
    )
    if distance <= min(edits, len(bare) // 4) and not ellipsis:
        return None
    return _reason(passage, distance, len(bare), ellipsis=ellipsis)


def nearest(quote: str, source: str) -> tuple[str, int]:
    """The passage of a source that is fewest edits away from a quote, and how many; both folded already.

    Where several are as near, the one that ends first.
    """
    distance, end = min((score, end) for end, score in enumerate(_scores(quote, source)))
    # Read backwards from its end the passage has the same distance; it is no longer than the quote and all edits.
    window = source[max(0, end - len(quote) - distance) : end]
    backwards = enumerate(_scores(quote[::-1], window[::-1], anchored=True))
    length = min((length for length, score in backwards if score == distance), key=lambda one: abs(one - len(quote)))
    return window[len(window) - length :], distance


@functools.lru_cache(maxsize=16)
def _folded(source: str) -> str:
    """As `fold`, kept: many quotes of an answer are looked up in the same few inputs."""
    return fold(source)


def _scores(quote: str, source: str, *, anchored: bool = False) -> Iterator[int]:
    """For each end in a source, from 0 on, the edits from the quote to the nearest passage that ends there.

    Myers' bit-parallel algorithm ("A fast bit-vector algorithm for approximate string matching", J. ACM 46, 1999): one
    column of the matrix is one integer, so Python's long integers do a column in about a microsecond. rapidfuzz has no
    exact search of this kind: its partial_ratio slides a window of the quote's length and counts other edits.

    Args:
        quote: Not empty.
        source: Where to look.
        anchored: The passage begins where the source does.
    """
    bits = _bits(quote)
    mask, top = (1 << len(quote)) - 1, 1 << len(quote) >> 1
    plus, minus, score = mask, 0, len(quote)
    yield score
    for sign in source:
        same = bits.get(sign, 0)
        vertical = same | minus
        horizontal = (((same & plus) + plus) ^ plus) | same
        up, down = minus | (mask & ~(horizontal | plus)), plus & horizontal
        score += bool(up & top) - bool(down & top)
        up, down = up << 1 | anchored, down << 1  # else the matrix' first row stays zero
        plus, minus = (down | ~(vertical | up)) & mask, up & vertical & mask
        yield score


def _bits(quote: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, sign in enumerate(quote):
        found[sign] = found.get(sign, 0) | 1 << at
    return found


def _reason(passage: str, distance: int, length: int, *, ellipsis: bool) -> str:
    why = "not in the input"
    if ellipsis:
        why += " as it stands: an ellipsis leaves something out, so it is no quote"
    if not passage or distance > _FARTHEST * length:
        return why
    shown = passage if len(passage) <= _SHOWN else passage[: _SHOWN - 1] + "…"
    return f"{why}; nearest: {shown!r} ({distance} edit{'' if distance == 1 else 's'})"
