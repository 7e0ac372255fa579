"""Preparation for an interview: the answer of interview_prep."""

from pydantic import BaseModel, ConfigDict


class Question(BaseModel):
    """A question to expect, and how this candidate can answer it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    question: str
    """The question as the interviewer would say it, specific to this resume and this job."""

    answer_guideline: str
    """How to answer, in 3 to 6 sentences: what the question tests, which resume fact to use (with its number), and the
    outline as situation, task, action, result; if the resume holds nothing for it, says so and says what to recall."""


class InterviewPrep(BaseModel):
    """Self-introduction, likely questions and questions to ask back."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    self_introduction_script: str
    """Self-introduction to be spoken in 60 to 90 seconds, first person, plain text; only facts from the resume."""

    potential_questions: list[Question]
    """6 to 10 questions, the most likely first."""

    reverse_questions: list[str]
    """3 to 5 questions for the candidate to ask the interviewer, one per item, not answered by the posting already."""
