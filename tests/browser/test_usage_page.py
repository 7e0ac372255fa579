"""The usage log's page in a real browser: skipped where there is none; install.sh brings one."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from llmtask.money import amount_text
from llmtask.usage import Query, Summary, UsageLog, report
from llmtask.usage.report import Word
from llmtask.view.usage_page import usage_page
from tests.browser.chromium import CHROMIUM, Tab
from tests.unit.test_usage_page import BEIJING, NOW, call, traffic
from tests.unit.testing.test_report import HOSTILE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: tests/browser/install.sh")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    found = Tab(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _quiet(tab: Tab) -> Iterator[None]:
    """Whatever a page does, it says nothing on the console, and asks for nothing but itself."""
    tab.complaints.clear()
    yield
    assert tab.complaints == []
    assert [one for one in tab.requests if not one.endswith("/page.html") and "/page.html#" not in one] == []
    tab.emulate()
    tab.size(1400)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[UsageLog]:
    found = UsageLog(tmp_path / "page.db")
    traffic(found)
    yield found
    found.close()


def page(log: UsageLog, locale: str = "en") -> str:
    return usage_page(log, Query(zone=BEIJING), locale=locale, now=NOW)


def wanted(log: UsageLog, where: Mapping[Word, list[str]], since: datetime | None = None) -> Summary:
    """What the log itself says of some calls."""
    return report(log, Query((), since=since, where=where, zone=BEIJING)).total


def shown(tab: Tab) -> dict[str, str]:
    """What the page's tiles stand for, exactly."""
    return dict(tab.each("[data-tile]", "[one.dataset.tile, one.dataset.exact]"))


def told(one: Summary) -> dict[str, str]:
    """The same from a summary."""
    return {
        "cost-CNY": str(one.cost_nanos.get("CNY", 0)),
        "cost-USD": str(one.cost_nanos.get("USD", 0)),
        "calls": str(one.calls),
        "valid": str(one.failed),
        "tokens": str(one.input_tokens + one.output_tokens),
        "hits": str(one.cached_tokens),
    }


def row(tab: Tab, word: str, name: str) -> str:
    """The selector of a value's bar."""
    names = tab.each(f"[data-word-name={word}]", "[one.title, one.dataset.key]")
    return f"[data-key='{dict(reversed(names))[name]}']"


def agrees(tab: Tab, summary: Summary) -> None:
    """The page says what the log does, its median latency included."""
    found = shown(tab)
    assert {name: found.get(name, "0") for name in told(summary)} == told(summary)  # no tile for what nobody paid in
    assert round(float(found["latency"])) == summary.latency(0.5)


def test_a_page_says_what_the_log_says(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    agrees(tab, wanted(log, {}))
    assert len(tab.requests) == 1


def test_a_click_filters_everything_and_another_one_releases_it(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    model = row(tab, "model", "gpt-5")
    tab.click(model)
    agrees(tab, wanted(log, {"model": ["gpt-5"]}))
    tab.click(row(tab, "task", "judge"))
    agrees(tab, wanted(log, {"model": ["gpt-5"], "task": ["judge"]}))
    tab.click(row(tab, "locale", "zh"))
    agrees(tab, wanted(log, {"model": ["gpt-5"], "task": ["judge"], "locale": ["zh"]}))
    assert tab.ask("document.querySelectorAll('.chip').length") == 3
    assert tab.ask(f"document.querySelector({model!r}).getAttribute('aria-pressed')") == "true"
    tab.click(".chip")
    tab.click(row(tab, "task", "judge"))
    agrees(tab, wanted(log, {"locale": ["zh"]}))
    tab.click('[data-key="clear"]')
    agrees(tab, wanted(log, {}))


def test_days_are_filtered_by_a_click_and_by_a_drag(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    tab.click(".hit", 0.5, 0.3)
    day = tab.ask("document.querySelector('.chip bdi').textContent")
    one = next(one for one in report(log, Query(("day",), zone=BEIJING)).groups if one.group == day)
    agrees(tab, one)
    tab.drag(tab.place(".hit", 0.7, 0.3), tab.place(".hit", 0.99, 0.3))
    agrees(tab, wanted(log, {}, since=datetime(2026, 11, 24, tzinfo=BEIJING)))
    tab.click(".hit", 0.01, 0.3)
    tab.click(".hit", 0.01, 0.3)
    agrees(tab, wanted(log, {}))


def test_the_keys_do_what_the_mouse_does(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    tab.ask("document.querySelector('.hit').focus()")
    tab.key("End")
    tab.key("Enter")
    agrees(tab, wanted(log, {}, since=datetime(2026, 11, 25, tzinfo=BEIJING)))
    tab.key("ArrowLeft", shift=True)
    agrees(tab, wanted(log, {}, since=datetime(2026, 11, 24, tzinfo=BEIJING)))
    tab.key("Escape")
    agrees(tab, wanted(log, {}))
    assert "2026-11-24" in tab.ask("document.activeElement.getAttribute('aria-valuetext')")
    tab.ask(f"document.querySelector({row(tab, 'model', 'gpt-5')!r}).focus()")
    tab.key("Enter")
    agrees(tab, wanted(log, {"model": ["gpt-5"]}))
    assert tab.ask("document.activeElement.title") == "gpt-5"


def test_a_link_brings_its_filters_back(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    tab.click(row(tab, "model", "deepseek-chat"))
    tab.click(row(tab, "locale", "en"))
    tab.drag(tab.place(".hit", 0.7, 0.3), tab.place(".hit", 0.99, 0.3))
    tab.click("[data-key='measure:tokens']")
    fragment = tab.ask("location.hash.slice(1)")
    assert fragment == "?model=deepseek-chat&locale=en&period=2026-11-24..2026-11-25&measure=tokens"
    tab.open(page(log), fragment)
    agrees(tab, wanted(log, {"model": ["deepseek-chat"], "locale": ["en"]}, datetime(2026, 11, 24, tzinfo=BEIJING)))
    assert tab.ask("document.querySelector('[data-key=\"measure:tokens\"]').ariaPressed") == "true"


def test_failures_and_latencies_follow_the_filters(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log), "?model=gpt-5&locale=zh")
    one = wanted(log, {"model": ["gpt-5"], "locale": ["zh"]})
    assert tab.ask("[...usage.failed().total.values()]") == [one.errors["timeout"]]
    p99 = "usage.percentile(usage.marked(usage.firstTokens, 'model').all, 0.99)"
    assert round(tab.ask(p99)) == one.first_token(0.99)


def test_currencies_are_never_added_up(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log), "?measure=cost.1")
    assert {text[0] for text in tab.texts("main > section:nth-child(2) .tick-y")} == {"$"}
    amounts = [text for text in tab.texts(".row .value") if "$" in text or "¥" in text]
    assert len(amounts) > 5
    assert not [text for text in amounts if "¥" in text]


def test_amounts_are_written_exactly_whatever_their_size(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    for nanos, said in (
        ("90071992547409931234500", "¥90,071,992,547,409.931234"),
        ("1500", "¥0.000002"),
        ("2500", "¥0.000002"),
        ("-1250000000", "−¥1.25"),
        ("0", "¥0.00"),
    ):
        assert tab.ask(f"drawing.exact({nanos}n, 'CNY')") == said


def test_nothing_that_others_wrote_runs(tab: Tab, tmp_path: Path) -> None:
    payload = "document.documentElement.dataset.pwned=1"
    name = f"</script><script>{payload}</script><img src=x onerror='{payload}'>{HOSTILE}"
    log = UsageLog(tmp_path / "hostile.db")
    for number in range(10):
        call(log, model_id=f"{name} {number}", task_template_id=f"{name} {number}", currency=f"{name}", user_id=name)
    call(log, model_id=name, is_success=False, error_class=name)
    for language in ("en", "zh"):
        tab.open(page(log), f"?language={language}&model={quote('…')}")
        tab.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        tab.click(".row")
        tab.drag(tab.place(".hit", 0.2, 0.3), tab.place(".hit", 0.9, 0.3))
        assert tab.ask("'pwned' in document.documentElement.dataset || !!document.querySelector('img')") is False
    log.close()


def test_light_and_dark_differ_and_follow_the_reader(tab: Tab, log: UsageLog) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    bar = "getComputedStyle(document.querySelector('.chart .fill')).fill"
    tab.emulate(prefers_color_scheme="light")
    tab.open(page(log))
    light = tab.ask(ground), tab.ask(bar)
    tab.emulate(prefers_color_scheme="dark")
    dark = tab.ask(ground), tab.ask(bar)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    tab.click("[data-set-theme=light]")
    assert (tab.ask(ground), tab.ask(bar)) == light


def test_the_page_speaks_chinese_and_english(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log, "zh-CN"))
    assert tab.ask("document.documentElement.lang") == "zh-Hans"
    assert tab.texts("h2") == ["去向", "延迟", "失败", "缓存节省", "用户", "关于这些数字"]
    tab.click("[data-set-language=en]")
    assert tab.texts("h1") == ["Usage"]
    said = tab.ask("document.body.innerText").replace("中文", "")
    assert [character for character in said if "\u4e00" <= character <= "\u9fff"] == []


@pytest.mark.parametrize("width", [320, 400, 700, 1600])
def test_nothing_is_wider_than_the_window(tab: Tab, log: UsageLog, width: int) -> None:
    tab.size(width)
    tab.open(page(log))
    assert tab.ask("document.documentElement.scrollWidth") <= width


def test_each_plot_has_words_and_its_data_in_a_table(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    plots = tab.each("main svg:not([aria-hidden])", "[one.getAttribute('role'), one.getAttribute('aria-label')]")
    assert len(plots) > 8
    assert [told for role, told in plots if role != "img" or len(told) < 20] == []
    assert len(tab.each("figure", "1")) == len(tab.each("figure > details", "1"))
    tab.each("[data-table=over_time]", "(one.open = true)")
    tab.until("document.querySelector('[data-table=over_time] tbody')")
    days = report(log, Query(("day",), zone=BEIJING)).groups
    said = tab.each("[data-table=over_time] tbody tr", "[one.firstChild.textContent, one.lastChild.textContent]")
    assert said == [[one.group, amount_text(one.costs["CNY"], "CNY")] for one in days]
    cells = tab.each("[data-table=over_time] tbody tr", "one.children[1].textContent")
    assert cells == [text for _, text in said]  # of two models one is paid in this currency


def test_more_values_than_there_are_colours_are_others_and_can_be_asked_for(tab: Tab, tmp_path: Path) -> None:
    log = UsageLog(tmp_path / "many.db")
    for number in range(30):
        call(log, NOW - timedelta(days=number), model_id=f"model-{number:02}", cost_nanos=10**9 * (number + 1))
    tab.open(page(log))
    assert tab.texts(".legend")[0].endswith("23 others")
    assert len(tab.texts("[data-word-name=model]")) == 8
    tab.click("[data-key='more:where:model']")
    names = tab.texts("[data-word-name=model] bdi")
    assert (len(names), "7 others" in names) == (24, True)
    tab.click(row(tab, "model", "7 others"))
    folded = {f"model-{number:02}" for number in range(30)} - set(names)
    agrees(tab, wanted(log, {"model": sorted(folded)}))
    assert "model=%E2%80%A6" in tab.ask("location.hash")
    log.close()


@pytest.mark.parametrize("calls", [0, 1])
def test_a_log_of_no_call_and_of_one_has_a_page(tab: Tab, tmp_path: Path, calls: int) -> None:
    log = UsageLog(tmp_path / "small.db")
    for _ in range(calls):
        call(log)
    tab.open(usage_page(log, Query(zone=ZoneInfo("UTC")), now=datetime(2026, 11, 25, 7, tzinfo=UTC)))
    assert tab.ask("!!document.querySelector('.empty')") is (calls == 0)
    assert tab.ask("document.querySelectorAll('.hit').length > 0") is (calls == 1)
    log.close()


def test_on_paper_there_is_nothing_to_press(tab: Tab, log: UsageLog) -> None:
    tab.open(page(log))
    tab.emulate(media="print")
    assert set(tab.each(".controls, .segments, .data, .tip", "getComputedStyle(one).display")) == {"none"}
