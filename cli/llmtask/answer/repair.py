"""Broken JSON -> an object, by json_repair: the only door to it. What it makes up or loses is refused."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from llmtask.answer.errors import InvalidError

MOST_CHARS = 65_536
"""json_repair is not linear: longer texts are left as they are."""

BEYOND_REPAIR = "answer: is not JSON, and beyond repair"

_DEEPEST = 32
_NEAR = 64  # signs between a string and its quotes, white space all of them
_QUOTES = tuple("\"'“”‘’＂`")
_EMPTY = re.compile("([\"'`])\\1|[“”＂]{2}|‘’")
_ESCAPED = '"\\/'
_SEAM = re.compile(r"""\\["']|'\s*,\s*"|"\s*,\s*'""")
_ANY_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COMMENT = re.compile(r'"(?:[^"\\]++|\\.)*+"|//[^\n]*+|/\*.*?\*/', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


def repaired(text: str, schema: dict[str, Any], original: str | None = None) -> dict[str, Any]:
    """The object that a broken text was meant to be.

    Args:
        text: From the first brace to the last.
        schema: Its JSON Schema: a mended object has no keys that the schema does not know.
        original: The text before its punctuation was halved: a string's own must have stayed.

    Raises:
        InvalidError: It cannot be told, or only by making something up or leaving something out.
    """
    if len(text) > MOST_CHARS or _depth(text) > _DEEPEST:
        raise InvalidError((BEYOND_REPAIR,))
    import json_repair  # only for an answer that needs it

    try:
        made = json_repair.loads(_ANY_ESCAPE.sub(_mendable, text))
    except (ValueError, RecursionError) as error:
        raise InvalidError((BEYOND_REPAIR,)) from error
    if (
        not isinstance(made, dict)
        or not _is_honest(made, schema, text, original or text)
        or _has_strangers(made, schema)
    ):
        raise InvalidError((BEYOND_REPAIR,))
    return made


def _has_strangers(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a key is there that the schema does not know: a quote inside a string makes keys of prose."""
    options = schema.get("anyOf", [schema])
    if isinstance(value, list):
        items = [one["items"] for one in options if "items" in one]
        return any(all(_has_strangers(one, item) for item in items) for one in value) if items else False
    known = [one["properties"] for one in options if "properties" in one]
    if not isinstance(value, dict) or not known:
        return False
    return any(
        _has_strangers(one, known[0][name]) if name in known[0] else not _is_harmless(name, one)
        for name, one in value.items()
    )


def _is_harmless(name: str, value: Any) -> bool:
    """Whether a key that the schema does not know is surely the model's own: no prose becomes such a one."""
    return name.isascii() and name.isidentifier() and (value is None or isinstance(value, bool | int | float))


def _is_honest(made: dict[str, Any], schema: dict[str, Any], text: str, original: str) -> bool:
    """Whether every value stands in the text as it is, strings between quotes, and all of the text in the values."""
    plain, quoted = (_ESCAPE.sub(_unescaped, _ANY_ESCAPE.sub(_mendable, one)) for one in (text, original))
    letters = _letters(plain)
    kept = 0
    known = made.keys() & schema.get("properties", {}).keys()
    if any(len(re.findall(rf"(?<!\w){re.escape(name)}\W{{0,3}}:", plain)) > 1 for name in known):
        return False  # another object stands inside a string, and where that ends cannot be told
    for (leaf, is_string), times in Counter(_leaves(made)).items():
        if (is_string and not _is_quoted(leaf, quoted)) or _letters(leaf) not in letters:
            return False
        kept += times * len(_letters(leaf))
    return len(_letters(_COMMENT.sub(_uncommented, plain))) <= kept <= len(letters)


def _is_quoted(leaf: str, text: str) -> bool:
    """Whether it stands between quotes somewhere."""
    if _SEAM.search(leaf):
        return False  # two strings, run together
    if not leaf:
        return _EMPTY.search(text) is not None
    at = text.find(leaf)
    while at >= 0:
        end = at + len(leaf)
        before, after = text[max(0, at - _NEAR) : at].rstrip(), text[end : end + _NEAR].lstrip()
        if before.endswith(_QUOTES) and after.startswith(_QUOTES):
            return True
        at = text.find(leaf, at + 1)
    return False


def _leaves(value: Any) -> Iterator[tuple[str, bool]]:
    """Keys and values, as they would be written, and whether each is a string value."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield str(key), False
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str):
        yield value, True
    elif value is None or isinstance(value, bool):
        yield {True: "true", False: "false", None: "null"}[value], False
    else:
        yield str(value), False


def _letters(text: str) -> str:
    """Letters and digits alone; Python's literals in JSON's spelling."""
    letters = "".join(sign for sign in text if sign.isalnum())
    return letters.replace("True", "true").replace("False", "false").replace("None", "null")


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}.get(found[2], found[2])


def _uncommented(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else ""


def _mendable(found: re.Match[str]) -> str:
    """An escape that JSON does not know, without its backslash: Markdown and shells escape more signs."""
    return found[0] if found[1] in _ESCAPED or found[1].isalnum() else found[1]


def _depth(text: str) -> int:
    """How deep brackets are nested, strings not told apart."""
    depth = deepest = 0
    for sign in text:
        if sign in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "}]":
            depth -= 1
    return deepest
