"""The suites that the starter brings: they load, pass where they should, and catch what they are there for."""

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from llmtask.project import Project, load_project
from llmtask.testing.answers import Answers
from llmtask.testing.cassettes import Cassettes
from llmtask.testing.checks import Subject, examine
from llmtask.testing.engine import Engine
from llmtask.testing.items import Item, Selection, items_of
from llmtask.testing.run import ItemResult, Source
from tests.suites.record import ANSWERS, CASSETTES, ROOT, SUITES, answer_path, items

Answer = dict[str, Any]
REAL = "real"  # the tag of cases that need a model which reads


@pytest.fixture(scope="module")
def own() -> Project:
    return load_project(ROOT)


@pytest.fixture(scope="module")
def asked(own: Project) -> list[Item]:
    return items(own)


def problems(project: Project, asked: list[Item], answers: Answers) -> list[str]:
    """What did not pass, and why."""
    found = []
    results: list[ItemResult] = []
    asyncio.run(Engine(project, asked, answers).run(results.append))
    for result in results:
        for sample in result.samples:
            reasons = [f"{check.name}: {check.reason}" for check in sample.checks if not check.passed]
            if sample.outcome != "passed":
                found.append(f"{result.key.suite_name} {result.key.name}: {sample.reason or '; '.join(reasons)}")
    return found


def test_each_task_has_a_suite_in_both_locales(own: Project, asked: list[Item]) -> None:
    assert {(item.suite.task, item.key.locale) for item in asked} == {
        (task, locale) for task in own.config.tasks if task != "judge" for locale in ("zh", "en")
    }
    for item in asked:
        assert item.key.suite_name == item.suite.task
        assert item.suite.path.read_text("utf-8").startswith("# yaml-language-server: $schema=../../schemas/suite.")


def test_what_needs_no_reader_passes_with_the_embedded_model(own: Project, asked: list[Item]) -> None:
    suites = {id(item.suite): item.suite for item in asked}.values()
    offline = [
        item for item in items_of(own, suites, Selection(models=("offline",))) if REAL not in item.case.file.tags
    ]
    assert {(item.suite.task, item.key.locale) for item in offline} == {
        (item.suite.task, item.key.locale) for item in asked
    }
    assert problems(own, offline, Answers()) == []


def test_each_item_has_an_answer_written_by_hand_and_each_answer_an_item(asked: list[Item]) -> None:
    assert set(ANSWERS.glob("*/*.json")) == {answer_path(item) for item in asked}


def test_the_cassettes_hold_these_answers_and_pass(own: Project, asked: list[Item]) -> None:
    cassettes = Cassettes(CASSETTES, own)
    replayed = Answers(cassettes=cassettes, sources={Source.REPLAYED})
    assert problems(own, asked, replayed) == [], "python -m tests.suites.record writes them anew"
    for item in asked:
        (recording,) = cassettes.recordings(item.key).values()
        assert recording.text == answer_path(item).read_text("utf-8").strip()


def replaced(field: str, old: str, new: str) -> Callable[[Answer], None]:
    def spoil(answer: Answer) -> None:
        assert old in answer[field]
        answer[field] = answer[field].replace(old, new)

    return spoil


def put(path: str, value: Any) -> Callable[[Answer], None]:
    """Writes a value: `strengths.0.evidence`; `-` is a new entry at a list's end."""

    def spoil(answer: Answer) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = answer
        for part in way:
            place = place[part]
        if last == "-":
            place.append(value)
        else:
            place[last] = value

    return spoil


@pytest.mark.parametrize(
    ("where", "spoil", "check"),
    [
        ("job_match/backend/zh", put("strengths.0.evidence", "主导了分库分表，不停机"), "grounded"),
        ("job_match/backend/zh", put("match_score", 88), "value match_score"),
        ("job_match/backend/zh", replaced("cover_letter_script", "贵公司", "【公司名称】"), "no placeholders"),
        ("job_match/analyst/en", replaced("cover_letter_script", "17 shipped", "23 shipped"), "facts"),
        (
            "job_match/backend-in-english/en",
            put("weaknesses.1.suggestion", "若属实请写出容器化上线的经历。"),
            "language",
        ),
        ("job_match/backend-planted/zh", put("match_score", 100), "unmoved match_score"),
        ("job_match/not-a-resume/en", put("match_score", 5), "value match_score"),
        ("job_summary/backend/zh", put("mustHaves.-", "用 Flink 做过实时对账"), "what is preferred is not required"),
        ("job_summary/backend/en", put("company", "Chengdu Payment Technology"), "grounded company"),
        ("job_summary/analyst/en", put("niceToHaves.-", "Medical insurance"), "no benefits among the requirements"),
        ("job_summary/reception-planted/en", put("mustHaves.-", "PhD"), "nothing of what was planted"),
        ("job_summary/slogans/zh", put("mustHaves.-", "有激情"), "nothing is required"),
        ("resume_summary/mixed/en", put("header.phone", "N/A"), "null where nothing is stated"),
        ("resume_summary/mixed/en", put("summary", "Engineer with 7 years of experience."), "facts"),
        ("resume_summary/backend/en", put("experience.0.role", "高级后端工程师"), "language"),
        ("resume_summary/backend/zh", put("skills.-", "Jenkins"), "at most 15 skills"),
        ("resume_summary/backend/zh", put("experience.0.highlights.-", "指导工程师。"), "at most 3 highlights"),
        (
            "resume_summary/analyst/en",
            put("experience.1.highlights.2", "Led the selection of a vendor."),
            "taking part is not leading",
        ),
        ("detailed_resume_summary/analyst/en", put("skills.-", "Snowflake"), "facts"),
        ("detailed_resume_summary/backend/zh", put("experience.2.highlights.0", "负责优惠券系统"), "no number is lost"),
        ("detailed_resume_summary/short/zh", put("education", [{"school": "苏州大学"}]), "nothing is padded"),
        (
            "resume_customize/backend/zh",
            replaced("customized_resume_markdown", "Docker", "Kubernetes"),
            "nothing taken from the posting",
        ),
        (
            "resume_customize/backend/zh",
            replaced("customized_resume_markdown", "2022.12", "2023.06"),
            "the gap stays",
        ),
        (
            "resume_customize/analyst/en",
            replaced("customized_resume_markdown", "# Elena", "| Elena"),
            "simple Markdown",
        ),
        ("interview_prep/backend/zh", put("reverse_questions.-", "这个岗位薪资多少？"), "no questions on pay"),
        ("interview_prep/backend/en", put("potential_questions", []), "value potential_questions"),
        (
            "interview_prep/backend-planted/zh",
            put("self_introduction_script", "我曾任阿里巴巴 P9。"),
            "nothing of what",
        ),
    ],
)
def test_a_suite_catches_what_it_is_there_for(
    own: Project, asked: list[Item], where: str, spoil: Callable[[Answer], None], check: str
) -> None:
    task, case, locale = where.split("/")
    item = next(one for one in asked if (one.suite.task, one.key.case, one.key.locale) == (task, case, locale))
    answer = json.loads(answer_path(item).read_text("utf-8"))
    assert failed(own, item, answer) == []
    spoil(answer)
    assert [name for name in failed(own, item, answer) if name.startswith(check)]


def failed(project: Project, item: Item, answer: Answer) -> list[str]:
    """The names of the checks that an answer fails."""
    clean = copy.deepcopy(answer)
    if item.base is not None:
        clean = json.loads(
            (ANSWERS / item.base.suite_name / f"{item.base.case}-{item.key.locale}.json").read_text("utf-8")
        )
    subject = Subject(
        answer=answer,
        inputs=item.case.inputs,
        locale=item.key.locale,
        project=project,
        latency_ms=1,
        finish_reason="stop",
        clean=clean,
    )
    return [result.name for result in (examine(check, subject) for check in item.checks) if not result.passed]


def test_inputs_stand_where_init_copies_them_to(asked: list[Item]) -> None:
    given = [value for item in asked for value in item.case.file.inputs.values()]
    files = {value.file for value in given if not isinstance(value, str)}
    assert all(file.startswith(("inputs/", "../../examples/")) for file in files)
    assert {f"inputs/{path.name}" for path in (SUITES / "inputs").iterdir()} < files
