"""How a run of suites looks: what goes on, on stderr; the matrix and what failed, on stdout."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llmtask.money import Cost
from llmtask.testing.items import Item
from llmtask.testing.run import ItemResult, Outcome, Run
from llmtask.testing.session import Session
from llmtask.testing.statistics import Rate
from llmtask.testing.summary import Column, FailureGroup, Summary, summarise
from llmtask.view import words
from llmtask.view.console import answer, draw, harmless, note, stderr
from llmtask.view.tables import table

if TYPE_CHECKING:
    from rich.text import Text

_MOST_GROUPS = 12  # checks whose failures are shown; the page has them all
_WIDEST_REASON = 160  # characters
_STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.ERROR: "yellow",
    Outcome.CAPPED: "yellow",
    Outcome.SKIPPED: "dim",
}


class Watch:
    """A line on stderr's terminal that tells how far runs are; piped, nothing moves."""

    def __init__(self) -> None:
        """Begin with nothing to watch."""
        self._sessions: list[Session] = []
        self._live: Any = None
        self._begun = time.monotonic()

    def begin(self, session: Session) -> None:
        """Say what will be asked and what it can cost, before anything is."""
        items = session.items
        models = ", ".join(dict.fromkeys(item.key.model_id for item in items))
        answers = sum(item.repeats for item in items)
        note(f"{_count(answers, 'answer')} to {_count(len(items), 'item')} of {models}; {_most(session)}", style="")
        if session.resumed:
            note(f"going on with run {session.run_id}: {session.resumed} of them are there (--fresh begins anew)")
        self._sessions.append(session)
        if stderr().is_terminal and self._live is None:
            from rich.live import Live  # only for a terminal

            self._live = Live(get_renderable=self._picture, console=stderr(), refresh_per_second=5, transient=True)
            self._live.start()

    def end(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _picture(self) -> "Text":
        from rich.text import Text

        outcomes: Counter[Outcome] = Counter()
        for session in self._sessions:
            outcomes.update(session.outcomes)
        total = sum(len(session.items) for session in self._sessions)
        text = Text(f"{outcomes.total():,} of {total:,}", style="bold")
        for outcome, style in _STYLES.items():
            if outcomes[outcome]:
                text.append(f" · {outcomes[outcome]:,} {outcome.value}", style=style)
        spent = [cost for session in self._sessions for cost in session.engine.spent]
        text.append(f" · {_costs(spent)} · {time.monotonic() - self._begun:.0f} s", style="dim")
        return text


def _most(session: Session) -> str:
    """About the most that a run costs, and what it may cost."""
    options = session.options
    if options.replay:
        return f"played from {options.replay}, nothing is asked"
    unpriced = " and what unpriced models cost" if session.engine.is_partly_unpriced else ""
    most = f"at most about {_costs(session.engine.highest_cost)}{unpriced} without retries"
    return f"{most}, capped at {_costs([options.max_cost])}" if options.max_cost else most


def show_run(run: Run, notes: Iterable[str] = ()) -> None:
    """Show what came of a run: the matrix, then what failed, then what has no answer, then a line on it all."""
    found = summarise(run)
    if found.columns:
        _show_matrix(found)
    _show_failures(found.failures)
    _show_missing(run)
    for text in notes:
        note(text, style="yellow")
    _show_end(run, found.total)


def _show_matrix(found: Summary) -> None:
    columns = found.columns if len(found.columns) == 1 else (*found.columns, found.total)
    heads = [_head(column) for column in columns]
    rows = [[label, *cells] for label, cells in _rows(columns) if any(cells)]
    table(["", *heads], rows, heads)


def _head(column: Column) -> str:
    if not column.model_id:
        return "all"
    version = "" if column.prompt == "current" else f" {column.prompt}"
    return f"{column.model_id} {column.locale}{version}"


def _rows(columns: Iterable[Column]) -> Iterator[tuple[str, list[str]]]:
    columns = list(columns)
    yield "passed", [_rate(column.passes) for column in columns]
    yield "every repeat passed", [_rate(column.all_passed) for column in columns]
    for title in dict.fromkeys(title for column in columns for title in column.checks):
        yield f"  {title}", [_rate(column.checks.get(title)) for column in columns]
    yield "score", [f"{column.score:.2f}" if column.score is not None else "" for column in columns]
    yield "cost", [_costs(column.costs, column.unpriced_calls) for column in columns]
    yield "p50 / p95", [_latencies(column) for column in columns]
    yield "first token p50", [_seconds(column.first_token_p50_ms) for column in columns]
    for outcome in (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED):
        yield f"{outcome.value} (no answer)", [_some(column.samples[outcome]) for column in columns]


def _rate(rate: Rate | None) -> str:
    """A rate with its interval: `94 % (88-97) 47/50`."""
    if rate is None:
        return ""
    return f"{100 * rate.value:.0f} % ({100 * rate.low:.0f}–{100 * rate.high:.0f}) {rate.hits:,}/{rate.of:,}"


def _costs(costs: Iterable[Cost], unpriced: int = 0) -> str:
    amounts: dict[str, Any] = {}
    for cost in costs:
        amounts[cost.currency] = amounts.get(cost.currency, 0) + cost.amount
    return words.costs(amounts, unpriced, 0)


def _latencies(column: Column) -> str:
    if column.latency_p50_ms is None or column.latency_p95_ms is None:
        return ""
    return f"{words.seconds(column.latency_p50_ms)} / {words.seconds(column.latency_p95_ms)}"


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else words.seconds(milliseconds)


def _some(count: int) -> str:
    return f"{count:,}" if count else ""


def _show_failures(groups: Iterable[FailureGroup]) -> None:
    """What failed, by check: few and readable."""
    groups = list(groups)
    for group in groups[:_MOST_GROUPS]:
        _say(f"\n{group.check}: {_count(group.count, 'answer')} failed", "bold red")
        for example in group.examples:
            times = f"  {example.times} of {example.of}" if example.of > 1 else ""
            _say(f"  {example.item}{times}  {_short(example.reason)}")
        more = group.count - sum(example.times for example in group.examples)
        if more:
            _say(f"  … and {more} more", "dim")
    if len(groups) > _MOST_GROUPS:
        _say(f"\n… and {len(groups) - _MOST_GROUPS} more checks failed; --report FILE.html shows all", "dim")


def _show_missing(run: Run) -> None:
    """What has no answer, by reason: no failure, and never left out."""
    for outcome in (Outcome.ERROR, Outcome.CAPPED, Outcome.SKIPPED):
        reasons: dict[str, list[ItemResult]] = {}
        for item in run.items:
            for reason in {sample.reason or "" for sample in item.samples if sample.outcome is outcome}:
                reasons.setdefault(reason, []).append(item)
        for reason, items in sorted(reasons.items(), key=lambda one: -len(one[1])):
            more = f" and {len(items) - 1} more" if len(items) > 1 else ""
            _say(f"\n{outcome.value}: {items[0].key.name}{more}", "bold yellow")
            _say(f"  {_short(reason)}")


def _show_end(run: Run, total: Column) -> None:
    from rich.text import Text

    line = Text()
    for outcome, style in _STYLES.items():
        if total.outcomes[outcome]:
            line.append(f"{' · ' if line else ''}{total.outcomes[outcome]:,} {outcome.value}", style=f"bold {style}")
    line.append(f" · paid {_costs(run.paid)} · run {run.name or run.id}", style="dim")
    answer("")
    draw(line, soft_wrap=True)
    if run.ended_at is None:
        how = "with a larger --max-cost" if total.samples[Outcome.CAPPED] else "without -x"
        note(f"not everything was asked: the same command ({how}) goes on with it, and pays only for the rest")


def _say(text: str, style: str = "") -> None:
    from rich.text import Text

    draw(Text(harmless(text), style=style), soft_wrap=True)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDEST_REASON else line[: _WIDEST_REASON - 1] + "…"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_plan(items: Sequence[Item]) -> None:
    """Show what would be asked: a line per item, with how often."""
    rows = [[item.key.suite, item.key.name, str(item.repeats), str(len(item.checks))] for item in items]
    table(["suite", "item", "repeats", "checks"], rows, ["repeats", "checks"])


def show_runs(runs: Sequence[Run]) -> None:
    """Show the last runs: what `compare` can name."""
    if not runs:
        note("no runs yet; `llmtask test` makes one")
        return
    rows = [
        [
            run.id,
            run.name or "-",
            run.settings.get("models", ""),
            _costs(run.paid),
            "" if run.ended_at else "broken off",
        ]
        for run in runs
    ]
    table(["run", "name", "models", "paid", ""], rows, ["paid"])
