"""A run as a comment on a pull request: GitHub's Markdown, short, and nothing in it that others wrote comes alive."""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from llmtask.pages.inert import one_line
from llmtask.testing.compare import Change, Comparison, Moved, Verdict
from llmtask.testing.report import words
from llmtask.testing.report.verdict import GLYPHS, MANY, Missing, examples, missing, sentences
from llmtask.testing.report.words import Language, say
from llmtask.testing.run import Outcome, Run
from llmtask.testing.statistics import Rate
from llmtask.testing.summary import Column, FailureGroup, Summary, summarise

MOST_CHARACTERS = 60_000
"""Of a comment: GitHub takes 65,536."""
_MOST_COLUMNS = 12  # a wider table is read by nobody
_MOST_ROWS = 60
_MOST_GROUPS = 20
_MOST_MOVED = 20
_MOST_EXAMPLES = 3
_WIDEST = 160  # characters of a reason, or of a name
_ARROWS = {Verdict.BETTER: "↗", Verdict.WORSE: "↘", Verdict.CANNOT_TELL: "~"}


def markdown(run: Run, *, comparison: Comparison | None = None, language: Language = "en") -> str:
    """The comment: at most 60,000 characters, of which the later parts are left out first.

    Args:
        run: Any run, also one that was broken off.
        comparison: Of this run with a baseline.
        language: Of our words; what checks say is as they say it.
    """
    found = summarise(run, MANY)
    said = _Said(language)
    blocks = [said.head(found, comparison), *said.matrix(found)]
    blocks += said.comparison(comparison) if comparison else []
    blocks += [*said.failures(found.failures), *said.missing(missing(run))]
    return "\n\n".join(_fitting(blocks)) + "\n"


def _fitting(blocks: Iterable[str]) -> Iterator[str]:
    room = MOST_CHARACTERS
    for block in blocks:
        room -= len(block) + 2
        if room < 0:
            return
        yield block


def code(text: str, most: int = _WIDEST) -> str:
    """Text as a code span, in which GitHub sees no markup, mention or link.

    Args:
        text: Whatever others wrote.
        most: Characters shown.
    """
    line = one_line(text, most) or "–"
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if "`" in (line[0], line[-1]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _cell(text: str) -> str:
    """A code span for a table: a pipe would end the cell, whatever stands before it."""
    return code(text.replace("|", "¦"))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int) -> str:
    """A table whose columns from `right` on are numbers."""
    rule = ["---"] * right + ["--:"] * (len(head) - right)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


class _Said:
    """The parts of a comment in a language."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def _say(self, key: str, **values: object) -> str:
        return say(self._language, key, **values)

    def head(self, found: Summary, comparison: Comparison | None) -> str:
        """What it comes to."""
        total = found.total
        worst = next((one for one in (Outcome.FAILED, Outcome.ERROR) if total.outcomes[one]), Outcome.PASSED)
        said = [self._say(key, **values) for key, values in sentences(found)]
        said += [self._say(key) for key in words.conclusions(comparison.changes)] if comparison else []
        counts = [
            f"{GLYPHS[outcome]} {count:,} {self._say(outcome.value)}"
            for outcome, count in total.outcomes.items()
            if count
        ]
        facts = [*counts, f"{self._say('paid')} {words.costs(found.run.paid)}"]
        lines = [
            f"### {GLYPHS[worst]} {self._say('test')} {code(found.run.name or found.run.id)}",
            f"**{(' ' if self._language == 'en' else '').join(said)}**",
            " · ".join(facts),
        ]
        if total.passes:
            rate = total.passes
            shares = {name: words.percent(getattr(rate, name)) for name in ("low", "high")}
            lines.append(self._say("rate_of_all", rate=words.percent(rate.value), of=rate.of, **shares))
        return "\n\n".join(lines)

    def matrix(self, found: Summary) -> Iterator[str]:
        """A row per measure, a column per model, locale and prompt version."""
        columns = found.columns[:_MOST_COLUMNS]
        if not columns:
            return
        shown = columns if len(found.columns) == 1 else (*columns, found.total)
        rows = [[label, *cells] for label, cells in self._measures(found, shown) if any(cells)]
        yield _table([self._say("measure"), *map(self._column, shown)], rows[:_MOST_ROWS], 1)
        left = len(found.columns) - len(columns)
        notes = [self._say("columns_more", count=left)] if left else []
        notes += [self._say("rows_more", count=len(rows) - _MOST_ROWS)] if len(rows) > _MOST_ROWS else []
        yield " ".join([self._say("matrix_note"), *notes])

    def _column(self, column: Column) -> str:
        if not column.model_id:
            return self._say("all")
        version = "" if column.prompt == "current" else f" · {column.prompt}"
        return _cell(f"{column.model_id} · {column.locale}{version}")

    def _measures(self, found: Summary, columns: Sequence[Column]) -> Iterator[tuple[str, list[str]]]:
        def row(write: Callable[[Column], str]) -> list[str]:
            return [write(column) for column in columns]

        yield self._say("passes"), row(lambda column: _rate(column.passes))
        yield self._say("all_passed"), row(lambda column: _rate(column.all_passed))
        for title in found.total.checks:
            yield _cell(title), [_rate(column.checks.get(title)) for column in columns]
        yield self._say("score"), row(lambda column: "" if column.score is None else f"{column.score:.2f}")
        yield self._say("cost"), row(self._costs)
        yield self._say("latencies"), row(_latencies)
        for outcome in (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED):
            cells = [f"{column.samples[outcome]:,}" if column.samples[outcome] else "" for column in columns]
            yield f"{GLYPHS[outcome]} {self._say(outcome.value)}", cells

    def _costs(self, column: Column) -> str:
        unpriced = self._say("unpriced", count=column.unpriced_calls) if column.unpriced_calls else ""
        return " + ".join(filter(None, (words.costs(column.costs) if column.costs else "", unpriced)))

    def comparison(self, comparison: Comparison) -> Iterator[str]:
        """The lines that tell a difference; the others, and the items that changed sides, folded away."""
        pairing, baseline = comparison.pairing, comparison.baseline
        told = [change for change in comparison.changes if change.verdict is not Verdict.CANNOT_TELL]
        name = code(baseline.name or baseline.id)
        against = self._say("against", baseline=name, cases=pairing.cases, items=pairing.items)
        yield f"#### {self._say('comparison')}\n\n{against}"
        if told:
            yield self._changes(told)
        if len(told) < len(comparison.changes):
            summary = self._say("all_lines", count=len(comparison.changes))
            yield _details(summary, self._changes(comparison.changes))
        for title, moved in (("broken", comparison.broken), ("mended", comparison.mended)):
            if moved:
                yield self._moved(title, moved)

    def _changes(self, changes: Sequence[Change]) -> str:
        head = [self._say(key) for key in ("verdict", "what", "group", "baseline", "this_run", "effect", "interval")]
        table = _table(head, map(self._change, changes[:_MOST_ROWS]), 3)
        more = len(changes) - _MOST_ROWS
        return f"{table}\n\n{self._say('rows_more', count=more)}" if more > 0 else table

    def _change(self, change: Change) -> list[str]:
        values = [words.amount(value, change.unit) for value in (change.baseline, change.run)]
        more = words.told(change)
        said = f"{_ARROWS[change.verdict]} {self._say(change.verdict.value)}"
        return [
            f"{said} ({self._say(more[0], **more[1])})" if more else f"**{said}**",
            _cell(change.what) if change.kind.value == "check" else self._say(f"kind_{change.kind.value}"),
            self._say("all") if change.group == "all" else _cell(change.group),
            *values,
            words.amount(change.effect, change.unit, signed=True),
            words.interval(change),
        ]

    def _moved(self, title: str, moved: Sequence[Moved]) -> str:
        lines = [
            f"- {code(one.item)} {one.baseline[0]}/{one.baseline[1]} → {one.run[0]}/{one.run[1]} "
            f"{code('; '.join(f'{check}: {reason}' for check, reason in one.reasons.items()))}"
            for one in moved[:_MOST_MOVED]
        ]
        if len(moved) > _MOST_MOVED:
            lines.append(f"- {self._say('items_more', count=len(moved) - _MOST_MOVED)}")
        summary = f"{self._say(title)} {len(moved)} ({self._say(f'{title}_means')})"
        return _details(summary, "\n".join([*lines, "", self._say("moved_note")]))

    def failures(self, groups: Sequence[FailureGroup]) -> Iterator[str]:
        """What failed, by check: few examples each."""
        if groups:
            yield f"#### {self._say('failures')}"
        for group in groups[:_MOST_GROUPS]:
            shown = examples(group, _MOST_EXAMPLES)
            lines = [f"- {code(one.item)} {code(one.reason)}" for one in shown]
            if group.count > len(shown):
                lines.append(f"- {self._say('more', count=group.count - len(shown))}")
            title = f"<code>{html.escape(one_line(group.check, _WIDEST))}</code>"
            yield _details(f"{title} · {self._say('failed_answers', count=group.count)}", "\n".join(lines))
        if len(groups) > _MOST_GROUPS:
            yield self._say("checks_more", count=len(groups) - _MOST_GROUPS)

    def missing(self, groups: Sequence[Missing]) -> Iterator[str]:
        """What has no answer, by reason: no failure, and never left out."""
        if groups:
            lines = [
                f"- {GLYPHS[group.outcome]} {self._say(group.outcome.value)} × {group.count:,}: "
                f"{code(group.reason or self._say('no_reason'))}"
                for group in groups[:_MOST_GROUPS]
            ]
            if len(groups) > _MOST_GROUPS:
                lines.append(f"- {self._say('rows_more', count=len(groups) - _MOST_GROUPS)}")
            yield f"#### {self._say('missing')}\n\n" + "\n".join(lines)


def _rate(rate: Rate | None) -> str:
    """A rate with its interval: `94% (88–97) 47/50`."""
    if rate is None:
        return ""
    low, high = (words.percent(value).removesuffix("%") for value in (rate.low, rate.high))
    return f"{words.percent(rate.value)} ({low}–{high}) {rate.hits:,}/{rate.of:,}"


def _latencies(column: Column) -> str:
    if column.latency_p50_ms is None or column.latency_p95_ms is None:
        return ""
    return f"{words.seconds(column.latency_p50_ms)} / {words.seconds(column.latency_p95_ms)}"
