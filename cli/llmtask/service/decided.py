"""A run whose tier is decided: by its options, by config's default, or by the quota of its user."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from llmtask.errors import UsageError, UsageLogError
from llmtask.project import Project, load_project
from llmtask.service.plan import Plan, RunOptions, plan
from llmtask.service.result import TaskResult
from llmtask.usage import UsageLog, new_id


class QuotaWarning(UserWarning):
    """A user's quota could not be asked or settled; the run went on."""


class Decided:
    """A run whose tier its options say, or config's default. `with` it goes on until it is carried out."""

    def __init__(self, planned: Plan) -> None:
        """Take the run."""
        self.run_id = new_id()
        self.plan = planned
        """The run, in its tier."""
        self.why = ""
        """Why that tier, for people; empty where somebody said it."""

    def preview(self) -> Self:
        """Decide as things stand now, and hold nothing.

        Raises:
            CappedError: A quota refuses the run.
        """
        return self

    def __enter__(self) -> Self:
        """Decide.

        Raises:
            CappedError: A quota refuses the run.
        """
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """End it."""

    def settle(self, result: TaskResult) -> None:
        """Take note of its valid answer."""


def decide_run(
    task: str,
    variables: Mapping[str, str],
    options: RunOptions,
    log: UsageLog | None,
    schema: type[BaseModel] | None = None,
) -> Decided:
    """The run as its user's quota decides it; as its options do where it names the tier, or no user.

    Raises:
        UsageError: A quota is to be asked, and there is no usage log to hold it.
        LlmtaskError: As `run_structured_task`.
    """
    project = options.get("project") or load_project()
    known = RunOptions(**{**options, "project": project})
    if not _asks(known, project):
        return Decided(plan(task, variables, known, schema))
    if log is None:
        message = "quotas are kept in the usage log, and there is none; name one, or say the tier with has_quota"
        raise UsageError(message)
    from llmtask.service.admission import Admission  # quotas and rates, which other runs do without

    return Admission(task, variables, known, log, schema)


def _asks(options: RunOptions, project: Project) -> bool:
    """Whether a user's quota decides a run."""
    if not options.get("user_id") or "has_quota" in options:
        return False
    wanted = options.get("quota")
    return project.config.quota is not None if wanted is None else wanted


def asks_quota(project: Project, log: UsageLog, user_id: str, service_id: str | None) -> bool:
    """Whether a quota decides where nobody says so: config has `quota`, or the user has one."""
    if project.config.quota is not None:
        return True
    from llmtask.quota import quotas_of  # as above

    try:
        return quotas_of(project, log).find(user_id, service_id) is not None
    except UsageLogError:  # of a log that cannot be read, nobody knows that it has quotas; the run warns of it itself
        return False
