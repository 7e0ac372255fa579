"""What all jobs of a batch share: task, prompt, model, parameters. The same on every machine."""

import dataclasses
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from llmtask.batch.job import Inputs
from llmtask.batch.lanes import queue_of
from llmtask.documents import Image
from llmtask.errors import LlmtaskError
from llmtask.project import Project
from llmtask.service import Plan, Planner, RunOptions, plan

_NO_PICTURE = Image("", "image/png", b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What all jobs of a batch share, as `RunOptions` names it."""

    task: str
    locale: str | None = None
    prompt_version: str | None = None
    model_id: str | None = None
    has_quota: bool
    prefer_reasoning: bool = False
    fall_back: bool | None = None
    strict: bool = False
    timeout_s: float | None = None
    user_id: str | None = None
    service_id: str | None = None

    def options(self, project: Project) -> RunOptions:
        """As the options of a run."""
        said: Any = {name: value for name, value in dataclasses.asdict(self).items() if name != "task"}
        if not self.locale:
            del said["locale"]
        return cast("RunOptions", {"project": project, "quota": False, **said})


class Plans:
    """Decides the runs of a batch: with one planner for texts, and one look at the route for images."""

    def __init__(self, spec: Spec, project: Project) -> None:
        """Decide what does not depend on the input.

        Raises:
            UsageError, ProjectError: As `plan`.
        """
        self.spec, self.project = spec, project
        self._options = spec.options(project)
        self.planner = Planner(spec.task, self._options)
        self._picture_planner: Planner | None = None

    def plan(self, inputs: Inputs) -> Plan:
        """Decide a run.

        Raises:
            UsageError, ProjectError: As `plan`.
        """
        if inputs.images:
            options = RunOptions(**{**self._options, "images": inputs.images})
            return plan(self.spec.task, inputs.texts, options)
        return self.planner.plan(inputs.texts)

    def queue_of(self, inputs: Inputs) -> str:
        """Where a job with such an input waits.

        Raises:
            UsageError: There is no route for it.
        """
        return queue_of((self._pictures if inputs.images else self.planner).route)

    @property
    def models(self) -> dict[str, str]:
        """The model that is asked first, by the queue in which jobs wait for it."""
        found = {queue_of(self.planner.route): self.planner.route.model_id}
        with suppress(LlmtaskError):  # it takes no images
            found.setdefault(queue_of(self._pictures.route), self._pictures.route.model_id)
        return found

    @property
    def digest(self) -> str:
        """Of what all jobs share; equal digests and inputs are the same work."""
        digests = [self.planner.digest]
        with suppress(LlmtaskError):  # it takes no images
            digests.append(self._pictures.digest)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]

    @property
    def _pictures(self) -> Planner:
        if self._picture_planner is None:
            options = RunOptions(**{**self._options, "images": (_NO_PICTURE,)})
            self._picture_planner = Planner(self.spec.task, options)
        return self._picture_planner
