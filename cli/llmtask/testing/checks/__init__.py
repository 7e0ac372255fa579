"""The checks that a suite may name, and what comes of them."""

from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from pydantic import Field

from llmtask.testing.checks.answer import (
    FactsCheck,
    GroundedCheck,
    LanguageCheck,
    SimilarCheck,
    TextCheck,
    UnmovedCheck,
    ValueCheck,
)
from llmtask.testing.checks.base import Check, Finding, Subject
from llmtask.testing.checks.judge import JudgeCheck, Judgement
from llmtask.testing.checks.measure import (
    CostCheck,
    FinishCheck,
    FunctionCheck,
    LatencyCheck,
    SchemaCheck,
    TokensCheck,
)

__all__ = [
    "CHECKS",
    "AnyCheck",
    "Check",
    "CheckResult",
    "Finding",
    "FunctionCheck",
    "JudgeCheck",
    "Judgement",
    "LanguageCheck",
    "LatencyCheck",
    "SchemaCheck",
    "Subject",
    "UnmovedCheck",
    "examine",
]

AnyCheck: TypeAlias = Annotated[
    SchemaCheck
    | ValueCheck
    | TextCheck
    | SimilarCheck
    | LanguageCheck
    | GroundedCheck
    | FactsCheck
    | UnmovedCheck
    | LatencyCheck
    | CostCheck
    | TokensCheck
    | FinishCheck
    | FunctionCheck
    | JudgeCheck,
    Field(discriminator="check"),
]

CHECKS: tuple[type[Check], ...] = (
    SchemaCheck,
    ValueCheck,
    TextCheck,
    SimilarCheck,
    LanguageCheck,
    GroundedCheck,
    FactsCheck,
    UnmovedCheck,
    LatencyCheck,
    CostCheck,
    TokensCheck,
    FinishCheck,
    FunctionCheck,
    JudgeCheck,
)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of a check on an answer."""

    check: str
    """The kind of check, such as `value`."""
    name: str
    """Its name in reports."""
    passed: bool
    weight: float
    score: float
    """From 0 to 1."""
    reason: str
    """What was found, for people."""
    path: str | None
    found: str | None
    is_broken: bool = False
    """Whether the check itself failed: that says nothing of the answer."""

    def unweighted(self) -> "CheckResult":
        """The same, counting nothing in the answer's score."""
        return replace(self, weight=0)

    def slim(self) -> "CheckResult":
        """The same without what was found, where that is as it should be."""
        if not self.passed:
            return self
        return CheckResult(self.check, self.name, True, self.weight, self.score, "", self.path, None)


def examine(check: Check, subject: Subject) -> CheckResult:
    """Look at an answer, the other way round where the check is negated."""
    try:
        finding = check.find(subject)
    except Exception as error:  # noqa: BLE001  # such as a JMESPath function that does not fit this answer
        reason = f"cannot be made ({type(error).__name__}: {error})"
        return CheckResult(check.kind, check.title, False, check.weight, 0, reason, None, None)
    if finding.is_broken:
        return CheckResult(check.kind, check.title, False, check.weight, 0, finding.text, None, None, is_broken=True)
    passed = finding.holds is not check.negated
    score = finding.score if finding.score is not None and not check.negated else float(passed)
    reason = f"must not be so: {finding.text}" if check.negated and not passed else finding.text
    return CheckResult(check.kind, check.title, passed, check.weight, score, reason, finding.path, finding.found)
