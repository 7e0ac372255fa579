"""Puts a batch together from what its user says: begun, gone on with, tried again, or only looked at."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from llmtask.batch.alerts import Alerts
from llmtask.batch.embedded import EmbeddedBroker
from llmtask.batch.inputs import count_records, open_records
from llmtask.batch.job import Record
from llmtask.batch.journal import Journal, find_journal, new_journal
from llmtask.batch.run import Batch
from llmtask.batch.spec import Plans, Spec
from llmtask.errors import LlmtaskError, UsageError
from llmtask.money import Cost, Currency, sums
from llmtask.prices import get_cost
from llmtask.project import Project
from llmtask.providers import require_key
from llmtask.service import require_currency
from llmtask.tokens import Tokens
from llmtask.usage import UsageLog

_LOOKED_AT = 1_000  # records of which an estimate is made; of more, the mean is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a batch is started with; its journal keeps it."""

    inputs: str
    """JSONL, CSV, a folder, or `-`."""
    out: str | None = None
    """Where answers go; None for nowhere but the journal."""
    base: Mapping[str, str] = field(default_factory=dict)
    """Texts that every record has."""
    as_finished: bool = False
    """Whether answers are written as they come, and not in the order of the input."""
    concurrency: int | None = None
    max_cost: tuple[int, Currency] | None = None
    """In nano-units."""
    alert: str | None = None

    @property
    def most(self) -> Cost | None:
        """The most that may be spent."""
        return Cost(*self.max_cost) if self.max_cost else None


@dataclass(frozen=True)
class Estimate:
    """What a batch would be, without a call."""

    records: int | None
    """None where nobody knows: standard input is not read ahead."""
    looked_at: int
    problems: list[str]
    """Of the records that were looked at and cannot be asked."""
    input_tokens: int
    """About how many, of those that were looked at."""
    highest: tuple[Cost, ...]
    """About the most that they cost, without retries."""
    unpriced: int

    @property
    def whole(self) -> tuple[Cost, ...]:
        """The same for the whole input; empty where nobody knows."""
        if not self.records or not self.looked_at:
            return self.highest
        return tuple(Cost(cost.nanos * self.records // self.looked_at, cost.currency) for cost in self.highest)


def estimated(plans: Plans, settings: Settings) -> Estimate:
    """About the most that a batch can cost; it reads the beginning of the input, and asks nobody.

    Raises:
        UsageError: The input cannot be read.
    """
    records = count_records(settings.inputs)
    looked_at = tokens = unpriced = 0
    problems: list[str] = []
    costs: list[Cost] = []
    for record in islice(_records(plans, settings), _LOOKED_AT) if records is not None else ():
        looked_at += 1
        try:
            if record.problem is not None:
                raise UsageError(record.problem)
            planned = plans.plan(record.inputs)
        except UsageError as error:
            problems.append(f"{record.id}: {error}")
            continue
        tokens += planned.input_tokens
        cost = planned.highest_cost
        unpriced += cost is None
        costs += [cost] if cost else []
    return Estimate(records, looked_at, problems, tokens, sums(costs), unpriced)


@dataclass
class Started:
    """A batch that is ready to run."""

    batch: Batch
    settings: Settings
    alerts: Alerts
    records: Iterator[Record]


def begin(
    project: Project,
    spec: Spec,
    settings: Settings,
    log: UsageLog | None,
    *,
    records: Iterator[Record] | None = None,
) -> Started:
    """A new batch.

    Args:
        project: The project.
        spec: What its jobs share.
        settings: How it is done.
        log: The usage log; None for none.
        records: Its input, where that is no file.

    Raises:
        LlmtaskError: Something asked for does not exist, or cannot be used.
    """
    plans = Plans(spec, project)
    model = project.model(plans.planner.route.model_id)
    require_key(project, model.provider)
    if settings.most is not None:
        route = plans.planner.route
        require_currency(route.model_id, get_cost(route.model_id, Tokens(1, 1), project=project), settings.most)
    source = records if records is not None else _records(plans, settings)
    journal = new_journal(project, {"spec": asdict(spec), "digest": plans.digest, **_kept(settings)})
    own = replace(spec, service_id=spec.service_id or f"batch:{journal.run_id}")
    count = None if records is not None else count_records(settings.inputs)
    return _started(journal, Plans(own, project), settings, log, (source, count))


def go_on(
    project: Project,
    name: str,
    log: UsageLog | None,
    *,
    retry: bool = False,
    changes: Mapping[str, Any] | None = None,
    records: Iterator[Record] | None = None,
) -> Started:
    """A batch that was broken off, or whose failures are to be tried again.

    Args:
        project: The project.
        name: As `find_journal` takes it.
        log: The usage log; None for none.
        retry: Whether failed jobs are done again.
        changes: Settings that are other ones now.
        records: Its input from the beginning, where that is no file.

    Raises:
        UsageError: There is no such batch, another process runs it, or the project has changed.
    """
    journal = Journal(find_journal(project, name))
    try:
        standing = journal.standing()
        spec = Spec(**standing.settings["spec"])
        settings = _settings(standing.settings)
        settings = replace(settings, **{key: value for key, value in (changes or {}).items() if value is not None})
        own = replace(spec, service_id=spec.service_id or f"batch:{journal.run_id}")
        plans = Plans(own, project)
        _require_same(standing.settings, plans.digest)
        require_key(project, project.model(plans.planner.route.model_id).provider)
        journal.require_own()
        source: Iterator[Record] = records or iter(())
        count = None
        if records is None and not standing.is_read:
            source, count = _records(plans, settings), count_records(settings.inputs)
        journal.reopen({**standing.settings, **_kept(settings)})
        if retry:
            journal.retry()
        return _started(journal, plans, settings, log, (source, count))
    except LlmtaskError:
        journal.close()
        raise


def _require_same(settings: Mapping[str, Any], digest: str) -> None:
    """Refuse to go on with a batch whose prompt, schema or model has changed.

    Raises:
        UsageError: They have.
    """
    if settings.get("digest") != digest:
        message = (
            "the prompt, the schema or the model of this batch has changed since it began, so that its answers would "
            "be of two kinds; begin a new batch, or put the project back as it was"
        )
        raise UsageError(message)


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
    journal: Journal,
    plans: Plans,
    settings: Settings,
    log: UsageLog | None,
    source: tuple[Iterator[Record], int | None],
) -> Started:
    records, count = source
    alerts = Alerts(settings.alert, journal.run_id)
    broker = EmbeddedBroker(plans, log, concurrency=settings.concurrency, alert=alerts.send)
    batch = Batch(journal, broker, plans, max_cost=settings.most, records=count)
    return Started(batch, settings, alerts, records)


def _records(plans: Plans, settings: Settings) -> Iterator[Record]:
    return open_records(settings.inputs, plans.planner.prompt.file, settings.base)


def _kept(settings: Settings) -> dict[str, Any]:
    return asdict(settings)


def _settings(kept: Mapping[str, Any]) -> Settings:
    names: Iterable[str] = Settings.__dataclass_fields__
    said = {name: kept[name] for name in names if name in kept}
    if said.get("max_cost"):
        nanos, currency = said["max_cost"]
        said["max_cost"] = (int(nanos), currency)
    return Settings(**said)
