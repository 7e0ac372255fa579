"""Answers that end too early. None may pass for whole: what is missing can't be known."""

import json
from collections.abc import Iterator

from tests.corpus.case import Json, Seed
from tests.corpus.syntax import syntax
from tests.corpus.tokens import Token, joined, tokens
from tests.corpus.wrapping import compact, pretty, rival

_NOTE = {"zh": "（因长度限制，输出被截断）", "en": "(Cut off: maximum length reached.)"}


def _until(parts: list[Token], kind: str, nth: int, *, with_it: bool) -> str:
    """The tokens up to the nth of a kind."""
    place = [index for index, one in enumerate(parts) if one.kind == kind][nth]
    return joined(parts[: place + with_it]).rstrip()


def _in(parts: list[Token], kind: str, nth: int) -> str:
    """The tokens up to the middle of the nth of a kind."""
    token = [one for one in parts if one.kind == kind][nth]
    return _until(parts, kind, nth, with_it=False) + " " + token.text[: max(len(token.text) // 2, 1)]


def _at_tokens(value: Json) -> Iterator[tuple[str, str]]:
    parts = tokens(value)
    yield "cut_in_first_string", _in(parts, "text", 0)
    yield "cut_in_middle_string", _in(parts, "text", len([one for one in parts if one.kind == "text"]) // 2)
    yield "cut_in_last_string", _in(parts, "text", -1)
    yield "cut_after_escape", _after_escape(parts)
    yield "cut_in_key", _in(parts, "key", -1)
    yield "cut_after_key", _until(parts, "key", -1, with_it=True)
    yield "cut_after_colon", _until(parts, ":", -1, with_it=True)
    yield "cut_after_first_comma", _until(parts, "member,", 0, with_it=True)
    yield "cut_after_first_member", joined(parts[: _end_of_first_member(parts)])
    yield "cut_after_last_comma", _until(parts, "member,", -1, with_it=True)
    yield "cut_after_item", _until(parts, "item,", -1, with_it=False)
    yield "cut_after_item_comma", _until(parts, "item,", -1, with_it=True)
    yield "cut_after_bracket", _until(parts, "[", -1, with_it=True)
    yield "cut_before_last_bracket", _until(parts, "]", -1, with_it=False)
    yield "cut_after_last_bracket", _until(parts, "]", -1, with_it=True)
    yield "cut_before_final_brace", _until(parts, "}", -1, with_it=False)


def _end_of_first_member(parts: list[Token]) -> int:
    return next(index for index, one in enumerate(parts) if one.kind == "member," and one.depth == 1)


def _after_escape(parts: list[Token]) -> str:
    """Up to a backslash, with what it escapes cut off."""
    text = joined(parts)
    return text[: text.rindex("\\") + 1] if "\\" in text else text[: len(text) // 2]


def _middle(text: str) -> str:
    return text[: len(text) * 2 // 3]


def _rival_in_string(seed: Seed, *, escaped: bool) -> str:
    """Cut in a string that quotes another object whole."""
    quoted = compact(rival(seed))
    inner = json.dumps(quoted, ensure_ascii=False)[1:-1] if escaped else quoted
    start = _until(tokens(seed.value), "text", 0, with_it=False)
    return f'{start} "The resume says: {inner}'


def _lists_cut(seed: Seed) -> str:
    """Whole as such, with a list in a string that is cut."""
    key = [key for key, one in seed.value.items() if isinstance(one, list)][-1]
    return pretty({**seed.value, key: _middle(compact(seed.value[key]))})


def _after_others(seed: Seed) -> Iterator[tuple[str, str]]:
    """A whole object that is not the answer, and then a cut answer."""
    whole, cut = compact(rival(seed)), _middle(pretty(seed.value))
    yield "rival_then_cut", f"{whole}\n\n{cut}"
    yield "rival_fenced_then_cut", f"```json\n{whole}\n```\n\n```json\n{cut}\n```"
    yield "rival_then_cut_before_final_brace", f"resume.json: {whole}\n\n{pretty(seed.value)[:-1].rstrip()}"
    yield "rival_then_cut_wide", f"{whole}\n\n{_middle(syntax()['wide_all'](seed.value, 0) or '')}"
    yield "rival_then_cut_at_once", f"{whole}\n\n{{"
    yield "think_with_draft_then_cut", f"<think>{whole}</think>\n{cut}"
    yield "rival_in_string_then_cut", _rival_in_string(seed, escaped=True)
    yield "rival_raw_in_string_then_cut", _rival_in_string(seed, escaped=False)


def _in_wraps(seed: Seed) -> Iterator[tuple[str, str]]:
    whole = pretty(seed.value)
    cut = _middle(whole)
    yield "cut_in_fence", f"```json\n{cut}"
    yield "cut_in_closed_fence", f"```json\n{cut}\n```\n"
    yield "cut_before_final_brace_in_fence", f"```json\n{whole[:-1].rstrip()}\n```"
    yield "cut_with_note", f"{cut}\n\n{_NOTE[seed.locale]}"
    yield "cut_in_box", f"<|begin_of_box|>{cut}<|end_of_box|>"
    yield "cut_behind_think", f"<think>…</think>{cut}"
    yield "cut_under_output_formatter", _middle(pretty({"output_formatter": seed.value}))
    yield "cut_tool_call_string", _middle(compact({"name": "output_formatter", "arguments": compact(seed.value)}))
    yield "cut_in_tool_call_string", compact({"name": "output_formatter", "arguments": _middle(compact(seed.value))})
    yield "cut_double_encoded", json.dumps(cut, ensure_ascii=False)
    yield "cut_list_as_string", _lists_cut(seed)


def _in_other_notations(seed: Seed) -> Iterator[tuple[str, str]]:
    for name in ("wide_all", "single_quotes", "unquoted_keys", "trailing_commas", "python_repr", "raw_newlines"):
        text = syntax()[name](seed.value, 0)
        if text is not None:
            yield f"cut_{name}", _middle(text)
            yield f"cut_before_final_brace_{name}", text.rstrip()[:-1].rstrip()


def cut(seed: Seed) -> Iterator[tuple[str, str]]:
    """Each kind of cut, and a text that was cut so."""
    yield from _at_tokens(seed.value)
    yield from _in_wraps(seed)
    yield from _in_other_notations(seed)
    yield from _after_others(seed)
