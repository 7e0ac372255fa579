"""Puts a batch together from what its user says: begun, gone on with, tried again, or only looked at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from llmtask.batch.broker import Reports, Terms
from llmtask.batch.carrier import carrier, origin_of
from llmtask.batch.inputs import STDIN, count_records, open_records
from llmtask.batch.job import Record
from llmtask.batch.journal import Journal, find_journal, new_journal
from llmtask.batch.remote.url import place
from llmtask.batch.run import Batch
from llmtask.batch.spec import Plans, Spec
from llmtask.errors import LlmtaskError, UsageError
from llmtask.money import Cost, sums
from llmtask.project import Project
from llmtask.providers import require_key
from llmtask.service import require_price

HERE = "here"
"""In place of a broker's URL: this process does what workers were to do."""

_LOOKED_AT = 1_000  # records of which an estimate is made; of more, the mean is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a batch is started with; its journal keeps it."""

    inputs: str
    """JSONL, CSV, a folder, or `-`; a path is absolute, so that the batch is gone on with from anywhere."""
    out: str | None = None
    """Where answers go; None for nowhere but the journal. Likewise."""
    base: Mapping[str, str] = field(default_factory=dict)
    """Texts that every record has."""
    as_finished: bool = False
    """Whether answers are written as they come, and not in the order of the input."""
    concurrency: int | None = None
    """The most calls of a queue at once; the queue's own where that is less."""
    max_cost: Cost | None = None
    """The most that may be spent."""
    broker: str | None = None
    """The URL of the broker whose workers do it; None for this process."""

    def to_kept(self) -> dict[str, Any]:
        """As a journal keeps them: without the broker's password.

        Raises:
            UsageError: It is not the URL of a broker.
        """
        return {**asdict(self), "broker": place(self.broker) if self.broker else None}

    @classmethod
    def from_kept(cls, kept: Mapping[str, Any]) -> "Settings":
        """As a journal keeps them; of the broker there is the place alone."""
        most = kept["max_cost"]
        return cls(**{**kept, "max_cost": Cost(**most) if most else None})


def fixed(path: str) -> str:
    """A path as it is found from any folder; `-` stays."""
    if path == STDIN:
        return path
    folder = "/" if path.endswith("/") else ""
    return f"{Path(path).expanduser().absolute()}{folder}"


@dataclass(frozen=True, slots=True)
class Source:
    """What a batch is given."""

    records: Iterator[Record]
    """From the beginning."""
    count: int | None = None
    """How many there are at most; None where nobody knows."""


def source_of(plans: Plans, settings: Settings) -> Source:
    """The records that `--inputs` names.

    Raises:
        UsageError: They cannot be read.
    """
    return Source(_records(plans, settings), count_records(settings.inputs))


def _records(plans: Plans, settings: Settings) -> Iterator[Record]:
    return open_records(settings.inputs, plans.planner.prompt.file, settings.base)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a batch would be, without a call."""

    looked_at: int
    """Records: the first ones."""
    problems: list[str]
    """Of those that cannot be asked."""
    input_tokens: int
    """About how many, in all records."""
    highest: tuple[Cost, ...]
    """About the most that all cost, without retries."""
    unpriced: int
    """Those that were looked at and have no price."""


def estimated(plans: Plans, settings: Settings, count: int | None) -> Estimate:
    """About the most that a batch can cost; it reads the beginning of the input, and asks nobody.

    Args:
        plans: Decides the runs.
        settings: How it is done.
        count: How many records there are; None for standard input, which is not read ahead.

    Raises:
        UsageError: The input cannot be read.
    """
    tokens, problems, costs = 0, [], []
    some = list(islice(_records(plans, settings), _LOOKED_AT)) if count is not None else []
    for record in some:
        try:
            if record.problem is not None:
                raise UsageError(record.problem)
            planned = plans.plan(record.inputs)
        except UsageError as error:
            problems.append(f"{record.id}: {error}")
        else:
            tokens += planned.input_tokens
            costs.append(planned.highest_cost)
    share = (count or 0) / len(some) if some else 0
    if len(some) < _LOOKED_AT:  # that is all, however many there might have been
        share = 1
    whole = tuple(Cost(round(cost.nanos * share), cost.currency) for cost in sums(costs))
    return Estimate(len(some), problems, round(tokens * share), whole, costs.count(None))


@dataclass(frozen=True, slots=True)
class Started:
    """A batch that is ready to run."""

    batch: Batch
    settings: Settings
    records: Iterator[Record]


def begin(plans: Plans, settings: Settings, source: Source, reports: Reports) -> Started:
    """A new batch.

    Args:
        plans: Decides its runs.
        settings: How it is done.
        source: Its input.
        reports: Where it tells of itself.

    Raises:
        LlmtaskError: Something asked for does not exist, or cannot be used.
    """
    _require_usable(plans, settings)
    kept = {"spec": asdict(plans.spec), "digest": plans.digest, "settings": settings.to_kept()}
    journal = new_journal(plans.project, kept)
    return _started(journal, plans, settings, source, reports)


def go_on(
    project: Project,
    name: str,
    changes: Mapping[str, Any],
    reports: Reports,
    *,
    retry: bool = False,
    source: Source | None = None,
) -> Started:
    """A batch that was broken off, or whose failures are to be tried again.

    Args:
        project: The project.
        name: As `find_journal` takes it.
        changes: Settings that are other ones now; None for what stays.
        reports: Where it tells of itself.
        retry: Whether failed jobs are done again.
        source: Its input, where that is no file.

    Raises:
        LlmtaskError: There is no such batch, another process runs it, or the project has changed.
    """
    journal = Journal(find_journal(project, name))
    try:
        standing = journal.standing()
        plans = Plans(Spec(**standing.settings["spec"]), project)
        settings = Settings.from_kept(standing.settings["settings"])
        _require_broker(settings, changes.get("broker"))
        settings = replace(settings, **{key: value for key, value in changes.items() if value is not None})
        if settings.broker == HERE:
            settings = replace(settings, broker=None)
        _require_same(standing.settings, plans.digest)
        _require_usable(plans, settings)
        journal.require_own()
        if standing.is_read:
            source = Source(iter(()))
        journal.reopen({**standing.settings, "settings": settings.to_kept()})
        if retry:
            journal.retry()
        return _started(journal, plans, settings, source or source_of(plans, settings), reports, retry=retry)
    except LlmtaskError:
        journal.close()
        raise


def model_of(project: Project, name: str) -> str:
    """The model that a batch asks first.

    Raises:
        UsageError: There is no such batch.
    """
    journal = Journal(find_journal(project, name))
    try:
        spec = Spec(**journal.standing().settings["spec"])
    finally:
        journal.close()
    return Plans(spec, project).planner.route.model_id


def _started(
    journal: Journal, plans: Plans, settings: Settings, source: Source, reports: Reports, *, retry: bool = False
) -> Started:
    left = _left(settings.max_cost, journal.standing().spent)
    terms = Terms(concurrency=settings.concurrency, most=left, retry=retry)
    reports = replace(reports, known=journal)
    broker = carrier(plans, origin_of(plans, journal.run_id), reports, terms, settings.broker)
    batch = Batch(journal, broker, plans, max_cost=settings.max_cost, records=source.count)
    return Started(batch, settings, source.records)


def _left(most: Cost | None, spent: Sequence[Cost]) -> Cost | None:
    """What is left of an amount; None where there is none."""
    if most is None:
        return None
    return Cost(max(most.nanos - sum(one.nanos for one in spent if one.currency == most.currency), 0), most.currency)


def _require_usable(plans: Plans, settings: Settings) -> None:
    """Refuse what no call could be made for.

    Raises:
        KeyMissingError, UntrustedError: The model of the route cannot be asked.
        UsageError: The amount cannot hold what it costs, or the broker cannot be used.
    """
    model_id = plans.planner.route.model_id
    if settings.broker is None:
        require_key(plans.project, plans.project.model(model_id).provider)
    else:  # keys are the workers' own
        _require_unbudgeted(plans.project, settings.broker)
    if settings.max_cost is not None:
        require_price(model_id, plans.project, settings.max_cost)


def _require_unbudgeted(project: Project, broker: str) -> None:
    """Refuse a broker where this machine's log is to decide on each call.

    Raises:
        UsageError: It is, or that is not the URL of a broker.
    """
    place(broker)
    if project.config.budgets:
        message = (
            "budgets are held by this machine's log, and workers on others do not see it; "
            "give --max-cost, and leave `budgets:` to runs without --broker"
        )
        raise UsageError(message)


def _require_broker(kept: Settings, given: str | None) -> None:
    """Refuse to do here what workers may have.

    Raises:
        UsageError: The batch has a broker, and none is given, or another one.
    """
    if kept.broker is None or given == HERE:
        return
    if given is None:
        message = (
            f"the jobs of this batch are with the broker at {kept.broker}; give --broker with its URL, "
            f"or `--broker {HERE}` to do the rest in this process, and what workers are at perhaps twice"
        )
        raise UsageError(message)
    if place(given) != kept.broker:
        message = f"the jobs of this batch are with the broker at {kept.broker}, and {place(given)} is another one"
        raise UsageError(message)


def _require_same(kept: Mapping[str, Any], digest: str) -> None:
    """Refuse to go on with a batch whose prompt, schema or model has changed.

    Raises:
        UsageError: They have.
    """
    if kept["digest"] != digest:
        message = (
            "the prompt, the schema or the model of this batch has changed since it began, so that its answers would "
            "be of two kinds; begin a new batch, or put the project back as it was"
        )
        raise UsageError(message)
