"""Batches whose jobs two workers do by way of a broker, whoever is killed: nothing missing, nothing twice."""

import asyncio
import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtask import run_batch
from llmtask.batch.journal import folder_of
from llmtask.project import Project
from tests.redis.crew import Crew
from tests.redis.server import Server
from tests.wire.batches import PNG, QUEUES, Site, answer, answered, number, said, wait_for
from tests.wire.conftest import MATCH
from tests.wire.formats import Reply
from tests.wire.resumes import resume
from tests.wire.vendor import Request, VendorServer


@pytest.fixture
def crew(broker_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Workers to be hired; the broker is named to whatever is started."""
    monkeypatch.setenv("LLMTASK_BROKER", broker_server.url)
    made = Crew(broker_server.url, tmp_path)
    yield made
    made.dismiss()


@pytest.fixture
def site(crew: Crew, vendors: Callable[..., Project], tmp_path: Path) -> Site:
    """A project, and two workers."""
    made = Site(vendors(queues=QUEUES), tmp_path)
    crew.hire(made.project)
    return made


def started(site: Site, *argv: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(argv or site.starting(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def require_done(batch: "subprocess.Popen[str]", crew: Crew) -> None:
    _, stderr = batch.communicate(timeout=120)
    assert batch.returncode == 0, stderr + crew.said()
    assert "Redis is unavailable" not in stderr, "docket's own words"


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_killed_nothing_is_missing_and_nothing_is_there_twice(
    site: Site, crew: Crew, broker_server: Server, deepseek: VendorServer, seed: int
) -> None:
    victim = ["worker", "broker", "client", "all"][seed % 4]
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.02))
    site.write(200)
    after = random.Random(seed).randrange(1, 190)  # noqa: S311  # an instant, no secret
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= after)
    if victim in {"worker", "all"}:
        crew.workers[seed % 2].kill()
    if victim in {"client", "all"}:
        batch.kill()
        batch.communicate()
        site.out.unlink(missing_ok=True)  # it is made again
    if victim in {"broker", "all"}:
        broker_server.kill()
        time.sleep(0.5)
        broker_server.start()
    if victim in {"client", "all"}:
        site.run(*site.argv("resume", "latest"))
    else:
        require_done(batch, crew)
    site.require_whole(200)
    assert "Traceback" not in crew.said()
    assert "does not answer" in crew.said() or victim in {"worker", "client"}
    site.require_calls(200, deepseek)
    assert deepseek.max_in_flight <= 8 + 8 * (victim in {"worker", "all"}), "a dead worker's calls go on at the vendor"


class Bill:
    """A vendor that answers each resume in its own way, and counts what it bills."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    def respond(self, request: Request) -> Reply:
        text = said(request)
        digest = hashlib.sha256(text.encode()).digest()
        usage = {"prompt_tokens": len(text) // 3, "completion_tokens": 50 + digest[1]}
        self.sums.update(calls=1, **usage)
        usage["total_tokens"] = sum(usage.values())
        name = re.search(r"^# .*?(\d+)[)）]$", text, re.MULTILINE)
        content = MATCH | {"match_score": digest[0] % 101, "overall_assessment": name[0] if name else ""}
        return Reply(
            content=json.dumps(content, ensure_ascii=False), usage=usage, first_byte_delay_s=digest[2] / 10_000
        )


def test_resumes_in_chinese_and_english_come_out_alike_here_and_by_workers_and_the_log_agrees_with_the_vendor(
    vendors: Callable[..., Project], crew: Crew, deepseek: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = vendors(queues={"q_deepseek_chat": {"concurrency": 16}})
    llmtask = [sys.executable, "-m", "llmtask"]
    for locale in ("zh", "en"):
        lines = [json.dumps({"id": f"{locale}-{n}", "resume": resume(locale, n)}) for n in range(250)]
        (tmp_path / f"{locale}.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def run(place: str) -> bytes:
        bill = Bill()
        answered(deepseek, bill.respond)
        log = ["--db", str(tmp_path / f"{place}.db")]
        outs = []
        for locale in ("zh", "en"):
            outs.append(tmp_path / f"{place}.{locale}.jsonl")
            argv = [*llmtask, "batch", "job_match", "--locale", locale, "--project", str(project.root), "--trust", *log]
            argv += ["--inputs", str(tmp_path / f"{locale}.jsonl"), "--out", str(outs[-1]), "--progress", "none"]
            subprocess.run(argv, check=True, capture_output=True, timeout=120)
        report = subprocess.run(
            [*llmtask, "usage", "report", "--format", "json", *log], check=True, capture_output=True, timeout=60
        )
        [total] = json.loads(report.stdout)["groups"]
        counted = {"calls": total["calls"], "prompt_tokens": total["input_tokens"]}
        counted |= {"completion_tokens": total["output_tokens"]}
        assert counted == bill.sums
        assert counted["calls"] == 500
        return b"".join(out.read_bytes() for out in outs)

    crew.hire(project)
    by_workers = run("workers")
    monkeypatch.delenv("LLMTASK_BROKER")
    assert run("here") == by_workers
    answers = [json.loads(line) for line in by_workers.splitlines()]
    assert [one["id"] for one in answers] == [f"{locale}-{n}" for locale in ("zh", "en") for n in range(250)]
    assert all(
        f"({n % 250})"
        in re.sub("[（）]", lambda found: "()"["（）".index(found[0])], one["answer"]["overall_assessment"])
        for n, one in enumerate(answers)
    )


def test_a_worker_that_is_told_to_end_ends_its_calls_and_leaves_the_rest_to_the_other(
    site: Site, crew: Crew, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.1))
    site.write(60)
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= 10)
    crew.workers[0].terminate()
    assert crew.workers[0].wait(20) == 0, crew.said()
    require_done(batch, crew)
    site.require_whole(60)
    assert len(deepseek.requests) == 60
    assert all(row.is_success for row in site.log.latest(999))


def test_a_worker_that_is_told_twice_breaks_off_closes_its_rows_and_others_do_its_jobs(
    site: Site, crew: Crew, deepseek: VendorServer
) -> None:
    slow = {"s": 20.0}
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=slow["s"]))
    site.write(20)
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= 8)
    slow["s"] = 0
    for worker in crew.workers:
        worker.terminate()
    wait_for(lambda: crew.said().count("once more breaks them off") == 2)  # two signals that wait are one
    time.sleep(0.5)
    for worker in crew.workers:
        worker.terminate()
    assert [worker.wait(20) for worker in crew.workers] == [5, 5], crew.said()
    crew.hire(site.project, 1)
    require_done(batch, crew)
    site.require_whole(20)
    assert len(deepseek.requests) == 28
    ends = Counter(row.error_class for row in site.log.latest(999))
    assert ends == {None: 20, "interrupted": 8}


def test_a_batch_that_hangs_up_takes_in_later_what_workers_were_at(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=2))
    site.write(30)
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= 8)
    batch.send_signal(signal.SIGINT)
    time.sleep(0.3)
    batch.send_signal(signal.SIGINT)
    _, stderr = batch.communicate(timeout=20)
    assert batch.returncode == 130, stderr
    assert "Traceback" not in stderr
    time.sleep(3)
    assert len(deepseek.requests) == 8, "nothing begins when nobody waits for it"
    answered(deepseek, answer)
    site.run(*site.argv("resume", "latest"))
    site.require_whole(30)
    assert len(deepseek.requests) == 30
    assert all(row.is_success for row in site.log.latest(999))


def test_a_broker_that_hangs_for_a_while_costs_time_only(
    site: Site, crew: Crew, broker_server: Server, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.05))
    site.write(80)
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= 20)
    broker_server.freeze()
    time.sleep(3)
    broker_server.thaw()
    require_done(batch, crew)
    site.require_whole(80)
    assert len(deepseek.requests) == 80
    assert deepseek.max_in_flight <= 8


def test_free_runs_go_one_at_a_time_over_all_workers_and_a_wait_is_for_all_of_them(
    vendors: Callable[..., Project], crew: Crew, zhipu: VendorServer, tmp_path: Path
) -> None:
    asked: list[float] = []

    def respond(request: Request) -> Reply:
        asked.append(time.monotonic())
        return Reply(status=429, headers={"Retry-After": "2"}) if len(asked) == 3 else answer(request)

    site = Site(vendors(), tmp_path)
    crew.hire(site.project)
    answered(zhipu, respond)
    site.write(8)
    site.run(*site.starting("--free"))
    site.require_whole(8)
    assert zhipu.max_in_flight == 1
    assert asked[3] - asked[2] >= 1.9


def test_a_batch_with_a_broker_wants_it_again_or_goes_on_here(
    vendors: Callable[..., Project], broker_server: Server, deepseek: VendorServer, tmp_path: Path
) -> None:
    locked = Server(broker_server.program, tmp_path / "locked", "letmein")
    try:
        site = Site(vendors(queues=QUEUES), tmp_path)
        answered(deepseek, answer)
        site.write(5)
        batch = started(site, *site.starting("--broker", locked.url))
        assert batch.stderr is not None
        wait_for(lambda: "no worker serves it" in str(batch.stderr and batch.stderr.readline()))
        batch.send_signal(signal.SIGINT)
        _, stderr = batch.communicate(timeout=20)
        assert batch.returncode == 130, stderr
        journal = folder_of(site.project) / f"{site.run_id}.db"
        assert b"letmein" not in journal.read_bytes()
        refused = site.run(*site.argv("resume", "latest"), code=2)
        assert "--broker" in refused.stderr
        assert "letmein" not in refused.stderr
        assert not deepseek.requests
        site.run(*site.argv("resume", "latest", "--broker", "here"))
        site.require_whole(5)
    finally:
        locked.kill()


def test_what_a_broker_cannot_do_is_refused_before_anything_is_begun(
    vendors: Callable[..., Project], broker_server: Server, tmp_path: Path
) -> None:
    site = Site(vendors(budgets=[{"amount": 1, "currency": "CNY", "per": "day"}]), tmp_path)
    site.write(1)
    refused = site.run(*site.starting("--broker", broker_server.url), code=2)
    assert "--max-cost" in refused.stderr
    nowhere = site.run(*site.starting("--broker", "http://user:s3cret@host"), code=2)
    assert "redis://" in nowhere.stderr
    assert "s3cret" not in nowhere.stderr
    assert not folder_of(site.project).exists()


@pytest.mark.usefixtures("crew")
def test_the_library_gives_what_workers_did(site: Site, broker_server: Server, deepseek: VendorServer) -> None:
    answered(deepseek, answer)
    given = [{"resume": f"候选人 {n}；Go"} for n in range(20)]

    async def run() -> dict[str, Any]:
        results = run_batch("job_match", given, project=site.project, log=site.log, broker=broker_server.url)
        return {result.id: result.answer async for result in results}

    found = asyncio.run(run())
    assert {name: one["overall_assessment"] for name, one in found.items()} == {str(n + 1): str(n) for n in range(20)}
    assert len(deepseek.requests) == len(site.log.latest(99)) == 20


def test_an_error_that_is_no_text_fails_its_own_job_alone(site: Site, deepseek: VendorServer) -> None:
    half = b'{"error": {"message": "bad: \\ud83d", "type": "invalid_request_error"}}'
    answered(deepseek, lambda one: Reply(status=400, raw_body=half) if number(one) == "3" else answer(one))
    site.write(12)
    site.run(*site.starting(), code=1)
    assert {line["id"] for line in site.lines()} == {f"r{n}" for n in range(12) if n != 3}
    assert [line["id"] for line in site.lines("out.failed.jsonl")] == ["r3"]


def test_a_stop_of_a_session_before_stops_no_later_one(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=1))
    site.write(40)
    batch = started(site)
    wait_for(lambda: len(deepseek.requests) >= 8)
    batch.kill()
    batch.communicate()
    answered(deepseek, lambda _: Reply(status=402))  # what workers have goes on, and comes back
    wait_for(lambda: len(deepseek.requests) >= 9)
    time.sleep(2)
    answered(deepseek, answer)
    site.run(*site.argv("resume", "latest"))
    site.require_whole(40)


def test_a_worker_without_a_key_leaves_its_jobs_to_one_that_has_it(
    vendors: Callable[..., Project],
    crew: Crew,
    zhipu: VendorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered(zhipu, lambda _: Reply(content=json.dumps(MATCH, ensure_ascii=False), first_byte_delay_s=0.05))
    site = Site(vendors(queues={"q_glm_vision_paid": {"concurrency": 4}}), tmp_path)
    crew.hire(site.project, 1)
    monkeypatch.delenv("ZHIPU_API_KEY")
    crew.hire(site.project, 1)
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.png").write_bytes(PNG + bytes([n]))
    site.run(*site.argv("job_match", "--inputs", str(folder), "--out", str(site.out)))
    assert len(site.lines()) == len(zhipu.requests) == 12
