"""What the HTML pages share: a look, text made inert, and a policy that lets a browser do nothing but show them."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

_BASE = Path(__file__).parent / "base.css"
# What could end a script element, or begin a comment in it, is written so that JSON reads it as the same.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def style(path: Path) -> str:
    """The style sheet of a page: what all of them share, then its own."""
    return _BASE.read_text(encoding="utf-8") + path.read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """What a browser lets a page do: show itself. Only our style and script, by their hashes, so nothing injected."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_hash, script_hash = (f"'sha256-{found}'" for found in hashes)
    return (
        f"default-src 'none'; style-src {style_hash}; script-src {script_hash}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """A value as JSON that may stand in a script element, whatever its texts are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
