"""Token counts: what a vendor reported, or an estimate that says so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from llmtask.project import TokenEstimate

_CJK = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one model call."""

    input: int = 0
    """Input tokens, cache hits included."""
    output: int = 0
    """Output tokens, reasoning included."""
    cached: int = 0
    """Input tokens that the vendor's prompt cache held."""
    reasoning: int = 0
    """Output tokens spent on reasoning."""
    is_estimate: bool = False
    """Whether they were counted from characters because the vendor reported none."""

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        """The tokens of two calls; an estimate where either is one."""
        return Tokens(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.is_estimate or other.is_estimate,
        )


def estimate(text: str, rate: TokenEstimate) -> int:
    """About how many tokens a text has, rounded up.

    Args:
        text: Any text.
        rate: Tokens per character, by script.
    """
    return estimate_all((text,), rate)


def estimate_all(texts: Sequence[str], rate: TokenEstimate) -> int:
    """About how many tokens texts have together, a line feed between each two."""
    cjk = sum(map(_cjk, texts))
    chars = sum(map(len, texts)) + max(len(texts) - 1, 0)
    return -int(-(cjk * rate.cjk + (chars - cjk) * rate.other) // 1)


@lru_cache(maxsize=4)
def _cjk(text: str) -> int:
    """How many characters are Chinese, Japanese or Korean; many runs in a row share their system message."""
    return 0 if text.isascii() else sum(map(len, _CJK.findall(text)))
