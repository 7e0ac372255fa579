import subprocess
import sys
from pathlib import Path

import pytest

from llmtask.errors import UsageError
from llmtask.money import Cost
from llmtask.project import Project
from llmtask.service import read_most
from llmtask.testing.items import Selection, items_of
from llmtask.testing.outputs import Outputs
from llmtask.testing.run import ItemKey, ItemResult, Outcome, Sample
from llmtask.testing.session import Options
from llmtask.testing.suite import load_suite
from llmtask.testing.words import failure_text, properties
from tests.conftest import MakeProject
from tests.unit.testing.runs import check, item, sample, unanswered

SUITE = """\
task: job_match
models: [offline]
locales: [zh, en]
repeats: 5
pass: {at_least: 4}
checks: [{check: schema}, {check: language, locales: [en]}]
cases:
  - {name: one, inputs: {resume: 工程师}}
  - {name: two, based_on: one, locales: [zh]}
"""


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("2", Cost(2_000_000_000, "CNY")),
        (" 2.00 ", Cost(2_000_000_000, "CNY")),
        ("0.000000001", Cost(1, "CNY")),
        ("0.30USD", Cost(300_000_000, "USD")),
        ("0.30 usd", Cost(300_000_000, "USD")),
        ("¥1.5", Cost(1_500_000_000, "CNY")),
        ("$1", Cost(1_000_000_000, "USD")),
        ("€1", Cost(1_000_000_000, "EUR")),
    ],
)
def test_an_amount_is_exact_and_in_the_models_currency_where_it_names_none(
    starter: Project, text: str, cost: Cost
) -> None:
    assert read_most(text, starter, {"deepseek-chat", "glm-4.5-flash"}) == cost


@pytest.mark.parametrize("text", ["", "much", "-1", "1,000", "1e3", "2 GBP", "nan", "inf", "1.2.3", "CNY"])
def test_what_is_no_amount_is_refused(starter: Project, text: str) -> None:
    with pytest.raises(UsageError, match=r"no amount|unknown currency"):
        read_most(text, starter, {"deepseek-chat"})


def test_models_of_several_currencies_or_none_ask_for_one(project: MakeProject) -> None:
    mixed = project(
        "providers: {other: {base_url: 'http://127.0.0.1:1/v1', currency: USD, unlisted: {context: 1000}}}\n"
        "models: {dollar: {provider: other, name: d, context: 1000, price: deepseek-flash}}\n"
    )
    with pytest.raises(UsageError, match="are priced in CNY and USD; say the currency: 2CNY"):
        read_most("2", mixed, {"deepseek-chat", "dollar"})
    with pytest.raises(UsageError, match="have no price"):
        read_most("2", mixed, {"other/x"})


@pytest.fixture
def suite(project: MakeProject) -> tuple[Project, Path]:
    made = project("{}", {"tests/deep/match.llm.yaml": SUITE})
    return made, made.root / "tests/deep/match.llm.yaml"


def test_items_are_cases_by_models_by_locales_and_a_selection_replaces_or_narrows(suite: tuple[Project, Path]) -> None:
    made, path = suite
    loaded = [load_suite(made, path)]

    def names(selection: Selection | None = None) -> list[str]:
        return [one.key.name for one in items_of(made, loaded, selection)]

    assert names() == ["one@offline-zh", "one@offline-en", "two@offline-zh"]
    assert names(Selection(locales=("en",))) == ["one@offline-en"]
    assert names(Selection(models=("deepseek-chat", "offline"), locales=("en",))) == [
        "one@deepseek-chat-en",
        "one@offline-en",
    ]
    assert names(Selection(tasks=("job_match",), prompts=("v2",)))[0] == "one@offline-zh-v2"
    assert names(Selection(tasks=("job_summary",))) == []
    with pytest.raises(UsageError, match="unknown model 'deepseek'"):
        names(Selection(models=("deepseek",)))


def test_an_item_knows_its_suite_its_base_its_checks_and_how_many_must_pass(suite: tuple[Project, Path]) -> None:
    made, path = suite
    zh, en, two = items_of(made, [load_suite(made, path)])
    assert zh.key.suite == "tests/deep/match.llm.yaml"
    assert [len(one.checks) for one in (zh, en)] == [1, 2]
    assert (zh.base, two.base) == (None, None)
    assert two.case.file.based_on == "one", "whose inputs it takes, and with which nothing compares it"
    assert zh.wanted == 4
    (ten, *_) = items_of(made, [load_suite(made, path)], Selection(repeats=10))
    assert (ten.repeats, ten.wanted) == (10, 8)


@pytest.mark.parametrize(
    ("outcomes", "wanted", "verdict"),
    [
        ("ppppp", 5, "passed"),
        ("ppppf", 5, "failed"),
        ("ppppf", 4, "passed"),
        ("pppff", 4, "failed"),
        ("pppee", 3, "passed"),
        ("ppeee", 3, "error"),
        ("ppfee", 4, "error"),
        ("pffee", 4, "failed"),
        ("pcccc", 2, "capped"),
        ("pssss", 2, "skipped"),
        ("pecss", 4, "capped"),
        ("e", 1, "error"),
    ],
)
def test_an_items_verdict_is_one_only_where_the_missing_answers_cannot_change_it(
    outcomes: str, wanted: int, verdict: str
) -> None:
    kinds = {one.value[0]: one for one in Outcome}
    samples = tuple(Sample(n, kinds[sign]) for n, sign in enumerate(outcomes, 1))
    key = ItemKey("tests/a.llm.yaml", "one", "offline", "zh")
    assert ItemResult(key, "job_match", wanted, samples).outcome.value == verdict


def test_a_failure_is_told_in_a_few_lines_each_reason_once() -> None:
    failed = [sample(n, False, checks=(check("language", False), check("schema"))) for n in range(1, 5)]
    text = failure_text(item("one", [*failed, unanswered(5)]))
    assert text == "0 of 5 passed, 5 must\nlanguage: language does not hold\nno answer"
    many = [sample(n, False, checks=(check(f"check-{n}", False),)) for n in range(1, 21)]
    lines = failure_text(item("one", many)).splitlines()
    assert (len(lines), lines[-1]) == (10, "... and 12 more")


def test_properties_hold_what_machines_want() -> None:
    found = dict(properties(item("one", [sample(1), sample(2, False), unanswered(3)])))
    assert (found["passed"], found["score"], found["latency_ms"]) == ("1/3", "0.750", 1200)
    assert found["cost_cny"] == "0.004"
    assert "score" not in dict(properties(item("one", [unanswered()])))


def test_options_and_outputs_that_cannot_be_are_refused_before_anything_is_paid(tmp_path: Path) -> None:
    for options in ({"record": tmp_path}, {"caches": True}):
        with pytest.raises(UsageError, match="leave --"):
            Options(replay=tmp_path, **options)  # type: ignore[arg-type]  # either of them
    for path in (tmp_path, tmp_path / "gone" / "page.html"):
        with pytest.raises(UsageError, match="cannot be written"):
            Outputs(report=path).check()


def test_the_plugin_is_light_in_every_other_run_of_pytest() -> None:
    code = (
        "import sys, llmtask.testing.plugin;"
        "print([name for name in ('pydantic', 'yaml', 'rich', 'typer', 'langchain_core', 'asyncio', 'sqlite3')"
        " if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
