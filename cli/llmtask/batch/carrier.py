"""Who carries the jobs of a batch: this process, or workers on many machines by way of a broker."""

import json
from dataclasses import asdict

from llmtask.batch.broker import Broker, Reports, Terms
from llmtask.batch.embedded import EmbeddedBroker
from llmtask.batch.remote.payload import Origin
from llmtask.batch.spec import Plans
from llmtask.errors import UsageError

_PATIENCE_S = 600.0  # for which a broker that went away is tried again

MISSING = "workers on other machines need docket: pip install 'llmtask[queue]'"


def carrier(plans: Plans, origin: Origin, reports: Reports, terms: Terms, url: str | None) -> Broker:
    """Who carries the jobs of a batch.

    Args:
        plans: Decides its runs.
        origin: Says which batch it is.
        reports: Where it tells of itself.
        terms: How it is done.
        url: Of the broker; None for this process.

    Raises:
        UsageError: It is not the URL of a broker, or what it takes is not installed.
    """
    if url is None:
        return EmbeddedBroker(plans, reports, service_id=origin.service_id, concurrency=terms.concurrency)
    try:
        from llmtask.batch.remote.broker import RemoteBroker
        from llmtask.batch.remote.link import Link
    except ModuleNotFoundError as error:
        raise UsageError(MISSING) from error
    link = Link(url, patience_s=_PATIENCE_S)
    return RemoteBroker(plans.project, reports, link, origin, terms)


def origin_of(plans: Plans, run_id: str) -> Origin:
    """What a batch is to those who do it."""
    service_id = plans.spec.service_id or service_of(run_id)
    return Origin(run_id, json.dumps(asdict(plans.spec), ensure_ascii=False), plans.digest, service_id)


def service_of(run_id: str) -> str:
    """What the usage log calls a batch, where its user names no service."""
    return f"batch:{run_id}"
