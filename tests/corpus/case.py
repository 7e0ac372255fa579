"""What a case is, and the valid answers that the generated ones start from."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from llmtask.project import load_project
from llmtask.schemas import load_schema

Json = Any
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
LOCALES = ("zh", "en")


@dataclass(frozen=True)
class Case:
    """An answer's text, and the one object that may be read out of it."""

    id: str
    kind: str
    task: str
    locale: str
    text: str
    expected: dict[str, Json] | None
    """As the schema's model_dump(mode="json", by_alias=True); None if the text must be refused."""


@dataclass(frozen=True)
class Seed:
    """A valid answer of a task."""

    task: str
    locale: str
    value: dict[str, Json]

    @property
    def schema(self) -> type[BaseModel]:
        """What the answer fits."""
        return task_schema(self.task)


@cache
def task_schema(task: str) -> type[BaseModel]:
    """The schema of a task of the starter project."""
    return load_schema(load_project(_ROOT), task)


def data(name: str) -> Json:
    """What a file beside this one holds."""
    return yaml.safe_load((_HERE / name).read_text(encoding="utf-8"))


@cache
def seeds() -> tuple[Seed, ...]:
    """The valid answers, one per task and locale."""
    return tuple(
        Seed(task, locale, value) for locale in LOCALES for task, value in data(f"objects.{locale}.yaml").items()
    )
