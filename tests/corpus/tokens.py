"""JSON as tokens, so that a mutation breaks the notation and never what the strings say."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Token:
    """A piece of JSON text.

    Kinds: `{`, `}`, `[`, `]`, `:`, `member,`, `item,`, `key`, `text`, `scalar` and `space`.
    """

    kind: str
    text: str
    value: Any = None
    depth: int = 0


Change = Callable[[Token], str]


def tokens(value: Any, depth: int = 0) -> list[Token]:
    """A value's tokens, laid out over lines."""
    if isinstance(value, dict):
        parts = [
            [
                Token("key", json.dumps(key, ensure_ascii=False), key, depth + 1),
                Token(":", ":", depth=depth + 1),
                Token("space", " "),
                *tokens(one, depth + 1),
            ]
            for key, one in value.items()
        ]
        return _block("{}", "member,", parts, depth)
    if isinstance(value, list):
        return _block("[]", "item,", [tokens(one, depth + 1) for one in value], depth)
    kind = "text" if isinstance(value, str) else "scalar"
    return [Token(kind, json.dumps(value, ensure_ascii=False), value, depth)]


def _block(brackets: str, comma: str, parts: list[list[Token]], depth: int) -> list[Token]:
    found = [Token(brackets[0], brackets[0], depth=depth)]
    for index, part in enumerate(parts):
        if index:
            found.append(Token(comma, ",", depth=depth + 1))
        found += [Token("space", "\n" + "  " * (depth + 1)), *part]
    if parts:
        found.append(Token("space", "\n" + "  " * depth))
    return [*found, Token(brackets[1], brackets[1], depth=depth)]


def joined(parts: list[Token]) -> str:
    """The tokens' text."""
    return "".join(one.text for one in parts)


def changed(value: Any, change: Change, *kinds: str) -> str:
    """The value's text with each token of the kinds changed."""
    return "".join(change(one) if one.kind in kinds else one.text for one in tokens(value))


def changed_once(value: Any, change: Change, kind: str, nth: int) -> str:
    """The value's text with the one token changed; the count goes around."""
    parts = tokens(value)
    places = [index for index, one in enumerate(parts) if one.kind == kind]
    chosen = places[nth % len(places)] if places else -1
    return "".join(change(one) if index == chosen else one.text for index, one in enumerate(parts))


def strings(value: Any) -> Iterator[str]:
    """Every string in a value, keys aside."""
    for one in tokens(value):
        if one.kind == "text":
            yield one.value
