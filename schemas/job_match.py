"""How well a resume fits a job, and why: the answer of job_match."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

# Pydantic writes the bounds of a union as "ge" and "le", which are no JSON Schema: the model would not see them.
Points = Annotated[int | float, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100})]


class Strength(BaseModel):
    """A requirement that the resume meets, with its proof."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    point: str
    """The requirement that is met and why it counts for this job, in one sentence."""

    evidence: str
    """Shortest sufficient verbatim quote from the resume that proves the point: one contiguous passage in the resume's
    own language and characters, without paraphrase, translation, ellipsis or added quotation marks."""


class Weakness(BaseModel):
    """A requirement that the resume does not meet or prove, or a point that will raise questions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    point: str
    """The requirement and what the resume lacks for it, in one sentence: what is not shown, not what cannot be done."""

    suggestion: str
    """What the candidate can truthfully do about it before applying or in the interview, in one or two sentences."""


class JobMatch(BaseModel):
    """The match of a resume with a job posting, or with the candidate's target role where no posting is given."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    match_score: Points = Field(ge=0, le=100)
    """Match in points from 0 (no fit) to 100 (every requirement proved), a whole number, by the task's rubric."""

    overall_assessment: str
    """Verdict in 3 to 5 sentences that fits the score: decisive reasons, greatest risk, next step;
    if no job posting is given, its first sentence names the role that was assumed."""

    strengths: list[Strength]
    """Strengths that matter for this job, the weightiest first; only those that a quote proves; empty if none."""

    weaknesses: list[Weakness]
    """Gaps that matter for this job, the weightiest first; empty if there are none."""

    cover_letter_script: str
    """Ready-to-send cover letter in the candidate's first person, plain text in paragraphs, without placeholders;
    only facts that the resume and the posting state."""
