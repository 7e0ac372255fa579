"""Checks on how the answer came: validity, time, money, tokens, its end; and checks written in Python."""

import contextlib
import copy
import sys
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from llmtask.answer import Level
from llmtask.errors import ProjectError
from llmtask.money import Currency
from llmtask.schemas import load_object
from llmtask.testing.checks.base import Check, Finding, Subject


class SchemaCheck(Check):
    """The answer fits the task's schema, with no more help than this. Always on; say it to allow less help."""

    kind: ClassVar[str] = "schema"
    check: Literal["schema"]
    level: Level = Level.COERCED
    """The most that the answer may be helped: strict, unwrapped, repaired or coerced."""

    def subject(self) -> str:
        """The level, where it is not the default."""
        return "" if self.level is Level.COERCED else self.level.value

    def find(self, subject: Subject) -> Finding:
        """Look at the level of help."""
        order = [level.value for level in Level]
        level = subject.repair_level or Level.STRICT.value
        holds = order.index(level) <= order.index(self.level.value)
        return Finding(
            holds, f"valid, with help {level!r}" + ("" if holds else f"; at most {self.level.value!r} is allowed")
        )


class LatencyCheck(Check):
    """The whole answer, or its first token, came within a time."""

    kind: ClassVar[str] = "latency"
    check: Literal["latency"]
    max_ms: int | None = Field(default=None, gt=0)
    """Milliseconds for the whole run, its retries included."""
    first_token_ms: int | None = Field(default=None, gt=0)
    """Milliseconds to the first token."""

    @model_validator(mode="after")
    def _has_limit(self) -> "LatencyCheck":
        if self.max_ms is None and self.first_token_ms is None:
            message = "says no limit; say max_ms or first_token_ms"
            raise ValueError(message)
        return self

    def subject(self) -> str:
        """The limits."""
        limits = {"": self.max_ms, "first token ": self.first_token_ms}
        return ", ".join(f"{name}≤ {limit} ms" for name, limit in limits.items() if limit)

    def find(self, subject: Subject) -> Finding:
        """Compare the times."""
        parts, holds, is_broken = [], True, False
        for name, took, limit in (
            ("the answer", subject.latency_ms, self.max_ms),
            ("the first token", subject.first_token_ms, self.first_token_ms),
        ):
            if limit is not None and took is None:
                is_broken = True
                parts.append(f"it is not known how long {name} took")
            elif limit is not None and took is not None:
                holds = holds and took <= limit
                parts.append(f"{name} took {took} ms of {limit}")
        return Finding(holds, ", ".join(parts), is_broken=is_broken)


class CostCheck(Check):
    """The answer cost no more than an amount, its failed calls included."""

    kind: ClassVar[str] = "cost"
    check: Literal["cost"]
    max: Decimal = Field(ge=0)
    """In the currency's unit, such as 0.01."""
    currency: Currency
    """CNY, USD or EUR: what the model is priced in."""

    def subject(self) -> str:
        """The limit."""
        return f"≤ {self.max} {self.currency}"

    def find(self, subject: Subject) -> Finding:
        """Compare the amounts."""
        if subject.unpriced_calls:
            return Finding(holds=False, text="the model has no price", is_broken=True)
        others = [cost for cost in subject.costs if cost.currency != self.currency and cost.nanos]
        if others:
            text = f"it is priced in {others[0].currency}, not in {self.currency}"
            return Finding(holds=False, text=text, is_broken=True)
        amount = sum((cost.amount for cost in subject.costs if cost.currency == self.currency), Decimal(0))
        return Finding(amount <= self.max, f"it cost {amount.normalize():f} of {self.max} {self.currency}")


class TokensCheck(Check):
    """The answer took no more tokens."""

    kind: ClassVar[str] = "tokens"
    check: Literal["tokens"]
    input: int | None = Field(default=None, gt=0)
    """At most so many in."""
    output: int | None = Field(default=None, gt=0)
    """At most so many out, reasoning included."""
    reasoning: int | None = Field(default=None, ge=0)
    """At most so many of reasoning."""
    total: int | None = Field(default=None, gt=0)
    """At most so many in all."""

    @model_validator(mode="after")
    def _has_limit(self) -> "TokensCheck":
        if not self._limits():
            message = "says no limit; say input, output, reasoning or total"
            raise ValueError(message)
        return self

    def _limits(self) -> dict[str, int]:
        names = ("input", "output", "reasoning", "total")
        return {name: limit for name in names if (limit := getattr(self, name)) is not None}

    def subject(self) -> str:
        """The limits."""
        return ", ".join(f"{name} ≤ {limit}" for name, limit in self._limits().items())

    def find(self, subject: Subject) -> Finding:
        """Compare the counts."""
        took = {name: getattr(subject.tokens, name) for name in self._limits()}
        holds = all(took[name] <= limit for name, limit in self._limits().items())
        return Finding(
            holds, ", ".join(f"{took[name]} {name} tokens of {limit}" for name, limit in self._limits().items())
        )


class FinishCheck(Check):
    """The model ended for one of these reasons."""

    kind: ClassVar[str] = "finish"
    check: Literal["finish"]
    one_of: list[str] = Field(default=["stop", "tool_calls"], min_length=1)
    """Finish reasons, as the vendor names them."""

    def find(self, subject: Subject) -> Finding:
        """Look at the finish reason."""
        return Finding(subject.finish_reason in self.one_of, f"finish reason {subject.finish_reason!r}")


class FunctionCheck(Check):
    """A function of your own in checks/: gives True or False, a score from 0 to 1, or (that, a reason)."""

    kind: ClassVar[str] = "function"
    check: Literal["function"]
    call: str = Field(pattern=r"^\w+:\w+$")
    """`file:function`: checks/<file>.py. It is called with the answer and a Subject."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for it."""
    at_least: float = Field(default=0.5, ge=0, le=1)
    """The least score."""

    def subject(self) -> str:
        """The function."""
        return self.call

    def require(self, project: Any) -> None:
        """Import it before the first call.

        Raises:
            ProjectError: It is not there, or fails to import.
            UntrustedError: The project is not trusted.
        """
        if not callable(load_object(project, "checks", self.call)):
            message = f"checks/{self.call.replace(':', '.py: ')} is no function"
            raise ProjectError(message)

    def find(self, subject: Subject) -> Finding:
        """Call it."""
        function = load_object(subject.project, "checks", self.call)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of the report
                given = function(copy.deepcopy(subject.answer), subject, **self.args)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a user's function may fail in any way Python can
            text = f"{self.call} fails ({type(error).__name__}: {error})"
            return Finding(holds=False, text=text, is_broken=True)
        result, reason = given if isinstance(given, tuple) else (given, None)
        score = float(result)
        if not 0 <= score <= 1:
            text = f"{self.call} gives {result}, which is no score from 0 to 1"
            return Finding(holds=False, text=text, is_broken=True)
        return Finding(score >= self.at_least, str(reason or f"{self.call} gives {result}"), score=score)
