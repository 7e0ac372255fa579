"""JSON values, read strictly: what two readers could take for two things is an error."""

import json
import math
from typing import Any

_JSON = {str: "string", int: "number", float: "number", bool: "boolean", list: "array", dict: "object"}


class NoJsonError(ValueError):
    """A text that is no JSON."""


class BadJsonError(ValueError):
    """A text that is JSON to some and not to others: a key said twice, a number beyond all bounds."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        NoJsonError, BadJsonError: As they say.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
    except json.JSONDecodeError as error:
        message = f"is not valid JSON ({error.msg}, at character {error.pos + 1})"
        raise NoJsonError(message) from error
    except RecursionError as error:
        message = "is nested too deep"
        raise BadJsonError(message) from error
    except (NoJsonError, BadJsonError):
        raise
    except ValueError as error:  # Python reads no integer of more than 4300 digits
        message = "holds a number that is too long"
        raise BadJsonError(message) from error


def json_type(value: Any) -> str:
    """The JSON type of a value: string, number, boolean, array, object or null."""
    return _JSON.get(type(value), "null")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        message = f"says {twice!r} twice; keep one"
        raise BadJsonError(message)
    return found


def _constant(text: str) -> float:
    message = f"holds {text}, which is no JSON"
    raise NoJsonError(message)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        message = f"holds a number that is too large ({text[:20]})"
        raise BadJsonError(message)
    return value
