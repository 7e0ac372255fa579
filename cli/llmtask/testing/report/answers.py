"""An answer as indented JSON, with what a check found fault with marked."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from llmtask.pages.inert import cut, visible
from llmtask.testing.checks import CheckResult

_MOST_LINES = 600  # that are compared: it takes up to their product in time
_MOST_COMPARED = 20_000  # characters of an answer beside another


class _Line(NamedTuple):
    text: str
    path: str
    """Of the value that it begins, such as `strengths[0].evidence`; of brackets that end one too."""


def json_text(value: Any) -> str:
    """Indented JSON in which Chinese stays readable."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    except (RecursionError, ValueError) as error:
        return f"({type(error).__name__}: {error})"


def marked_json(value: Any, checks: Iterable[CheckResult]) -> tuple[Markup, int]:
    """Indented JSON as HTML, the values at failed checks' paths marked; and how many characters were left out."""
    text, rest = cut(json_text(value))
    faults = [(_pattern(check.path), check.found or "") for check in checks if not check.passed and check.path]
    if rest or not faults:
        return escape(visible(text)), rest
    try:
        lines = list(_lines(value))
    except RecursionError:
        return escape(visible(text)), 0
    return Markup("\n").join(_marked(line, faults) for line in lines), 0


def differing(one: Any, other: Any) -> tuple[Markup, Markup]:
    """Two answers as indented JSON, the lines of each that the other has not marked."""
    texts = [visible(cut(json_text(value), _MOST_COMPARED)[0]).split("\n") for value in (one, other)]
    ours, theirs = (
        Markup("\n").join(
            escape(line) if index in same or not line.strip(" []{},") else _in_mark(line)
            for index, line in enumerate(lines)
        )
        for lines, same in zip(texts, _alike(*texts), strict=True)
    )
    return ours, theirs


def _alike(one: Sequence[str], other: Sequence[str]) -> tuple[set[int], set[int]]:
    """The indices of the lines that both have in the same order; of all lines where there are too many to compare."""
    if max(len(one), len(other)) > _MOST_LINES:
        return set(range(len(one))), set(range(len(other)))
    kept: tuple[set[int], set[int]] = set(), set()
    for begin, other_begin, size in SequenceMatcher(None, one, other).get_matching_blocks():
        kept[0].update(range(begin, begin + size))
        kept[1].update(range(other_begin, other_begin + size))
    return kept


def _in_mark(line: str) -> Markup:
    text = line.lstrip(" ")
    return Markup("{}<mark>{}</mark>").format(line[: len(line) - len(text)], text)


def _pattern(path: str) -> re.Pattern[str]:
    """What the paths at and below a check's path match; `[]` and `[*]` of a JMESPath are any entry."""
    text = re.escape(path).replace(r"\[\]", r"\[\d+\]").replace(r"\[\*\]", r"\[\d+\]")
    return re.compile(rf"{text}(?=$|[.\[])")


def _marked(line: _Line, faults: Sequence[tuple[re.Pattern[str], str]]) -> Markup:
    found = [text for pattern, text in faults if pattern.match(line.path)]
    if not found:
        return escape(visible(line.text))
    blank = line.text[: len(line.text) - len(line.text.lstrip(" "))]
    text = line.text[len(blank) :]
    part = next((one for one in found if one and json.dumps(one, ensure_ascii=False)[1:-1] in text), "")
    shown = json.dumps(part, ensure_ascii=False)[1:-1] or text
    before, _, after = text.partition(shown)
    return Markup("{}{}<mark>{}</mark>{}").format(blank, visible(before), visible(shown), visible(after))


def _lines(value: Any, path: str = "", head: str = "", indent: str = "", tail: str = "") -> Iterator[_Line]:
    """The lines of indented JSON, each with the path of its value.

    Args:
        value: JSON values.
        path: Of the value.
        head: What stands before it on its first line.
        indent: Of its lines.
        tail: A comma where another value follows.
    """
    if not value or not isinstance(value, dict | list):
        yield _Line(f"{indent}{head}{json.dumps(value, ensure_ascii=False, default=str)}{tail}", path)
        return
    is_list = isinstance(value, list)
    entries: list[tuple[Any, Any]] = list(enumerate(value) if isinstance(value, list) else value.items())
    yield _Line(f"{indent}{head}{'[' if is_list else '{'}", path)
    for name, one in entries:
        key = f"{json.dumps(str(name), ensure_ascii=False)}: "
        below = f"{path}[{name}]" if is_list else f"{path}.{name}".lstrip(".")
        last = name == entries[-1][0]
        yield from _lines(one, below, "" if is_list else key, indent + "  ", "" if last else ",")
    yield _Line(f"{indent}{']' if is_list else '}'}{tail}", path)
