"""How a run looks before its first call."""

from llmtask.service import Plan, ceilings
from llmtask.view import words
from llmtask.view.console import answer, harmless


def show_plan(plan: Plan, why: str = "") -> None:
    """Everything that would be sent, about what it would cost, and why it goes where it goes."""
    route, request = plan.route, plan.request
    most = f"{plan.model.max_tokens:,}" if plan.model.max_tokens else "unlimited"
    answer(f"task     {plan.task} ({plan.locale}), prompt {plan.prompt.hash}")
    answer(
        f"route    {route.tier} · {route.model_id} ({plan.model.name}) · queue {route.queue_id or '-'} · {route.worker}"
    )
    if why:
        answer(harmless(f"quota    {why}"))
    answer(f"schema   {plan.schema.__name__}, held by {plan.model.structured}")
    answer(f"tokens   about {plan.input_tokens:,} in, at most {most} out, per call")
    answer(f"cost     at most about {words.cost(plan.highest_cost)} per call")
    _show_worst_case(plan)
    for role, text in (("system", request.system), ("user", request.user)):
        answer(f"\n--- {role} ---\n{harmless(text)}")
    for image in request.images:
        answer(f"\n--- image {image.name}: {image.media_type}, {len(image.data):,} bytes ---")


def _show_worst_case(plan: Plan) -> None:
    """What the run can come to, if everything goes wrong that can be tried again."""
    for index, worst in enumerate(ceilings(plan)):
        title = "at worst" if index == 0 else "then"
        answer(f"{title:<8} {worst.calls} calls of {worst.model_id}, about {words.cost(worst.cost)}")
    if plan.free:
        answer(f"         {plan.free.route.model_id} where a budget has no room")
    for model_id, why in plan.skipped.items():
        answer(f"         not {model_id}: {why}")
    answer(f"         over after {plan.timeouts.total_s:g} s, whatever happens")
