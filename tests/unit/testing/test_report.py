import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from markdown_it import MarkdownIt

import llmtask.testing.report as package
from llmtask.money import Cost
from llmtask.pages import style
from llmtask.pages.inert import one_line, visible
from llmtask.testing.checks import CheckResult
from llmtask.testing.compare import compare
from llmtask.testing.report import html_page, markdown
from llmtask.testing.report.answers import differing, marked_json
from llmtask.testing.report.cases import shown_cases
from llmtask.testing.report.comment import code
from llmtask.testing.report.plots import plots
from llmtask.testing.report.words import WORDS, amount, percent, say
from llmtask.testing.run import ItemResult, Outcome, Run
from llmtask.testing.summary import summarise
from tests.unit.testing.runs import World, check, invalid, item, run, sample, unanswered

FOLDER = Path(package.__file__).parent
VOID = {"br", "input", "link", "meta"}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onmouseover='alert(3) "
    "{{ 7*7 }} &lt;b&gt; ``` | @octocat #1 [x](http://evil.test) http://evil.test <!-- "
    "\x00\x07\x1b[31m\x85 \u202egnp.exe\u2066 \ud800 \u200b \U000e0041 \u2028 end"
)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    def with_attribute(self, name: str) -> list[dict[str, str]]:
        return [attributes for _, attributes in self.elements if name in attributes]

    @property
    def text(self) -> str:
        told = [text for tag, texts in self.texts.items() if tag not in ("style", "script") for text in texts]
        return "".join(told)

    @property
    def shapes(self) -> set[tuple[str, tuple[str, ...]]]:
        return {(tag, tuple(sorted(attributes))) for tag, attributes in self.elements}


def told(text: str) -> CheckResult:
    return CheckResult("value", text, False, 1.0, 0.0, text, "a[0]", text)


def of_all_kinds(text: str = "plain") -> Run:
    """A run with every outcome, in which the text stands wherever others write."""
    bad = sample(passed=False, answer={text: [text, 1]}, checks=(told(text), check("schema")), finish_reason=text)
    items = [
        item(f"bad {text}", [bad, sample(2), unanswered(3)], inputs={text: text}, tags=(text,)),
        item("good", [sample(upstream_model=text, repair_level=text)], model_id=f"m {text}", prompt=f"p {text}"),
        item("odd", [replace(invalid(), text=text, reason=text)]),
        item("none", [replace(unanswered(), reason=text)]),
        item("dear", [replace(unanswered(outcome=Outcome.CAPPED), reason=text)]),
        item("left", [replace(unanswered(outcome=Outcome.SKIPPED), reason=None)]),
    ]
    return run(items, name=f"run {text}", settings={text: text}, paid=(Cost(12_000_000, "CNY"),))


def against(text: str = "plain") -> tuple[Run, Any]:
    """A run and its comparison with one in which what failed had passed, and the other way round."""
    after = of_all_kinds(text)
    before = replace(after, id="20261123-000000-0000", name=f"before {text}", items=tuple(map(swapped, after.items)))
    return after, compare(before, after)


def swapped(one: ItemResult) -> ItemResult:
    if one.outcome is Outcome.PASSED:
        return replace(one, samples=(sample(passed=False, answer={"a": "was"}),))
    if one.outcome is Outcome.FAILED:
        return replace(one, samples=tuple(sample(index) for index in range(1, len(one.samples) + 1)))
    return one


def test_a_page_needs_nothing_but_itself() -> None:
    after, comparison = against()
    page = Page(html_page(after, comparison=comparison))
    for name in ("src", "action", "data", "srcset", "poster", "background", "style", "ping"):
        assert page.with_attribute(name) == []
    assert {one["href"][:1] for one in page.with_attribute("href")} == {"#"}
    assert not any(tag in ("link", "iframe", "object", "embed", "base", "img") for tag, _ in page.elements)
    assert not re.search(r"url\(|@import|@font-face", "".join(page.texts["style"]))
    assert not re.search(r"fetch\(|XMLHttp|import\(|innerHTML|eval\(", "".join(page.texts["script"]))


def test_a_page_lets_only_its_own_style_and_script_run() -> None:
    page = Page(html_page(of_all_kinds()))
    policy = next(one["content"] for one in page.with_attribute("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = page.texts[tag]
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_others_wrote_adds_no_element_and_no_attribute_to_a_page(language: Any) -> None:
    tame, hostile = against(), against(HOSTILE)
    plain = Page(html_page(tame[0], comparison=tame[1], language=language))
    page = Page(html_page(hostile[0], comparison=hostile[1], language=language))
    assert page.shapes <= plain.shapes
    assert page.text.count("</script><script>alert(1)</script>") > 10
    assert {name for _, attributes in page.elements for name in attributes if name.startswith("on")} == set()


def test_what_hides_or_moves_text_is_shown_as_its_code() -> None:
    after, comparison = against(HOSTILE)
    text = html_page(after, comparison=comparison)
    text.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    for shown in ("⟨U+0000⟩", "⟨U+001B⟩[31m", "⟨U+202E⟩gnp.exe", "⟨U+D800⟩", "⟨U+200B⟩", "⟨U+E0041⟩"):
        assert shown in text
    assert visible("a\r\nb\tc é 👩‍💻 ‌") == "a\nb\tc é 👩‍💻 ‌"


def test_long_texts_are_cut_and_say_so() -> None:
    long = "x" * 300_000
    text = html_page(run([item("long", [sample(answer={"a": long})], inputs={"b": long})]))
    assert "… 200,000 more characters" in text
    assert len(text) < 300_000


def test_every_item_is_on_the_page_with_a_link_of_its_own() -> None:
    one = of_all_kinds()
    twin = item("good", [sample()], suite="other/job_match.llm.yaml", model_id="m plain", prompt="p plain")
    page = Page(html_page(replace(one, items=(*one.items, twin))))
    items = page.with_attribute("data-item")
    assert [found["data-outcome"] for found in items] == ["failed"] * 2 + ["error", "capped", "skipped"] + [
        "passed"
    ] * 2
    ids = [found["id"] for found in page.with_attribute("id")]
    assert len(set(ids)) == len(ids)
    assert "job_match/odd@deepseek-chat-zh" in ids
    targets = {found["href"] for found in page.with_attribute("href")}
    assert "#job_match/odd%40deepseek-chat-zh" in targets


def test_errors_are_told_by_their_reasons_and_counted_apart() -> None:
    page = Page(html_page(of_all_kinds()))
    assert "2 of 6 items failed." in page.text
    assert "1 without an answer, in no rate." in page.text
    assert "2 not asked." in page.text
    assert "no reason given" in page.text


@pytest.mark.parametrize(("made", "said"), [([], "Nothing was asked"), ([sample()], "All of 1 item passed.")])
def test_runs_without_items_and_without_failures_have_a_page_and_a_comment(made: list[Any], said: str) -> None:
    one = run([item("a", made)] if made else [])
    assert said in Page(html_page(one)).text
    assert said in markdown(one)


def test_a_run_that_was_broken_off_says_so() -> None:
    one = replace(run([item("a", [sample()])]), ended_at=None)
    assert "broken off" in Page(html_page(one)).text
    assert "中途停止" in markdown(one, language="zh")


def test_both_languages_are_in_a_page_and_the_one_asked_for_is_shown() -> None:
    after, comparison = against()
    pages = [Page(html_page(after, comparison=comparison, language=language)) for language in ("en", "zh")]
    assert [page.elements[0][1]["lang"] for page in pages] == ["en", "zh-Hans"]
    for page in pages:
        assert "What failed" in page.text
        assert "未通过的检查" in page.text
    english, chinese = ("".join(page.texts["option"]) for page in pages)
    assert ("any" in english, "不限" in chinese) == (True, True)


def test_each_phrase_has_the_same_values_in_both_languages() -> None:
    for key, phrases in WORDS.items():
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in phrases]
        assert fields[0] == fields[1], key
        assert all(phrases), key


def test_each_phrase_is_used() -> None:
    files = [path for path in FOLDER.iterdir() if path.suffix in (".py", ".html")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    built = {*map(str, Outcome), "called", "cached", "replayed"} | {f"{outcome}_means" for outcome in Outcome}
    built |= {key for key in WORDS if key.startswith("kind_")} | {"broken_means", "mended_means"}
    assert [
        key for key in WORDS if key not in built and len(re.findall(rf"[\"']{key}[\"']|words\.{key}\b", source)) < 2
    ] == []


def test_a_number_is_written_with_its_noun() -> None:
    assert say("en", "characters", count=1) == "1 character"
    assert say("en", "characters", count=2000) == "2,000 characters"
    assert say("zh", "characters", count=2000) == "2,000 字"


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0%"), (0.001, "0.1%"), (0.5, "50%"), (0.996, "99.6%"), (0.9999, "99.9%"), (1, "100%")]
)
def test_a_share_is_all_or_nothing_only_where_it_is(value: float, said: str) -> None:
    assert percent(value) == said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (-3.25, "points", "−3.2 pp"),
        (120, "ms", "+120 ms"),
        (-0.00012, "CNY", "−¥0.00012"),
        (0.0000001, "CNY", "¥0.00"),
        (-0.0001, "", "0.000"),
        (0.5, "USD", "+$0.50"),
    ],
)
def test_a_change_has_a_sign_and_its_unit(value: float, unit: str, said: str) -> None:
    assert amount(value, unit, signed=True) == said


def test_passed_items_are_a_line_where_the_budget_ends_and_the_page_says_so() -> None:
    items = [item(f"c{index}", [sample(passed=index != 8)], inputs={"a": "x" * 900}) for index in range(9)]
    page = Page(html_page(run(items), budget=6000))
    whole = [tag for tag, attributes in page.elements if "data-item" in attributes]
    assert whole == ["details"] * 3 + ["div"] * 6
    assert page.with_attribute("data-item")[0]["data-outcome"] == "failed"
    assert "up to 6,000 characters in all, failures first: 6 of 9 items take one line each" in page.text


def test_the_input_of_a_case_stands_once_for_all_its_models_and_locales() -> None:
    made = [item("a", [sample()], inputs={"resume": "SEEN ONCE"}, locale=locale) for locale in ("zh", "en")]
    (case,) = shown_cases(made)
    assert [one.item.key.locale for one in case.items] == ["zh", "en"]
    assert html_page(run(made)).count("SEEN ONCE") == 1


@pytest.mark.parametrize(
    ("path", "found", "marks"),
    [
        ("a[1].b", "same", ["same"]),
        ("a[].b", "same", ["same", "same"]),
        ("a[0]", "none of it", ["{", "&#34;b&#34;: &#34;same&#34;", "},"]),
        ("n", "5", ["5"]),
        ("text", 'say "hi"\n<b>', ["say \\&#34;hi\\&#34;\\n&lt;b&gt;"]),
        ("elsewhere", "same", []),
    ],
)
def test_what_a_check_finds_fault_with_is_marked_where_it_stands(path: str, found: str, marks: list[str]) -> None:
    answer = {"a": [{"b": "same"}, {"b": "same"}], "n": 5, "m": 5, "text": 'they say "hi"\n<b>'}
    fault = CheckResult("value", "value", False, 1.0, 0.0, "wrong", path, found)
    shown, rest = marked_json(answer, [fault])
    seen = re.findall(r"<mark>(.*?)</mark>", shown)
    assert rest == 0
    assert seen == marks
    plain, _ = marked_json(answer, [])
    assert re.sub("</?mark>", "", shown) == plain


def test_an_answer_too_deep_to_walk_is_no_failure() -> None:
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    shown, _ = marked_json(deep, [told("x")])
    assert "RecursionError" in shown


def test_two_answers_show_where_they_differ() -> None:
    one, other = differing({"a": 1, "b": 2}, {"a": 1, "b": 3})
    assert "<mark>&#34;b&#34;: 2</mark>" in one
    assert "<mark>&#34;b&#34;: 3</mark>" in other
    assert one.count("<mark>") == other.count("<mark>") == 1


def test_a_comparison_shows_its_lines_and_the_answers_of_what_moved() -> None:
    world = World(1, cases=20)
    before, after = world.run(1, rate=0.95), world.run(2, rate=0.6)
    comparison = compare(before, after)
    page = Page(html_page(after, comparison=comparison))
    assert "Worse than the baseline." in page.text
    assert "cannot tell" in page.text
    rows = [one for one in page.with_attribute("class") if one["class"] in ("better", "worse", "cannot_tell")]
    assert len(rows) == len(comparison.changes)
    pairs = [one for one in page.with_attribute("class") if one["class"] == "pair"]
    assert len(pairs) == min(len(comparison.broken), 50) + min(len(comparison.mended), 50)
    after, comparison = against()
    page = Page(html_page(after, comparison=comparison))
    assert "&#34;was&#34;" in html_page(after, comparison=comparison)
    assert "failed in the baseline, passed now" in page.text


def test_a_plot_has_a_row_for_each_model_and_a_scale_from_zero() -> None:
    made = [item("a", [sample(), sample(2, passed=False)]), item("a", [sample(latency_ms=900)], model_id="glm")]
    passes, cost, latency = plots(summarise(run(made)).columns)
    assert [mark.column.model_id for mark in passes.marks] == ["deepseek-chat", "glm"]
    assert (passes.marks[0].value, passes.marks[0].second) == (50, 0)
    assert cost.ticks[0] == (0, "0")
    assert max(mark.high or 0 for mark in latency.marks) <= 100
    assert plots(summarise(run([item("a", [unanswered()])])).columns) == []


def rendered(text: str) -> Page:
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_that_others_wrote_comes_alive_in_a_comment(language: Any) -> None:
    hostile, tame = against(HOSTILE), against()
    text = markdown(hostile[0], comparison=hostile[1], language=language)
    text.encode("utf-8")
    page, plain = rendered(text), rendered(markdown(tame[0], comparison=tame[1], language=language))
    assert page.shapes == plain.shapes
    outside = "".join(one for tag, texts in page.texts.items() if tag != "code" for one in texts)
    assert not re.search(r"@octocat|evil\.test|#1 |alert|\{\{", outside)
    assert "@octocat" in "".join(page.texts["code"])


@pytest.mark.parametrize("text", ["", " ", "`", "``", "a`", "`a", "a``b`c", "\\", "a\nb", "<details>", "|"])
def test_a_code_span_holds_whatever_is_put_in_it(text: str) -> None:
    page = rendered(f"- {code(text)} after")
    assert page.texts["code"] == [" ".join(text.split()) or "–"]
    assert page.texts["li"] == [" after"]


def test_a_comment_stays_below_githubs_limit_whatever_the_run() -> None:
    titles = {f"check {index} {'long ' * 60}": False for index in range(300)}
    made = [
        item(f"case {index}", [sample(checks=titles)], model_id=f"model-{index % 40}", locale=f"l{index % 3}")
        for index in range(400)
    ]
    text = markdown(run(made))
    assert 5_000 < len(text) < 60_000
    assert "columns on the page" in text
    rendered(text)


def test_a_comment_has_the_matrix_the_failures_and_what_has_no_answer() -> None:
    after, comparison = against()
    text = markdown(after, comparison=comparison)
    assert "| Measure | `deepseek-chat · zh` | `m plain · zh · p plain` | all |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ") and "Measure" not in line}
    assert widths <= {5, 8}
    assert "<details><summary><code>plain</code> · 1 answer</summary>" in text
    assert "- ! error × 1: `plain`" in text
    assert "#### Against the baseline" in text
    assert "#### 与基线比较" in markdown(after, comparison=comparison, language="zh")


def test_one_line_is_cut_where_it_is_too_long() -> None:
    assert one_line("a\n b\tc", 10) == "a b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    assert one_line(" " * 100 + "end", 10).endswith("…")


def colours() -> Iterator[dict[str, str]]:
    """The palette in light and in dark."""
    css = style(FOLDER / "page.css")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    for side in (1, 2):
        yield {pair[0]: pair[side] for pair in pairs}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_of_wcag_aa_in_light_and_dark() -> None:
    for palette in colours():
        grounds = [palette[name] for name in ("paper", "card", "sunk")]
        for name in ("ink", "soft", "link", *map(str, Outcome)):
            for ground in grounds:
                dark, light = sorted((luminance(palette[name]), luminance(ground)))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_importing_the_reports_brings_no_template_engine_and_no_terminal() -> None:
    show = "import sys, llmtask.testing.report; print(*{'jinja2', 'rich', 'typer', 'llmtask.view'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
