"""What can stand where in an answer: only what is certain is judged."""

import itertools
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import jmespath
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.json_schema import SkipJsonSchema

from llmtask.testing.suite.shape import NowhereError, Shape
from llmtask.testing.suite.values import json_type


class Level(IntEnum):
    LOW = 1


class Colour(Enum):
    RED = "red"
    NONE = None


class Entry(BaseModel):
    point: str
    parts: list[list["Entry"]] = []


class Cat(BaseModel):
    meow: str


class Names(RootModel[list[Entry]]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Written(BaseModel):
    a: int

    @model_serializer
    def write(self) -> dict[str, Any]:
        return {"b": self.a}


class Answer(BaseModel):
    score: int | float
    note: str | None = None
    entries: list[Entry]
    maybe: list[Entry] | None = None
    either: Entry | Cat
    by_name: dict[str, Entry]
    any_: Any = None
    aliased: int = Field(default=0, alias="asIs")
    hidden: SkipJsonSchema[int] = 0
    left_out: int = Field(default=0, exclude=True)
    names: Names
    open: Open
    written: Written
    day: date
    price: Decimal
    level: Level
    colour: Colour
    kind: Literal["a", 1]
    cleaned: Annotated[str, BeforeValidator(str.strip)]
    turned: Annotated[str, AfterValidator(len)]
    shown: Annotated[int, PlainSerializer(str)]
    other: int = 0
    pair: tuple[int, str] = (0, "")

    @field_serializer("other")
    def write(self, value: int) -> Any:
        return {"value": value}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("score", {"number"}),
        ("note", {"string"}),
        ("entries", {"array"}),
        ("entries[].point", {"array"}),
        ("entries[0].point", {"string"}),
        ("entries[*].parts[][].point", {"array"}),
        ("entries[].parts[][].parts", {"array"}),
        ("entries[?point=='x'].point", {"array"}),
        ("entries[0:2].point", {"array"}),
        ("maybe[].point", {"array"}),
        ("either.meow", {"string"}),
        ("either.point", {"string"}),
        ("by_name.whoever.point", {"string"}),
        ("asIs", {"number"}),
        ("hidden", {"number"}),
        ("total", {"number"}),
        ("names[].point", {"array"}),
        ("@.score", {"number"}),
        ('"score"', {"number"}),
        ("day", {"string"}),
        ("price", {"string"}),
        ("level", {"number"}),
        ("colour", {"string", "null"}),
        ("kind", {"string", "number"}),
        ("cleaned", {"string"}),
        ("either", {"object"}),
        # What is not certain is not judged.
        ("any_.x.y", None),
        ("open.whatever", None),
        ("open", None),
        ("written.b", None),
        ("turned", None),
        ("shown", None),
        ("other.value", None),
        ("pair[0]", None),
        ("by_name.*.poin", None),
        ("length(entrys)", None),
        ("entrys | [0]", None),
        ("[entrys, note]", None),
        ("{a: entrys}", None),
        ("entrys || note", None),
    ],
)
def test_a_path_leads_to_what_may_stand_there(path: str, kinds: set[str] | None) -> None:
    found = Shape(Answer).kinds(path)
    assert (found and set(found)) == kinds


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("scor", "Answer has no field 'scor'; did you mean 'score'"),
        ("aliased", "no field 'aliased'"),
        ("left_out", "no field 'left_out'"),
        ("entries[].pont", "Entry has no field 'pont'; did you mean 'point'"),
        ("entries[].parts[].parts", "in a list"),
        ("entries[0:2][0]", "no list but one Entry"),  # a slice is a projection: [0] is that of each entry
        ("entries.point", r"'point' is looked for in a list; write \[\]\.point"),
        ("entries[?pont].poin", "Entry has no field 'poin'"),
        ("entries[].parts.point", "in a list"),
        ("score.value", "'value' is looked for in a number"),
        ("note[0]", "an entry is looked for in what is no list but a string"),
        ("either[0]", "no list but one Entry"),
        ("either.bark", "no field 'bark'"),
        ("by_name.x.pont", "no field 'pont'"),
        ("names[].pont", "no field 'pont'"),
        ("@.scor", "no field 'scor'"),
    ],
)
def test_a_path_that_leads_nowhere_says_so(path: str, problem: str) -> None:
    with pytest.raises(NowhereError, match=problem):
        Shape(Answer).kinds(path)


ANSWER = Answer.model_validate(
    {
        "score": 1,
        "entries": [{"point": "x", "parts": [[{"point": "y", "parts": [[{"point": "z"}]]}]]}],
        "maybe": [{"point": "x"}],
        "either": {"meow": "m"},
        "by_name": {"whoever": {"point": "z"}},
        "names": [{"point": "x", "parts": [[{"point": "y"}]]}],
        "open": {"a": 1, "whatever": 2},
        "written": {"a": 1},
        "day": "2026-01-01",
        "price": "1.5",
        "level": 1,
        "colour": "red",
        "kind": "a",
        "cleaned": " x ",
        "turned": "abc",
        "shown": 1,
    }
)
STEPS = (".point", ".parts", ".meow", ".whoever", "[]", "[*]", "[0]", "[0:1]", "[?point]")


def test_what_is_certain_of_a_path_is_true_of_a_real_answer() -> None:
    document = ANSWER.model_dump(mode="json", by_alias=True, warnings=False)
    shape, judged = Shape(Answer), 0
    for root in (*document, "left_out", "aliased"):
        for steps in itertools.chain.from_iterable(itertools.product(STEPS, repeat=size) for size in range(4)):
            path = root + "".join(steps)
            found = jmespath.search(path, document)
            try:
                kinds = shape.kinds(path)
            except NowhereError:
                assert _is_nothing(found), path
            else:
                assert kinds is None or json_type(found) in {*kinds, "null"}, path
                judged += kinds is not None
    assert judged > 500


def _is_nothing(found: Any) -> bool:
    return found is None or (isinstance(found, list) and all(map(_is_nothing, found)))


def test_a_class_that_writes_itself_otherwise_is_not_judged() -> None:
    class Own(BaseModel):
        a: int

        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"b": self.a}

    assert Shape(Own).kinds("b") is None
    assert Shape(Written).kinds("b") is None
    assert Shape(None).kinds("b") is None
    assert Shape(Names).kinds("[0].point") == frozenset({"string"})
