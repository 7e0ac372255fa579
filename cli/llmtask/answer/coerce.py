"""What a schema lets an answer's values be read as: "85/100" for a number up to 100, a scalar for a list of one."""

import re
from typing import Any

from pydantic_core import from_json

from llmtask.answer.errors import InvalidError
from llmtask.answer.repair import repaired
from llmtask.answer.scan import is_even

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_OF_HUNDRED = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*(?:/\s*100|%|分|points?)", re.IGNORECASE)
_FULL_WIDTH = str.maketrans("０１２３４５６７８９．／％", "0123456789./%")


def coerced(value: Any, schema: dict[str, Any], wrappers: tuple[str, ...]) -> Any:
    """The value as the schema would have it; unchanged where the schema does not allow it to be read otherwise.

    Args:
        value: JSON value of the answer.
        schema: Its JSON Schema, references inlined.
        wrappers: Keys that models put around the whole answer.
    """
    return _fitted(_taken_out(value, schema, wrappers), schema)


def _taken_out(value: Any, schema: dict[str, Any], wrappers: tuple[str, ...]) -> Any:
    """The object inside wrappers such as `{"output_formatter": {...}}`, at most three deep."""
    names = set(schema.get("properties", {}))
    for _ in range(3):
        value = _mended(_decoded(value, "object"), schema)
        if isinstance(value, list) and len(value) == 1:
            value = _decoded(value[0], "object")
        if not isinstance(value, dict) or names & set(value):
            return value
        inside = [value[name] for name in wrappers if name in value]
        others = [one for name, one in value.items() if name not in wrappers and isinstance(one, dict)]
        if len(inside) != 1 or others:
            return value
        value = inside[0]
    return value


def _mended(value: Any, schema: dict[str, Any]) -> Any:
    """The object in a string that is nearly one."""
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("{") and text.endswith("}") and is_even(text)):
        return value
    try:
        return repaired(text, schema)
    except InvalidError:
        return value


def _fitted(value: Any, schema: dict[str, Any]) -> Any:
    if "anyOf" in schema:
        return _fitted_to_one(value, schema["anyOf"])
    kind = schema.get("type")
    value = _decoded(value, kind)
    if kind == "object" and isinstance(value, dict):
        parts = schema.get("properties", {})
        return {name: _fitted(one, parts[name]) if name in parts else one for name, one in value.items()}
    if kind == "array":
        return _as_list(value, schema)
    if kind in ("number", "integer") and isinstance(value, str):
        return _number(value, schema)
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _fitted_to_one(value: Any, options: list[dict[str, Any]]) -> Any:
    """As the one option besides null; several real options leave the value as it is."""
    real = [one for one in options if one.get("type") != "null"]
    if value is None or len(real) != 1:
        numbers = bool(real) and all(one.get("type") in ("number", "integer") for one in real)
        return _fitted(value, {**real[0], "type": "number"}) if numbers and value is not None else value
    return _fitted(value, real[0])


def _as_list(value: Any, schema: dict[str, Any]) -> Any:
    items = schema.get("items", {})
    if isinstance(value, list):
        return [_fitted(one, items) for one in value]
    is_cut = isinstance(value, str) and value.lstrip().startswith("[")
    return value if value is None or is_cut else [_fitted(value, items)]


def _decoded(value: Any, kind: str | None) -> Any:
    """An object or list that was put into a string."""
    if kind not in ("object", "array") or not isinstance(value, str):
        return value
    try:
        inner = from_json(value.strip(), allow_inf_nan=False)
    except ValueError:
        return value
    return inner if isinstance(inner, dict if kind == "object" else list) else value


def _number(text: str, schema: dict[str, Any]) -> Any:
    """The number in a string: bare, or as so many of a hundred where the schema counts from 0 to 100."""
    plain = text.translate(_FULL_WIDTH).strip()
    found = _NUMBER.fullmatch(plain)
    is_percentage = schema.get("minimum") == 0 and schema.get("maximum") == 100
    if found is None and is_percentage:
        found = _OF_HUNDRED.fullmatch(plain)
    if found is None:
        return text
    digits = found[found.re.groups]
    return float(digits) if "." in digits else int(digits)
