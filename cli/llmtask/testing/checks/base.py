"""What a check is: a mapping in a suite file that looks at an answer and says what it found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator, WithJsonSchema

from llmtask.money import Cost
from llmtask.project import Project, Strict
from llmtask.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found in an answer."""

    holds: bool
    """Whether what the check asks for is so."""
    text: str
    """What was found, for people: `match_score is 95, not between 60 and 90`."""
    path: str | None = None
    """Where in the answer, such as `strengths[0].evidence`."""
    found: str | None = None
    """The offending part of the answer."""
    score: float | None = None
    """From 0 to 1 where it is more than yes or no."""
    is_broken: bool = False
    """Whether the check itself failed, which says nothing of the answer, negated or not."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An answer under test, and how it came."""

    answer: Any
    """JSON values."""
    inputs: Mapping[str, str]
    """The case's input: text per variable."""
    locale: str
    project: Project
    latency_ms: int | None = None
    first_token_ms: int | None = None
    tokens: Tokens = field(default_factory=Tokens)
    costs: tuple[Cost, ...] = ()
    unpriced_calls: int = 0
    finish_reason: str | None = None
    repair_level: str | None = None
    sources: Mapping[str, str] | None = None
    """The input without what is planted in it; the same where it is left out."""
    clean: Any = None
    """The answer of the case that this one is based on."""
    judgements: Mapping[Any, Sequence[Any]] = field(default_factory=dict)
    """What judges said, by the question of their check."""


class Check(Strict):
    """What every check may say of itself."""

    negated: bool = Field(default=False, alias="not")
    """Whether it must not be so."""
    weight: float = Field(default=1, gt=0)
    """How much it counts in the answer's score."""
    name: str | None = None
    """Its name in reports, where it has one of its own."""
    locales: list[str] | None = None
    """The locales that it looks at; all where it is left out."""

    kind: ClassVar[str]

    @property
    def title(self) -> str:
        """What it is called in reports."""
        said = f" {text}" if (text := self.subject()) else ""
        return self.name or f"{'not ' if self.negated else ''}{self.kind}{said}"

    def subject(self) -> str:
        """What it looks at, in a few words."""
        return str(getattr(self, "at", None) or "")

    def find(self, subject: Subject) -> Finding:
        """Look at an answer."""
        raise NotImplementedError


def _expression(text: Any) -> str:
    import jmespath

    if not isinstance(text, str):
        message = "a JMESPath is expected, such as strengths[].evidence"
        raise ValueError(message)  # pydantic shows ValueErrors
    try:
        jmespath.compile(text)
    except jmespath.exceptions.JMESPathError as error:
        message = f"is no JMESPath ({str(error).splitlines()[0]})"
        raise ValueError(message) from error
    return text


Path = Annotated[str, PlainValidator(_expression), WithJsonSchema({"type": "string", "description": "A JMESPath."})]


class Located(str):
    """A string of an answer that knows where it stands."""

    __slots__ = ("path",)
    path: str


def located(value: Any, path: str = "") -> Any:
    """The value with every string in it as Located."""
    if isinstance(value, str):
        text = Located(value)
        text.path = path
        return text
    if isinstance(value, dict):
        return {key: located(one, f"{path}.{key}" if path else key) for key, one in value.items()}
    if isinstance(value, list):
        return [located(one, f"{path}[{index}]") for index, one in enumerate(value)]
    return value


def at(subject: Subject, path: str | None) -> Any:
    """What stands at a path of the answer; the whole answer where there is no path."""
    import jmespath

    if path is None:
        return subject.answer
    return jmespath.search(path, subject.answer)


def texts(subject: Subject, path: str | None) -> list[Located]:
    """Every string at a path of the answer, and below it."""
    import jmespath

    whole = located(subject.answer)
    return list(_strings(whole if path is None else jmespath.search(path, whole)))


def _strings(value: Any) -> Iterator[Located]:
    if isinstance(value, Located):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def each(strings: list[Located], complaint: Callable[[Located], str | None], fine: str) -> Finding:
    """One finding about many strings: the first that is complained about, and how many more there are."""
    wrong = [(text, why) for text in strings if (why := complaint(text))]
    score = 1 - len(wrong) / len(strings) if strings else 1.0
    if not wrong:
        return Finding(holds=True, text=f"{fine} ({len(strings)} strings)", score=score)
    text, why = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return Finding(holds=False, text=f"{text.path}: {why}{more}", path=text.path, found=str(text), score=score)


def shown(value: Any, most: int = 80) -> str:
    """A value as it is quoted in a reason."""
    import json

    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(str(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"
