"""Whether a model answers: one short call, logged like any other."""

from pathlib import Path

from pydantic import BaseModel

from llmtask.budgets import budgeted
from llmtask.project import Project, YamlFile
from llmtask.prompts import LocaleFile, Prompt, PromptFile
from llmtask.providers import Request
from llmtask.router import Route
from llmtask.schemas import json_schema
from llmtask.service.plan import Candidate, Plan
from llmtask.service.result import ResultEvent
from llmtask.service.run import execute
from llmtask.tokens import estimate_all
from llmtask.usage import UsageLog

CHECK = "models_check"
"""The task of such a call in the usage log."""

_PROMPT = PromptFile(
    description="Asks for one word.",
    system="Answer in JSON.",
    user='Answer with the JSON object {"ok": true} and nothing else.',
)
_LOCALE = LocaleFile(language="", untrusted="", json_answer="", tool_answer="", invalid_answer="{{ errors }}", image="")


class _Ok(BaseModel):
    ok: bool


def check_model(project: Project, model_id: str, log: UsageLog | None) -> str:
    """Ask a model for one word.

    Returns:
        The model's name as its answer carried it.

    Raises:
        LlmtaskError: It cannot be asked, or did not answer.
    """
    model, defaults = project.model(model_id), project.config.defaults
    route = Route(defaults.tier, model_id, model.queue, "structured")
    request = Request(_PROMPT.system, _PROMPT.user, json_schema(_Ok))
    planned = Plan(
        project=project,
        task=CHECK,
        locale=defaults.locale,
        prompt=Prompt(CHECK, defaults.locale, _PROMPT, _LOCALE, YamlFile(Path(), {})),
        schema=_Ok,
        candidates=(Candidate(route, model, request, estimate_all(request.texts, defaults.token_estimate)),),
        timeouts=defaults.timeouts,
    )
    ends = [
        event.result for event in execute(planned, budgeted(project, log), live=False) if isinstance(event, ResultEvent)
    ]
    return ends[-1].upstream_model or model.name
