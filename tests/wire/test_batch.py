"""Batches over real HTTP on loopback: nothing missing, nothing twice, nothing paid for that was done."""

import asyncio
import json
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from llmtask import run_batch
from llmtask.batch.journal import Journal, folder_of
from llmtask.errors import BatchStoppedError
from llmtask.project import Project
from tests.wire.batches import QUEUES, Site, answer, answered, wait_for
from tests.wire.formats import Reply
from tests.wire.vendor import VendorServer


@pytest.fixture
def site(vendors: Callable[..., Project], tmp_path: Path) -> Site:
    return Site(vendors(queues=QUEUES), tmp_path)


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
    site.require_calls(200, deepseek)


def test_lines_that_come_slowly_are_asked_as_they_come(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, answer)
    site.write(5)
    lines = site.inputs.read_bytes().splitlines(keepends=True)
    argv = site.argv("job_match", "--inputs", "-", "--out", str(site.out))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    for some in (lines[:3], lines[3:]):
        asked = len(deepseek.requests) + len(some)
        process.stdin.writelines(some)
        process.stdin.flush()
        wait_for(lambda asked=asked: len(deepseek.requests) == asked)
    process.stdin.close()
    assert process.wait(60) == 0
    site.require_whole(5)


def test_an_input_that_is_another_one_by_now_is_not_gone_on_with(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=0.01))
    site.write(600)
    lines = site.inputs.read_text(encoding="utf-8").splitlines(keepends=True)
    argv = site.argv("job_match", "--inputs", "-", "--out", str(site.out))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write("".join(lines).encode())
    process.stdin.flush()  # and more may come
    wait_for(lambda: len(deepseek.requests) >= 8)
    process.kill()
    process.wait()
    process.stdin.close()
    for changed in (lines[1:], lines[:20]):
        refused = site.run(*site.argv("resume", "latest"), code=2, stdin="".join(changed))
        assert re.search("the input has changed since it was read up to record (500|600),", refused.stderr)
    site.run(*site.argv("resume", "latest"), stdin="".join(lines))
    site.require_whole(600)


def test_a_disk_that_is_full_is_one_error_and_nothing_is_lost(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, answer)
    site.write(400)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))  # bytes of a file

    full = subprocess.run(site.starting(), capture_output=True, text=True, preexec_fn=fill, check=False)
    assert full.returncode == 3, full.stderr
    assert len(re.findall("^llmtask: .*nothing that it holds is lost", full.stderr, re.MULTILINE)) == 1, full.stderr
    assert "Traceback" not in full.stderr
    site.run(*site.argv("resume", "latest"))
    site.require_whole(400)
    site.require_calls(400, deepseek)


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


def test_an_iterable_is_read_by_one_thread_also_where_a_batch_is_gone_on_with(
    site: Site, deepseek: VendorServer
) -> None:
    answered(deepseek, answer)
    may_go_on = threading.Event()

    def given(threads: set[int]) -> Iterator[dict[str, str]]:
        for n in range(5):
            if n == 3:
                may_go_on.wait(60)
            threads.add(threading.get_ident())  # a cursor of sqlite3 is its thread's alone
            yield {"resume": f"候选人 {n}；Go"}

    async def take(most: int, threads: set[int], **more: Any) -> tuple[int, str]:
        results = run_batch("job_match", given(threads), project=site.project, log=site.log, **more)
        taken, batch = 0, ""
        async with aclosing(results):
            async for result in results:
                taken, batch = taken + 1, result.batch
                if taken == most:
                    break
        return taken, batch

    _, batch = asyncio.run(take(3, set()))
    may_go_on.set()
    threads: set[int] = set()
    assert asyncio.run(take(9, threads, resume=batch)) == (2, batch)
    assert len(threads) == 1


def test_the_library_raises_where_a_queue_is_stopped(site: Site, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(status=401))

    async def run() -> None:
        async for _ in run_batch("job_match", [{"resume": "候选人 1；Go"}], project=site.project, log=site.log):
            raise AssertionError

    with pytest.raises(BatchStoppedError, match="resume="):
        asyncio.run(run())


@pytest.mark.parametrize("more", [[], ["--service", "nightly"]], ids=["", "service"])
def test_status_says_how_many_calls_a_kill_cut_off_whatever_the_service(
    site: Site, deepseek: VendorServer, more: list[str]
) -> None:
    answered(deepseek, lambda request: answer(request, first_byte_delay_s=20))
    site.write(12)
    process = subprocess.Popen(site.starting(*more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(deepseek.requests) >= 8)
    process.kill()
    process.wait()
    place = ["--project", str(site.project.root), "--db", str(site.folder / "usage.db")]
    status = site.run(sys.executable, "-m", "llmtask", "batch", "status", "latest", "--json", *place)
    assert json.loads(status.stdout)[0]["open_calls"] == 8
