"""What every carrier of jobs must do: one suite for this process and for two workers by way of a broker."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtask.batch.journal import Journal, folder_of
from llmtask.project import Project
from tests.redis.crew import Crew
from tests.wire.batches import PNG, QUEUES, Site, answer, answered, number, wait_for
from tests.wire.conftest import MATCH
from tests.wire.formats import Reply
from tests.wire.vendor import Request, VendorServer

SiteOf = Callable[..., Site]


@pytest.fixture(params=["here", "workers"])
def site_of(
    request: pytest.FixtureRequest,
    vendors: Callable[..., Project],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SiteOf]:
    """Makes a project whose batches are done in their own process, or by two workers."""
    if request.param == "here":
        yield lambda **config: Site(vendors(**config), tmp_path)
        return
    broker = request.getfixturevalue("broker_server")
    monkeypatch.setenv("LLMTASK_BROKER", broker.url)
    crew = Crew(broker.url, tmp_path)

    def make(**config: Any) -> Site:
        crew.dismiss()
        project = vendors(**config)
        crew.hire(project)
        return Site(project, tmp_path, late=8)

    yield make
    crew.dismiss()


@pytest.fixture
def site(site_of: SiteOf) -> Site:
    return site_of(queues=QUEUES)


def test_a_batch_gives_each_answer_in_the_order_of_the_input_and_a_row_per_call(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=int(number(request)) % 7 / 100))
    site.write(60)
    ended = site.run(*site.starting())
    site.require_whole(60)
    rows = site.log.latest(999)
    assert len(rows) == len(deepseek.requests) == 60
    assert all(row.is_success and row.service_id == f"batch:{site.run_id}" for row in rows)
    assert "60 done" in ended.stderr
    journal = Journal(folder_of(site.project) / f"{site.run_id}.db")
    standing = journal.standing()
    journal.close()
    assert standing.is_over
    assert standing.tokens == sum(row.total_tokens for row in rows)
    assert [cost.nanos for cost in standing.spent] == [sum(row.cost_nanos or 0 for row in rows)]


def test_duplicates_in_the_input_are_one_call_and_as_many_answers(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, answer)
    site.write(40, repeat=4)
    site.run(*site.starting())
    assert len(deepseek.requests) == 10
    assert [line["id"] for line in site.lines()] == [f"r{n}" for n in range(40)]
    assert [line["answer"]["overall_assessment"] for line in site.lines()] == [str(n // 4) for n in range(40)]


def test_a_bad_record_and_a_bad_answer_fail_alone_apart_and_with_their_class(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: Reply(content="no") if number(request) == "3" else answer(request))
    site.write(6)
    with site.inputs.open("a", encoding="utf-8") as file:
        file.write("{not json\n" + '{"resumee": "x"}\n')
    ended = site.run(*site.starting(), code=1)
    assert [line["id"] for line in site.lines()] == ["r0", "r1", "r2", "r4", "r5"]
    failed = {line["id"]: line["error_class"] for line in site.lines("out.failed.jsonl")}
    assert failed == {"r3": "schema_invalid", "7": "bad_input", "8": "bad_input"}
    assert "1 schema_invalid" in ended.stderr
    answered(deepseek, answer)
    before = len(deepseek.requests)
    site.run(*site.argv("retry", site.run_id), code=1)
    assert len(deepseek.requests) == before + 1
    assert [line["id"] for line in site.lines()] == [f"r{n}" for n in range(6)]
    assert {line["error_class"] for line in site.lines("out.failed.jsonl")} == {"bad_input"}


def test_a_third_of_all_answers_failing_costs_calls_and_no_answer(site: Site, deepseek: VendorServer) -> None:
    seen: Counter[str] = Counter()

    def respond(request: Request) -> Reply:
        seen[number(request)] += 1
        bad = hashlib.sha256(f"{number(request)} {seen[number(request)]}".encode()).digest()[0] < 0.3 * 256
        return Reply(status=503) if bad else answer(request)

    answered(deepseek, respond)
    site.write(30)
    site.run(*site.starting())
    site.require_whole(30)
    assert len(site.log.latest(999)) == len(deepseek.requests) > 30


def test_no_balance_in_the_middle_stops_within_the_calls_in_flight_and_goes_on_later(
    site: Site, deepseek: VendorServer
) -> None:
    paid = 40

    def respond(request: Request) -> Reply:
        if len(deepseek.requests) > paid:
            return Reply(status=402)
        return answer(request, first_byte_delay_s=0.02)

    answered(deepseek, respond)
    site.write(120)
    ended = site.run(*site.starting(), code=5)
    assert len(deepseek.requests) <= paid + 8 + 1 + site.late
    assert "stopped" in ended.stderr
    assert "resume" in ended.stderr
    assert not site.lines("out.failed.jsonl"), "what was never answered is to be done, not failed"
    answered(deepseek, answer)
    site.run(*site.argv("resume", site.run_id))
    site.require_whole(120)


def test_jobs_of_a_stopped_queue_go_on_in_their_fallbacks_where_config_lets_them_one_at_a_time_there(
    site_of: SiteOf, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    models = {"deepseek-chat": {"fallbacks": ["glm-4.5-flash"]}}
    site = site_of(queues=QUEUES, models=models)
    answered(deepseek, lambda _: Reply(status=402))
    answered(zhipu, answer)
    site.write(60)
    site.run(*site.starting())
    site.require_whole(60)
    assert len(deepseek.requests) <= 8 + site.late, "nobody asks again who has no balance"
    assert len(zhipu.requests) == 60
    assert zhipu.max_in_flight == 1, "its queue takes one call at a time"


def test_a_call_waits_in_its_routes_queue_and_for_its_models_own_limit(
    site_of: SiteOf, tmp_path: Path, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    vision = {"queues": {"q_glm_vision_paid": {"concurrency": 6}}}
    site = site_of(**vision)
    answered(zhipu, lambda _: Reply(content=json.dumps(MATCH, ensure_ascii=False), first_byte_delay_s=0.1))
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.png").write_bytes(PNG + bytes([n]))
    argv = site.argv("job_match", "--inputs", str(folder), "--out", str(site.out))
    site.run(*argv)
    assert 2 <= zhipu.max_in_flight <= 6, "the model's own queue takes one; the route names another"
    zhipu.max_in_flight = 0
    site = site_of(**vision, models={"glm-4.1v-thinking-flash": {"concurrency": 2}})
    site.run(*argv, "--force")
    assert zhipu.max_in_flight == 2
    assert not deepseek.requests


def test_too_many_requests_slow_the_queue_down_and_nothing_is_lost(site: Site, deepseek: VendorServer) -> None:
    refused: list[float] = []

    def respond(request: Request) -> Reply:
        if len(refused) < 3:
            refused.append(time.monotonic())
            return Reply(status=429, headers={"Retry-After": "1"})
        return answer(request)

    answered(deepseek, respond)
    site.write(40)
    ended = site.run(*site.starting())
    site.require_whole(40)
    assert "slowed down" in ended.stderr or len(deepseek.requests) == 43


def test_an_amount_is_passed_by_no_more_than_what_is_in_flight(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.01))
    site.write(100)
    site.run(*site.starting("--dry-run"))
    assert not deepseek.requests
    ended = site.run(*site.starting("--max-cost", "0.01"), code=8)
    rows = site.log.latest(999)
    one = max(row.cost_nanos or 0 for row in rows)
    spent = sum(row.cost_nanos or 0 for row in rows)
    assert 10_000_000 <= spent <= 10_000_000 + 8 * one
    assert "--max-cost" in ended.stderr
    assert len(rows) < 100
    site.run(*site.argv("resume", "latest", "--max-cost", "5"))
    site.require_whole(100)
    assert len(deepseek.requests) == 100


def test_a_batch_that_runs_is_nobody_elses_and_can_be_cancelled_from_outside(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.3))
    site.write(400)
    process = subprocess.Popen(site.starting(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(deepseek.requests) >= 4)
    taken = site.run(*site.argv("resume", "latest"), code=2)
    assert "another process" in taken.stderr
    project = ["--project", str(site.project.root)]
    status = site.run(sys.executable, "-m", "llmtask", "batch", "status", "--json", *project)
    assert json.loads(status.stdout)[0]["is_over"] is False
    site.run(sys.executable, "-m", "llmtask", "batch", "cancel", "latest", *project)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "cancel" in stderr
    assert len(deepseek.requests) < 400
    again = site.run(sys.executable, "-m", "llmtask", "batch", "cancel", "latest", *project, code=2)
    assert "not being run" in again.stderr


def test_a_changed_prompt_is_another_batch(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(status=402))
    site.write(3)
    site.run(*site.starting(), code=5)
    config = site.project.root / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("deepseek-chat:\n", "deepseek-chat:\n    temperature: 0.9\n"), encoding="utf-8")
    refused = site.run(*site.argv("resume", "latest"), code=2)
    assert "has changed" in refused.stderr


def test_answers_that_are_written_as_they_come_are_all_there_bad_records_and_late_duplicates_too(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, answer)
    feed = subprocess.Popen(
        site.argv("job_match", "--inputs", "-", "--out", str(site.out), "--as-finished"),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert feed.stdin is not None
    lines = [json.dumps({"id": f"r{n}", "resume": f"候选人 {n % 300}；Go"}) for n in range(1500)]
    feed.stdin.write("\n".join([*lines[:600], "{", ""]))
    feed.stdin.flush()
    wait_for(lambda: site.count() >= 500)  # what comes now has been done long ago
    feed.stdin.write("\n".join([*lines[600:], "["]))
    feed.stdin.close()
    assert feed.wait(60) == 1
    assert sorted(line["id"] for line in site.lines()) == sorted(f"r{n}" for n in range(1500))
    assert {line["id"] for line in site.lines("out.failed.jsonl")} == {"601", "1502"}
    assert len(deepseek.requests) == 300
