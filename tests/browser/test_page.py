"""The page in a real browser: skipped where there is none; install.sh brings one."""

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from llmtask.testing.compare import compare
from llmtask.testing.report import html_page
from llmtask.testing.run import Outcome, Run
from tests.unit.testing.runs import World, item, run, sample
from tests.unit.testing.test_report import HOSTILE, Page, against

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: tests/browser/install.sh")

ALWAYS = (
    "--headless",
    "--no-sandbox",  # for root, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1400,1000",
    "--virtual-time-budget=3000",  # ms, past the filter's wait
    "--enable-logging=stderr",
)
Browse = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Opens a page without a window, a network or a history."""

    def open_(page: str, fragment: str, *options: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "report.html"
        path.write_text(page, encoding="utf-8")
        return subprocess.run(
            [
                str(CHROMIUM),
                *ALWAYS,
                f"--user-data-dir={tmp_path / 'profile'}",
                *options,
                f"{path.as_uri()}#{fragment}",
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=True,
        )

    return open_


def looked_at(browse: Browse, page: str, fragment: str) -> Page:
    """The page as its script has made it, which said nothing on the console: the policy held nothing back either."""
    done = browse(page, fragment, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    found = Page(done.stdout.strip())
    assert "data-ready" in found.elements[0][1]
    assert "data-broken" not in found.elements[0][1]
    return found


def world() -> tuple[Run, str]:
    """A run with failures and errors, and its page with a comparison."""
    known = World(7, cases=10)
    before, after = known.run(1, rate=0.95), known.run(2, rate=0.7)
    return after, html_page(after, comparison=compare(before, after))


def test_filters_show_what_the_link_says(browse: Browse) -> None:
    after, text = world()
    page = looked_at(browse, text, "?outcome=failed&outcome=error&model=glm-4.5-flash&text=case-1%20")
    wanted = [
        one.key.name
        for one in after.items
        if one.outcome in (Outcome.FAILED, Outcome.ERROR)
        if one.key.model_id == "glm-4.5-flash" and "case-1" in one.key.case
    ]
    shown = [one["id"] for one in page.with_attribute("data-item") if "hidden" not in one]
    assert shown == [f"job_match/{name}" for name in wanted]
    assert page.elements[0][1]["data-shown"] == str(len(wanted))


def test_a_failed_check_is_a_filter_whatever_its_title(browse: Browse) -> None:
    title = """value "a" <b> 'c' & 数"""
    made = [item("a", [sample(checks={title: False}, passed=False)]), item("b", [sample()])]
    page = looked_at(browse, html_page(run(made)), f"?failed_check={quote(title)}")
    assert page.elements[0][1]["data-shown"] == "1"


def test_a_link_opens_its_item(browse: Browse) -> None:
    after, text = world()
    name = after.items[-1].key.name
    page = looked_at(browse, text, f"job_match/{quote(name)}")
    opened = [one["id"] for one in page.with_attribute("data-item") if "open" in one]
    assert opened == [f"job_match/{name}"]


def test_nothing_that_others_wrote_runs(browse: Browse) -> None:
    payload = "document.documentElement.dataset.pwned=1"
    after, comparison = against(f"</script><script>{payload}</script><img src=x onerror='{payload}'>{HOSTILE}")
    page = looked_at(browse, html_page(after, comparison=comparison), "")
    assert "data-pwned" not in page.elements[0][1]
    assert not any(tag == "img" for tag, _ in page.elements)


def first_pixel(path: Path) -> tuple[int, ...]:
    """The colour in a PNG's upper left corner, which every filter of a first line leaves as it is."""
    data = path.read_bytes()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        packed += data[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return tuple(zlib.decompress(packed)[1:4])


def test_the_page_looks_other_in_light_and_dark_and_in_chinese_and_english(browse: Browse, tmp_path: Path) -> None:
    _, text = world()
    pictures: dict[tuple[str, str], Path] = {}
    for theme in ("light", "dark"):
        for language in ("zh", "en"):
            path = pictures[theme, language] = tmp_path / f"{theme}-{language}.png"
            browse(text, f"?theme={theme}&language={language}", f"--screenshot={path}")
            assert path.stat().st_size > 40_000  # a blank one has 6,000
    assert len({path.read_bytes() for path in pictures.values()}) == 4
    assert min(first_pixel(pictures["light", "en"])) > 200
    assert max(first_pixel(pictures["dark", "zh"])) < 60


def test_the_toggles_set_theme_and_language(browse: Browse) -> None:
    _, text = world()
    root = looked_at(browse, text, "?theme=dark&language=zh").elements[0][1]
    assert (root["data-theme"], root["lang"]) == ("dark", "zh-Hans")
    root = looked_at(browse, text, "").elements[0][1]
    assert ("data-theme" in root, root["lang"]) == (False, "en")
