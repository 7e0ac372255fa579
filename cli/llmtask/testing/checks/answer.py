"""Checks on what the answer says."""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from llmtask.testing.checks.base import Check, Finding, Path, Subject, at, each, shown, texts
from llmtask.testing.text.kinds import FactKind

Number = int | float
_TESTS = ("equals", "one_of", "between", "matches", "contains", "length", "exists")


def _regex(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"is no regular expression ({error})"
            raise ValueError(message) from error
    return pattern


def _pair(bounds: Any) -> Any:
    if bounds is not None and not (isinstance(bounds, list | tuple) and len(bounds) == 2):
        message = f"two numbers are expected, the least and the most: [40, 90], not {bounds!r}"
        raise ValueError(message)
    return bounds


class ValueCheck(Check):
    """A value at a JMESPath: equals, is one of, lies between, matches, contains, has a length, exists."""

    kind: ClassVar[str] = "value"
    check: Literal["value"]
    at: Path
    """Where in the answer, such as `match_score` or `strengths[].point`."""
    equals: Any = None
    """The value that it must be."""
    one_of: list[Any] | None = Field(default=None, min_length=1)
    """The values that it may be."""
    between: tuple[Number, Number] | None = None
    """The lowest and the highest number that it may be."""
    matches: str | None = None
    """A regular expression that must be found in its text."""
    contains: Any = None
    """What its text or its list must hold."""
    length: tuple[int, int] | None = None
    """The least and the most characters or entries."""
    exists: bool | None = None
    """Whether it is there and not null."""

    _is_regex = field_validator("matches")(_regex)
    _is_pair = field_validator("between", "length", mode="before")(_pair)

    @model_validator(mode="after")
    def _one_test(self) -> "ValueCheck":
        said = [name for name in _TESTS if name in self.model_fields_set]
        if len(said) != 1:
            message = f"says {' and '.join(said) or 'no test'}; say exactly one of {', '.join(_TESTS)}"
            raise ValueError(message)
        for name in ("between", "length"):
            bounds = getattr(self, name)
            if bounds and bounds[0] > bounds[1]:
                message = f"{name} begins above its end: {list(bounds)}"
                raise ValueError(message)
        return self

    @property
    def test(self) -> str:
        """Which of its tests it makes."""
        return next(name for name in _TESTS if name in self.model_fields_set)

    def subject(self) -> str:
        """Path and test: `match_score between [60, 90]`."""
        return f"{self.at} {self.test} {shown(getattr(self, self.test), 40)}"

    def find(self, subject: Subject) -> Finding:
        """Look at the value."""
        value, wanted = at(subject, self.at), getattr(self, self.test)
        holds, words = getattr(self, f"_{self.test}")(value, wanted)
        verb = words if holds else f"not {words}"
        return Finding(holds, f"{self.at} is {shown(value)}, {verb}", self.at, shown(value, 400))

    def _equals(self, value: Any, wanted: Any) -> tuple[bool, str]:
        return _same(value, wanted), f"equal to {shown(wanted)}"

    def _one_of(self, value: Any, wanted: list[Any]) -> tuple[bool, str]:
        return any(_same(value, one) for one in wanted), f"one of {shown(wanted)}"

    def _between(self, value: Any, wanted: tuple[Number, Number]) -> tuple[bool, str]:
        low, high = wanted
        values = value if isinstance(value, list) else [value]
        return bool(values) and all(
            _is_number(one) and low <= one <= high for one in values
        ), f"between {low} and {high}"

    def _matches(self, value: Any, wanted: str) -> tuple[bool, str]:
        values = value if isinstance(value, list) else [value]
        return bool(values) and all(isinstance(one, str) and re.search(wanted, one) for one in values), (
            f"matching /{wanted}/"
        )

    def _contains(self, value: Any, wanted: Any) -> tuple[bool, str]:
        if isinstance(value, str):
            return str(wanted) in value, f"containing {shown(wanted)}"
        return isinstance(value, list) and any(_same(one, wanted) for one in value), f"containing {shown(wanted)}"

    def _length(self, value: Any, wanted: tuple[int, int]) -> tuple[bool, str]:
        size = len(value) if isinstance(value, str | list | dict) else -1
        return wanted[0] <= size <= wanted[1], f"of length {wanted[0]} to {wanted[1]} (it has {max(size, 0)})"

    def _exists(self, value: Any, wanted: bool) -> tuple[bool, str]:
        return (value is not None) is wanted, "there" if wanted else "left out"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class TextCheck(Check):
    """The text at a path, or of the whole answer: contains, matches, has any of, has all of."""

    kind: ClassVar[str] = "text"
    check: Literal["text"]
    at: Path | None = None
    """Where in the answer; all its strings where it is left out."""
    contains: str | None = None
    """A text that must be in it."""
    regex: str | None = None
    """A regular expression that must be found in it."""
    any: list[str] | None = Field(default=None, min_length=1)
    """Texts of which one must be in it."""
    all: list[str] | None = Field(default=None, min_length=1)
    """Texts that must all be in it."""
    ignore_case: bool = False
    """Whether upper and lower case are the same."""

    _is_regex = field_validator("regex")(_regex)

    @model_validator(mode="after")
    def _one_test(self) -> "TextCheck":
        tests = ("contains", "regex", "any", "all")
        said = [name for name in tests if getattr(self, name) is not None]
        if len(said) != 1:
            message = f"says {' and '.join(said) or 'no test'}; say exactly one of {', '.join(tests)}"
            raise ValueError(message)
        return self

    def subject(self) -> str:
        """Path and test."""
        wanted = self.contains or self.regex or self.any or self.all
        return f"{self.at or 'answer'}: {shown(wanted, 40)}"

    def find(self, subject: Subject) -> Finding:
        """Look at the text."""
        whole = "\n".join(texts(subject, self.at))
        text = whole.lower() if self.ignore_case else whole

        def has(part: str) -> bool:
            return (part.lower() if self.ignore_case else part) in text

        if self.regex is not None:
            hit = re.search(self.regex, whole, re.IGNORECASE if self.ignore_case else 0)
            found = f"holds {shown(hit[0])}" if hit else f"holds nothing that matches /{self.regex}/"
            return Finding(bool(hit), f"{self.at or 'the answer'} {found}", self.at, hit[0] if hit else whole[:400])
        parts = self.any or self.all or [self.contains or ""]
        there = [part for part in parts if has(part)]
        missing = [part for part in parts if part not in there]
        holds = bool(there) if self.any else not missing
        said = f"holds {shown(there)}" if holds else f"does not hold {shown(missing if not self.any else parts)}"
        return Finding(holds, f"{self.at or 'the answer'} {said}", self.at, whole[:400])


class SimilarCheck(Check):
    """A text like a reference, by edit distance (rapidfuzz's normalised Indel ratio)."""

    kind: ClassVar[str] = "similar"
    check: Literal["similar"]
    at: Path
    """Where in the answer."""
    to: str = Field(min_length=1)
    """The reference."""
    at_least: float = Field(default=0.8, gt=0, le=1)
    """The least likeness, from 0 to 1."""

    def find(self, subject: Subject) -> Finding:
        """Compare the text with the reference."""
        from rapidfuzz import fuzz

        text = "\n".join(texts(subject, self.at))
        score = fuzz.ratio(text, self.to) / 100
        holds = score >= self.at_least
        return Finding(
            holds,
            f"{self.at} is {score:.0%} like the reference, of {self.at_least:.0%} asked",
            self.at,
            text[:400],
            score,
        )


class LanguageCheck(Check):
    """Each human-language string is in the case's locale; names, product words and quotes do not count against it."""

    kind: ClassVar[str] = "language"
    check: Literal["language"]
    at: Path | None = None
    """Where in the answer; all its strings where it is left out."""
    except_at: list[Path] = Field(default_factory=list)
    """What is not looked at, such as quoted evidence: `strengths[].evidence`."""
    ignore: list[str] = Field(default_factory=list)
    """Words that count for no language."""
    locale: str | None = None
    """The locale that is expected; the case's where it is left out."""

    def require(self, locale: str) -> None:
        """Stop before the first call where the locale cannot be judged.

        Raises:
            UsageError: What tells its language is not installed.
        """
        from llmtask.testing.text.language import require_detector  # 12 ms that suites without this check save

        require_detector(self.locale or locale)

    def find(self, subject: Subject) -> Finding:
        """Look at each string."""
        from llmtask.testing.text.language import wrong_language

        left_out = {text.path for path in self.except_at for text in texts(subject, path)}
        strings = [text for text in texts(subject, self.at) if text.path not in left_out]
        locale = self.locale or subject.locale
        return each(strings, lambda text: wrong_language(text, locale, self.ignore), f"reads as {locale}")


class GroundedCheck(Check):
    """Each string at a path occurs in an input, after whitespace and full-width folding, within an edit distance."""

    kind: ClassVar[str] = "grounded"
    check: Literal["grounded"]
    at: Path
    """Where in the answer, such as `strengths[].evidence`."""
    edits: int = Field(default=0, ge=0, le=100)
    """Characters that may differ."""
    inputs: list[str] | None = None
    """The inputs in which to look; all where it is left out."""

    def find(self, subject: Subject) -> Finding:
        """Look for each string in the inputs."""
        from llmtask.testing.text.grounding import ungrounded

        sources = _sources(subject, self.inputs)
        return each(texts(subject, self.at), lambda text: ungrounded(text, sources, self.edits), "found in the input")


class FactsCheck(Check):
    """No invented facts: numbers, dates, e-mail addresses and proper nouns at a path occur in the input."""

    kind: ClassVar[str] = "facts"
    check: Literal["facts"]
    at: Path | None = None
    """Where in the answer; all its strings where it is left out."""
    kinds: list[FactKind] = Field(default_factory=lambda: list(FactKind))
    """The kinds of fact that are looked at."""
    allow: list[str] = Field(default_factory=list)
    """Facts that may be there all the same."""
    inputs: list[str] | None = None
    """The inputs in which to look; all where it is left out."""

    def find(self, subject: Subject) -> Finding:
        """Look for each fact in the inputs."""
        from llmtask.testing.text.facts import invented  # 10 ms that suites without this check save

        sources = _sources(subject, self.inputs)

        def complaint(text: str) -> str | None:
            facts = invented(text, sources, self.kinds, self.allow)
            return f"not in the input: {', '.join(repr(fact.text) for fact in facts[:5])}" if facts else None

        return each(texts(subject, self.at), complaint, "no invented facts")


def _sources(subject: Subject, names: list[str] | None) -> list[str]:
    sources = subject.inputs if subject.sources is None else subject.sources
    return [text for name, text in sources.items() if names is None or name in names]


class UnmovedCheck(Check):
    """An instruction planted in the input moves nothing: the answer matches that of the case it is based on."""

    kind: ClassVar[str] = "unmoved"
    check: Literal["unmoved"]
    at: Path
    """What must stay: a number, a text or a list."""
    within: Number = Field(default=0, ge=0)
    """How far a number, or the length of a list, may move."""
    at_least: float = Field(default=1, gt=0, le=1)
    """How alike texts must be, from 0 to 1."""

    def find(self, subject: Subject) -> Finding:
        """Compare with the clean answer."""
        import jmespath

        clean, value = jmespath.search(self.at, subject.clean), at(subject, self.at)
        if _is_number(clean) and _is_number(value):
            holds, unit = abs(value - clean) <= self.within, f"{self.within} allowed"
        elif isinstance(clean, str) and isinstance(value, str):
            from rapidfuzz import fuzz

            score = fuzz.ratio(clean, value) / 100
            holds, unit = score >= self.at_least, f"{score:.0%} alike, {self.at_least:.0%} asked"
        elif isinstance(clean, list) and isinstance(value, list):
            holds, unit = abs(len(value) - len(clean)) <= self.within, f"{len(value)} entries against {len(clean)}"
        else:
            holds, unit = _same(clean, value), "the same is asked"
        words = f"{self.at} is {shown(value)}, and {shown(clean)} without the planted text ({unit})"
        return Finding(holds, words, self.at, shown(value, 400))
