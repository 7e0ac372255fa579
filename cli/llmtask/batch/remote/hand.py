"""Does the jobs of one batch, as this worker's project has its task; other workers share its lanes."""

import json
from functools import partial

from llmtask.batch.doing import Doing
from llmtask.batch.job import Job, Outcome
from llmtask.batch.lanes import Lanes
from llmtask.batch.remote.lanes import Shared, SharedLane
from llmtask.batch.remote.ledger import RunLedger
from llmtask.batch.remote.news import News
from llmtask.batch.remote.payload import Origin
from llmtask.batch.remote.places import Places
from llmtask.batch.spec import Plans, Spec
from llmtask.batch.work import Work
from llmtask.errors import Failure, UsageError
from llmtask.project import Project
from llmtask.providers import require_key


class TaskHand:
    """Runs the task of a batch; see `Hand`."""

    def __init__(self, project: Project, origin: Origin, ledger: RunLedger, places: Places, news: News) -> None:
        """Decide what does not depend on the job.

        Raises:
            LlmtaskError: The project has no such task, or another one, or cannot ask its model.
        """
        try:
            spec = Spec(**json.loads(origin.spec))
        except TypeError as error:
            message = "its llmtask does not know all that the batch asks for; give it the one that the batch has"
            raise UsageError(message) from error
        plans = Plans(spec, project)
        if plans.digest != origin.digest:
            message = "the prompt, the schema or the model of its task is another one here; give it the same project"
            raise UsageError(message)
        self._project, self._unchecked = project, plans.models
        self._lanes = Lanes(project, None, news.alert, partial(SharedLane, Shared(places, news.stopped)))
        self._work = Work(plans, ledger, self._lanes, origin.service_id)
        self._doing = Doing(self._work, self._lanes, project.config.defaults.token_estimate)

    async def do(self, job: Job) -> Outcome:
        """Do a job.

        Raises:
            KeyMissingError: This worker has no key for its model.
        """
        if job.queue_id in self._unchecked:
            require_key(self._project, self._project.model(self._unchecked[job.queue_id]).provider)
            del self._unchecked[job.queue_id]
        place = await self._doing.enter(job)
        return self._doing.undone(job) if place is None else await self._doing.do(job, place)

    def leave(self, key: str) -> None:
        """Give up the place of a job."""
        self._doing.leave(key)

    def stop(self, why: str) -> None:
        """Begin no more."""
        self._doing.stop(why)

    def stop_queue(self, queue_id: str, why: str, failure: Failure | None) -> None:
        """Begin no more of a queue."""
        self._lanes.queue(queue_id).stop(why, failure)

    async def aclose(self) -> None:
        """Close the lines to models."""
        await self._work.aclose()
