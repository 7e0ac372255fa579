"""The fault matrix, played: exit code, stdout, stderr, rows, requests, time; and no key in anything left behind."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtask.project import load_project
from tests.wire import matrix
from tests.wire.conftest import DEEPSEEK_KEY, MATCH, ZHIPU_KEY, Outcome
from tests.wire.matrix import Scenario
from tests.wire.test_langchain_driver import community
from tests.wire.vendor import VendorServer

pytest.importorskip("langchain_community", reason="the extra llmtask[community] is not installed")
pytest.importorskip("jwt", reason="the extra llmtask[community] is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- generated: matrix -->\n", "<!-- end: matrix -->"
NOBODY = "http://127.0.0.1:9"
ALL = list(matrix.scenarios())
SEEN: dict[str, tuple[Scenario, tuple[str, ...]]] = {}


def config(scenario: Scenario, deepseek: VendorServer, zhipu: VendorServer) -> dict[str, Any]:
    """The scenario's config, with the shipped rules, their waits cut to nearly nothing."""
    shipped = load_project().config.rules
    rules = {
        failure.value: {"retry": rule.retry, **({"wait_s": 0.001} if rule.wait_s else {})}
        for failure, rule in shipped.items()
    }
    said = scenario.config
    providers = community(zhipu)["providers"]
    if scenario.fault.is_unreachable:
        for server, name in ((deepseek, "deepseek"), (zhipu, "zhipu"), (zhipu, "glm")):
            root = server.vendor.roots[0]
            providers[name] = {**providers.get(name, {}), "base_url": NOBODY + root}
    return {**said, "providers": providers, "rules": rules}


@pytest.mark.parametrize("scenario", ALL, ids=str)
def test_a_fault_has_its_end(
    scenario: Scenario, command: Callable[..., Outcome], deepseek: VendorServer, zhipu: VendorServer, tmp_path: Path
) -> None:
    server = deepseek if scenario.wire.kind == "deepseek" else zhipu
    server.queue(scenario.fault.reply(scenario.wire))
    form = "--stream" if scenario.is_live else "--no-stream"
    begun = time.monotonic()
    outcome = command(
        "run", "job_match", "--var", "resume=Go, 5 years", "-m", "subject", form, **config(scenario, deepseek, zhipu)
    )
    elapsed_s = time.monotonic() - begun
    requests = [request for request in server.requests if request.method == "POST"]
    assert outcome.code == matrix.EXIT_CODES[scenario.failure]
    if scenario.failure == "valid":
        assert outcome.json == MATCH
    else:
        assert outcome.stdout == ""
    assert scenario.says in outcome.stderr
    assert "Traceback" not in outcome.stderr

    assert len(outcome.rows) == scenario.calls
    assert len(requests) == (0 if scenario.fault.is_unreachable else scenario.calls)
    assert {row.error_class or "valid" for row in outcome.rows} == {scenario.failure}
    assert [row.attempt for row in outcome.rows] == list(range(1, scenario.calls + 1))
    assert all(row.cost_nanos is not None and (row.cost_nanos > 0) == (row.total_tokens > 0) for row in outcome.rows)
    assert elapsed_s < scenario.fault.total_s + 5
    assert not list(with_a_key(outcome, tmp_path))
    SEEN[str(scenario)] = (scenario, cells(scenario, outcome, len(requests)))


def with_a_key(outcome: Outcome, folder: Path) -> Iterator[str]:
    """Where a key, or its secret part, is to be read."""
    places = {"stdout": outcome.stdout.encode(), "stderr": outcome.stderr.encode()}
    places |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for place, content in places.items():
        for secret in (DEEPSEEK_KEY, ZHIPU_KEY, ZHIPU_KEY.partition(".")[2]):
            if secret.encode() in content or json.dumps(secret).strip('"').encode() in content:
                yield f"{place}: {secret}"


def cells(scenario: Scenario, outcome: Outcome, requests: int) -> tuple[str, ...]:
    """What is told of a scenario in the table."""
    rows = outcome.rows
    billed = "nothing" if not sum(row.total_tokens for row in rows) else "as reported"
    if billed == "as reported" and any(row.is_estimate for row in rows):
        billed = "estimated"
    end = "valid" if scenario.failure == "valid" else f"`{scenario.failure}`"
    return end, str(outcome.code), str(requests), str(len(rows)), billed


def labelled(group: list[Scenario], fault: list[Scenario]) -> str:
    """Which of a fault's scenarios these are, in few words."""
    if len(group) == len(fault):
        return "all"
    names = []
    for driver in ("openai", "langchain"):
        theirs = [one for one in fault if one.wire.driver == driver]
        ours = [one for one in group if one.wire.driver == driver]
        if ours == theirs:
            names += [driver] if theirs else []
            continue
        for word, is_live in (("streamed", True), ("whole", False)):
            some = [one.wire.method for one in ours if one.is_live is is_live]
            every = [one.wire.method for one in theirs if one.is_live is is_live]
            if some:
                names.append(f"{driver} {word}" + ("" if some == every else f" ({', '.join(some)})"))
    return "; ".join(names)


def table() -> str:
    """The outcomes, one line for those that are alike."""
    lines = [
        "| what goes wrong | where | told as | exit | requests | rows | tokens and cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in matrix.FAULTS:
        ours = [SEEN[str(scenario)] for scenario in ALL if scenario.fault is fault]
        groups: dict[tuple[str, ...], list[Scenario]] = {}
        for scenario, outcome in ours:
            groups.setdefault(outcome, []).append(scenario)
        for outcome, group in groups.items():
            where = labelled(group, [scenario for scenario, _ in ours])
            lines.append(f"| {' | '.join((fault.name, where, *outcome))} |")
    return "\n".join(lines)


def test_the_page_shows_what_came_of_it() -> None:
    if len(SEEN) < len(ALL):
        pytest.skip("the page is of all scenarios, and some were not played, or failed")
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    fresh = f"{head}{BEGIN}\n{len(ALL)} scenarios:\n\n{table()}\n\n{END}{tail}"
    if os.environ.get("LLMTASK_WRITE_MATRIX"):
        PAGE.write_text(fresh, encoding="utf-8")
        return
    assert page == fresh, "stale: LLMTASK_WRITE_MATRIX=1 pytest tests/wire/test_matrix.py writes it"
