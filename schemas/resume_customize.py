"""A resume rewritten for a job, and what was changed: the answer of resume_customize."""

from pydantic import BaseModel, ConfigDict


class SectionChange(BaseModel):
    """What was changed in one section of the resume, and for which requirement."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    section: str
    """Heading of the section as it stands in the customized resume; for a note on no section, what it is about."""

    change_reason: str
    """What was changed and which requirement of the job it serves, in one or two sentences."""


class ResumeCustomize(BaseModel):
    """The customized resume with an account of its changes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    customized_resume_markdown: str
    """The complete customized resume in Markdown, ready to send, from the name as first-level heading to the last
    section: only facts of the original resume; no code fences, tables, HTML, placeholders or comments."""

    customization_summary: list[SectionChange]
    """One item per changed section, in the order of the customized resume;
    then items for the assumed target role and for unproved requirements, where the task asks for them."""
