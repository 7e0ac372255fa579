"""Batches over real HTTP on loopback: nothing missing, nothing twice, nothing paid for that was done."""

import asyncio
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmtask import run_batch
from llmtask.batch.journal import Journal, folder_of, run_ids
from llmtask.errors import BatchStoppedError
from llmtask.project import Project
from llmtask.usage import UsageLog
from tests.wire.conftest import MATCH
from tests.wire.formats import Reply
from tests.wire.vendor import Request, VendorServer

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 64
QUEUES = {"q_deepseek_chat": {"concurrency": 8}}


def said(request: Request) -> str:
    return "\n".join(str(message["content"]) for message in (request.body or {}).get("messages", ()))


def number(request: Request) -> str:
    """The name of the candidate in a request."""
    return said(request).partition("候选人 ")[2].partition("；")[0]


def answer(request: Request, **reply: Any) -> Reply:
    return Reply(content=json.dumps(MATCH | {"overall_assessment": number(request)}, ensure_ascii=False), **reply)


def answered(server: VendorServer, respond: Callable[[Request], Reply]) -> None:
    server._respond = respond


@dataclass
class Site:
    """A project, its input and its output."""

    project: Project
    folder: Path

    @property
    def inputs(self) -> Path:
        return self.folder / "in.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def log(self) -> UsageLog:
        return UsageLog(self.folder / "usage.db")

    def write(self, count: int, *, repeat: int = 1) -> None:
        lines = [{"id": f"r{n}", "resume": f"候选人 {n // repeat}；后端工程师，Go，五年。"} for n in range(count)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self.inputs.write_text(text, encoding="utf-8")

    def argv(self, *arguments: str) -> list[str]:
        place = ["--project", str(self.project.root), "--trust", "--db", str(self.folder / "usage.db")]
        return [sys.executable, "-m", "llmtask", "batch", *arguments, *place, "--progress", "plain"]

    def starting(self, *more: str) -> list[str]:
        return self.argv("job_match", "--inputs", str(self.inputs), "--out", str(self.out), *more)

    def run(self, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == code, ran.stderr + ran.stdout
        return ran

    @property
    def run_id(self) -> str:
        return run_ids(self.project)[0]

    def lines(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def count(self) -> int:
        """Lines that are written so far."""
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def require_whole(self, count: int) -> None:
        lines = self.lines()
        assert [line["id"] for line in lines] == [f"r{n}" for n in range(count)]
        assert all(line["answer"]["overall_assessment"] == line["id"][1:] for line in lines)


@pytest.fixture
def site(vendors: Callable[..., Project], tmp_path: Path) -> Site:
    return Site(vendors(queues=QUEUES), tmp_path)


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.005)


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


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_that_is_killed_goes_on_with_nothing_missing_and_nothing_twice(
    site: Site, deepseek: VendorServer, seed: int
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.02))
    site.write(200)
    after = random.Random(seed).randrange(1, 190)  # noqa: S311  # an instant, no secret
    process = subprocess.Popen(site.starting(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(deepseek.requests) >= after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    site.out.unlink(missing_ok=True)  # it is made again
    site.run(*site.argv("resume", "latest"))
    site.require_whole(200)
    asked = Counter(filter(None, map(number, deepseek.requests)))  # the kill may cut a request off in the middle
    assert len(asked) == 200
    assert asked.total() - 200 <= 8, "no more than was in flight"
    rows = site.log.latest(999)
    unfinished = sum(row.is_unfinished for row in rows)
    assert len(deepseek.requests) <= len(rows) <= asked.total() + 8, "a row is there before its call"
    assert unfinished <= 8


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
    assert len(deepseek.requests) <= paid + 8 + 1
    assert "stopped" in ended.stderr
    assert "resume" in ended.stderr
    assert not site.lines("out.failed.jsonl"), "what was never answered is to be done, not failed"
    answered(deepseek, answer)
    site.run(*site.argv("resume", site.run_id))
    site.require_whole(120)


def test_jobs_of_a_stopped_queue_go_on_in_their_fallbacks_where_config_lets_them_one_at_a_time_there(
    vendors: Callable[..., Project], tmp_path: Path, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    models = {"deepseek-chat": {"fallbacks": ["glm-4.5-flash"]}}
    site = Site(vendors(queues=QUEUES, models=models), tmp_path)
    answered(deepseek, lambda _: Reply(status=402))
    answered(zhipu, answer)
    site.write(60)
    site.run(*site.starting())
    site.require_whole(60)
    assert len(deepseek.requests) <= 8, "nobody asks again who has no balance"
    assert len(zhipu.requests) == 60
    assert zhipu.max_in_flight == 1, "its queue takes one call at a time"


def test_a_call_waits_in_its_routes_queue_and_for_its_models_own_limit(
    vendors: Callable[..., Project], tmp_path: Path, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    vision = {"queues": {"q_glm_vision_paid": {"concurrency": 6}}}
    site = Site(vendors(**vision), tmp_path)
    answered(zhipu, lambda _: Reply(content=json.dumps(MATCH, ensure_ascii=False), first_byte_delay_s=0.1))
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.png").write_bytes(PNG + bytes([n]))
    argv = site.argv("job_match", "--inputs", str(folder), "--out", str(site.out))
    site.run(*argv)
    assert 2 <= zhipu.max_in_flight <= 6, "the model's own queue takes one; the route names another"
    zhipu.max_in_flight = 0
    site = Site(vendors(**vision, models={"glm-4.1v-thinking-flash": {"concurrency": 2}}), tmp_path)
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


def test_ctrl_c_lets_what_is_in_flight_end_and_a_second_one_breaks_it_off(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.3))
    site.write(60)
    process = subprocess.Popen(site.starting(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(deepseek.requests) >= 10)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "resume" in stderr
    rows = site.log.latest(999)
    assert len(rows) == len(deepseek.requests) < 60
    assert all(row.is_success for row in rows), "what was in flight came to its end"

    answered(deepseek, lambda request: answer(request, first_byte_delay_s=20))
    process = subprocess.Popen(site.argv("resume", "latest"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    before = len(deepseek.requests)
    wait_for(lambda: len(deepseek.requests) >= before + 8)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=15)
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    assert not [row for row in site.log.latest(999) if row.is_unfinished], "rows are closed as interrupted"

    answered(deepseek, answer)
    site.run(*site.argv("resume", "latest"))
    site.require_whole(60)


def test_a_batch_that_runs_is_nobody_elses_and_can_be_cancelled_from_outside(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.3))
    site.write(80)
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
    assert len(deepseek.requests) < 80
    again = site.run(sys.executable, "-m", "llmtask", "batch", "cancel", "latest", *project, code=2)
    assert "not being run" in again.stderr


def test_results_come_from_the_journal_and_an_output_is_not_written_over_unasked(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, answer)
    site.write(12)
    site.run(*site.starting("--as-finished"))
    assert sorted(line["id"] for line in site.lines()) == sorted(f"r{n}" for n in range(12))
    there = site.run(*site.starting(), code=2)
    assert "--force" in there.stderr
    argv = [sys.executable, "-m", "llmtask", "batch", "results", "latest", "--project", str(site.project.root)]
    printed = site.run(*argv)
    assert [json.loads(line)["id"] for line in printed.stdout.splitlines()] == [f"r{n}" for n in range(12)]
    assert len(deepseek.requests) == 12


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


def test_ctrl_c_does_not_wait_for_a_pipe_that_nobody_closes(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, answer)
    process = subprocess.Popen(
        site.argv("job_match", "--inputs", "-", "--out", str(site.out)),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("".join(json.dumps({"resume": f"候选人 {n}；Go"}) + "\n" for n in range(501)))
    process.stdin.flush()
    wait_for(lambda: site.count() >= 500)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stdin.close()
    process.stderr.close()


def test_progress_as_json_counts_jobs_records_that_cannot_be_asked_among_them(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, answer)
    site.write(40, repeat=4)
    with site.inputs.open("a", encoding="utf-8") as file:
        file.write("{\n")
    argv = [*site.starting()[:-1], "json"]
    ended = site.run(*argv, code=1)
    last = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")][-1]
    assert last["event"] == "end"
    assert (last["done"], last["failed"], last["total"], last["calls"]) == (10, 1, 11, 10)


def test_a_changed_prompt_is_another_batch(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(status=402))
    site.write(3)
    site.run(*site.starting(), code=5)
    config = site.project.root / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("deepseek-chat:\n", "deepseek-chat:\n    temperature: 0.9\n"), encoding="utf-8")
    refused = site.run(*site.argv("resume", "latest"), code=2)
    assert "has changed" in refused.stderr


def test_a_batch_is_gone_on_with_from_any_folder_and_its_journal_holds_no_command(
    site: Site, deepseek: VendorServer, tmp_path: Path
) -> None:
    answered(deepseek, lambda _: Reply(status=402))
    site.write(5)
    argv = site.argv("job_match", "-i", "in.jsonl", "-o", "out.jsonl", "--alert", "true never")
    here = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert here.returncode == 5, here.stderr
    journal = folder_of(site.project) / f"{site.run_id}.db"
    assert b"never" not in journal.read_bytes()
    answered(deepseek, answer)
    site.run(*site.argv("resume", "latest"))
    site.require_whole(5)


def test_an_alert_tells_how_it_ended(site: Site, deepseek: VendorServer, tmp_path: Path) -> None:
    answered(deepseek, answer)
    site.write(3)
    told = tmp_path / "told.json"
    script = tmp_path / "tell.py"
    script.write_text(f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())", encoding="utf-8")
    site.run(*site.starting("--alert", f"{sys.executable} {script}"))
    assert json.loads(told.read_text(encoding="utf-8"))["event"] == "done"
    assert folder_of(site.project).stat().st_mode & 0o077 == 0


def test_the_library_gives_results_as_they_finish_and_leaves_a_sound_journal_when_it_is_left(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.01))
    given = [{"resume": f"候选人 {n}；Go"} for n in range(50)]

    async def leave() -> tuple[str, int]:
        taken = 0
        results = run_batch("job_match", given, project=site.project, log=site.log)
        async with aclosing(results):
            async for result in results:
                assert result.answer is not None
                assert result.answer["overall_assessment"] == str(int(result.id) - 1)
                taken += 1
                if taken == 10:
                    return result.batch, taken
        raise AssertionError

    async def go_on(batch: str) -> set[str]:
        results = run_batch("job_match", given, project=site.project, log=site.log, resume=batch)
        return {result.id async for result in results}

    batch, taken = asyncio.run(leave())
    left = asyncio.run(go_on(batch))
    assert 0 < len(left) <= 50 - taken
    journal = Journal(folder_of(site.project) / f"{batch}.db")
    standing = journal.standing()
    journal.close()
    assert (standing.done, standing.pending) == (50, 0)
    assert len(deepseek.requests) <= 50 + 8
    assert not [row for row in site.log.latest(999) if row.is_unfinished]


def test_the_library_raises_where_a_queue_is_stopped(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(status=401))

    async def run() -> None:
        async for _ in run_batch("job_match", [{"resume": "候选人 1；Go"}], project=site.project, log=site.log):
            raise AssertionError

    with pytest.raises(BatchStoppedError, match="resume="):
        asyncio.run(run())
