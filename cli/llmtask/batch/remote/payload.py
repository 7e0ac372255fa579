"""What a worker is told of a job: one line of JSON."""

import json
from dataclasses import asdict, dataclass

from llmtask.batch.job import Job

VERSION = 1
"""Of the line; a worker gives back what it was not written for."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The batch that a job is of."""

    run_id: str
    spec: str
    """What all its jobs share: a `Spec`, as JSON."""
    digest: str
    """Of that and the project, as `Plans.digest` has it: a worker with another one would give another answer."""
    service_id: str
    """What the usage log calls the batch."""
    session: int = 0
    """When the batch was begun or gone on with, as the broker numbers that; 0 before it was asked."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A job, and the batch that it is of."""

    origin: Origin
    job: Job

    def to_json(self) -> str:
        """As one line of JSON."""
        said = {"version": VERSION, **asdict(self.origin), "job": asdict(self.job)}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Payload":
        """What `to_json` wrote.

        Raises:
            ForeignError: Another release did.
        """
        said = json.loads(text)
        version, job = said.pop("version"), said.pop("job")
        if version != VERSION:
            raise ForeignError(said["run_id"], version)
        try:
            return cls(Origin(**said), Job(**job))
        except TypeError as error:
            raise ForeignError(said["run_id"], f"{VERSION} with more to them") from error


class ForeignError(Exception):
    """A job comes from a release that writes it otherwise."""

    def __init__(self, run_id: str, version: object) -> None:
        """Take the batch, which every release names alike, and the version."""
        super().__init__(f"its llmtask reads jobs of version {VERSION}, and these are of version {version}")
        self.run_id = run_id
