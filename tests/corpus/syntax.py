"""Mutations that break JSON's notation and leave no doubt about the object."""

import json
import re
from collections.abc import Callable, Iterator

from tests.corpus.case import Json, Seed
from tests.corpus.tokens import Token, changed, changed_once, strings, tokens

Mutation = Callable[[Json, int], str | None]
"""Takes a value and the case's number; gives its text, or None where the mutation finds nothing to change."""

_WIDE = {"{": "｛", "}": "｝", "[": "［", "]": "］", ":": "：", "member,": "，", "item,": "，"}
_ENDS = r"{}\[\]:,｛｝［］：，、“”"
_INNER = re.compile(rf'(?<=[^\s\\{_ENDS}])(\s*)\\"(?!\s*[{_ENDS}]|$)')
_CURLY = re.compile(r"[“”]")


def _wide(*kinds: str) -> Mutation:
    return lambda value, _: changed(value, lambda one: _WIDE[one.kind], *kinds)


def _once(kind: str, change: Callable[[Token], str]) -> Mutation:
    return lambda value, nth: changed_once(value, change, kind, nth)


def _each(change: Callable[[Token], str], *kinds: str) -> Mutation:
    return lambda value, _: changed(value, change, *kinds)


def _curly(one: Token) -> str:
    """In curly quotes, unless the string has some of its own: where it ends were open then."""
    return one.text if _CURLY.search(str(one.value)) else f"“{one.text[1:-1]}”"


def _wide_all(value: Json, _: int) -> str:
    def change(one: Token) -> str:
        return _WIDE.get(one.kind) or _curly(one)

    return changed(value, change, *_WIDE, "key", "text")


def _trailing(value: Json, _: int) -> str:
    parts = tokens(value)
    closes = {
        index
        for index, one in enumerate(parts)
        if one.kind in "]}" and index and parts[index - 1].kind not in {"{", "["}
    }
    # Before the line break that stands before the bracket, as a model writes it.
    return "".join(("," if index + 1 in closes else "") + one.text for index, one in enumerate(parts))


def _single(one: Token) -> str:
    return "'" + one.text[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def _inner_quotes(one: Token) -> str:
    """The inner quotes unescaped, where no reader could take them for the string's end."""
    body = _INNER.sub(r'\1"', one.text[1:-1])
    return f'"{body}"'


def _inner_all(value: Json, _: int) -> str | None:
    text = changed(value, _inner_quotes, "text")
    return text if text != changed(value, lambda one: one.text) else None


def _raw_newlines(value: Json, _: int) -> str | None:
    if not any("\n" in one for one in strings(value)):
        return None
    return changed(value, lambda one: one.text.replace("\\n", "\n"), "text")


def _escaped(characters: str) -> Mutation:
    """A backslash before characters that JSON has no escape for: as Markdown and JavaScript write them."""

    def mutate(value: Json, _: int) -> str | None:
        pattern = re.compile(f"[{re.escape(characters)}]")
        text = changed(value, lambda one: pattern.sub(r"\\\g<0>", one.text), "text")
        return text if text != changed(value, lambda one: one.text) else None

    return mutate


def _python(value: Json, _: int) -> str:
    return repr({**value, "is_final": True, "is_draft": False})


def _comments(value: Json, nth: int) -> str:
    def change(one: Token) -> str:
        return one.text + (' // 说明：see the "resume"' if one.depth == 1 else "")

    text = changed(value, change, "member,")
    return text if nth % 2 else "// the answer\n" + text


def _unclosed_key(one: Token) -> str:
    return one.text[:-1]


def syntax() -> dict[str, Mutation]:
    """The mutations by their names."""
    return {
        "strict": lambda value, _: json.dumps(value, ensure_ascii=False),
        "strict_ascii": lambda value, _: json.dumps(value, indent=2),
        "extra_key": lambda value, _: json.dumps({"reasoning": "{step 1}", **value, "confidence": 0.9}),
        "wide_colons": _wide(":"),
        "wide_one_colon": _once(":", lambda _: "："),
        "wide_commas": _wide("member,", "item,"),
        "wide_one_comma": _once("member,", lambda _: "，"),
        "wide_braces": _wide("{", "}"),
        "wide_brackets": _wide("[", "]"),
        "wide_quotes": _each(_curly, "key", "text"),
        "wide_key_quotes": _each(_curly, "key"),
        "enumeration_commas": _each(lambda _: "、", "item,"),
        "wide_all": _wide_all,
        "trailing_commas": _trailing,
        "missing_member_comma": _once("member,", lambda _: ""),
        "missing_member_commas": _each(lambda _: "", "member,"),
        "missing_item_comma": _once("item,", lambda _: ""),
        "doubled_comma": _once("member,", lambda _: ",,"),
        "single_quotes": _each(_single, "key", "text"),
        "unquoted_keys": _each(lambda one: str(one.value), "key"),
        "python_repr": _python,
        "line_comments": _comments,
        "block_comments": _each(lambda one: f"/* {one.value} */ {one.text}", "key"),
        "raw_newlines": _raw_newlines,
        "inner_quotes": _inner_all,
        "invalid_escapes": _escaped("'_%$&"),
        "unclosed_key": _once("key", _unclosed_key),
    }


def broken(seed: Seed, nth: int) -> Iterator[tuple[str, str]]:
    """Each mutation's name and the text that it makes of an answer."""
    for name, mutate in syntax().items():
        text = mutate(seed.value, nth)
        if text is not None:
            yield name, text
