"""driver offline: fills a schema with passages of the user's own input. No model, no network, no key, deterministic."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtask.project import Model, Provider, TokenEstimate
from llmtask.providers.call import Line, Request
from llmtask.tokens import estimate

_PIECE = 24  # characters of a streamed piece
_LIST_LENGTH = 3  # entries of a sample list
# At a line's ends; what is left is verbatim.
_MARKUP = re.compile(r"^\s*(?:[#>*+\-•·|]+\s*|\d{1,2}[.)]\s+|\d{1,2}、)+|[*_|\s]+$")
_FORMATS = {  # of JSON Schema, that no passage of a text would fit
    "date": "2026-01-01",
    "date-time": "2026-01-01T09:00:00Z",
    "time": "09:00:00",
    "duration": "PT1H",
    "uri": "https://example.com/",
    "email": "sample@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PATTERNS = {  # field names whose value has a form of its own
    "email": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    "phone": re.compile(r"\+?\d[\d\s()-]{6,}\d"),
    "linkedin": re.compile(r"(?:https?://)?[\w.]*linkedin\.[\w./-]+"),
    "github": re.compile(r"(?:https?://)?[\w.]*github\.[\w./-]+"),
    "duration": re.compile(r"\d{4}[./年-]?\d{0,2}月?\s*[-–—~至到]+\s*(?:\d{4}[./年-]?\d{0,2}月?|\w+)"),
}


class OfflineChatModel(BaseChatModel):
    """A chat model without a language model behind it: shows what an answer looks like, lets everything be tried.

    `schema` (JSON Schema of the answer) and `documents` (text per name) are call arguments. Without a schema the answer
    is the first passage of the last message.
    """

    token_estimate: TokenEstimate

    @property
    def _llm_type(self) -> str:
        return "llmtask-offline"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  # BaseChatModel's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        text = self._answer(messages, **kwargs)
        message = AIMessage(text, usage_metadata=self._usage(messages, text), response_metadata=_ENDED)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  # BaseChatModel's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        text = self._answer(messages, **kwargs)
        for start in range(0, len(text), _PIECE):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text[start : start + _PIECE]))
        usage = self._usage(messages, text)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage, response_metadata=_ENDED))

    def _answer(
        self,
        messages: list[BaseMessage],
        schema: Mapping[str, Any] | None = None,
        documents: Mapping[str, str] | None = None,
        **_: Any,
    ) -> str:
        text = "\n".join((documents or {}).values()) or str(messages[-1].text)
        sample = Sample(text)
        return json.dumps(sample.of(dict(schema)), ensure_ascii=False, indent=2) if schema else sample.passage()

    def _usage(self, messages: list[BaseMessage], answer: str) -> UsageMetadata:
        given = sum(estimate(str(message.text), self.token_estimate) for message in messages)
        produced = estimate(answer, self.token_estimate)
        return UsageMetadata(input_tokens=given, output_tokens=produced, total_tokens=given + produced)


def build(line: Line) -> BaseChatModel:
    """The embedded model."""
    return OfflineChatModel(token_estimate=line.token_estimate)


def call_arguments(request: Request, model: Model, provider: Provider) -> dict[str, Any]:  # noqa: ARG001  # as every driver
    """The schema to fill and the documents to fill it from."""
    return {"schema": request.schema, "documents": request.documents}


_ENDED = {"finish_reason": "stop", "model_name": "offline"}


class Sample:
    """Values for a schema, taken from a text."""

    def __init__(self, text: str) -> None:
        """Take the passages of a text."""
        self._text = text
        lines = (_MARKUP.sub("", line).strip() for line in text.splitlines())
        found = [line for line in dict.fromkeys(lines) if len(line) > 1] or ["-"]
        self._title = found[0]
        self._passages = cycle([line for line in found if len(line) >= 8] or found)  # words, not labels

    def passage(self) -> str:
        """The next passage; begins again after the last."""
        return next(self._passages)

    def of(self, schema: dict[str, Any], name: str = "") -> Any:
        """A value that fits a JSON Schema.

        Args:
            schema: A JSON Schema as pydantic writes it, references inlined.
            name: The key it is for.
        """
        for combined in ("anyOf", "oneOf"):
            if combined in schema:
                options = [one for one in schema[combined] if one.get("type") != "null"]
                return self.of(options[0], name) if options else None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        return self._typed(schema, name)

    def _typed(self, schema: dict[str, Any], name: str) -> Any:
        kind = schema.get("type")
        if kind == "object":
            return {key: self.of(one, key) for key, one in schema.get("properties", {}).items()}
        if kind == "array":
            length = max(min(_LIST_LENGTH, schema.get("maxItems", _LIST_LENGTH)), schema.get("minItems", 0))
            return [self.of(schema.get("items", {}), name) for _ in range(length)]
        if kind in ("integer", "number"):
            return _middle(schema)
        if kind == "boolean":
            return False
        return None if kind == "null" else self._string(schema, name)

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        pattern = _PATTERNS.get(name)
        if pattern:
            found = pattern.search(self._text)
            text = found.group(0).strip() if found else self.passage()
        else:
            text = self._title if name == "name" else self.passage()
        longest = schema.get("maxLength")
        return text[:longest] if longest else text


def _middle(schema: dict[str, Any]) -> float:
    """A number in the middle of the bounds, whole where it can be."""
    step = 1 if schema["type"] == "integer" else 0  # from an excluded bound to the nearest value
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is None:
        low = 0 if high is None or high > 0 else high - 2
    middle: float = (low + (low + 2 if high is None else high)) / 2
    return int(middle) if step or middle.is_integer() else middle
