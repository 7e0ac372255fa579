"""An open line to a model: requests in, deltas out, foreign errors mapped to ours. The same for every driver."""

import base64
import importlib
import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langsmith.run_helpers import tracing_context

from llmtask.documents import Image
from llmtask.errors import CallError, Failure
from llmtask.project import Model, Project, Provider
from llmtask.providers.call import Delta, Line, Patience, Request, keeping
from llmtask.providers.deadline import Deadline, Value
from llmtask.providers.failures import call_error, combined, failed
from llmtask.providers.keys import require_key
from llmtask.tokens import Tokens


def build_model(project: Project, model: Model) -> BaseChatModel:
    """The LangChain chat model of a model.

    Args:
        project: Where its provider stands.
        model: The model, as the config has it or changed for one call.

    Raises:
        UntrustedError: Its provider is not the starter's, and the project is not trusted.
        KeyMissingError: Its provider's key was not found.
        ProjectError: Its class cannot be built.
    """
    provider = project.config.providers[model.provider]
    key = require_key(project, model.provider)
    defaults = project.config.defaults
    line = Line(model, provider, key, Patience(defaults.timeouts), defaults.token_estimate)
    built: BaseChatModel = _driver(provider).build(line)
    return built


def _driver(provider: Provider) -> Any:
    """The provider's driver: a module with `build(line)` and `call_arguments(request, model, provider)`."""
    return importlib.import_module(f"llmtask.providers.{provider.driver}_driver")


class Chat:
    """A model that can be asked, over LangChain, in the words of `Request` and `Delta`; by several runs at once."""

    def __init__(self, project: Project, model: Model) -> None:
        """Build the model.

        Raises:
            UntrustedError, KeyMissingError, ProjectError: As `build_model`.
        """
        self._model = model
        self._provider = project.config.providers[self._model.provider]
        self._failures = combined(project, self._model.provider)
        self._secret = require_key(project, self._model.provider)
        self._is_foreign = self._provider.driver == "langchain"
        """Whether its class may wait as long as it likes; the other drivers keep a run's patience themselves."""
        self._chat = build_model(project, model)

    def ask(self, request: Request, patience: Patience, *, live: bool) -> Generator[Delta]:
        """The answer, piece by piece, or whole where it is not asked for live.

        Raises:
            CallError: The call failed.
        """
        messages, arguments = self._prepared(request)
        read = _Reader(self._provider)
        patience.start_call()
        wait = Deadline(patience, self._model.provider).wait if self._is_foreign else _at_once
        try:
            if not live:
                with _untraced(), keeping(patience):
                    message = wait(lambda: self._chat.invoke(messages, **arguments))
                yield read(message)
                return
            stream = self._chat.stream(messages, **arguments)
            while True:
                with _untraced(), keeping(patience):
                    chunk = wait(lambda: next(stream, None))
                if chunk is None:
                    return
                yield read(chunk)
        except Exception as error:
            raise self._mapped(error, patience) from error

    async def aask(self, request: Request, patience: Patience, *, live: bool) -> AsyncGenerator[Delta]:
        """As `ask`, in the caller's event loop."""
        messages, arguments = self._prepared(request)
        read = _Reader(self._provider)
        patience.start_call()
        waiting = Deadline(patience, self._model.provider).waiting if self._is_foreign else nullcontext
        try:
            if not live:
                with _untraced(), keeping(patience):
                    async with waiting():
                        message = await self._chat.ainvoke(messages, **arguments)
                yield read(message)
                return
            stream = self._chat.astream(messages, **arguments)
            while True:
                with _untraced(), keeping(patience):
                    async with waiting():
                        chunk = await anext(stream, None)
                if chunk is None:
                    return
                yield read(chunk)
        except Exception as error:
            raise self._mapped(error, patience) from error

    def close(self) -> None:
        """Close the connections of `ask`."""
        client = getattr(self._chat, "http_client", None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of `aask`."""
        client = getattr(self._chat, "http_async_client", None)
        if client is not None:
            await client.aclose()

    def _prepared(self, request: Request) -> tuple[list[BaseMessage], dict[str, Any]]:
        arguments = _driver(self._provider).call_arguments(request, self._model, self._provider)
        return _messages(request, self._provider), arguments

    def _mapped(self, error: Exception, patience: Patience) -> Exception:
        if isinstance(error, CallError):
            return error
        if patience.is_over:
            return failed(self._model.provider, Failure.TIMEOUT, f"{patience.timeouts.total_s:g} s are over")
        is_foreign = self._provider.driver != "offline"
        mapped = call_error(error, self._failures, self._model.provider, self._secret, is_foreign=is_foreign)
        if mapped and mapped.failure is Failure.STALLED and mapped.status is None and self._provider.driver == "openai":
            return failed(self._model.provider, Failure.STALLED, patience.complaint)
        return mapped or error


def _at_once(work: Callable[[], Value]) -> Value:
    return work()


def _untraced() -> AbstractContextManager[None]:
    """Keeps LangSmith out of a call, whatever LANGSMITH_* variables say: documents go to the model's provider alone.

    Entered around each piece and left before it is handed on, so that the caller's own context stays as it is.
    """
    return tracing_context(enabled=False)


class _Reader:
    """LangChain's messages -> deltas, for one call."""

    def __init__(self, provider: Provider) -> None:
        self._driver = provider.driver
        self._counted: Tokens | None = None

    def __call__(self, message: BaseMessage) -> Delta:
        if not isinstance(message, AIMessage | AIMessageChunk):
            return Delta(text=str(message.text))
        metadata = message.response_metadata
        ends = (
            metadata.get(name) for name in ("finish_reason", "stop_reason", "done_reason")
        )  # OpenAI, Anthropic, Ollama
        return Delta(
            text=str(message.text),
            reasoning=str(message.additional_kwargs.get("reasoning_content") or ""),
            tool_arguments=_tool_arguments(message),
            tokens=self._tokens(message),
            finish_reason=next((str(end) for end in ends if end), None),
            model=metadata.get("model_name") or metadata.get("model"),
        )

    def _tokens(self, message: AIMessage | AIMessageChunk) -> Tokens | None:
        """The counts so far: a vendor's stream repeats them, LangChain's own classes send parts that add up."""
        found = _tokens(message, is_estimate=self._driver == "offline")
        if self._driver == "langchain" and found and message.usage_metadata and self._counted:
            found = self._counted + found
        self._counted = found or self._counted
        return found


def _messages(request: Request, provider: Provider) -> list[BaseMessage]:
    content: Any = request.user
    if request.images:
        images = [_image_part(image, provider) for image in request.images]
        content = [*images, {"type": "text", "text": request.user}]
    turns = [AIMessage(turn.text) if turn.role == "assistant" else HumanMessage(turn.text) for turn in request.turns]
    return [SystemMessage(request.system), HumanMessage(content), *turns]


def _image_part(image: Image, provider: Provider) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode("ascii")
    url = data if provider.image_form == "base64" else f"data:{image.media_type};base64,{data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tool_arguments(message: AIMessage | AIMessageChunk) -> str:
    if isinstance(message, AIMessageChunk):
        return "".join(chunk.get("args") or "" for chunk in message.tool_call_chunks)
    raw = message.additional_kwargs.get("tool_calls") or []
    if raw:
        return str(raw[0].get("function", {}).get("arguments") or "")
    calls = [*message.invalid_tool_calls, *message.tool_calls]
    return _as_json(calls[0].get("args")) if calls else ""


def _as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _tokens(message: AIMessage | AIMessageChunk, *, is_estimate: bool) -> Tokens | None:
    """The counts, from LangChain's own field or, for classes that leave it empty, from the vendor's raw one."""
    usage = message.usage_metadata
    if usage:
        given, produced = usage.get("input_token_details", {}), usage.get("output_token_details", {})
        cached, reasoning = given.get("cache_read") or 0, produced.get("reasoning") or 0
        return Tokens(usage["input_tokens"], usage["output_tokens"], cached, reasoning, is_estimate)
    raw = message.response_metadata.get("token_usage")
    if not isinstance(raw, dict) or not raw.get("total_tokens"):
        return None
    cached = (raw.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (raw.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return Tokens(raw.get("prompt_tokens", 0), raw.get("completion_tokens", 0), cached, reasoning)
