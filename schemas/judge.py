"""How well an answer meets a rubric: the answer of judge."""

from pydantic import BaseModel, ConfigDict, Field


class Judgement(BaseModel):
    """The judgement of another model's answer by a rubric."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    reason: str
    """What decides, in one to three sentences, with the words of the answer that are wrong or missing; written before
    the points."""

    points: int = Field(ge=0, le=10)
    """How well the answer meets the rubric: 10 in everything, 5 in half of what matters, 0 in nothing."""
