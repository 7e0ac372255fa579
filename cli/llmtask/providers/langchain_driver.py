"""driver langchain: any LangChain chat model, by dotted class name with keyword arguments from config.yaml."""

import importlib
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from llmtask.errors import ProjectError
from llmtask.project import Model, Provider
from llmtask.providers.call import TOOL_NAME, Line, Request

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def build(line: Line) -> BaseChatModel:
    """The chat model of the provider's class.

    Raises:
        ProjectError: The class cannot be imported or refuses its arguments.
    """
    model, provider, key = line.model, line.provider, line.key
    dotted = provider.class_ or ""
    where = f"config.yaml: providers.{model.provider}.class {dotted!r}"
    values = {
        "name": model.name,
        "api_key": key,
        "base_url": provider.base_url,
        "temperature": model.temperature,
        "max_tokens": model.max_tokens,
    }
    arguments = {name: filled for name, one in provider.kwargs.items() if (filled := _filled(one, values)) is not None}
    try:
        built = _imported(dotted)(**arguments)
    except ImportError as error:
        extra = " (`pip install langchain-community pyjwt`)" if dotted.startswith("langchain_community.") else ""
        message = f"{where} cannot be imported: {error}; install its package{extra}"
        raise ProjectError(message) from error
    except Exception as error:  # noqa: BLE001  # a foreign constructor may fail in any way Python can
        text = str(error).replace(key, "***") if key else str(error)
        message = (
            f"{where} refuses its arguments: {' '.join(text.split())[:300]}; see providers.{model.provider}.kwargs"
        )
        raise ProjectError(message) from None  # the cause may hold the key
    if not isinstance(built, BaseChatModel):
        message = f"{where} is no LangChain chat model"
        raise ProjectError(message)
    return built


def call_arguments(request: Request, model: Model, provider: Provider) -> dict[str, Any]:  # noqa: ARG001  # as every driver
    """What a call passes along so that the answer fits the schema: what most chat models hand through to the body."""
    arguments = dict(model.extra_body)
    if model.thinking:
        arguments["thinking"] = {"type": model.thinking}
    if model.structured in ("tool", "tool_auto"):
        function = {"name": TOOL_NAME, "description": "Takes the answer.", "parameters": dict(request.schema)}
        arguments["tools"] = [{"type": "function", "function": function}]
        forced = {"type": "function", "function": {"name": TOOL_NAME}}
        arguments["tool_choice"] = forced if model.structured == "tool" else "auto"
    elif model.structured != "prompt":
        arguments["response_format"] = {"type": "json_object"}
    return arguments


def _imported(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    if not module:
        message = f"{dotted!r} is not of the form package.module.Class"
        raise ImportError(message)
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        message = f"{module} has no {name!r}"
        raise ImportError(message) from error


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """The argument with its placeholders filled; a lone `{temperature}` stays a number, or None where there is none."""
    if isinstance(value, dict):
        return {name: _filled(one, values) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole and whole[1] in values:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0]) or ""), value)
