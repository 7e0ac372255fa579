"""Any split of a stream into pieces, through the middle of characters, gives the same result."""

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmtask
from tests.wire.conftest import MATCH
from tests.wire.vendor import Reply, VendorServer

ANSWER = json.dumps(MATCH, ensure_ascii=False)
MODELS = {"deepseek": "deepseek-chat", "zhipu": "glm-4.5-flash"}


@pytest.mark.parametrize("kind", ["deepseek", "zhipu"])
def test_chunk_boundaries_change_nothing(
    kind: str, vendors: Callable[..., llmtask.Project], deepseek: VendorServer, zhipu: VendorServer
) -> None:
    server, model = {"deepseek": deepseek, "zhipu": zhipu}[kind], MODELS[kind]
    project = vendors()
    asked = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    whole = b": keep-alive\n\n" + sent(server, asked)

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.integers(1, len(whole) - 1), max_size=60))
    def same(cuts: list[int]) -> None:
        at = sorted({0, *cuts, len(whole)})
        server.queue(Reply(raw_events=[whole[a:b] for a, b in itertools.pairwise(at)]))
        *_, last = llmtask.run_streaming_task("job_match", {"resume": "Go"}, model_id=model, project=project, log=None)
        assert isinstance(last, llmtask.ResultEvent)
        result = last.result
        assert (result.to_json(), result.repair_level, result.attempts) == (MATCH, "strict", 1)
        assert (result.tokens.is_estimate, result.tokens.output) == (False, -(-len(ANSWER) // 4))

    same()


def sent(server: VendorServer, body: dict[str, object]) -> bytes:
    """The bytes of the vendor's whole stream."""
    answer = server.vendor.answer(body, Reply(ANSWER, chunk_chars=40))
    return b"".join((*answer.chunks, *answer.tail))
