"""What DeepSeek and Zhipu say on the wire: answers, event streams and refusals.

Pure functions of a request and of a scripted `Reply`; the sockets are in `vendor`. The facts are those of providers.md
(sections 1.3-1.7 for DeepSeek, 2.2-2.6 for Zhipu), named beside the rule that they explain.
"""

import base64
import hmac
import json
import math
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, AnyStr, ClassVar, Literal

JsonObject = dict[str, Any]

CHARS_PER_TOKEN = 4
EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True)
class Reply:
    """One scripted answer of the vendor.

    A "chunk" is a `data:` event before the finish chunk (the opening one included), one of `raw_events`, or, in an
    answer that is not streamed, `chunk_chars` bytes of the body.

    Attributes:
        content: The answer's text.
        reasoning: The thinking text, dropped when the request disabled thinking.
        tool_arguments: Arguments (JSON text) of a call to the first requested tool.
        finish_reason: "stop" reads as "tool_calls" beside a tool call; None leaves the finish chunk out of a stream.
        model: The model name in the response; None gives the one that the vendor serves the requested name as.
        usage: The usage block as sent; None computes one from the lengths.
        usage_in: Where a stream carries usage: the finish chunk, a chunk without choices after it, or nowhere.
        status: The HTTP status; any but 200 is answered with an error body.
        error: What stands under "error" in the body; None gives the vendor's own error for the status.
        raw_body: The exact body, instead of anything made from the other fields.
        headers: More response headers; they win over the server's own.
        chunk_chars: Characters of text per chunk.
        keep_alive: How many ": keep-alive" comments (stream) or blank lines come between the headers and the body.
        keep_alive_interval_s: Seconds of silence after each of them.
        first_byte_delay_s: Seconds of silence before the status line.
        chunk_delay_s: Seconds of silence after each chunk.
        cut_after_chunks: Close the connection after so many chunks: no finish, no [DONE], no end of the body.
        hang_after_chunks: Go silent after so many chunks, until the client leaves or the server stops (30 s at most).
        done: Whether a stream ends with "data: [DONE]".
        mid_stream_error: What stands under "error" in an event sent instead of the finish chunk.
        raw_events: The exact event stream, an HTTP chunk each, instead of anything made from the other fields.
    """

    content: str = ""
    reasoning: str = ""
    tool_arguments: str | None = None
    finish_reason: str | None = "stop"
    model: str | None = None
    usage: Mapping[str, Any] | None = None
    usage_in: Literal["last", "trailing", "none"] = "last"
    status: int = 200
    error: Mapping[str, Any] | None = None
    raw_body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk_chars: int = 8
    keep_alive: int = 0
    keep_alive_interval_s: float = 0.01
    first_byte_delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    cut_after_chunks: int | None = None
    hang_after_chunks: int | None = None
    done: bool = True
    mid_stream_error: Mapping[str, Any] | None = None
    raw_events: Sequence[bytes] | None = None

    @property
    def chunk_limit(self) -> int | None:
        """How many chunks are sent before the answer breaks off, None when it does not."""
        return self.cut_after_chunks if self.hang_after_chunks is None else self.hang_after_chunks


@dataclass(frozen=True)
class Answer:
    """The bytes of one response body.

    Attributes:
        content_type: The Content-Type header.
        chunks: Pieces sent one by one; an answer that breaks off does so among them.
        tail: What ends a stream, sent in one write, so that the end is never half seen.
        streamed: Whether it is an event stream.
    """

    content_type: str
    chunks: tuple[bytes, ...]
    tail: tuple[bytes, ...] = ()
    streamed: bool = False


@dataclass(frozen=True)
class Vendor(ABC):
    """What the two vendors have in common; a subclass holds one vendor's quirks.

    Attributes:
        key: The API key that the vendor accepts.
    """

    key: str
    roots: ClassVar[tuple[str, ...]]
    """Paths above "/chat/completions" and "/models"; the first is the one of the base URL."""
    models: ClassVar[tuple[str, ...]]
    served_as: ClassVar[Mapping[str, str]] = {}
    """Requested model -> the name in the response, where they differ."""
    always_thinking: ClassVar[tuple[str, ...]] = ()
    """How the names of the models begin whose thinking cannot be disabled."""
    usage_on_demand: ClassVar[bool] = False
    """Whether a stream carries usage only when stream_options.include_usage asks for it."""
    choice_blanks: ClassVar[Mapping[str, None]] = {}
    """Fields that a choice carries even when they are empty."""

    @abstractmethod
    def refuse_key(self, authorization: str) -> Reply | None:
        """Gives the 401 for a wrong Authorization header."""

    @abstractmethod
    def complaints(self, body: Mapping[str, Any]) -> Iterator[JsonObject | None]:
        """Gives, check by check, what stands under "error" when the vendor does not take a request."""

    @abstractmethod
    def default_error(self, status: int) -> JsonObject:
        """Gives what stands under "error" for an HTTP status."""

    @abstractmethod
    def envelope(self, model: str, kind: str) -> JsonObject:
        """Gives the fields around the choices of a completion or chunk."""

    @abstractmethod
    def deltas(self, reply: Reply, tool: str) -> Iterator[JsonObject]:
        """Gives the deltas of a stream in their order; the last one is the finish chunk's."""

    def count(self, prompt_tokens: int, completion_tokens: int, reasoning_tokens: int) -> JsonObject:
        """Gives the usage block of a call without cache hits."""
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
        }

    def refuse_body(self, body: Mapping[str, Any]) -> Reply | None:
        """Gives the 400 for the first complaint."""
        error = next(filter(None, self.complaints(body)), None)
        return None if error is None else Reply(status=400, error=error)

    def thinks(self, body: Mapping[str, Any]) -> bool:
        """Tells whether the request is answered in thinking mode, which is the default."""
        always = str(body.get("model")).startswith(self.always_thinking)
        return always or (body.get("thinking") or {}).get("type") != "disabled"

    def answer(self, body: Mapping[str, Any], reply: Reply) -> Answer:
        """Gives the response body that the reply stands for.

        Args:
            body: The request's body.
            reply: The script.
        """
        if reply.raw_body is None and reply.error is None and reply.status == 200 and body.get("stream") is True:
            return self._stream(body, reply)
        payload = self._payload(body, reply)
        whole = reply.chunk_limit is None
        return Answer("application/json", (payload,) if whole else tuple(pieces(payload, reply.chunk_chars)))

    def model_list(self) -> JsonObject:
        """Gives the body of GET /models."""
        owner = type(self).__name__.lower()
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in self.models]}

    def _payload(self, body: Mapping[str, Any], reply: Reply) -> bytes:
        if reply.raw_body is not None:
            return reply.raw_body
        if reply.error is not None or reply.status != 200:
            return encode({"error": self.default_error(reply.status) if reply.error is None else reply.error})
        return encode(self._completion(body, self._resolve(body, reply)))

    def _resolve(self, body: Mapping[str, Any], reply: Reply) -> Reply:
        """Fills in what the reply leaves to the vendor."""
        called = reply.tool_arguments is not None and reply.finish_reason == "stop"
        model = str(body.get("model"))
        heard = replace(
            reply,
            reasoning=reply.reasoning if self.thinks(body) else "",
            finish_reason="tool_calls" if called else reply.finish_reason,
            model=reply.model or self.served_as.get(model, model),
        )
        return heard if heard.usage is not None else replace(heard, usage=self._measure(body, heard))

    def _measure(self, body: Mapping[str, Any], reply: Reply) -> JsonObject:
        reasoning_tokens = tokens(reply.reasoning)
        completion_tokens = tokens(reply.content) + tokens(reply.tool_arguments or "") + reasoning_tokens
        return self.count(max(1, tokens(prompt_text(body))), completion_tokens, reasoning_tokens)

    def _completion(self, body: Mapping[str, Any], reply: Reply) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": reply.content}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.tool_arguments is not None:
            message["tool_calls"] = [tool_call(tool_name(body), reply.tool_arguments)]
        choice = {"index": 0, **self.choice_blanks, "message": message, "finish_reason": reply.finish_reason}
        completion = {**self.envelope(str(reply.model), "chat.completion"), "choices": [choice]}
        return completion if reply.usage_in == "none" else {**completion, "usage": reply.usage}

    def _stream(self, body: Mapping[str, Any], reply: Reply) -> Answer:
        if reply.raw_events is not None:
            return Answer(EVENT_STREAM, tuple(reply.raw_events), streamed=True)
        served = self._resolve(body, reply)
        frame = self.envelope(str(served.model), "chat.completion.chunk")
        if (body.get("stream_options") or {}).get("include_usage"):
            frame["usage"] = None
        elif self.usage_on_demand:
            served = replace(served, usage_in="none")
        choices = [{"index": 0, **self.choice_blanks, "delta": delta} for delta in self.deltas(served, tool_name(body))]
        chunks = tuple(event({**frame, "choices": [choice]}) for choice in choices[:-1])
        return Answer(EVENT_STREAM, chunks, tuple(_tail(frame, choices[-1], served)), streamed=True)


class DeepSeek(Vendor):
    """DeepSeek's api.deepseek.com (sections 1.1-1.7)."""

    roots = ("/v1", "")
    models = ("deepseek-flash", "deepseek-v4-pro")
    usage_on_demand = True
    choice_blanks: ClassVar[Mapping[str, None]] = {"logprobs": None, "finish_reason": None}

    def refuse_key(self, authorization: str) -> Reply | None:
        """Takes `Bearer <key>` alone."""
        if authorization == f"Bearer {self.key}":
            return None
        message = f"Authentication Fails, Your api key: ****{authorization[-4:]} is invalid"
        return Reply(status=401, error=deepseek_error(message, "authentication_error"))

    def complaints(self, body: Mapping[str, Any]) -> Iterator[JsonObject | None]:
        """Checks model, response format, tool choice and lost reasoning; ignores unknown fields, like the vendor."""
        names = ", ".join(self.models)
        if body.get("model") not in self.models:
            yield deepseek_error(f"The supported API model names are {names}, but you passed {body.get('model')}")
        yield _wrong_response_format(body)
        if self.thinks(body) and body.get("tool_choice") not in (None, "auto", "none"):
            yield deepseek_error("Thinking mode does not support this tool_choice")
        if self.thinks(body) and body.get("tools") and not all(map(_keeps_reasoning, messages(body))):
            yield deepseek_error("The reasoning_content in the thinking mode must be passed back to the API.")

    def default_error(self, status: int) -> JsonObject:
        """Words the documented statuses (section 1.7)."""
        kind, message = DEEPSEEK_ERRORS.get(status, ("unknown_error", f"HTTP {status}"))
        return deepseek_error(message, kind)

    def envelope(self, model: str, kind: str) -> JsonObject:
        """Gives id, object, created, model and system_fingerprint."""
        own = {"id": str(uuid.uuid4()), "system_fingerprint": "fp_0"}
        return {**own, "object": kind, "created": int(time.time()), "model": model}

    def deltas(self, reply: Reply, tool: str) -> Iterator[JsonObject]:
        """Thinks first: "" opens, then reasoning beside a null content, then the reverse (section 1.6)."""
        silence: JsonObject = {"reasoning_content": None} if reply.reasoning else {}
        opening = {"content": None, "reasoning_content": ""} if reply.reasoning else {"content": ""}
        yield {"role": "assistant", **opening}
        for piece in pieces(reply.reasoning, reply.chunk_chars):
            yield {"content": None, "reasoning_content": piece}
        for piece in pieces(reply.content, reply.chunk_chars):
            yield {"content": piece, **silence}
        yield from tool_deltas(reply, tool)
        yield {"content": "", **silence}

    def count(self, prompt_tokens: int, completion_tokens: int, reasoning_tokens: int) -> JsonObject:
        """Spells cache hits twice: OpenAI's way and DeepSeek's own (section 1.6)."""
        own = {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": prompt_tokens}
        return {**super().count(prompt_tokens, completion_tokens, reasoning_tokens), **own}


class Zhipu(Vendor):
    """Zhipu's open.bigmodel.cn (sections 2.1-2.6)."""

    roots = ("/api/paas/v4",)
    models = (
        *("glm-4.5-flash", "glm-4.7-flash", "glm-4.6v-flash", "glm-4.1v-thinking-flash", "glm-4-flash-250414"),
        *("glm-4v-flash", "glm-4.5", "glm-4.5-air", "glm-4.5v", "glm-4.6", "glm-4.7", "glm-5", "glm-5.1", "glm-5.2"),
        *("glm-5.3", "glm-5.3-flash", "glm-5.3-flashx"),
    )
    served_as: ClassVar[Mapping[str, str]] = {"glm-4.5-flash": "glm-4.7-flash"}
    always_thinking = ("glm-5.3", "glm-4.1v-thinking")

    def refuse_key(self, authorization: str) -> Reply | None:
        """Takes `Bearer <key>`, or a JWT signed with the key's secret part, with or without Bearer (section 2.3)."""
        if authorization == f"Bearer {self.key}" or is_signed_by(authorization.removeprefix("Bearer "), self.key):
            return None
        return Reply(status=401, error=self.default_error(401))

    def complaints(self, body: Mapping[str, Any]) -> Iterator[JsonObject | None]:
        """Checks model, tool choice, sampling range and image form."""
        if body.get("model") not in self.models:
            yield zhipu_error("1211", "模型不存在，请检查模型代码。")
        if body.get("tool_choice") not in (None, "auto"):
            yield zhipu_error("1210", "Tool choice must be auto")
        for name in ("temperature", "top_p"):
            if not 0 < (0.5 if body.get(name) is None else body[name]) < 1:
                yield zhipu_error("1214", f"{name} 参数非法。请检查文档。")
        if not all(_is_image_url(image["url"]) for image in parts(body, "image_url")):
            yield zhipu_error("1210", "图片输入格式/解析错误")

    def default_error(self, status: int) -> JsonObject:
        """Gives the usual code for the status (section 2.6)."""
        return zhipu_error(*ZHIPU_ERRORS.get(status, ("1234", f"网络错误，HTTP {status}")))

    def envelope(self, model: str, kind: str) -> JsonObject:
        """Gives id, request_id, object, created and model."""
        name = uuid.uuid4().hex
        return {"id": name, "request_id": name, "object": kind, "created": int(time.time()), "model": model}

    def deltas(self, reply: Reply, tool: str) -> Iterator[JsonObject]:
        """Names the role in each delta and leaves out the fields that are empty."""
        for piece in pieces(reply.reasoning, reply.chunk_chars):
            yield {"role": "assistant", "reasoning_content": piece}
        for piece in pieces(reply.content, reply.chunk_chars):
            yield {"role": "assistant", "content": piece}
        for delta in tool_deltas(reply, tool):
            yield {"role": "assistant", **delta}
        yield {"role": "assistant", "content": ""}


DEEPSEEK_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "Authentication Fails"),
    402: ("unknown_error", "Insufficient Balance"),
    422: ("invalid_request_error", "Invalid parameters"),
    429: ("rate_limit_error", "Rate limit reached"),
    500: ("server_error", "Internal server error"),
    503: ("service_unavailable_error", "Service is too busy. Please retry later."),
}

ZHIPU_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("1210", "API 调用参数有误，请检查文档。"),
    401: ("1002", "Authorization Token非法，请确认Authorization Token正确传递。"),
    429: ("1302", "您的账户已达到速率限制，请您控制请求频率。"),
    500: ("1200", "API 调用出错。"),
}


def deepseek_error(message: str, kind: str = "invalid_request_error") -> JsonObject:
    """Gives what stands under "error"; DeepSeek's code is "invalid_request_error" whatever the type."""
    return {"message": message, "type": kind, "param": None, "code": "invalid_request_error"}


def zhipu_error(code: str, message: str) -> JsonObject:
    """Gives what stands under "error"; the code is a number written as text."""
    return {"code": code, "message": message}


def encode(payload: Mapping[str, Any]) -> bytes:
    """Gives JSON in UTF-8, not escaped."""
    return json.dumps(payload, ensure_ascii=False).encode()


def event(payload: Mapping[str, Any]) -> bytes:
    """Gives one server-sent event."""
    return b"data: " + encode(payload) + b"\n\n"


def pieces(text: AnyStr, size: int) -> list[AnyStr]:
    """Cuts a text into parts of `size` characters (or bytes)."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def tokens(text: str) -> int:
    """Estimates a token count from a length."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def messages(body: Mapping[str, Any]) -> list[JsonObject]:
    """Gives the messages of a request."""
    return [message for message in body.get("messages") or [] if isinstance(message, dict)]


def parts(body: Mapping[str, Any], kind: str) -> list[Any]:
    """Gives what the content parts of a kind ("text", "image_url") hold, over all messages."""
    contents = (message.get("content") for message in messages(body))
    listed = (part for content in contents if isinstance(content, list) for part in content)
    return [part.get(kind) for part in listed if part.get("type") == kind]


def prompt_text(body: Mapping[str, Any]) -> str:
    """Gives the text of all messages."""
    contents = (message.get("content") for message in messages(body))
    return "\n".join([*(content for content in contents if isinstance(content, str)), *parts(body, "text")])


def tool_name(body: Mapping[str, Any]) -> str:
    """Gives the name of the first requested tool; an unmistakable one when the request has none."""
    tools = body.get("tools") or [{"function": {"name": "unrequested_tool"}}]
    return str(tools[0]["function"]["name"])


def tool_call(name: str, arguments: str) -> JsonObject:
    """Gives a tool call as a message and the first delta have it."""
    function = {"name": name, "arguments": arguments}
    return {"index": 0, "id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def tool_deltas(reply: Reply, tool: str) -> Iterator[JsonObject]:
    """Opens the call with empty arguments, then gives the arguments piece by piece."""
    if reply.tool_arguments is None:
        return
    yield {"tool_calls": [tool_call(tool, "")]}
    for piece in pieces(reply.tool_arguments, reply.chunk_chars):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def is_signed_by(token: str, key: str) -> bool:
    """Tells whether a JWT was made from an `id.secret` key (HS256, section 2.3); its expiry is not looked at."""
    key_id, _, secret = key.partition(".")
    signed, _, signature = token.rpartition(".")
    try:
        header, payload = (json.loads(_unbase64url(part)) for part in signed.split("."))
        genuine = hmac.compare_digest(hmac.digest(secret.encode(), signed.encode(), "sha256"), _unbase64url(signature))
        return genuine and header["alg"] == "HS256" and payload["api_key"] == key_id and secret != ""
    except (ValueError, LookupError, TypeError):
        return False


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _tail(frame: JsonObject, choice: JsonObject, reply: Reply) -> Iterator[bytes]:
    """Gives what follows the chunks: finish or error, usage, [DONE]."""
    if reply.mid_stream_error is not None:
        yield event({"error": reply.mid_stream_error})
    elif reply.finish_reason is not None:
        last = {**frame, "usage": reply.usage} if reply.usage_in == "last" else frame
        yield event({**last, "choices": [{**choice, "finish_reason": reply.finish_reason}]})
    if reply.usage_in == "trailing" and reply.mid_stream_error is None:
        yield event({**frame, "choices": [], "usage": reply.usage})
    if reply.done:
        yield b"data: [DONE]\n\n"


def _wrong_response_format(body: Mapping[str, Any]) -> JsonObject | None:
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind == "json_object" and "json" not in prompt_text(body).lower():
        rule = "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
        return deepseek_error(rule)
    return None if kind in ("text", "json_object") else deepseek_error("This response_format type is unavailable now")


def _keeps_reasoning(message: JsonObject) -> bool:
    return message.get("role") != "assistant" or isinstance(message.get("reasoning_content"), str)


def _is_image_url(url: str) -> bool:
    """Takes https and raw base64; that a `data:` URI works was never confirmed (section 2.4)."""
    if url.startswith("https://"):
        return True
    try:
        return base64.b64decode(url, validate=True) != b""
    except ValueError:
        return False
