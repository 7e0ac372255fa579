"""batch.remote: jobs to workers in other processes, whatever is killed: nothing lost, nothing called twice."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from llmtask.batch.job import State
from llmtask.errors import BrokerError, Failure, UsageError
from tests.conftest import MakeProject
from tests.redis.conftest import CONFIG, DIGEST, RUN, Call, Site, are_done, jobs
from tests.redis.server import SecretServer, Server


def most_at_once(calls: list[Call]) -> int:
    steps = sorted(
        [(one.begun, 1) for one in calls] + [(one.ended, -1) for one in calls if one.ended is not None],
        key=lambda step: step[0],
    )
    count = most = 0
    for _, step in steps:
        count += step
        most = max(most, count)
    return most


def rows_of(site: Site) -> Counter[bool]:
    """How many rows the log has, by whether they are unfinished."""
    with closing(site.log) as log:
        return Counter(one.is_unfinished for one in log.latest(1000))


def test_jobs_are_put_done_taken_and_settled(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(6, sleep=0.1) + jobs(6, "wide", sleep=0.1)
        async with site.client() as broker:
            assert broker.room("slow") == 8
            await broker.put(given)
            assert broker.room("slow") == 2
            found = await site.outcomes(broker, 12)
            assert are_done(found, given)
            assert broker.room("slow") == 8
            assert rows_of(site) == {False: 12}

    site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 12


def test_rows_are_in_the_log_before_the_outcome_is_given(site: Site) -> None:
    async def scenario() -> None:
        async with site.client() as broker:
            await broker.put(jobs(3))
            count = 0
            while count < 3:
                count += len(await broker.take())
                assert rows_of(site)[False] >= count

    site.worker("w1")
    asyncio.run(scenario())


def test_a_job_that_is_given_again_is_called_once(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(3, sleep=0.3)
        async with site.client() as broker:
            await broker.put(given)
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 3, settles=False), given)
            await broker.put(given)
        async with site.client() as again:  # who was killed before its journal had them gives them again
            await again.put(given)
            assert are_done(await site.outcomes(again, 3), given)
            await asyncio.sleep(1)
            assert again._outcomes.empty()
        async with site.client() as third:
            assert third._outcomes.empty()

    site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 3


def test_a_job_whose_outcome_the_journal_has_is_called_again_when_it_is_tried_again(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(1, broken=1)
        async with site.client() as broker:
            await broker.put(given)
            [outcome] = (await site.outcomes(broker, 1)).values()
            assert (outcome.state, outcome.failure) == (State.FAILED, Failure.BUG)
            assert "ValueError" in str(outcome.reason)
        async with site.client(retry=True) as again:
            await again.put(given)
            assert len(await site.outcomes(again, 1)) == 1

    site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 2


def test_the_jobs_of_a_worker_that_is_killed_are_done_by_another_and_its_rows_arrive(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(4, sleep=1.5)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: len(site.calls()) == 4)
            first.kill()
            site.worker("w2")
            assert are_done(await site.outcomes(broker, 4), given)

    first = site.worker("w1")
    asyncio.run(scenario())
    calls = site.calls()
    assert Counter(one.worker for one in calls) == {"w1": 4, "w2": 4}
    assert rows_of(site) == {True: 4, False: 4}


def test_a_job_longer_than_the_lease_is_not_given_to_another(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(2, sleep=6)
        async with site.client() as broker:
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 2), given)

    site.worker("w1")
    site.worker("w2")
    asyncio.run(scenario())
    assert len(site.calls()) == 2


def test_a_job_that_takes_its_workers_with_it_fails_in_the_end(site: Site) -> None:
    async def scenario() -> None:
        async with site.client() as broker:
            await broker.put(jobs(1, deadly=1))
            taking = asyncio.create_task(site.outcomes(broker, 1))
            while not taking.done():
                worker = site.worker("w")
                while worker.poll() is None and not taking.done():
                    await asyncio.sleep(0.05)
            [outcome] = (await taking).values()
            assert (outcome.state, outcome.failure) == (State.FAILED, Failure.INTERRUPTED)

    asyncio.run(scenario())
    assert len(site.calls()) == 5


def test_a_broker_that_is_killed_and_comes_back_costs_time_only(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(32, "wide", sleep=0.5)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: sum(one.ended is not None for one in site.calls()) >= 8)
            site.server.kill()
            await asyncio.sleep(2)
            putting = asyncio.create_task(broker.put(jobs(2, "slow")))
            await asyncio.sleep(1)
            site.server.start()
            await putting
            assert are_done(await site.outcomes(broker, 34), [*given, *jobs(2, "slow")])
            assert rows_of(site)[False] >= 34

    site.worker("w1")
    site.worker("w2")
    asyncio.run(scenario())
    assert len(site.calls()) == 34


def test_a_broker_that_stays_away_is_told_after_some_time(site: Site) -> None:
    async def scenario() -> None:
        async with site.client(patience_s=1) as broker:
            await broker.put(jobs(1))
            site.server.kill()
            with pytest.raises(BrokerError, match=r"the broker at redis://127.0.0.1:\d+/0 cannot be used"):
                await broker.take()
            with pytest.raises(BrokerError):
                await broker.put(jobs(2, sleep=1))
        site.server.start()

    asyncio.run(scenario())


def test_two_workers_never_do_more_of_a_queue_at_once_than_it_lets(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(8, sleep=0.4)
        async with site.client() as broker:
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 8), given)

    site.worker("w1")
    site.worker("w2")
    asyncio.run(scenario())
    assert most_at_once(site.calls()) == 4


def test_a_saturated_queue_holds_up_no_other(site: Site) -> None:
    async def scenario() -> None:
        async with site.client() as broker:
            await broker.put(jobs(8, "slow", sleep=3))
            await site.until(lambda: len(site.calls()) == 4)
            begun = time.monotonic()
            given = jobs(8, "wide")
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 8), given)
            assert time.monotonic() - begun < 2.5

    site.worker("w1")
    asyncio.run(scenario())


def test_outcomes_that_were_taken_and_not_settled_are_given_to_the_next_client(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(4)
        async with site.client() as broker:
            await broker.put(given)
            found = await site.outcomes(broker, 4, settles=False)
            await broker.settle([found[given[0].key]])
        async with site.client() as again:
            rest = await site.outcomes(again, 3)
            assert are_done(rest, given[1:])
        async with site.client() as third:
            assert third._outcomes.empty()

    site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 4


def test_outcomes_that_a_client_took_before_it_was_killed_are_given_to_the_next(site: Site) -> None:
    given = jobs(4)

    async def next_client() -> None:
        async with site.client() as broker:
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 4), given)

    site.worker("w1")
    first = site.taker(4)
    assert first.stdout is not None
    assert first.stdout.readline() == "taken\n"
    first.kill()
    asyncio.run(next_client())
    assert len(site.calls()) == 4


def test_after_the_broker_was_away_nobody_takes_what_another_may_hold(broker_server: Server) -> None:
    from llmtask.batch.remote.link import Link
    from llmtask.batch.remote.presence import Presence

    async def scenario() -> None:
        link = Link(broker_server.url, patience_s=0)
        presence = Presence(link, "w1", 2)
        try:
            await asyncio.sleep(2.1)
            assert not await presence.may_hold("w2")
            broker_server.kill()
            with pytest.raises(BrokerError):
                await link.do(lambda redis: redis.ping())
            broker_server.start()
            assert await presence.may_hold("w2")
            await asyncio.sleep(2.1)
            assert not await presence.may_hold("w2")
        finally:
            await link.aclose()

    asyncio.run(scenario())


def test_jobs_of_another_project_are_given_back_and_done_by_the_worker_that_has_it(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(3)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: "w1" in broker.refusals)
            assert "give it the same project" in broker.refusals["w1"]
            [state] = broker.queues()
            assert "worker w1 gives its jobs back" in str(state.why)
            site.worker("w2")
            assert are_done(await site.outcomes(broker, 3), given)

    site.worker("w1", "another digest")
    asyncio.run(scenario())
    assert {one.worker for one in site.calls()} == {"w2"}


def test_jobs_of_an_unknown_task_and_of_another_release_are_given_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(spec: str) -> str:
        async with site.client(spec=spec) as broker:
            await broker.put(jobs(1, spec=spec))
            await site.until(lambda: "w1" in broker.refusals)
            return str(broker.refusals["w1"])

    site.worker("w1")
    assert asyncio.run(refused("unknown")) == "there is no such task"
    monkeypatch.setattr("llmtask.batch.remote.payload.VERSION", 2)
    site.server.kill()
    site.server.start()

    async def newer() -> None:
        async with site.client() as broker:
            await broker.put(jobs(1, spec="newer"))
            await site.until(lambda: "version 2" in broker.refusals.get("w1", ""))

    asyncio.run(newer())
    assert site.calls() == []


def test_a_stop_gives_back_what_waits_and_lets_the_rest_come_to_its_end(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(8, sleep=2)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: len(site.calls()) == 4)
            await broker.stop("enough")
            assert broker.room("slow") == 0
            found = await site.outcomes(broker, 8)
            assert Counter(one.state for one in found.values()) == {State.DONE: 4, State.PENDING: 4}
            assert {one.reason for one in found.values() if one.state is State.PENDING} == {"enough"}
            left = [one for one in given if found[one.key].state is State.PENDING]
        async with site.client() as again:
            await again.put(left)
            assert are_done(await site.outcomes(again, 4), left)

    site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 8


def test_a_stop_without_workers_gives_everything_back(site: Site) -> None:
    async def scenario() -> None:
        async with site.client() as broker:
            await broker.put(jobs(3))
            await site.until(lambda: any("no worker serves it" in str(one.why) for one in broker.queues()))
            await broker.stop("enough")
            found = await site.outcomes(broker, 3)
            assert {one.state for one in found.values()} == {State.PENDING}

    asyncio.run(scenario())


def test_a_worker_that_is_told_to_end_does_what_it_has_and_begins_nothing(site: Site) -> None:
    async def scenario() -> None:
        async with site.client() as broker:
            await broker.put(jobs(8, sleep=1.5))
            await site.until(lambda: len(site.calls()) == 4)
            worker.send_signal(signal.SIGTERM)
            found = await site.outcomes(broker, 4)
            assert {one.state for one in found.values()} == {State.DONE}
            assert await asyncio.to_thread(worker.wait, 20) == 0

    worker = site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 4
    assert "once more breaks them off" in site.said()


def test_a_worker_that_is_told_to_end_does_what_it_has_of_a_session_before(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(8, sleep=3)
        async with site.client() as broker:
            await broker.put(given[:4])
            await site.until(lambda: len(site.calls()) == 4)
        async with site.client() as broker:
            await broker.put(given)  # its own places are taken by those of the session before
            await asyncio.sleep(1)
            worker.send_signal(signal.SIGTERM)
            found = await site.outcomes(broker, 4)
            assert are_done(found, given[:4])
            assert await asyncio.to_thread(worker.wait, 20) == 0

    worker = site.worker("w1")
    asyncio.run(scenario())
    assert len(site.calls()) == 4


def test_a_stop_waits_for_the_calls_of_a_worker_that_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """docket counts it among its workers no more."""

    async def scenario() -> None:
        given = jobs(4, sleep=6)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: len(site.calls()) == 4)
            worker.send_signal(signal.SIGTERM)
            await broker.stop("enough")
            assert are_done(await site.outcomes(broker, 4), given)

    worker = site.worker("w1")
    asyncio.run(scenario())

    monkeypatch.setattr("llmtask.batch.remote.broker._ALONE_S", 3.0)

    async def killed() -> None:
        given = jobs(4, sleep=60)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: len(site.calls()) == 8)
            second.kill()
            await broker.stop("enough")
            found = await site.outcomes(broker, 4)
            assert {one.state for one in found.values()} == {State.PENDING}

    second = site.worker("w2")
    asyncio.run(killed())


def test_a_broker_that_refuses_to_write_for_a_while_costs_time_only(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(12, sleep=0.3)
        async with site.client() as broker:
            await broker.put(given)
            await site.until(lambda: len(site.calls()) == 4)
            for replicas in (1, 0):  # NOREPLICAS; a disk that is full makes it MISCONF
                await broker._link.do(lambda redis, n=replicas: redis.config_set("min-replicas-to-write", n))
                await asyncio.sleep(4)
            assert are_done(await site.outcomes(broker, 12), given)

    worker = site.worker("w1")
    asyncio.run(scenario())
    assert worker.poll() is None
    assert len(site.calls()) == 12


def test_what_docket_lost_is_put_again(site: Site) -> None:
    async def scenario() -> None:
        given = jobs(2)
        async with site.client() as broker:
            await broker.put(given)
            await broker._link.do(lambda redis: redis.flushall())
            site.worker("w1")
            assert are_done(await site.outcomes(broker, 2), given)

    asyncio.run(scenario())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, for a certificate")
def test_a_broker_that_speaks_tls_is_used_where_its_certificate_is_trusted(
    project: MakeProject, broker_server: Server, tmp_path: Path
) -> None:
    secret = SecretServer(broker_server.program, tmp_path / "secret")
    site = Site(project(CONFIG), secret, tmp_path)

    async def scenario() -> None:
        given = jobs(4)
        async with site.client() as broker:
            await broker.put(given)
            assert are_done(await site.outcomes(broker, 4), given)

    try:
        worker = site.worker("w1")
        asyncio.run(scenario())
        worker.kill()
        worker.wait()
        secret.query = ""
        with pytest.raises(BrokerError, match="certificate verify failed"):
            asyncio.run(scenario())
    finally:
        secret.kill()


def test_a_broker_that_is_not_there_is_an_error_at_once(site: Site) -> None:
    async def scenario() -> None:
        async with site.client():
            pass

    site.server.kill()
    with pytest.raises(BrokerError, match="is it running, and is --broker its URL"):
        asyncio.run(scenario())
    site.server.start()


def test_no_error_shows_a_broker_s_password(broker_server: Server, tmp_path: Path) -> None:
    from llmtask.batch.remote.link import Link
    from llmtask.batch.remote.url import place

    async def ask(url: str) -> None:
        link = Link(url, patience_s=None)
        try:
            await link.do(lambda redis: redis.ping())
        finally:
            await link.aclose()

    locked = Server(broker_server.program, tmp_path / "locked", "letmein")
    try:
        asyncio.run(ask(locked.url))
        with pytest.raises(BrokerError) as caught:
            asyncio.run(ask(locked.url.replace("letmein", "s3cret")))
    finally:
        locked.kill()
    assert "s3cret" not in str(caught.value)
    for wrong in ("queue.example:6379", "http://:s3cret@host", "redis://:s3cret@host:port", "redis://:s3cret@host/a"):
        with pytest.raises(UsageError) as refused:
            place(wrong)
        assert "s3cret" not in str(refused.value)
    assert place("rediss://u:s3cret@[::1]:6379/2") == "rediss://[::1]:6379/2"
    assert {place(f"redis://host{rest}") for rest in ("", "/", "/0", ":6379", ":6379/0")} == {"redis://host:6379/0"}
    assert place("unix://:s3cret@/run/redis.sock?db=1") == "unix:///run/redis.sock"


def test_without_a_broker_nothing_of_docket_is_imported() -> None:
    modules = "llmtask.batch.run, llmtask.batch.start, llmtask.main"
    code = f"import sys, {modules}; print({{'docket', 'redis'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_run_and_digest_are_what_workers_are_told() -> None:
    from llmtask.batch.remote.payload import Origin, Payload

    [job] = jobs(1)
    payload = Payload(Origin(RUN, "{}", DIGEST, "batch:r1", 3), job)
    assert Payload.from_json(payload.to_json()) == payload
