# ruff: noqa: N815 (the seed's names, as they stand in the JSON)
"""What a job posting asks for: the answer of job_summary."""

from pydantic import BaseModel, ConfigDict


class JobSummary(BaseModel):
    """A job posting reduced to title, employer and requirements; holds nothing that the posting does not state."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    jobTitle: str
    """Job title as posted, without salary, place or slogans; if no title is stated, the role that the text describes;
    if the document is not a readable job posting, a few words that say so."""

    company: str | None = None
    """Employer as the posting names it; null if it is not named or anonymous (e.g. 'our client')."""

    mustHaves: list[str]
    """Hard requirements, one per item, in the posting's order, with their years, levels and alternatives
    ('Java or Go'); empty if the posting states none."""

    niceToHaves: list[str]
    """Requirements that the posting marks as preferred, a plus or an advantage, one per item; empty if none."""
