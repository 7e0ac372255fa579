"""Where the answer stands in a model's text: the last complete object at the top level that looks like it. Linear."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llmtask.answer.errors import InvalidError

MOST_CHARS = 1_048_576
"""Longer texts are no answers: refused before anything is looked for in them."""

WRAPPERS = ("output_formatter", "properties", "arguments")
"""Keys that models put around a whole answer."""

_DEEPEST = 128
_MOST_OBJECTS = 10_000  # more of them at the top level are no answer
_OPENING = re.compile(r"[{\[]")
_MARK = re.compile(r'["{}\[\]]')
_STRING_REST = re.compile(r'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_THOUGHT_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THINKING = re.compile(r"\s*<think(?:ing)?>", re.IGNORECASE)
_TAGS = re.compile(r"<\|begin_of_box\|>|<\|/?end_of_box\|>|</?answer>", re.IGNORECASE)  # GLM-V's box, and others' tags
_AROUND = " \t\r\n\f\v\ufeff\u200b\u3000"


@dataclass(frozen=True, slots=True)
class Shape:
    """What an answer can be known by: the keys at its top."""

    keys: re.Pattern[str]

    @classmethod
    def of(cls, names: Iterable[str], title: str) -> "Shape":
        """The shape of a schema with these properties and this title."""
        words = "|".join(re.escape(name) for name in sorted({*names, title, *WRAPPERS}, key=len, reverse=True) if name)
        return cls(re.compile(rf"(?<!\w)(?:{words})\\?[\"'”＂]?\s{{0,9}}[:：]"))

    def is_in(self, text: str) -> bool:
        """Whether a text holds one of the keys with its colon."""
        return self.keys.search(text) is not None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer's text, and where in the whole it ends."""

    text: str
    end: int


def unwrapped(text: str) -> str:
    """The text without thinking, box and answer tags, and a fence around all of it."""
    is_object = text.lstrip(_AROUND).startswith("{")  # which may talk about tags
    thoughts = [] if is_object else list(_THOUGHT_END.finditer(text))
    if thoughts:
        text = text[thoughts[-1].end() :]
    elif _THINKING.match(text):
        return ""  # it never stopped thinking
    text = text.strip(_AROUND)
    if not text.startswith(("{", "[")):
        text = _TAGS.sub("", text).strip(_AROUND)
    if text.startswith("```") and text.endswith("```"):
        head, _, body = text.partition("\n")
        if body.count("```") == 1 and "{" not in head:
            text = body[:-3]
    return text.strip(_AROUND)


def answer_in(text: str, shape: Shape) -> Found | None:
    """The last complete top-level object that looks like an answer.

    Raises:
        InvalidError: An object that looks like an answer begins and does not end: it is cut, and whatever stands
            before it is not the answer.
    """
    spans, open_at = _spans(text)
    if open_at is not None:
        whole = _naively_whole(text, shape)
        if whole is None:
            raise InvalidError(("the answer breaks off before its end",))
        return whole
    for begin, end in reversed(spans):
        if shape.is_in(text[begin:end]):
            return Found(text[begin:end], end)
    return None


def is_even(text: str) -> bool:
    """Whether as many brackets close as open, strings not told apart: a text that is cut has more that open."""
    return text.count("{") == text.count("}") and text.count("[") == text.count("]")


def _spans(text: str) -> tuple[list[tuple[int, int]], int | None]:
    """The complete objects at the top level, and where an object begins that does not end.

    Quotes in prose need not come in pairs: they count inside brackets only.

    Raises:
        InvalidError: There are more, or they are deeper, than any answer has.
    """
    spans: list[tuple[int, int]] = []
    opened: list[tuple[str, int]] = []
    at = 0
    while mark := (_MARK if opened else _OPENING).search(text, at):
        at = mark.end()
        sign = mark[0]
        if sign == '"':
            rest = _STRING_REST.match(text, at)
            if rest is None:
                break  # the string never ends, nor does what it stands in
            at = rest.end()
        elif sign in "{[":
            opened.append((sign, mark.start()))
        else:
            begun, start = opened.pop()
            if not opened and begun == "{" and sign == "}":
                spans.append((start, at))
        if len(opened) > _DEEPEST or len(spans) > _MOST_OBJECTS:
            raise InvalidError(("answer: has more or deeper brackets than any answer",))
    return spans, next((start for sign, start in opened if sign == "{"), None)


def _naively_whole(text: str, shape: Shape) -> Found | None:
    """From the first brace to the last where the braces come out even: a quote is missing, not the end."""
    start, end = text.find("{"), text.rfind("}") + 1
    span = text[start:end]
    is_whole = 0 <= start < end and not text[end:].strip(_AROUND + "`")
    keys = [found[0] for found in shape.keys.finditer(span)]
    is_one = not re.search(r"\}\s*\{", span) and len(keys) == len(set(keys))
    return Found(span, end) if is_whole and is_even(span) and is_one and shape.is_in(span) else None
