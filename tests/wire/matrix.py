"""The fault matrix: what a vendor does wrong, over which wire, and what has to come of it.

The faults and the expectations are data; `test_matrix` plays them against loopback vendors with the shipped rules.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.wire.conftest import DEEPSEEK_KEY, MATCH, ZHIPU_KEY
from tests.wire.vendor import Reply

ANSWER = json.dumps(MATCH, ensure_ascii=False)
SILENCE_S = 0.3
"""How long the matrix waits for a first byte, and for the next one."""
WHOLE_RUN_S = 30.0
SHORT_RUN_S = 0.8

Kind = Literal["deepseek", "zhipu"]

EXIT_CODES: Mapping[str, int] = {
    "valid": 0,
    "blank": 5,
    "reasoning_only": 5,
    "length": 5,
    "cut_stream": 5,
    "stalled": 5,
    "filtered": 7,
    "refused_key": 4,
    "no_balance": 5,
    "rate_limited": 5,
    "overloaded": 5,
    "bad_request": 5,
    "context_too_long": 2,
    "schema_invalid": 6,
    "network": 5,
    "timeout": 5,
}
CALLS: Mapping[str, int] = {
    "blank": 2,
    "reasoning_only": 2,
    "schema_invalid": 2,
    "cut_stream": 3,
    "stalled": 2,
    "network": 3,
    "rate_limited": 4,
    "overloaded": 4,
}
"""Calls of one model by the shipped rules, where it is more than one."""


@dataclass(frozen=True)
class Wire:
    """How a request goes out.

    Attributes:
        driver: The driver of config.yaml.
        kind: Whose format is spoken.
        method: How the model is held to the schema.
    """

    driver: Literal["openai", "langchain"]
    kind: Kind
    method: str

    @property
    def has_tool(self) -> bool:
        """Whether the answer comes as a tool's arguments."""
        return self.method.startswith("tool")

    def __str__(self) -> str:
        return f"{self.driver} · {self.kind} · {self.method}"


WIRES = (
    Wire("openai", "deepseek", "tool"),
    Wire("openai", "zhipu", "json_object"),
    Wire("openai", "deepseek", "prompt"),
    Wire("langchain", "zhipu", "tool_auto"),
    Wire("langchain", "zhipu", "json_object"),
    Wire("langchain", "zhipu", "prompt"),
)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with every call of a run.

    Attributes:
        name: For the table.
        failure: The failure class it is told as; "valid" where the run gets along with it.
        says: A piece of the sentence on stderr.
        deepseek: What DeepSeek answers.
        zhipu: What Zhipu answers.
        only: The form of the answer that can have it; both when None.
        thinks: Whether the model thinks.
        total_s: The deadline of the whole run.
        is_unreachable: Whether nobody listens.
        calls: How many calls it takes, where that is not as its class has it.
    """

    name: str
    failure: str
    says: str
    deepseek: Reply
    zhipu: Reply
    only: Literal["stream", "whole"] | None = None
    thinks: bool = False
    total_s: float = WHOLE_RUN_S
    is_unreachable: bool = False
    calls: int | None = None

    def reply(self, wire: Wire) -> Reply:
        """What the vendor answers; in a tool's arguments where the wire has one."""
        reply = self.deepseek if wire.kind == "deepseek" else self.zhipu
        if not wire.has_tool or not reply.content.strip():
            return reply
        return replace(reply, tool_arguments=reply.content, content="")


def same(reply: Reply) -> Mapping[str, Reply]:
    """Both vendors do it alike."""
    return {"deepseek": reply, "zhipu": reply}


def refusal(status: int, kind: Kind, code: str, message: str) -> Reply:
    """An HTTP error, in a vendor's own form."""
    own = {"type": "error", "param": None, "code": code} if kind == "deepseek" else {"code": code}
    return Reply(status=status, error={"message": message, **own})


FAULTS = (
    Fault("a valid answer", "valid", "valid ✓", **same(Reply(ANSWER))),
    Fault("no [DONE] after it", "valid", "valid ✓", **same(Reply(ANSWER, done=False)), only="stream"),
    Fault("no usage in it", "valid", "valid ✓", **same(Reply(ANSWER, usage_in="none"))),
    Fault("usage in a chunk of its own", "valid", "valid ✓", **same(Reply(ANSWER, usage_in="trailing")), only="stream"),
    Fault(
        "keep-alive comments first",
        "valid",
        "valid ✓",
        **same(Reply(ANSWER, keep_alive=5)),
    ),
    Fault("reasoning beside it", "valid", "valid ✓", **same(Reply(ANSWER, reasoning="想一想" * 9)), thinks=True),
    Fault("white space only", "blank", "the model gave no answer", **same(Reply(" \n" * 9))),
    Fault("reasoning only", "reasoning_only", "no answer", **same(Reply(reasoning="想一想" * 9)), thinks=True),
    Fault(
        "cut by max_tokens",
        "length",
        "raise the model's max_tokens",
        **same(Reply(ANSWER[:60], finish_reason="length")),
    ),
    Fault(
        "thinking eats max_tokens",
        "length",
        "raise the model's max_tokens",
        **same(Reply(reasoning="想一想" * 9, finish_reason="length")),
        thinks=True,
        calls=2,
    ),
    Fault("the connection closes midway", "cut_stream", "is incomplete", **same(Reply(ANSWER, cut_after_chunks=4))),
    Fault(
        "the stream ends midway, in order",
        "cut_stream",
        "is incomplete",
        **same(Reply(ANSWER[:60], finish_reason=None)),
        only="stream",
    ),
    Fault("no byte comes", "stalled", f"{SILENCE_S:g} s", **same(Reply(ANSWER, first_byte_delay_s=WHOLE_RUN_S))),
    Fault("keep-alive comments only", "stalled", f"{SILENCE_S:g} s", **same(Reply(ANSWER, keep_alive=3000))),
    Fault("silence midway", "stalled", f"{SILENCE_S:g} s", **same(Reply(ANSWER, hang_after_chunks=4))),
    Fault(
        "the filter stops the answer",
        "filtered",
        "content filter",
        deepseek=Reply(ANSWER[:60], finish_reason="content_filter"),
        zhipu=Reply(ANSWER[:60], finish_reason="sensitive"),
    ),
    Fault(
        "the filter refuses the input",
        "filtered",
        "content filter",
        deepseek=refusal(400, "deepseek", "1301", "Content Exists Risk"),
        zhipu=refusal(400, "zhipu", "1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
    ),
    Fault(
        "the key is refused",
        "refused_key",
        "check the key",
        deepseek=Reply(status=401),
        zhipu=Reply(status=401),
    ),
    Fault(
        "the key is refused, and told back",
        "refused_key",
        "***",
        deepseek=refusal(401, "deepseek", "invalid_api_key", f"Your api key {DEEPSEEK_KEY} is invalid"),
        zhipu=refusal(401, "zhipu", "1002", f"Token {ZHIPU_KEY} 非法"),
    ),
    Fault(
        "no money",
        "no_balance",
        "top up the account",
        deepseek=Reply(status=402),
        zhipu=refusal(429, "zhipu", "1113", "您的账户已欠费，请充值后重试。"),
    ),
    Fault(
        "too many requests",
        "rate_limited",
        "wait a little",
        deepseek=Reply(status=429),
        zhipu=Reply(status=429),
    ),
    Fault(
        "too busy",
        "overloaded",
        "try again later",
        deepseek=Reply(status=503),
        zhipu=refusal(429, "zhipu", "1305", "该模型当前访问量过大，请您稍后再试"),
    ),
    Fault("a fault of the server's", "overloaded", "try again later", **same(Reply(status=500))),
    Fault("a wrong request", "bad_request", "--dry-run", **same(Reply(status=400))),
    Fault("an unknown path", "bad_request", "--dry-run", **same(Reply(status=404, raw_body=b"404 page not found"))),
    Fault(
        "a redirect to a stranger",
        "bad_request",
        "HTTP 307",
        **same(Reply(status=307, raw_body=b"", headers={"location": "http://stranger.invalid/v1/chat/completions"})),
    ),
    Fault(
        "the input is too long",
        "context_too_long",
        "shorten the input",
        deepseek=refusal(400, "deepseek", "invalid_request_error", "This model's maximum context length is 131072"),
        zhipu=refusal(400, "zhipu", "1261", "Prompt 超长"),
    ),
    Fault(
        "a value out of range",
        "schema_invalid",
        "does not fit the schema",
        **same(Reply(json.dumps({**MATCH, "match_score": 900}, ensure_ascii=False))),
    ),
    Fault("prose, no JSON", "schema_invalid", "does not fit the schema", **same(Reply("抱歉，我无法完成这个请求。"))),
    Fault("a list cut short, told as whole", "schema_invalid", "does not fit", **same(Reply(ANSWER[:60]))),
    Fault(
        "an error event midway",
        "overloaded",
        "try again later",
        deepseek=Reply(ANSWER[:60], mid_stream_error={"message": "busy", "type": "server_error", "code": "1305"}),
        zhipu=Reply(ANSWER[:60], mid_stream_error={"code": "1305", "message": "访问量过大"}),
        only="stream",
    ),
    Fault(
        "a page instead of JSON",
        "cut_stream",
        "no chat completion",
        **same(Reply(raw_body=b"<html>502 Bad Gateway</html>", headers={"content-type": "text/html"})),
        only="whole",
    ),
    Fault("nobody listens", "network", "check the network", **same(Reply()), is_unreachable=True),
    Fault(
        "bytes trickle past the deadline",
        "timeout",
        f"{SHORT_RUN_S:g} s are over",
        **same(Reply(ANSWER, chunk_chars=1, chunk_delay_s=0.1)),
        total_s=SHORT_RUN_S,
        only="stream",
    ),
)


@dataclass(frozen=True)
class Scenario:
    """A fault on a wire, streamed or not."""

    fault: Fault
    wire: Wire
    is_live: bool

    @property
    def failure(self) -> str:
        """The failure class that is expected."""
        return self._end[0]

    @property
    def says(self) -> str:
        """What stderr is expected to say."""
        return self._end[1]

    @property
    def _end(self) -> tuple[str, str]:
        otherwise = chat_zhipu_ai(self.fault, self.wire, is_live=self.is_live)
        return otherwise or (self.fault.failure, self.fault.says)

    @property
    def calls(self) -> int:
        """How many calls are expected."""
        return self.fault.calls or CALLS.get(self.failure, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The project's config, up to the addresses."""
        model = {
            "provider": "glm" if self.wire.driver == "langchain" else self.wire.kind,
            "name": "deepseek-flash" if self.wire.kind == "deepseek" else "glm-4.6",
            "structured": self.wire.method,
            "thinking": "enabled" if self.fault.thinks else "disabled",
            "temperature": 0.1,
            "max_tokens": 1000,
            "most_tokens": 2000,
            "context": 128000,
            "price": "deepseek-flash",
        }
        silence = {"first_byte_s": SILENCE_S, "idle_s": SILENCE_S} if self.fault.failure == "stalled" else {}
        return {
            "models": {"subject": model},
            "defaults": {"timeouts": {**silence, "total_s": self.fault.total_s}},
        }

    def __str__(self) -> str:
        return f"{self.fault.name}, {self.wire}, {'stream' if self.is_live else 'whole'}"


def chat_zhipu_ai(fault: Fault, wire: Wire, *, is_live: bool) -> tuple[str, str] | None:
    """What a fault is told as through ChatZhipuAI, and a piece of the sentence; None where it is the fault's own class.

    The class drops reasoning, and in streams the tool's arguments, the HTTP status and the vendor's error.
    """
    if wire.driver != "langchain":
        return None
    if fault.failure == "reasoning_only":
        return "blank", "the model gave no answer"
    if not is_live:
        return None
    if fault.zhipu.status != 200:
        return "bad_request", "text/event-stream"
    if fault.zhipu.mid_stream_error is not None:
        return "cut_stream", "no chat completion"
    if wire.has_tool and fault.failure in ("valid", "schema_invalid"):
        return "blank", "the model gave no answer"
    return None


def scenarios() -> Iterator[Scenario]:
    """Every fault on every wire that can have it."""
    for fault in FAULTS:
        for wire in WIRES:
            for is_live in (True, False):
                if fault.only in (None, "stream" if is_live else "whole"):
                    yield Scenario(fault, wire, is_live)
