"""The page: a template, its look and its scripts, and what they show as JSON."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from llmtask import pages
from llmtask.pages.inert import one_line
from llmtask.usage import Query, Report, UsageLog, report
from llmtask.view import words as numbers
from llmtask.view.usage_page.data import document
from llmtask.view.usage_page.words import WORDS, Language

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_SCRIPTS = ("sums.js", "plots.js", "page.js")
_LONGEST_NAME = 120
_MOST_PLAIN = 50


def usage_page(log: UsageLog, query: Query, *, locale: str = "en", now: datetime | None = None) -> str:
    """What the log says as one HTML page that asks no network for anything: plots that filter each other by a click.

    Args:
        log: The usage log; one that does not exist yet is empty.
        query: Which calls: its span, its conditions and its time zone. What it groups by does not matter.
        locale: In which language it opens, such as en or zh; it can be switched.
        now: When it is made; now, where it is left out.

    Raises:
        UsageLogError: The log cannot be read.
    """
    language: Language = "zh" if locale.lower().startswith("zh") else "en"
    script = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = pages.style(_FOLDER / "page.css")
    found = document(log, query, now or datetime.now(UTC)) | {"phrases": WORDS}
    texts = map(Markup, (style, script, pages.embedded(found)))  # our own files, and JSON that ends no element
    return (
        _environment()
        .get_template("page.html")
        .render(
            **dict(zip(("style", "script", "data"), texts, strict=True)),
            groups=_plain(report(log, Query(("model",), query.since, query.until, query.where, marks=False))),
            language=language,
            policy=pages.policy(style, script),
            w=lambda key: WORDS[key][language == "zh"],
        )
    )


def _plain(found: Report) -> list[tuple[str, str, str, str]]:
    """The models for those who run no script: name, calls, failed, cost."""
    return [
        (
            one_line(one.group, _LONGEST_NAME),
            f"{one.calls:,}",
            f"{one.failed:,}",
            one_line(numbers.costs(one.costs, one.unpriced, one.unfinished), _LONGEST_NAME),
        )
        for one in found.groups[:_MOST_PLAIN]
    ]


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
