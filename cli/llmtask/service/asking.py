"""The digest of what a call asks: equal for calls whose answer may be the same."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtask.project import Model
from llmtask.providers import Request

# Of a model, what changes its answer; the rest is about where it waits, what it costs and what people read.
_PARAMETERS = (
    "provider",
    "name",
    "structured",
    "thinking",
    "reasoning_effort",
    "temperature",
    "max_tokens",
    "extra_body",
)
_MOST_KNOWN = 256  # digests that are kept


@dataclass(frozen=True, slots=True)
class Asking:
    """What a call asks, as far as its answer depends on it."""

    parts: Mapping[str, str]

    def key(self, repeat: int, nth: int) -> str:
        """The key of a recording.

        Args:
            repeat: From 1.
            nth: How often the same was asked before in this repeat: a blank answer is asked for again.
        """
        return _digest(json.dumps([*sorted(self.parts.items()), repeat, nth]))[:32]


def asking(model: Model, request: Request) -> Asking:
    """What a call asks."""
    images = [hashlib.sha256(image.data).hexdigest() for image in request.images]
    turns = [[turn.role, turn.text] for turn in request.turns]
    return Asking(
        {
            "model": _digest_of(model, _parameters),
            "system": _digest_of(request.system, str),
            "input": _digest(json.dumps([request.user, images])),
            "schema": _digest_of(request.schema, _sorted),
            **({"turns": _digest(json.dumps(turns))} if turns else {}),
        }
    )


def digest_of_all(said: Sequence[Any], model: Model, schema: Mapping[str, Any]) -> str:
    """Of what many calls share: what their answers depend on beside their input."""
    return _digest(json.dumps([*said, _parameters(model), _sorted(schema)]))


_known: dict[int, tuple[Any, str]] = {}


def _digest_of(one: Any, text: Callable[[Any], str]) -> str:
    """Of what thousands of calls share and nobody changes: a model, a system message, a schema."""
    known = _known.get(id(one))
    if known is None or known[0] is not one:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[id(one)] = (one, _digest(text(one)))
    return known[1]


def _parameters(model: Model) -> str:
    return json.dumps({name: getattr(model, name) for name in _PARAMETERS}, sort_keys=True, default=str)


def _sorted(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
