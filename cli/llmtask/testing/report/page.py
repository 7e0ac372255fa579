"""A run as one HTML page that needs nothing else: no network, no fonts, and no script for reading."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from llmtask import pages
from llmtask.money import sums
from llmtask.pages.inert import cut, one_line, visible
from llmtask.testing.compare import Change, Comparison, Moved
from llmtask.testing.compare.pairing import pair_up
from llmtask.testing.report import answers, words
from llmtask.testing.report.cases import BUDGET, ShownCase, failures, shown_cases
from llmtask.testing.report.plots import change_track, plots
from llmtask.testing.report.verdict import GLYPHS, MANY, examples, missing, sentences
from llmtask.testing.report.words import Language
from llmtask.testing.run import ItemResult, Outcome, Run, Sample
from llmtask.testing.summary import Column, summarise

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_MOST_MOVED = 50  # items whose two answers are shown, of those broken and of those mended each


@dataclass(frozen=True, slots=True)
class Side:
    """An answer of an item on one side of a comparison."""

    item: ItemResult
    sample: Sample
    text: Markup | str
    """JSON with what differs marked, or why there is none."""


def html_page(
    run: Run, *, comparison: Comparison | None = None, language: Language = "en", budget: int = BUDGET
) -> str:
    """The page.

    Args:
        run: Any run, also one that was broken off.
        comparison: Of this run with a baseline.
        language: In which it opens; it can be switched.
        budget: Characters of input and answer up to which items are shown whole.
    """
    found = summarise(run, MANY)
    columns = _by_model(found.columns)
    cases = shown_cases(run.items, budget)
    links = {(one.item.key.suite, one.item.key.name): one.id for case in cases for one in case.items}
    texts = (pages.style(_FOLDER / "page.css"), (_FOLDER / "page.js").read_text(encoding="utf-8"))
    style, script = map(Markup, texts)  # our own files
    return (
        _environment()
        .get_template("page.html")
        .render(
            found=found,
            columns=columns,
            heads=Counter(column.model_id for column in columns),
            comparison=comparison,
            changes=_changes(comparison) if comparison else [],
            moved=_moved(comparison) if comparison else {},
            missing=missing(run),
            cases=cases,
            links=links,
            choices=_choices(cases),
            lines=sum(not one.is_whole for case in cases for one in case.items),
            budget=budget,
            language=language,
            style=style,
            script=script,
            policy=pages.policy(style, script),
        )
    )


def _by_model(columns: Iterable[Column]) -> list[Column]:
    """The columns of a model next to each other, else in the order of the run."""
    models: dict[str, list[Column]] = {}
    for column in columns:
        models.setdefault(column.model_id, []).append(column)
    return [column for found in models.values() for column in found]


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_inert,  # whatever the template shows
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "Outcome": Outcome,
        "change_track": change_track,
        "conclusions": words.conclusions,
        "cut": cut,
        "examples": examples,
        "facts": _facts,
        "failures": failures,
        "glyphs": GLYPHS,
        "marked_json": answers.marked_json,
        "plots": plots,
        "sentences": sentences,
        "told": words.told,
        "w": both,
        "words": words.WORDS,
    }
    environment.filters |= {
        "amount": words.amount,
        "costs": words.costs,
        "interval": words.interval,
        "minutes": _minutes,
        "one_line": one_line,
        "percent": words.percent,
        "seconds": words.seconds,
        "when": _when,
    }
    return environment


def _inert(value: Any) -> Any:
    return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)


def both(key: str, **values: object) -> Markup:
    """A phrase in both languages; the style sheet shows one."""
    shown = words.counted({name: _inert(value) for name, value in values.items()})
    english, chinese = (text.format(**shown) for text in map(Markup, words.WORDS[key]))  # what it formats, it escapes
    if english == chinese:
        return english
    return Markup('<span lang="en">{}</span><span lang="zh-Hans">{}</span>').format(english, chinese)


def _choices(cases: Iterable[ShownCase]) -> dict[str, list[str]]:
    """What the filters offer: a key of WORDS and the values in the run."""
    shown = [one for case in cases for one in case.items]
    checks = Counter(title for one in shown for title in one.failed)
    prompts = list(dict.fromkeys(one.item.key.prompt for one in shown))
    return {
        "model": sorted({one.item.key.model_id for one in shown}),
        "locale": sorted({one.item.key.locale for one in shown}),
        **({"prompt": prompts} if len(prompts) > 1 else {}),
        **({"failed_check": [title for title, _ in checks.most_common()]} if checks else {}),
    }


def _facts(item: ItemResult) -> dict[str, str]:
    """The numbers of an item's line, as text; empty where there is none."""
    scores = [sample.score for sample in item.answered if sample.score is not None]
    times = [sample.latency_ms for sample in item.answered if sample.latency_ms is not None]
    costs = sums(cost for sample in item.samples for cost in sample.costs)
    return {
        "score": f"{mean(scores):.2f}" if scores else "",
        "cost": words.costs(costs) if costs else "",
        "latency": words.seconds(median(times)) if times else "",
    }


def _changes(comparison: Comparison) -> list[list[Change]]:
    """The lines of a comparison, those about one thing together."""
    return [list(lines) for _, lines in groupby(comparison.changes, key=lambda change: (change.kind, change.what))]


def _moved(comparison: Comparison) -> dict[str, list[tuple[Moved, Side, Side]]]:
    """The broken and the mended items with an answer of either side, as many as are shown."""
    pairs = {
        (other.key.suite, other.key.name): (one, other)
        for one, other in pair_up(comparison.baseline, comparison.run, comparison.names)
    }
    groups: Mapping[str, tuple[Moved, ...]] = {"broken": comparison.broken, "mended": comparison.mended}
    return {
        title: [(one, *_sides(*pairs[one.suite, one.item])) for one in moved[:_MOST_MOVED]]
        for title, moved in groups.items()
    }


def _sides(one: ItemResult, other: ItemResult) -> tuple[Side, Side]:
    """Of each side the first sample that came to what its item came to."""
    samples = [
        next((sample for sample in item.samples if sample.outcome is item.outcome), item.samples[0])
        for item in (one, other)
    ]
    if all(sample.answer is not None for sample in samples):
        texts: tuple[Markup | str, Markup | str] = answers.differing(samples[0].answer, samples[1].answer)
    else:
        texts = _plain(samples[0]), _plain(samples[1])
    return Side(one, samples[0], texts[0]), Side(other, samples[1], texts[1])


def _plain(sample: Sample) -> str:
    text = answers.json_text(sample.answer) if sample.answer is not None else sample.text or sample.reason or ""
    return cut(text)[0]


def _when(stamp: str) -> str:
    """A time for people: `2026-11-24 20:59 UTC`."""
    return f"{stamp[:10]} {stamp[11:16]} UTC" if _time(stamp) else stamp


def _minutes(began: str, ended: str) -> str:
    """How long it took: `12 s`, `10 min 0 s`; empty where that cannot be told."""
    begin, end = _time(began), _time(ended)
    if begin is None or end is None or end < begin:
        return ""
    minutes, seconds = divmod(round((end - begin).total_seconds()), 60)
    return f"{minutes:,} min {seconds} s" if minutes else f"{seconds} s"


def _time(stamp: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return found if found.tzinfo else None
