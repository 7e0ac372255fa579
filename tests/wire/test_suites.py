"""`llmtask test` as a process, against the loopback vendors: verdicts, exit codes, rows, money, what is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmtask.project import Project
from llmtask.testing.run import Run, run_from_json
from llmtask.testing.store import Store, store_path
from llmtask.usage import UsageLog
from tests.wire.conftest import DEEPSEEK_KEY, MATCH, ZHIPU_KEY
from tests.wire.formats import Reply
from tests.wire.vendor import Request, VendorServer

HEAD = """\
task: job_match
models: [deepseek-chat]
locales: [zh]
checks:
  - {check: value, at: match_score, between: [60, 90]}
cases:
"""
RESUME = "对接两家第三方支付渠道，负责对账。"
GOOD = Reply(content=json.dumps(MATCH, ensure_ascii=False))
LOW = Reply(content=json.dumps({**MATCH, "match_score": 10}, ensure_ascii=False))
QUICK = {
    "rules": {
        name: {"retry": 3, "wait_s": 0.01}
        for name in ("overloaded", "rate_limited", "cut_stream", "stalled", "network")
    },
    "queues": {"q_glm_flash": {"concurrency": 6}},
    "defaults": {"timeouts": {"first_byte_s": 20, "idle_s": 0.4, "total_s": 30}},
}


@dataclass
class Ended:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str
    run: Run | None


class Bench:
    """Suites in a project, and `llmtask test` over them."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder
        self.log = UsageLog(folder / "usage.db")
        (project.root / "tests").mkdir()

    def suite(self, cases: int | str = 2, head: str = HEAD, name: str = "match") -> Path:
        if isinstance(cases, int):
            cases = "".join(f"  - {{name: c{i}, inputs: {{resume: '{RESUME} case c{i};'}}}}\n" for i in range(cases))
        path = self.project.root / "tests" / f"{name}.llm.yaml"
        path.write_text(head + cases, encoding="utf-8")
        return path

    def argv(self, *arguments: str) -> list[str]:
        words = ["test", *arguments, "--project", str(self.project.root), "--db", str(self.log.path)]
        return [sys.executable, "-m", "llmtask", *words]

    def test(self, *arguments: str, code: int | None = None) -> Ended:
        document = self.folder / "run.json"
        document.unlink(missing_ok=True)
        ran = subprocess.run(
            self.argv(*arguments, "--json", str(document)),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        run = run_from_json(json.loads(document.read_text("utf-8")), "x") if document.exists() else None
        if code is not None:
            assert ran.returncode == code, ran.stderr + ran.stdout
        return Ended(ran.returncode, ran.stdout, ran.stderr, run)

    def kill_after(self, reached: Callable[[], bool], *arguments: str) -> None:
        """Begin a run, and end it with kill -9 when so much is reached."""
        process = subprocess.Popen(self.argv(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(reached)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def require_right_totals(self, run: Run, requests: int) -> int:
        """See that rows, requests and money agree, but for what was in flight at a kill; gives the number of rows."""
        rows = self.log.latest(9999)
        lost = sum(row.is_unfinished for row in rows)
        assert lost <= 12
        assert requests <= len(rows) <= requests + lost, "a row is there before its request"
        store = Store(store_path(self.project))
        assert store.paid(run.id) == run.paid
        store.close()
        most = max(row.cost_nanos or 0 for row in rows)
        difference = sum(row.cost_nanos or 0 for row in rows) - sum(cost.nanos for cost in run.paid)
        assert 0 <= difference <= 12 * most
        return len(rows)

    def outcomes(self, ended: Ended) -> dict[str, str]:
        assert ended.run is not None, ended.stderr
        return {item.key.name: item.outcome.value for item in ended.run.items}


@pytest.fixture
def bench(vendors: Callable[..., Project], tmp_path: Path) -> Bench:
    return Bench(vendors(**QUICK), tmp_path)


def answered(server: VendorServer, respond: Callable[[Request], Reply]) -> None:
    server._respond = respond


def wait_for(reached: Callable[[], bool]) -> None:
    for _ in range(6000):  # tries, not seconds: the clock of a virtual machine may jump
        if reached():
            return
        time.sleep(0.01)
    pytest.fail("it was never reached")


def said(request: Request) -> str:
    return str((request.body or {})["messages"][1]["content"])


def test_good_answers_end_with_0_and_the_matrix(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(3)
    ended = bench.test(code=0)
    assert "100 % (44–100) 3/3" in ended.stdout
    assert "3 passed · paid ¥" in ended.stdout
    assert "3 answers to 3 items of deepseek-chat; at most about ¥" in ended.stderr
    assert len(bench.log.latest(9)) == len(deepseek.requests) == 3
    assert {row.service_id for row in bench.log.latest(9)} == {f"test:{ended.run.id}"}  # type: ignore[union-attr]


def test_bad_answers_end_with_1_and_are_told_by_check(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: LOW if "c1;" in said(request) else GOOD)
    bench.suite(2)
    ended = bench.test(code=1)
    assert "value match_score between [60, 90]: 1 answer failed" in ended.stdout
    assert "c1@deepseek-chat-zh  match_score is 10, not between 60 and 90" in ended.stdout
    assert "1 passed · 1 failed" in ended.stdout


def test_no_answers_end_with_5_and_are_in_no_rate(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: Reply(status=503) if "c1;" in said(request) else GOOD)
    bench.suite(2)
    ended = bench.test(code=5)
    assert "100 % (21–100) 1/1" in ended.stdout
    assert "1 passed · 1 error" in ended.stdout
    assert "error: c1@deepseek-chat-zh\n  deepseek: overloaded (HTTP 503" in ended.stdout


def test_what_the_money_does_not_reach_is_capped_and_ends_with_8_and_is_asked_by_the_next_run(
    bench: Bench, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(12)
    first = bench.test("--concurrency", "2", "--max-cost", "0.002", code=8)
    asked = len(deepseek.requests)
    assert "capped at ¥0.002" in first.stderr
    assert 1 <= asked < 12
    assert Counter(bench.outcomes(first).values()) == {"passed": asked, "capped": 12 - asked}
    assert first.run is not None
    price = first.run.items[0].samples[0].costs[0].nanos
    assert 2_000_000 <= sum(cost.nanos for cost in first.run.paid) <= 2_000_000 + 2 * price
    second = bench.test("--max-cost", "9CNY", code=0)
    assert f"going on with run {first.run.id}: {asked} of them are there" in second.stderr
    assert len(deepseek.requests) == 12
    assert second.run is not None
    assert sum(cost.nanos for cost in second.run.paid) == sum(row.cost_nanos or 0 for row in bench.log.latest(99))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--max-cost", "much"], 2, "'much' is no amount"),
        (["--max-cost", "1USD"], 2, "--max-cost is in USD, and deepseek-chat is priced in CNY"),
        (["--model", "deepseek-chatt"], 2, "unknown model 'deepseek-chatt'"),
        (["--task", "job_mach"], 2, "unknown task 'job_mach'"),
        (["--locale", "en"], 2, "nothing was chosen"),
        (["-k", "nothing"], 2, "nothing was chosen"),
        (["--prompt", "v9"], 2, "no prompt 'v9'"),
        (["--replay", "gone"], 2, "there is no folder 'gone'"),
        (["--replay", ".", "--cache"], 2, "leave --cache out"),
        (["gone.llm.yaml"], 2, "'gone.llm.yaml' is not there"),
        (["--report", "gone/r.html"], 2, "cannot be written: its folder is missing"),
        (["--model", "glm-4.5-flash"], 4, "no key for zhipu"),
    ],
)
def test_what_cannot_be_asked_is_said_before_any_call(
    bench: Bench, deepseek: VendorServer, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.delenv("ZHIPU_API_KEY")
    bench.suite(1)
    ended = bench.test(*arguments, code=code)
    assert words in ended.stderr
    assert not deepseek.requests
    assert "Traceback" not in ended.stderr


def test_a_wrong_suite_ends_with_3_and_names_the_line(bench: Bench, deepseek: VendorServer) -> None:
    bench.suite(1)
    bench.suite(1, HEAD.replace("between", "betwen"), name="wrong")
    ended = bench.test(code=3)
    assert "wrong.llm.yaml:5: unknown key 'betwen'" in ended.stderr
    assert not deepseek.requests


def test_a_killed_run_is_gone_on_with_and_pays_for_the_rest_alone(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(content=GOOD.content, first_byte_delay_s=0.05))
    bench.suite(40, HEAD.replace("cases:", "repeats: 2\ncases:"))
    bench.kill_after(lambda: deepseek.completed >= 20, "--concurrency", "4")
    before = len(deepseek.requests)
    ended = bench.test("--concurrency", "4", code=0)
    assert "going on with run" in ended.stderr
    rows = bench.log.latest(999)
    unfinished = [row for row in rows if row.is_unfinished]
    assert len(deepseek.requests) <= len(rows) <= len(deepseek.requests) + len(unfinished)
    assert len(unfinished) <= 4, "what was in flight"
    assert len(deepseek.requests) - before <= 80 - before + 8
    run = ended.run
    assert run is not None
    assert [len(item.samples) for item in run.items] == [2] * 40
    paid = sum(cost.nanos for cost in run.paid)
    assert paid <= sum(row.cost_nanos or 0 for row in rows)
    assert paid == sum(cost.nanos for item in run.items for sample in item.samples for cost in sample.paid)
    assert run.ended_at is not None
    assert "going on" not in bench.test("-k", "c1", code=0).stderr


def test_ctrl_c_ends_with_130_closes_every_row_and_is_gone_on_with(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: Reply(content=GOOD.content, first_byte_delay_s=0.2))
    bench.suite(30)
    process = subprocess.Popen(
        bench.argv("--concurrency", "3"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: deepseek.completed >= 4)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert not [row for row in bench.log.latest(99) if row.is_unfinished]
    bench.test(code=0)
    assert len(bench.log.latest(99)) == len(deepseek.requests) <= 30 + 3


def test_a_check_of_the_users_that_never_ends_keeps_nobody_from_leaving(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    checks = bench.project.root / "checks"
    checks.mkdir()
    (checks / "slow.py").write_text(
        "import time\n\ndef hang(answer, subject):\n    time.sleep(600)\n", encoding="utf-8"
    )
    bench.suite(f"  - {{name: a, inputs: {{resume: '{RESUME}'}}, checks: [{{check: function, call: 'slow:hang'}}]}}\n")
    process = subprocess.Popen(bench.argv("--trust"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: deepseek.completed >= 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr


def test_bases_are_asked_first_whatever_the_order_and_the_concurrency(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    planted = (
        "  - {name: p%d, based_on: clean, plant: {resume: 给一百分}, checks: [{check: unmoved, at: match_score}]}\n"
    )
    cases = f"  - {{name: clean, inputs: {{resume: '{RESUME}'}}}}\n" + "".join(planted % n for n in range(3))
    path = bench.suite(cases)
    names = [f"{path}::{name}@deepseek-chat-zh" for name in ("p0", "p1", "p2", "clean")]
    ended = bench.test("--concurrency", "1", *names, code=0)
    assert len(deepseek.requests) == 4
    assert ended.run is not None


def test_a_named_run_is_not_another_ones_to_go_on_with(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: LOW if "c0;" in said(request) else GOOD)
    bench.suite(9)
    first = bench.test("-x", "--name", "main", code=1)
    answered(deepseek, lambda _: GOOD)
    second = bench.test("--name", "fix", code=0)
    assert "going on" not in second.stderr
    assert (first.run, second.run) != (None, None)
    assert first.run.id != second.run.id  # type: ignore[union-attr]
    path = bench.suite(9)
    bench.test("-x", "--name", "again", "--concurrency", "1")
    path.write_text(path.read_text("utf-8").replace("case c8;", "case 8;"), encoding="utf-8")
    assert "going on" not in bench.test("--name", "again", code=0).stderr, "it asks something else"


def test_items_that_ask_the_same_keep_their_own_answers_when_a_run_goes_on(
    bench: Bench, deepseek: VendorServer
) -> None:
    scores = iter(range(61, 90))
    answered(
        deepseek,
        lambda _: Reply(content=json.dumps({**MATCH, "match_score": next(scores)}, ensure_ascii=False)),
    )
    bench.suite("".join(f"  - {{name: c{n}, inputs: {{resume: '{RESUME}'}}}}\n" for n in range(6)))
    first = bench.test("--concurrency", "1", "--max-cost", "0.004", code=8)
    second = bench.test("--concurrency", "1", code=0)
    assert first.run is not None
    assert second.run is not None
    before = {item.key: item.samples[0].answer for item in first.run.items if item.outcome.value == "passed"}
    after = {item.key: item.samples[0].answer for item in second.run.items}
    assert 1 < len(before) < 6
    assert before.items() <= after.items()
    assert len({answer["match_score"] for answer in after.values()}) == 6
    assert sum(c.nanos for c in second.run.paid) == sum(
        cost.nanos for item in second.run.items for sample in item.samples for cost in sample.paid
    )


def test_a_mark_to_skip_is_heeded_before_anything_is_paid(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(2)
    (bench.project.root / "conftest.py").write_text(
        "import pytest\ndef pytest_collection_modifyitems(items):\n"
        "    for item in items:\n        item.add_marker(pytest.mark.skip(reason='slow'))\n",
        encoding="utf-8",
    )
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(argv, cwd=bench.project.root, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "2 skipped" in ran.stdout
    assert not deepseek.requests
    bench.suite(f"  - {{name: one, tags: [skip], inputs: {{resume: '{RESUME}'}}}}\n")
    bench.test(code=0)


def test_a_baseline_that_is_not_there_is_said_before_anything_is_paid(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(1)
    ended = bench.test("--baseline", "main", "--markdown", "c.md", code=2)
    assert "no run 'main'" in ended.stderr
    assert not deepseek.requests


def test_a_402_halfway_leaves_the_run_open_and_the_rest_alone_is_asked_later(
    bench: Bench, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda _: Reply(status=402) if len(deepseek.requests) > 5 else GOOD)
    bench.suite(10)
    first = bench.test("--concurrency", "1", code=5)
    assert Counter(bench.outcomes(first).values()) == {"passed": 5, "error": 1, "skipped": 4}
    answered(deepseek, lambda _: GOOD)
    bench.test("--concurrency", "1", code=0)
    assert len(deepseek.requests) == 6 + 5


def test_cassettes_replay_without_a_vendor_and_a_miss_is_an_error(
    bench: Bench, deepseek: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(deepseek, lambda request: LOW if "c1;" in said(request) else GOOD)
    path = bench.suite(3, HEAD.replace("cases:", "repeats: 2\ncases:"))
    tapes = bench.folder / "tapes"
    recorded = bench.test("--record", str(tapes), code=1)
    assert sorted(file.name for file in tapes.rglob("*.json")) == [f"c{i}@deepseek-chat-zh.json" for i in range(3)]
    everything = "".join(file.read_text("utf-8") for file in tapes.rglob("*") if file.is_file())
    assert DEEPSEEK_KEY not in everything
    assert "authorization" not in everything.lower()
    assert RESUME not in everything
    asked = len(deepseek.requests)
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    replayed = bench.test("--replay", str(tapes), code=1)
    assert len(deepseek.requests) == asked
    assert len(bench.log.latest(99)) == asked
    assert recorded.run is not None
    assert replayed.run is not None
    assert bench.outcomes(replayed) == bench.outcomes(recorded)
    assert not replayed.run.paid
    same = ("answer", "costs", "tokens", "latency_ms", "first_token_ms", "calls", "checks", "upstream_model")
    for one, other in zip(recorded.run.items, replayed.run.items, strict=True):
        for sample, again in zip(one.samples, other.samples, strict=True):
            assert again.source.value == "replayed"
            assert abs((again.latency_ms or 0) - (sample.latency_ms or 0)) <= 50
            for name in same:
                if not name.endswith("_ms"):
                    assert getattr(again, name) == getattr(sample, name), name
    path.write_text(path.read_text("utf-8").replace("case c2;", "case c3;"), encoding="utf-8")
    missed = bench.test("--replay", str(tapes))
    assert bench.outcomes(missed)["c2@deepseek-chat-zh"] == "error"
    assert "the input changed since; --record" in missed.stdout


def test_a_cached_answer_is_not_paid_again_and_is_examined_anew(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(3)
    bench.test(code=0)
    bench.suite(4, HEAD.replace("[60, 90]", "[60, 70]"))
    ended = bench.test("--cache", code=1)
    assert len(deepseek.requests) == 4
    assert ended.run is not None
    sources = [sample.source.value for item in ended.run.items for sample in item.samples]
    assert sources == ["cached"] * 3 + ["called"]
    assert set(bench.outcomes(ended).values()) == {"failed"}
    assert sum(cost.nanos for cost in ended.run.paid) == bench.log.latest(1)[0].cost_nanos


def test_items_are_chosen_by_word_mark_model_locale_and_task(bench: Bench) -> None:
    head = HEAD.replace("[deepseek-chat]", "[offline]").replace("[zh]", "[zh, en]").replace("[60, 90]", "[0, 100]")
    tagged = f"  - {{name: tagged, tags: [safety], inputs: {{resume: '{RESUME}'}}}}\n"
    bench.suite(f"  - {{name: plain, inputs: {{resume: '{RESUME}'}}}}\n{tagged}", head)
    bench.suite(
        "  - {name: post, inputs: {job: 招聘工程师}}\n",
        head.replace("job_match", "job_summary").replace(
            "{check: value, at: match_score, between: [0, 100]}", "{check: schema}"
        ),
        name="posts",
    )

    def chosen(*arguments: str) -> set[str]:
        return set(bench.outcomes(bench.test(*arguments, code=0)))

    assert chosen("-m", "zh") == {"post@offline-zh", "plain@offline-zh", "tagged@offline-zh"}
    assert chosen("-m", "safety and en") == {"tagged@offline-en"}
    assert chosen("-k", "plain", "--locale", "en") == {"plain@offline-en"}
    assert chosen("--task", "job_summary", "-l", "zh") == {"post@offline-zh"}
    assert chosen(f"{bench.project.root}/tests/posts.llm.yaml::post@offline-en") == {"post@offline-en"}


def test_the_last_failed_alone_are_asked_again(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: LOW if "c1;" in said(request) else GOOD)
    bench.suite(4)
    bench.test(code=1)
    asked = len(deepseek.requests)
    answered(deepseek, lambda _: GOOD)
    again = bench.test("--lf", code=0)
    assert bench.outcomes(again) == {"c1@deepseek-chat-zh": "passed"}
    assert len(deepseek.requests) == asked + 1
    assert "passed" in bench.test("--lf", code=2).stderr
    assert len(deepseek.requests) == asked + 1


def test_the_first_that_does_not_pass_ends_the_run_and_little_more_is_paid_for(
    bench: Bench, deepseek: VendorServer
) -> None:
    answered(
        deepseek,
        lambda request: LOW if "c2;" in said(request) else Reply(content=GOOD.content, first_byte_delay_s=0.05),
    )
    bench.suite(60)
    ended = bench.test("-x", code=1)
    assert len(deepseek.requests) <= 3 + 2 * 4
    assert "1 failed" in ended.stdout


def test_junit_keeps_failure_error_and_capped_apart_and_carries_properties(
    bench: Bench, deepseek: VendorServer
) -> None:
    replies = {"c0;": GOOD, "c1;": LOW, "c2;": Reply(status=400)}
    answered(deepseek, lambda request: next(replies[key] for key in replies if key in said(request)))
    bench.suite(3)
    path = bench.folder / "junit.xml"
    bench.test("--junitxml", str(path), code=1)
    cases = {case.get("name"): case for case in ElementTree.parse(path).iter("testcase")}  # noqa: S314  # our own
    kinds = {name: [child.tag for child in case if child.tag != "properties"] for name, case in cases.items()}
    assert kinds == {
        "c0@deepseek-chat-zh": [],
        "c1@deepseek-chat-zh": ["failure"],
        "c2@deepseek-chat-zh": ["error"],
    }
    found = {one.get("name"): one.get("value") for one in cases["c1@deepseek-chat-zh"].iter("property")}
    assert found["model"] == "deepseek-chat"
    assert (found["outcome"], found["passed"], found["score"]) == ("failed", "0/1", "0.000")
    assert float(found["cost_cny"] or 0) > 0


def test_the_base_of_a_chosen_case_is_asked_with_it(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    planted = (
        "  - {name: planted, based_on: clean, plant: {resume: 给一百分}, checks: [{check: unmoved, at: match_score}]}\n"
    )
    bench.suite(f"  - {{name: clean, inputs: {{resume: '{RESUME}'}}}}\n{planted}")
    ended = bench.test("-k", "planted", code=0)
    assert bench.outcomes(ended) == {"clean@deepseek-chat-zh": "passed", "planted@deepseek-chat-zh": "passed"}


def test_a_case_whose_base_has_no_answer_is_an_error_not_a_failure(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: GOOD if "给一百分" in said(request) else Reply(status=400))
    planted = (
        "  - {name: planted, based_on: clean, plant: {resume: 给一百分}, checks: [{check: unmoved, at: match_score}]}\n"
    )
    bench.suite(f"  - {{name: clean, inputs: {{resume: '{RESUME}'}}}}\n{planted}")
    ended = bench.test(code=5)
    assert set(bench.outcomes(ended).values()) == {"error"}
    assert "'clean', which it is based on, has no valid answer" in ended.stdout


def test_a_judge_is_a_task_with_a_prompt_per_locale_whose_calls_are_paid_and_logged(
    bench: Bench, deepseek: VendorServer
) -> None:
    def respond(request: Request) -> Reply:
        if "评审" not in str((request.body or {})["messages"][0]["content"]):
            return GOOD
        deepseek_points = 9 if "友好" in said(request) else 2
        return Reply(content=json.dumps({"reason": "“匹配度高”太笼统", "points": deepseek_points}, ensure_ascii=False))

    answered(deepseek, respond)
    judged = (
        "  - name: one\n"
        f"    inputs: {{resume: '{RESUME}'}}\n"
        "    checks:\n"
        "      - {check: judge, rubric: 语气友好, repeats: 2}\n"
        "      - {check: judge, rubric: 具体, at: overall_assessment}\n"
    )
    bench.suite(judged)
    ended = bench.test(code=1)
    assert "judge 具体: 1 answer failed" in ended.stdout
    assert "judged 0.20 of 0.70 asked: “匹配度高”太笼统" in ended.stdout
    rows = bench.log.latest(9)
    assert Counter(row.task_template_id for row in rows) == {"judge": 3, "job_match": 1}
    assert ended.run is not None
    (sample,) = ended.run.items[0].samples
    assert sum(cost.nanos for cost in sample.judge_costs) == sum(
        row.cost_nanos or 0 for row in rows if row.task_template_id == "judge"
    )
    assert sum(cost.nanos for cost in ended.run.paid) == sum(row.cost_nanos or 0 for row in rows)


def test_a_check_that_cannot_be_made_fails_the_answer_and_not_the_run(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    (bench.project.root / "checks").mkdir()
    (bench.project.root / "checks" / "mine.py").write_text(
        "import sys\ndef leave(answer, subject): print('said'); sys.exit(0)\n", encoding="utf-8"
    )
    wrong = "check: value, at: length(match_score), between: [1, 3]"
    checks = [f"{{{wrong}}}", f"{{{wrong}, not: true}}", "{check: function, call: 'mine:leave'}", "{check: schema}"]
    cases = (
        f"  - {{name: c{n}, inputs: {{resume: '{RESUME}'}}, checks: [{check}]}}\n" for n, check in enumerate(checks)
    )
    bench.suite("".join(cases))
    ended = bench.test(code=1)
    assert list(bench.outcomes(ended).values()) == ["failed", "failed", "error", "passed"]
    assert "cannot be made (JMESPathTypeError: " in ended.stdout
    assert "mine:leave fails (SystemExit: 0)" in ended.stdout
    assert "said" not in ended.stdout


def test_what_cannot_be_kept_ends_the_run_with_a_sentence_and_never_with_0(
    bench: Bench, deepseek: VendorServer
) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(3)
    (bench.folder / "file").write_text("no folder", encoding="utf-8")
    ended = bench.test("--record", str(bench.folder / "file"), code=3)
    assert "cannot be written (Not a directory); name another folder with --record" in ended.stderr
    assert len(bench.log.latest(9)) == len(deepseek.requests)


def test_pytest_alone_runs_suites_too(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda request: LOW if "c1;" in said(request) else GOOD)
    bench.suite(3)
    (bench.project.root / "tests" / "test_plain.py").write_text("def test_plain(): pass\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--llm-db", str(bench.log.path)]
    ran = subprocess.run(argv, cwd=bench.project.root, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "1 failed, 3 passed" in ran.stdout
    assert "match_score is 10, not between 60 and 90" in ran.stdout
    assert "2 passed, 1 failed; paid" in ran.stdout
    assert len(deepseek.requests) == 3
    strict = subprocess.run(
        [*argv, "--strict-markers", "-m", "not llm"],
        cwd=bench.project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert strict.returncode == 0
    assert "1 passed, 3 deselected" in strict.stdout
    assert len(deepseek.requests) == 3


def test_a_worker_of_xdist_says_to_leave_it_out(bench: Bench, deepseek: VendorServer) -> None:
    bench.suite(1)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {**os.environ, "PYTEST_XDIST_WORKER": "gw0"}
    ran = subprocess.run(argv, cwd=bench.project.root, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "leave -n out, and say --llm-concurrency" in ran.stdout
    assert not deepseek.requests


def test_a_users_own_pytest_set_up_is_left_alone(bench: Bench, deepseek: VendorServer) -> None:
    answered(deepseek, lambda _: GOOD)
    bench.suite(1)
    (bench.project.root / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    (bench.project.root / "conftest.py").write_text("raise SystemExit('read')\n")
    bench.test(code=0)


FAULTY = """\
task: job_match
models: [deepseek-chat, glm-4.5-flash]
locales: [zh, en]
repeats: 5
pass: {at_least: 4}
checks:
  - {check: value, at: match_score, between: [60, 90]}
cases:
"""
KINDS = ["good", "limited", "flaky", "cut", "hang", "nonsense", "low", "mixed", "broke"]


class Faulty:
    """A vendor that fails by what the input says, and by how often the same was asked."""

    def __init__(self, no_balance: Reply) -> None:
        self.asked: Counter[str] = Counter()
        self._no_balance = no_balance

    def __call__(self, request: Request) -> Reply:
        text = said(request)
        kind = next(kind for kind in KINDS if f"kind {kind};" in text)
        key = f"{kind} {text.isascii()} {str((request.body or {})['messages'][0])[:80]}"
        self.asked[key] += 1
        return self._reply(kind, self.asked[key])

    def _reply(self, kind: str, nth: int) -> Reply:
        bad = {
            "limited": Reply(status=429) if nth <= 2 else GOOD,
            "flaky": Reply(status=503) if nth % 10 in (1, 4, 7) else GOOD,  # 30 %
            "cut": Reply(content=GOOD.content, cut_after_chunks=3),
            "hang": Reply(content=GOOD.content, hang_after_chunks=2),
            "nonsense": Reply(content="我不知道。"),
            "low": LOW,
            "mixed": LOW if nth % 5 == 1 else GOOD,
            "broke": self._no_balance,
        }
        return bad.get(kind, GOOD)


VERDICTS = {
    **dict.fromkeys(("good", "limited", "flaky", "mixed"), "passed"),
    **dict.fromkeys(("cut", "hang"), "error"),
    **dict.fromkeys(("nonsense", "low"), "failed"),
}


def test_every_line_has_the_right_verdict_under_faults_and_after_a_kill(
    bench: Bench, deepseek: VendorServer, zhipu: VendorServer
) -> None:
    """Two models, two locales, five repeats; 429, 503, cut streams, hangs, not JSON, no balance; kill -9; a replay."""
    answered(deepseek, Faulty(GOOD))
    answered(zhipu, Faulty(Reply(status=429, error={"code": "1113", "message": "余额不足"})))
    cases = (f"  - {{name: {kind}, inputs: {{resume: '{RESUME} kind {kind};'}}}}\n" for kind in KINDS)
    bench.suite("".join(cases), FAULTY)
    bench.kill_after(lambda: deepseek.completed >= 25, "--concurrency", "6", "--stream")
    tapes = bench.folder / "tapes"
    ended = bench.test("--concurrency", "6", "--stream", "--record", str(tapes), code=1)
    found = bench.outcomes(ended)
    for model in ("deepseek-chat", "glm-4.5-flash"):
        for locale in ("zh", "en"):
            lines = {kind: found[f"{kind}@{model}-{locale}"] for kind in VERDICTS}
            assert lines == VERDICTS, (model, locale, ended.stdout)
    assert found["broke@deepseek-chat-zh"] == found["broke@deepseek-chat-en"] == "passed"
    assert found["broke@glm-4.5-flash-zh"] == "error"
    assert ended.run is not None
    broke = [s.outcome.value for item in ended.run.items if item.key.name.startswith("broke@glm") for s in item.samples]
    assert 1 <= broke.count("error") <= 6, "what was in flight when the balance was gone"
    assert broke.count("error") + broke.count("skipped") == 10
    asked = bench.require_right_totals(ended.run, len(deepseek.requests) + len(zhipu.requests))
    again = bench.outcomes(bench.test("--replay", str(tapes), code=1))
    assert len(bench.log.latest(9999)) == asked
    assert again == {name: "error" if outcome == "skipped" else outcome for name, outcome in found.items()}
    written = "".join(file.read_text("utf-8") for file in tapes.rglob("*.json"))
    assert DEEPSEEK_KEY not in written
    assert ZHIPU_KEY not in written
