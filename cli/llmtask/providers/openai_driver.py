"""driver openai: any OpenAI-compatible server through langchain-openai, with what goes on the wire put right."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import httpx2
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import SecretStr

from llmtask.project import Model, Provider
from llmtask.providers.call import TOOL_NAME, Line, Patience, Request, kept_patience

_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
        "x-stainless-raw-response",  # the SDK reads its own mark back from the request that was sent
    }
)
_OPENED = ("connect_tcp.complete", "start_tls.complete")  # httpcore's trace events that bring a network stream
_REASONING_KEYS = ("reasoning_content", "reasoning")  # DeepSeek, GLM, vLLM; Ollama, OpenRouter


class CompatibleChatModel(BaseChatOpenAI):
    """BaseChatOpenAI that keeps the reasoning.

    BaseChatOpenAI and not ChatOpenAI: the latter sends `max_completion_tokens`, which DeepSeek ignores without a word
    (langchain#29283). Both drop `reasoning_content`; here it is in `additional_kwargs["reasoning_content"]`.
    """

    @property
    def _llm_type(self) -> str:
        return "llmtask-openai-compatible"

    def _get_request_payload(self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """The body; the messages and tools travel in `extra_body`: the wire is the same.

        The SDK rewrites what it takes as arguments, level by level, by its own types: for a message with a schema in
        it that takes longer than all of its HTTP.
        """
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        moved = {name: payload.pop(name) for name in ("messages", "tools", "tool_choice") if name in payload}
        return payload | {"messages": [], "extra_body": {**(payload.get("extra_body") or {}), **moved}}

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        _spell_cache_hits(chunk.get("usage"))
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        choices = chunk.get("choices")
        if converted is not None and choices:
            _keep_reasoning(converted.message, choices[0].get("delta"))
        return converted

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        raw = response if isinstance(response, dict) else response.model_dump()
        _spell_cache_hits(raw.get("usage"))
        result = super()._create_chat_result(raw, generation_info)
        for generation, choice in zip(result.generations, raw["choices"], strict=True):
            _keep_reasoning(generation.message, choice.get("message"))
        return result


def _keep_reasoning(message: Any, raw: Mapping[str, Any] | None) -> None:
    text = next((raw[key] for key in _REASONING_KEYS if raw and raw.get(key)), None)
    if isinstance(text, str):
        message.additional_kwargs["reasoning_content"] = text


def _spell_cache_hits(usage: dict[str, Any] | None) -> None:
    """DeepSeek's own field for cache hits, put where langchain-openai looks for it."""
    if usage and usage.get("prompt_cache_hit_tokens") is not None:
        details = usage.get("prompt_tokens_details") or {}
        usage["prompt_tokens_details"] = {**details, "cached_tokens": usage["prompt_cache_hit_tokens"]}


def build(line: Line) -> BaseChatModel:
    """The chat model of an OpenAI-compatible server.

    Every argument that langchain-openai or the SDK would else take from OPENAI_* variables is given; what they add to
    the headers all the same (OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS, ...) is taken off before it is sent.
    """
    model, provider, key, patience = line.model, line.provider, line.key, line.patience
    timeouts = patience.timeouts
    timeout = httpx2.Timeout(max(timeouts.first_byte_s, timeouts.idle_s), connect=timeouts.connect_s)
    guard, watch = _header_guard(key, provider.headers), _answer_watch(patience)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)  # who runs many calls counts them
    verify = httpx2.create_ssl_context()  # 50 ms; one for both clients
    return CompatibleChatModel(
        model=model.name,
        base_url=provider.base_url,
        api_key=SecretStr(key or "none"),
        temperature=_temperature(model, provider),
        max_tokens=model.max_tokens,
        max_retries=0,  # one retry layer only, and it is not the SDK's: it would retry a 429 that means "no balance"
        timeout=timeout,
        stream_usage=True,  # off by default with a base_url
        stream_chunk_timeout=None,  # not re-armed by keep-alive comments; the read timeout is
        use_responses_api=False,
        extra_body=extra_body(model, provider),
        openai_proxy=None,  # else OPENAI_PROXY; httpx knows the usual proxy variables
        http_client=httpx2.Client(
            verify=verify,
            timeout=timeout,
            limits=limits,
            event_hooks={"request": [guard, _limits(patience)], "response": [watch]},
        ),
        http_async_client=httpx2.AsyncClient(
            verify=verify,
            timeout=timeout,
            limits=limits,
            event_hooks={"request": [_awaited(guard), _awaited(_alimits(patience))], "response": [_awaited(watch)]},
        ),
    )


def extra_body(model: Model, provider: Provider) -> dict[str, Any]:
    """The fields of the body that the OpenAI API does not know."""
    body: dict[str, Any] = {}
    if model.thinking:
        body["thinking"] = {"type": model.thinking}
    if model.reasoning_effort:
        body["reasoning_effort"] = model.reasoning_effort
    if _is_greedy(model, provider):
        body |= provider.greedy
    return body | model.extra_body


def call_arguments(request: Request, model: Model, provider: Provider) -> dict[str, Any]:
    """What a call adds to the body so that the answer fits the schema.

    `response_format` travels in `extra_body`: the wire is the same, and langchain-openai does not take its slow path
    for it, which parses every prefix of the stream and raises on a cut answer.
    """
    if model.structured in ("tool", "tool_auto"):
        function = {"name": TOOL_NAME, "description": "Takes the answer.", "parameters": dict(request.schema)}
        tools = [{"type": "function", "function": function}]
        if model.structured == "tool" and _may_force_tools(model, provider):
            return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": TOOL_NAME}}}
        return {"tools": tools, "tool_choice": "auto"} if model.thinking != "enabled" else {"tools": tools}
    body = extra_body(model, provider)
    if model.structured == "json_object":
        return {"extra_body": body | {"response_format": {"type": "json_object"}}}
    if model.structured == "json_schema":
        form = {"type": "json_schema", "json_schema": {"name": TOOL_NAME, "schema": dict(request.schema)}}
        return {"extra_body": body | {"response_format": form}}
    return {}


def _may_force_tools(model: Model, provider: Provider) -> bool:
    if provider.forced_tools == "without_thinking":
        return model.thinking == "disabled"  # DeepSeek thinks where nothing is said
    return provider.forced_tools == "always"


def _temperature(model: Model, provider: Provider) -> float | None:
    """The model's temperature, moved into the bounds that the API takes."""
    if model.temperature is None or provider.temperature_range is None:
        return model.temperature
    low, high = provider.temperature_range
    return min(max(model.temperature, low), high)


def _is_greedy(model: Model, provider: Provider) -> bool:
    return (
        model.temperature is not None
        and provider.temperature_range is not None
        and model.temperature < provider.temperature_range[0]
    )


def _header_guard(key: str, headers: Mapping[str, str]) -> Callable[[httpx2.Request], None]:
    """Leaves a request only the headers that belong there, and this provider's key."""

    def clean(request: httpx2.Request) -> None:
        for name in list(request.headers):
            if name.lower() not in _HEADERS:
                del request.headers[name]
        request.headers["user-agent"] = "llmtask"
        request.headers.update(headers)
        if key:
            request.headers["authorization"] = f"Bearer {key}"

    return clean


class _WatchedStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A response's bytes, until the run's time is up, or the answer should have begun and has not."""

    def __init__(self, stream: Any, patience: Patience, request: httpx2.Request) -> None:
        self._stream = stream
        self._patience = patience
        self._request = request
        self._is_comment = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._check(piece)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._check(piece)
            yield piece

    def _check(self, piece: bytes) -> None:
        if self._says_something(piece):
            self._patience.begin_answer()
        if self._patience.is_over or self._patience.is_late:
            message = "no more than keep-alive comments came"
            raise httpx2.ReadTimeout(message, request=self._request)

    def _says_something(self, piece: bytes) -> bool:
        """Whether there is more in it than blank lines and comments, such as `: keep-alive`."""
        for line in piece.splitlines(keepends=True):
            self._is_comment = self._is_comment or line.startswith(b":")
            if line.strip() and not self._is_comment:
                return True
            self._is_comment = self._is_comment and not line.endswith((b"\n", b"\r"))
        return False

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _answer_watch(patience: Patience) -> Callable[[httpx2.Response], None]:
    def watch(response: httpx2.Response) -> None:
        response.stream = _WatchedStream(response.stream, kept_patience(patience), response.request)

    return watch


def _limits(patience: Patience) -> Callable[[httpx2.Request], None]:
    """Holds each wait of a request to its run's patience: a read timeout alone would be re-armed by each byte.

    A connection may serve one run after another, so whose patience counts is asked at each read.
    """

    def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_OPENED):
            stream = info["return_value"]
            read = stream.read

            def limited(max_bytes: int, timeout: float | None = None) -> bytes:
                got: bytes = read(max_bytes, timeout=kept_patience(patience).limit(timeout))
                return got

            stream.read = limited

    return _limiting(patience, trace)


def _alimits(patience: Patience) -> Callable[[httpx2.Request], None]:
    """As `_limits`, for an async client."""

    async def trace(event: str, info: dict[str, Any]) -> None:  # awaited by the library
        if event.endswith(_OPENED):
            stream = info["return_value"]
            read = stream.read

            async def limited(max_bytes: int, timeout: float | None = None) -> bytes:
                got: bytes = await read(max_bytes, timeout=kept_patience(patience).limit(timeout))
                return got

            stream.read = limited

    return _limiting(patience, trace)


def _limiting(patience: Patience, trace: Any) -> Callable[[httpx2.Request], None]:
    def limit(request: httpx2.Request) -> None:
        timeouts = request.extensions["timeout"]
        left_s = kept_patience(patience).left_s
        for step in ("connect", "write", "pool"):
            timeouts[step] = max(min(timeouts[step], left_s), 0.001)
        request.extensions["trace"] = trace

    return limit


Message = TypeVar("Message", httpx2.Request, httpx2.Response)


def _awaited(hook: Callable[[Message], None]) -> Callable[[Message], Coroutine[Any, Any, None]]:
    async def awaited(message: Message) -> None:
        hook(message)

    return awaited
