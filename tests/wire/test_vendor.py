"""The loopback vendors keep to the formats of providers.md, seen through a bare HTTP client."""

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from .vendor import Reply, Request, VendorServer

TOOL = {"type": "function", "function": {"name": "label", "parameters": {"type": "object"}}}
NAMED_CHOICE = {"type": "function", "function": {"name": "label"}}
THINKING_OFF: dict[str, Any] = {"thinking": {"type": "disabled"}}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Response:
    """What came back: `body` holds the bytes that arrived, `whole` tells whether the body was ended properly."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    def json(self) -> Any:
        """Gives the parsed body."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """Gives the parsed `data:` events, "[DONE]" as text."""
        blocks = [block for block in self.body.decode().split("\n\n") if block.startswith("data: ")]
        texts = [block.removeprefix("data: ") for block in blocks]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]

    def chunks(self) -> list[Any]:
        """Gives the events that are chunks with a choice."""
        return [event for event in self.events() if isinstance(event, dict) and event.get("choices")]

    def deltas(self) -> list[Any]:
        """Gives the deltas in order, the finish chunk's last."""
        return [chunk["choices"][0]["delta"] for chunk in self.chunks()]


def connect(server: VendorServer, *, timeout_s: float = 5.0) -> http.client.HTTPConnection:
    """Gives a connection that lives on, with at most `timeout_s` seconds of silence."""
    return http.client.HTTPConnection("127.0.0.1", urlsplit(server.base_url).port or 0, timeout=timeout_s)


def stream_on(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """Begins a DeepSeek stream on an open connection."""
    body = {"model": "deepseek-flash", "messages": [], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Authorization": "Bearer sk-test"})
    return connection.getresponse()


def send(server: VendorServer, method: str, path: str, body: object = None, authorization: str = "") -> Response:
    """Sends one request on a connection of its own."""
    with closing(connect(server)) as connection:
        headers = {"Authorization": authorization} if authorization else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Response(response.status, names, response.read())
        except http.client.IncompleteRead as cut:
            return Response(response.status, names, cut.partial, whole=False)


def chat(server: VendorServer, *, model: str = "deepseek-flash", authorization: str = "", **fields: Any) -> Response:
    """Sends a chat request with the right key."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
    path = urlsplit(server.base_url).path + "/chat/completions"
    return send(server, "POST", path, body, authorization or f"Bearer {server.vendor.key}")


def glm(server: VendorServer, *, model: str = "glm-4.7-flash", **fields: Any) -> Response:
    """Sends a chat request for one of Zhipu's models."""
    return chat(server, model=model, **fields)


def jwt(key_id: str, secret: str, algorithm: str = "HS256") -> str:
    """Signs a token as zhipuai does."""
    header = {"alg": algorithm, "sign_type": "SIGN"}
    payload = {"api_key": key_id, "exp": 1_800_000_000_000, "timestamp": 1_700_000_000_000}
    signed = b".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    return b".".join([signed, base64url(hmac.new(secret.encode(), signed, hashlib.sha256).digest())]).decode()


def base64url(data: bytes) -> bytes:
    """Encodes without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def error_of(response: Response, status: int) -> Any:
    """Gives what stands under "error", once the status is as expected."""
    assert response.status == status
    assert list(response.json()) == ["error"]
    return response.json()["error"]


@pytest.fixture
def deepseek() -> Iterator[VendorServer]:
    """A DeepSeek that answers "hi"."""
    with VendorServer("deepseek", replies=[Reply(content="hi")]) as server:
        yield server


@pytest.fixture
def zhipu() -> Iterator[VendorServer]:
    """A Zhipu that answers "hi"."""
    with VendorServer("zhipu", key="id.secret", replies=[Reply(content="hi")]) as server:
        yield server


# DeepSeek: what it refuses


@pytest.mark.parametrize("authorization", ["Bearer sk-wrong", "sk-test", "Basic sk-test"])
def test_deepseek_refuses_a_wrong_key_with_an_authentication_error(deepseek: VendorServer, authorization: str) -> None:
    error = error_of(chat(deepseek, authorization=authorization), 401)
    assert error["type"] == "authentication_error"
    assert set(error) == {"message", "type", "param", "code"}
    assert "sk-wrong" not in error["message"]


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner", "gpt-5"])
def test_deepseek_refuses_retired_and_unknown_models_by_name(deepseek: VendorServer, model: str) -> None:
    error = error_of(chat(deepseek, model=model), 400)
    names = "deepseek-flash, deepseek-v4-pro"
    assert error["message"] == f"The supported API model names are {names}, but you passed {model}"
    assert error["type"] == error["code"] == "invalid_request_error"


def test_deepseek_refuses_json_schema(deepseek: VendorServer) -> None:
    error = error_of(chat(deepseek, response_format={"type": "json_schema", "json_schema": {}}), 400)
    assert error["message"] == "This response_format type is unavailable now"


def test_deepseek_refuses_json_mode_when_no_message_says_json(deepseek: VendorServer) -> None:
    error = error_of(chat(deepseek, response_format={"type": "json_object"}), 400)
    assert error["message"].startswith("Prompt must contain the word 'json'")


@pytest.mark.parametrize("content", ["Answer in JSON.", [{"type": "text", "text": "as json, please"}]])
def test_deepseek_takes_json_mode_when_a_message_says_json(deepseek: VendorServer, content: object) -> None:
    messages = [{"role": "system", "content": content}]
    assert chat(deepseek, response_format={"type": "json_object"}, messages=messages).status == 200


@pytest.mark.parametrize("choice", ["required", NAMED_CHOICE])
@pytest.mark.parametrize("thinking", [{}, {"thinking": {"type": "enabled"}}])
def test_deepseek_refuses_a_forced_tool_while_thinking(
    deepseek: VendorServer, choice: object, thinking: dict[str, Any]
) -> None:
    error = error_of(chat(deepseek, tools=[TOOL], tool_choice=choice, **thinking), 400)
    assert error["message"] == "Thinking mode does not support this tool_choice"


@pytest.mark.parametrize("choice", ["required", NAMED_CHOICE])
def test_deepseek_takes_a_forced_tool_once_thinking_is_disabled(deepseek: VendorServer, choice: object) -> None:
    assert chat(deepseek, tools=[TOOL], tool_choice=choice, **THINKING_OFF).status == 200


def test_deepseek_takes_tool_choice_auto_while_thinking(deepseek: VendorServer) -> None:
    assert chat(deepseek, tools=[TOOL], tool_choice="auto").status == 200


@pytest.mark.parametrize(("reasoning", "status"), [({}, 400), ({"reasoning_content": "so"}, 200)])
def test_deepseek_wants_earlier_reasoning_back_beside_tools(
    deepseek: VendorServer, reasoning: dict[str, str], status: int
) -> None:
    messages = [{"role": "assistant", "content": "a", **reasoning}, {"role": "user", "content": "b"}]
    assert chat(deepseek, tools=[TOOL], messages=messages).status == status
    assert chat(deepseek, messages=messages).status == 200


def test_deepseek_ignores_max_completion_tokens(deepseek: VendorServer) -> None:
    assert chat(deepseek, max_completion_tokens=1).json()["choices"][0]["message"]["content"] == "hi"


# DeepSeek: what it answers


def test_a_deepseek_answer_is_a_chat_completion(deepseek: VendorServer) -> None:
    response = chat(deepseek)
    completion = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert (completion["object"], completion["model"]) == ("chat.completion", "deepseek-flash")
    choice = {"index": 0, "logprobs": None, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    assert completion["choices"] == [choice]


def test_a_deepseek_answer_carries_the_reasoning_beside_the_content(deepseek: VendorServer) -> None:
    deepseek.queue(Reply(content="4", reasoning="2+2"))
    chat(deepseek)
    message = chat(deepseek).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "4", "reasoning_content": "2+2"}


def test_a_thinking_stream_opens_then_reasons_then_answers() -> None:
    with VendorServer("deepseek", replies=[Reply(content="42!", reasoning="six", chunk_chars=2)]) as server:
        response = chat(server, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.deltas() == [
        {"role": "assistant", "content": None, "reasoning_content": ""},
        {"content": None, "reasoning_content": "si"},
        {"content": None, "reasoning_content": "x"},
        {"content": "42", "reasoning_content": None},
        {"content": "!", "reasoning_content": None},
        {"content": "", "reasoning_content": None},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in response.chunks()] == [None] * 5 + ["stop"]
    assert {chunk["object"] for chunk in response.chunks()} == {"chat.completion.chunk"}
    assert response.events()[-1] == "[DONE]"


def test_disabled_thinking_drops_the_reasoning() -> None:
    with VendorServer("deepseek", replies=[Reply(content="42", reasoning="six")]) as server:
        whole, stream = chat(server, **THINKING_OFF), chat(server, stream=True, **THINKING_OFF)
    assert whole.json()["choices"][0]["message"] == {"role": "assistant", "content": "42"}
    assert whole.json()["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert stream.deltas() == [{"role": "assistant", "content": ""}, {"content": "42"}, {"content": ""}]


def test_a_tool_call_names_the_first_requested_tool() -> None:
    with VendorServer("deepseek", replies=[Reply(tool_arguments='{"a": 1}')]) as server:
        choice = chat(server, tools=[TOOL]).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["type"] == "function"
    assert call["id"]
    assert call["function"] == {"name": "label", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(("kind", "model"), [("deepseek", "deepseek-flash"), ("zhipu", "glm-4.7-flash")])
def test_a_streamed_tool_call_opens_empty_and_grows(kind: Any, model: str) -> None:
    with VendorServer(kind, replies=[Reply(tool_arguments='{"a": 1}', chunk_chars=5)]) as server:
        response = chat(server, model=model, stream=True, tools=[TOOL])
    [opening], *grown = (delta["tool_calls"] for delta in response.deltas() if "tool_calls" in delta)
    assert opening["id"]
    assert (opening["index"], opening["type"]) == (0, "function")
    assert opening["function"] == {"name": "label", "arguments": ""}
    expected = [[{"index": 0, "function": {"arguments": piece}}] for piece in ('{"a":', " 1}")]
    assert grown == expected
    assert response.chunks()[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_explicit_finish_reason_stays_beside_a_tool_call() -> None:
    with VendorServer("deepseek", replies=[Reply(tool_arguments="{", finish_reason="length")]) as server:
        assert chat(server, tools=[TOOL]).json()["choices"][0]["finish_reason"] == "length"


def test_deepseek_usage_spells_cache_hits_both_ways() -> None:
    with VendorServer("deepseek", replies=[Reply(content="c" * 8, reasoning="r" * 4)]) as server:
        usage = chat(server).json()["usage"]
    assert usage == {
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "total_tokens": 5,
        "prompt_cache_hit_tokens": 0,
        "prompt_cache_miss_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_prompt_tokens_are_never_zero(deepseek: VendorServer) -> None:
    assert chat(deepseek, messages=[{"role": "user", "content": ""}]).json()["usage"]["prompt_tokens"] == 1


def test_scripted_usage_and_model_are_sent_as_they_are() -> None:
    with VendorServer("deepseek", replies=[Reply(usage={"prompt_tokens": 7}, model="other")]) as server:
        completion = chat(server).json()
    assert (completion["usage"], completion["model"]) == ({"prompt_tokens": 7}, "other")


def test_a_deepseek_stream_has_usage_only_when_asked(deepseek: VendorServer) -> None:
    assert b"usage" not in chat(deepseek, stream=True).body
    chunks = chat(deepseek, **WITH_USAGE).chunks()
    assert [chunk["usage"] is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_trailing_usage_comes_in_a_chunk_without_choices_after_the_finish() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", usage_in="trailing")]) as server:
        *_, finish, usage, done = chat(server, **WITH_USAGE).events()
        silent = chat(server, stream=True)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["usage"] is None
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] > 0
    assert done == "[DONE]"
    assert b"usage" not in silent.body


def test_usage_can_be_left_out() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", usage_in="none")]) as server:
        assert "usage" not in chat(server).json()
        assert not any(chunk["usage"] for chunk in chat(server, **WITH_USAGE).chunks())


def test_text_is_cut_by_characters_and_sent_as_plain_utf8() -> None:
    with VendorServer("deepseek", replies=[Reply(content="标签是猫🐱", chunk_chars=2)]) as server:
        response = chat(server, stream=True, **THINKING_OFF)
    assert [delta["content"] for delta in response.deltas()] == ["", "标签", "是猫", "🐱", ""]
    assert "标签".encode() in response.body


# Zhipu


@pytest.mark.parametrize("prefix", ["", "Bearer "])
def test_zhipu_takes_a_token_signed_with_the_secret(zhipu: VendorServer, prefix: str) -> None:
    assert glm(zhipu, authorization=prefix + jwt("id", "secret")).status == 200


def test_zhipu_takes_the_raw_key(zhipu: VendorServer) -> None:
    assert glm(zhipu, authorization="Bearer id.secret").status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        *("Bearer id.wrong", "id.secret", "Bearer a.b.c", "Bearer \u00e9.\u00e9.\u00e9", "Bearer 1.2"),
        *(jwt("id", "wrong"), jwt("other", "secret"), jwt("id", "secret", "none"), jwt("id", "secret")[:-4]),
    ],
)
def test_zhipu_refuses_other_keys_and_tokens_with_1002(zhipu: VendorServer, authorization: str) -> None:
    error = error_of(glm(zhipu, authorization=authorization), 401)
    assert set(error) == {"code", "message"}
    assert error["code"] == "1002"


def test_zhipu_refuses_a_token_when_its_key_has_no_secret() -> None:
    with VendorServer("zhipu", key="id", replies=[Reply()]) as server:
        assert glm(server, authorization=jwt("id", "")).status == 401


@pytest.mark.parametrize("choice", ["required", "none", NAMED_CHOICE])
def test_zhipu_refuses_any_tool_choice_but_auto(zhipu: VendorServer, choice: object) -> None:
    error = error_of(glm(zhipu, tools=[TOOL], tool_choice=choice), 400)
    assert error == {"code": "1210", "message": "Tool choice must be auto"}
    assert glm(zhipu, tools=[TOOL], tool_choice="auto").status == 200


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize(("value", "status"), [(0, 400), (1, 400), (1.5, 400), (0.01, 200), (0.99, 200), (None, 200)])
def test_zhipu_wants_sampling_inside_the_open_interval(
    zhipu: VendorServer, name: str, value: float | None, status: int
) -> None:
    sampling: dict[str, Any] = {name: value}
    response = glm(zhipu, **sampling)
    assert response.status == status
    assert status == 200 or response.json()["error"]["code"] == "1214"


def test_zhipu_refuses_unknown_models_with_1211(zhipu: VendorServer) -> None:
    assert error_of(glm(zhipu, model="deepseek-flash"), 400)["code"] == "1211"


@pytest.mark.parametrize(
    ("model", "served"),
    [("glm-4.5-flash", "glm-4.7-flash"), ("glm-4.7-flash", "glm-4.7-flash"), ("glm-5.3", "glm-5.3")],
)
def test_zhipu_serves_the_retired_free_model_as_its_successor(zhipu: VendorServer, model: str, served: str) -> None:
    assert glm(zhipu, model=model).json()["model"] == served
    assert {chunk["model"] for chunk in glm(zhipu, model=model, stream=True).chunks()} == {served}


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://example.com/cat.png", 200),
        (base64.b64encode(b"\x89PNG").decode(), 200),
        ("data:image/png;base64,iVBORw==", 400),
        ("http://example.com/cat.png", 400),
        ("", 400),
    ],
)
def test_zhipu_takes_images_by_https_or_raw_base64_alone(zhipu: VendorServer, url: str, status: int) -> None:
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    response = glm(zhipu, model="glm-4.6v-flash", messages=[{"role": "user", "content": content}])
    assert response.status == status
    assert status == 200 or response.json()["error"]["code"] == "1210"


def test_a_zhipu_stream_names_the_role_and_omits_empty_fields() -> None:
    with VendorServer("zhipu", replies=[Reply(content="42", reasoning="six")]) as server:
        response = glm(server, stream=True)
    assert response.deltas() == [
        {"role": "assistant", "reasoning_content": "six"},
        {"role": "assistant", "content": "42"},
        {"role": "assistant", "content": ""},
    ]
    *chunks, finish = response.chunks()
    assert not any("finish_reason" in chunk["choices"][0] or "usage" in chunk for chunk in chunks)
    assert finish["choices"][0]["finish_reason"] == "stop"


def test_zhipu_usage_comes_unasked_on_the_last_chunk(zhipu: VendorServer) -> None:
    usage = glm(zhipu, stream=True).chunks()[-1]["usage"]
    assert usage == glm(zhipu).json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert "prompt_cache_hit_tokens" not in usage


@pytest.mark.parametrize(
    ("model", "thinks"), [("glm-4.7-flash", False), ("glm-4.1v-thinking-flash", True), ("glm-5.3", True)]
)
def test_some_zhipu_models_think_even_when_told_not_to(model: str, *, thinks: bool) -> None:
    with VendorServer("zhipu", replies=[Reply(content="42", reasoning="six")]) as server:
        message = glm(server, model=model, **THINKING_OFF).json()["choices"][0]["message"]
    assert ("reasoning_content" in message) is thinks


# Both: errors, broken streams, silence


@pytest.mark.parametrize("status", [400, 402, 422, 429, 500, 503, 504])
def test_a_status_alone_gets_the_vendors_error_shape(deepseek: VendorServer, zhipu: VendorServer, status: int) -> None:
    for server in (deepseek, zhipu):
        server.queue(Reply(status=status))
    chat(deepseek)
    glm(zhipu)
    assert set(error_of(chat(deepseek, stream=True), status)) == {"message", "type", "param", "code"}
    assert set(error_of(glm(zhipu, stream=True), status)) == {"code", "message"}


def test_scripted_errors_and_headers_are_sent_as_they_are() -> None:
    reply = Reply(status=429, error={"code": "1113"}, headers={"Retry-After": "3", "X-Request-Id": "mine"})
    with VendorServer("zhipu", replies=[reply]) as server:
        response = glm(server, stream=True)
    assert error_of(response, 429) == {"code": "1113"}
    assert (response.headers["retry-after"], response.headers["x-request-id"]) == ("3", "mine")


def test_an_error_can_come_with_status_200() -> None:
    with VendorServer("zhipu", replies=[Reply(error={"code": "1301"})]) as server:
        assert error_of(glm(server, stream=True), 200) == {"code": "1301"}


def test_a_raw_body_is_sent_byte_for_byte() -> None:
    reply = Reply(status=502, raw_body=b"<html>\xff", headers={"content-type": "text/html"})
    with VendorServer("deepseek", replies=[reply]) as server:
        response = chat(server, stream=True)
    assert (response.status, response.body, response.headers["content-type"]) == (502, b"<html>\xff", "text/html")


def test_raw_events_are_the_whole_stream() -> None:
    events = (b'data: {"id":data: {}\n\n', b": note\n\n", b"data: [DONE]\n\n")
    with VendorServer("zhipu", replies=[Reply(content="unused", raw_events=events)]) as server:
        response = glm(server, stream=True)
    assert (response.body, response.whole) == (b"".join(events), True)


def test_a_stream_without_done_still_ends_properly() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", done=False)]) as server:
        response = chat(server, stream=True)
    assert response.whole
    assert response.events()[-1]["choices"][0]["finish_reason"] == "stop"


def test_no_finish_reason_leaves_the_finish_chunk_out() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", finish_reason=None, done=False)]) as server:
        response, whole = chat(server, **WITH_USAGE), chat(server)
    assert response.whole
    assert [chunk["choices"][0]["finish_reason"] for chunk in response.chunks()] == [None, None]
    assert whole.json()["choices"][0]["finish_reason"] is None


def test_an_error_can_replace_the_finish_chunk() -> None:
    reply = Reply(content="hi", mid_stream_error={"message": "overloaded"}, usage_in="trailing")
    with VendorServer("deepseek", replies=[reply]) as server:
        response = chat(server, **WITH_USAGE)
    assert response.events()[-2:] == [{"error": {"message": "overloaded"}}, "[DONE]"]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in response.chunks()] == ["", "hi"]


@pytest.mark.parametrize(("count", "contents"), [(0, []), (1, [""]), (2, ["", "ab"]), (99, ["", "ab", "cd"])])
def test_a_cut_stream_stops_after_that_many_chunks(count: int, contents: list[str]) -> None:
    with VendorServer("deepseek", replies=[Reply(content="abcd", chunk_chars=2, cut_after_chunks=count)]) as server:
        response = chat(server, stream=True)
        assert server.completed == 0
    assert not response.whole
    assert [delta["content"] for delta in response.deltas()] == contents
    assert b"[DONE]" not in response.body


def test_a_cut_answer_stops_within_its_body() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", chunk_chars=10, cut_after_chunks=2)]) as server:
        response = chat(server)
    assert not response.whole
    assert len(response.body) == 20


def test_a_hung_stream_says_nothing_until_the_client_leaves() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", hang_after_chunks=2)]) as server:
        connection = connect(server, timeout_s=0.2)
        with closing(connection), pytest.raises(TimeoutError):
            stream_on(connection).read()
        assert server.wait_idle(2.0)
        assert server.completed == 0


def test_leaving_the_block_hangs_up_on_a_hung_client_at_once() -> None:
    with ThreadPoolExecutor() as pool:
        with VendorServer("deepseek", replies=[Reply(hang_after_chunks=0)]) as server:
            waiting = pool.submit(chat, server, stream=True)
            wait_for_requests(server, 1)
            left_at = time.monotonic()
        assert time.monotonic() - left_at < 1.0
        assert not waiting.result().whole
    assert server.in_flight == 0


def wait_for_requests(server: VendorServer, count: int) -> None:
    """Waits until so many chat requests are being answered."""
    deadline = time.monotonic() + 5.0
    while server.in_flight < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_keep_alive_comments_come_before_a_stream() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", keep_alive=3, keep_alive_interval_s=0.05)]) as server:
        started = time.monotonic()
        response = chat(server, stream=True)
    assert response.body.startswith(b": keep-alive\n\n" * 3 + b"data: ")
    assert time.monotonic() - started >= 0.14


def test_keep_alive_blank_lines_come_before_an_answer() -> None:
    with VendorServer("deepseek", replies=[Reply(content="hi", keep_alive=2)]) as server:
        response = chat(server)
    assert response.body.startswith(b"\n\n{")
    assert response.json()["choices"][0]["message"]["content"] == "hi"


def test_the_first_byte_and_the_chunks_can_be_late() -> None:
    reply = Reply(content="abcd", chunk_chars=1, first_byte_delay_s=0.1, chunk_delay_s=0.03)
    with VendorServer("deepseek", replies=[reply]) as server:
        started = time.monotonic()
        assert chat(server, stream=True).deltas()[-2] == {"content": "d"}
    assert time.monotonic() - started >= 0.1 + 5 * 0.03


def test_a_client_that_leaves_mid_stream_is_not_complained_about(capfd: pytest.CaptureFixture[str]) -> None:
    with VendorServer("deepseek", replies=[Reply(content="x" * 20_000_000, chunk_chars=100_000)]) as server:
        with closing(connect(server)) as connection, stream_on(connection) as response:
            response.read(100)
        assert server.wait_idle(5.0)
        assert server.completed == 0
    assert capfd.readouterr().err == ""


# The server


def test_replies_come_in_order_and_the_last_one_repeats(deepseek: VendorServer) -> None:
    def answer() -> str:
        return str(chat(deepseek).json()["choices"][0]["message"]["content"])

    assert [answer(), answer()] == ["hi", "hi"]
    deepseek.queue(Reply(content="a"), Reply(content="b"))
    assert [answer(), answer(), answer()] == ["a", "b", "b"]


def test_a_refusal_uses_up_no_reply(deepseek: VendorServer) -> None:
    deepseek.queue(Reply(content="second"))
    assert chat(deepseek, model="gpt-5").status == 400
    assert chat(deepseek).json()["choices"][0]["message"]["content"] == "hi"
    assert deepseek.completed == 1


def test_an_empty_queue_is_told_apart_from_the_vendors_errors() -> None:
    with VendorServer("deepseek") as server:
        assert error_of(chat(server), 500)["message"] == "the test queued no reply"


def test_a_reply_can_be_made_from_its_request() -> None:
    def echo(request: Request) -> Reply:
        return Reply(content=str((request.body or {})["messages"][0]["content"]))

    with VendorServer("deepseek", respond=echo) as server:
        assert chat(server).json()["choices"][0]["message"]["content"] == "hello"


def test_checks_can_be_switched_off() -> None:
    with VendorServer("zhipu", replies=[Reply(content="hi")], validate=False) as server:
        assert glm(server, model="any", authorization="none", tool_choice="required").status == 200
        assert send(server, "GET", "/api/paas/v4/models").status == 200


def test_every_request_is_recorded_as_it_came(deepseek: VendorServer) -> None:
    before = time.monotonic()
    chat(deepseek, user_id="u")
    send(deepseek, "GET", "/v1/models?x=1")
    first, second = deepseek.requests
    assert (first.method, first.path) == ("POST", "/v1/chat/completions")
    assert first.headers["authorization"] == "Bearer sk-test"
    assert (first.body or {})["user_id"] == "u"
    assert (second.method, second.path, second.body) == ("GET", "/v1/models?x=1", None)
    assert before <= first.received_at <= second.received_at <= time.monotonic()


@pytest.mark.parametrize("body", [[], "text"])
def test_a_body_that_is_no_object_is_refused(deepseek: VendorServer, body: object) -> None:
    assert send(deepseek, "POST", "/v1/chat/completions", body, "Bearer sk-test").status == 400


def test_models_are_listed_for_the_right_key(deepseek: VendorServer, zhipu: VendorServer) -> None:
    listed = send(deepseek, "GET", "/v1/models", authorization="Bearer sk-test").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["deepseek-flash", "deepseek-v4-pro"]
    assert send(deepseek, "GET", "/v1/models").status == 401
    names = send(zhipu, "GET", "/api/paas/v4/models", authorization="Bearer id.secret").json()["data"]
    assert "glm-4.1v-thinking-flash" in [model["id"] for model in names]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/chat/completions"), ("POST", "/v1/responses"), ("PUT", "/v1/models"), ("GET", "/")],
)
def test_everything_else_is_not_found(deepseek: VendorServer, method: str, path: str) -> None:
    response = send(deepseek, method, path, authorization="Bearer sk-test")
    assert error_of(response, 404)
    assert response.headers["x-request-id"]


def test_deepseek_answers_with_and_without_v1(deepseek: VendorServer) -> None:
    body = {"model": "deepseek-flash", "messages": []}
    assert send(deepseek, "POST", "/chat/completions", body, "Bearer sk-test").status == 200


def test_one_connection_serves_many_requests(deepseek: VendorServer) -> None:
    with closing(connect(deepseek)) as connection:
        connection.connect()
        first_socket = connection.sock
        for _ in range(3):
            assert stream_on(connection).read().endswith(b"data: [DONE]\n\n")
            assert connection.sock is first_socket


def test_a_client_that_waits_its_turn_never_shows_two_in_flight(deepseek: VendorServer) -> None:
    for sent in range(1, 101):
        chat(deepseek, stream=sent % 2 == 0)
        assert (deepseek.completed, deepseek.in_flight) == (sent, 0)
    assert deepseek.max_in_flight == 1


def test_concurrent_requests_are_counted() -> None:
    gate = threading.Event()

    def wait(_: Request) -> Reply:
        gate.wait(5.0)
        return Reply(content="hi")

    with VendorServer("deepseek", respond=wait) as server, ThreadPoolExecutor(20) as pool:
        sent = [pool.submit(chat, server) for _ in range(20)]
        wait_for_requests(server, 20)
        gate.set()
        assert {response.result().status for response in sent} == {200}
        assert (server.max_in_flight, server.in_flight, server.completed) == (20, 0, 20)


def test_a_broken_script_is_printed_and_hung_up_on(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: Request) -> Reply:
        raise AssertionError("the script is wrong")  # noqa: EM101 -- read below

    with VendorServer("deepseek", respond=fail) as server, pytest.raises(http.client.RemoteDisconnected):
        chat(server)
    assert "the script is wrong" in capfd.readouterr().err
