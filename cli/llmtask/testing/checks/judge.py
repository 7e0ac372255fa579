"""A check that a model makes: a rubric, and how well the answer meets it."""

import json
import statistics
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jmespath.exceptions import JMESPathError
from pydantic import Field

from llmtask.testing.checks.base import Check, Finding, Path, Subject, at


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of an answer."""

    score: float
    """From 0 to 1."""
    reason: str


class JudgeCheck(Check):
    """A model judges the answer by a rubric, in the case's locale; the route of the task `judge` names the model.

    The one check that is not offline: each judgement is a call that is paid for and logged.
    """

    kind: ClassVar[str] = "judge"
    check: Literal["judge"]
    rubric: str = Field(min_length=1)
    """What a good answer does."""
    at: Path | None = None
    """Which part of the answer is judged; all of it where it is left out."""
    at_least: float = Field(default=0.7, ge=0, le=1)
    """The least mean score."""
    repeats: int = Field(default=1, ge=1, le=20)
    """How often it is judged: the reason tells how far the judgements lie apart."""
    model: str | None = None
    """The judge; the route of the task `judge` where it is left out."""

    def subject(self) -> str:
        """The rubric's beginning."""
        return self.rubric if len(self.rubric) <= 40 else f"{self.rubric[:39]}…"

    @property
    def question(self) -> tuple[Any, ...]:
        """What tells it from other judge checks of a case."""
        return self.rubric, self.at, self.model, self.repeats

    def judged_text(self, answer: Any) -> str | None:
        """What the judge reads of an answer; None where its path does not fit it, or nothing stands there."""
        try:
            part = self._part(answer)
        except JMESPathError:
            return None
        if part in (None, "", [], {}):
            return None
        return part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, indent=2)

    def _part(self, answer: Any) -> Any:
        return at(Subject(answer, {}, "", None), self.at)  # type: ignore[arg-type]  # only the answer is looked at

    def find(self, subject: Subject) -> Finding:
        """Take the mean of the judgements."""
        judgements = subject.judgements.get(self.question, ())
        if not judgements:
            return Finding(holds=False, text="there is nothing to judge at its path", is_broken=True)
        scores = [one.score for one in judgements]
        mean = statistics.fmean(scores)
        apart = f" ({min(scores):.2f} to {max(scores):.2f} in {len(scores)} judgements)" if len(scores) > 1 else ""
        worst = min(judgements, key=lambda one: one.score)
        text = f"judged {mean:.2f}{apart} of {self.at_least:.2f} asked: {worst.reason}"
        return Finding(mean >= self.at_least, text, self.at, score=mean)
