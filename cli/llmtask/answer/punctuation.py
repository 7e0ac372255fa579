"""Full-width punctuation outside strings -> JSON's own. Chinese models write it; what stands in strings is kept."""

import re

_OUTSIDE = str.maketrans("：，、｛｝［］【】", ":,,{}[][]")
_CLOSERS = {'"': '"', "“": "”", "”": "”", "＂": "＂"}
_OPENER = re.compile('["“”＂]')
_BODY = {closer: re.compile(rf"(?:[^\\{closer}]|\\.)*+", re.DOTALL) for closer in _CLOSERS.values()}
_BARE_QUOTE = re.compile(r'(\\.)|"', re.DOTALL)
_SUSPECTS = frozenset("：，、｛｝［］【】“”＂")


def halved(text: str) -> str:
    """The text with full-width brackets, colons, commas and quotes outside strings made half-width.

    A string that is opened by a Chinese quote ends at the Chinese closing quote; straight quotes inside it are escaped.
    Prose before the first brace is left as it is: its quotes need not come in pairs.
    """
    begin = next((at for at, sign in enumerate(text) if sign in "{｛"), len(text))
    if _SUSPECTS.isdisjoint(text[begin:]):
        return text
    made = [text[:begin]]
    at = begin
    while opener := _OPENER.search(text, at):
        made.append(text[at : opener.start()].translate(_OUTSIDE))
        closer = _CLOSERS[opener[0]]
        body = _BODY[closer].match(text, opener.end())
        inner = body[0] if body else ""
        made.append('"' + (inner if closer == '"' else _BARE_QUOTE.sub(_escaped, inner)))
        at = opener.end() + len(inner)
        if at < len(text):
            made.append('"')
            at += 1
    made.append(text[at:].translate(_OUTSIDE))
    return "".join(made)


def _escaped(found: re.Match[str]) -> str:
    return found[1] or '\\"'
