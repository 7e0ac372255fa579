"""What a resume says, as a profile: the answer of resume_summary and detailed_resume_summary."""

from pydantic import BaseModel, ConfigDict


class Header(BaseModel):
    """Who the candidate is and how to reach them, copied character by character."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str | None = None
    """Full name as the resume writes it, untranslated; null if it is not stated."""

    email: str | None = None
    """First e-mail address in the resume, copied exactly; null if there is none."""

    phone: str | None = None
    """First phone number in the resume, copied exactly with country code and separators; null if there is none."""

    linkedin: str | None = None
    """LinkedIn URL or handle as stated; never built from the name; null if there is none."""

    github: str | None = None
    """GitHub URL or handle as stated; never built from the name; null if there is none."""


class Experience(BaseModel):
    """One position held, or one independent project where the task asks for it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    role: str | None = None
    """Job title as stated, neither upgraded nor generalised; null if it is not stated."""

    company: str | None = None
    """Employer as the resume names it, untranslated; null if not stated, or for a project without an employer."""

    duration: str | None = None
    """Start and end as stated, at the resume's own precision (no month where it gives only years);
    an open end is 'present' or its equivalent in the answer's language; null if no dates are stated."""

    highlights: list[str] | None = None
    """One achievement or duty per item: what was done, with what, to what effect, with the resume's own numbers
    and units; the most relevant first; null if the resume only names the position."""


class Education(BaseModel):
    """One degree, course of study or training."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    degree: str | None = None
    """Degree and subject as stated; null if neither is stated."""

    school: str | None = None
    """School or institution as the resume names it, untranslated; null if it is not stated."""

    duration: str | None = None
    """Start and end, or the year of graduation, as stated; null if no dates are stated."""


class AssetSummary(BaseModel):
    """A resume as a structured profile; holds nothing that the resume does not state."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    header: Header | None = None
    """Name and contact details; null if the resume states none of them."""

    summary: str | None = None
    """Who the candidate is professionally, in the length that the task asks for;
    if the document is not a resume, one sentence that says so."""

    experience: list[Experience] | None = None
    """Positions, newest first (open-ended ones before ended ones), overlapping ones kept apart;
    null if none is stated."""

    education: list[Education] | None = None
    """Education, newest first; null if none is stated."""

    skills: list[str] | None = None
    """Skills, tools, languages and certificates that the resume names, one per item, without duplicates;
    none that is only implied; null if none is named."""
