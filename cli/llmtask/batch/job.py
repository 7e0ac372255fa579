"""What a batch is made of: records that come in, jobs that are to be done, outcomes that come back."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache

from pydantic import TypeAdapter, ValidationError

from llmtask.documents import Image
from llmtask.errors import Failure
from llmtask.money import Cost, sums
from llmtask.tokens import Tokens

BAD_INPUT = "bad_input"
"""The error class of a record that cannot be asked: no call was made for it."""

_KEY_BYTES = 16
_NO_TOKENS = Tokens()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a task is asked about: text and images per variable of its prompt."""

    texts: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Image, ...] = ()

    def to_json(self) -> str:
        """As one line of JSON, equal for equal inputs: `{"texts": {"resume": "..."}, "images": [...]}`."""
        written = {"texts": dict(self.texts)} | (
            {"images": [_image(one) for one in self.images]} if self.images else {}
        )
        return json.dumps(written, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Inputs":
        """What `to_json` wrote."""
        read = json.loads(text)
        images = (Image(one["name"], one["type"], base64.b64decode(one["data"])) for one in read.get("images", ()))
        return cls(read["texts"], tuple(images))


def _image(image: Image) -> dict[str, str]:
    return {"name": image.name, "type": image.media_type, "data": base64.b64encode(image.data).decode("ascii")}


@dataclass(frozen=True, slots=True)
class Record:
    """One line, row or file of what a batch is given."""

    id: str
    """What outputs call it: its own `id`, its file's name, or its number from 1."""
    inputs: Inputs = field(default_factory=Inputs)
    problem: str | None = None
    """Why it cannot be asked, for people; its job fails without a call."""


@dataclass(frozen=True, slots=True)
class Job:
    """A task on one input, to be done once however often it is given."""

    key: str
    """The digest of task, inputs, prompt, schema, model and parameters: 32 hex digits."""
    queue_id: str
    """Where it waits: the queue of its route, or the model's id where that names none."""
    inputs: str
    """As `Inputs.to_json` writes them."""


def job_key(spec_digest: str, inputs: str) -> str:
    """The key of a job.

    Args:
        spec_digest: Of what all jobs of its batch share.
        inputs: As `Inputs.to_json` writes them.
    """
    said = f"{spec_digest}\n{inputs}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=_KEY_BYTES).hexdigest()


def refused_key(spec_digest: str, position: int) -> str:
    """The key of a record that cannot be asked: no other is like it."""
    return job_key(spec_digest, f"record {position} of this batch")


class State(StrEnum):
    """How a job stands."""

    PENDING = "pending"
    """It is to be done; perhaps it is being done."""
    DONE = "done"
    """There is a valid answer."""
    FAILED = "failed"
    """There is none; `batch retry` asks again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job."""

    key: str
    state: State
    """Pending is a job that comes back undone: its queue was stopped, and `reason` says why."""
    answer: str | None = None
    """The valid object, as JSON."""
    failure: Failure | None = None
    reason: str | None = None
    """Why there is no answer, for people."""
    model_id: str | None = None
    """Of the model that was asked last."""
    tokens: Tokens = _NO_TOKENS
    """All calls together."""
    costs: tuple[Cost, ...] = ()
    """All calls together, an amount per currency."""
    unpriced_calls: int = 0
    calls: int = 0
    """Model calls that were made, failed ones included."""
    latency_ms: int = 0
    told: tuple[str, ...] = ()
    """The broker's names for the messages that say so, where more may come of the job: told again, they are known."""

    def after(self, before: "Outcome | None") -> "Outcome":
        """With what an earlier try of the same job has used."""
        if before is None:
            return self
        return replace(
            self,
            model_id=self.model_id or before.model_id,
            tokens=before.tokens + self.tokens,
            costs=sums((*before.costs, *self.costs)),
            unpriced_calls=before.unpriced_calls + self.unpriced_calls,
            calls=before.calls + self.calls,
            latency_ms=before.latency_ms + self.latency_ms,
        )

    def to_json(self) -> str:
        """As JSON."""
        return _outcomes().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Outcome":
        """What `to_json` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            return _outcomes().validate_json(text)
        except ValidationError as error:
            message = "is no outcome of a job"
            raise ValueError(message) from error


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)
