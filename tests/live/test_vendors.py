"""The real vendors, deselected by default: `pytest -m live --force-enable-socket`, with the keys set."""

from pathlib import Path

import pytest

import llmtask
from llmtask.providers import find_key

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.live


@pytest.mark.parametrize("model_id", ["deepseek-chat", "deepseek-reasoner", "glm-4.5-flash"])
@pytest.mark.parametrize("locale", ["zh", "en"])
def test_a_resume_is_matched(model_id: str, locale: str) -> None:
    project = llmtask.load_project()
    provider_id = project.model(model_id).provider
    if find_key(project, provider_id) is None:
        pytest.skip(f"no key for {provider_id}")
    resume = (EXAMPLES / f"resume.{locale}.md").read_text(encoding="utf-8")
    result = llmtask.run_structured_task(
        "job_match", {"resume": resume}, locale=locale, model_id=model_id, project=project
    )
    assert not result.tokens.is_estimate
    assert all(strength["evidence"] for strength in result.to_json()["strengths"])
