"""The least that asks the cases of a suite: llmtask's client class and messages, a semaphore, json.loads.

python bench/peers/bare.py SUITE CONCURRENCY whole|stream
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage  # noqa: TID253  # a script, and what it measures

from llmtask.project import load_project
from llmtask.providers import get_model
from llmtask.providers.openai_driver import call_arguments
from llmtask.service import RunOptions, plan


async def ask(suite: Path, concurrency: int, *, streams: bool) -> int:
    project = load_project()
    model, config = get_model("deepseek-chat", project=project), project.model("deepseek-chat")
    provider = project.config.providers[config.provider]
    gate = asyncio.Semaphore(concurrency)

    async def one(inputs: dict[str, str]) -> Any:
        options = RunOptions(project=project, locale="en", model_id="deepseek-chat", fall_back=False)
        request = plan("job_match", inputs, options).request
        messages = [SystemMessage(request.system), HumanMessage(request.user)]
        arguments = call_arguments(request, config, provider)
        async with gate:
            if not streams:
                return json.loads(str((await model.ainvoke(messages, **arguments)).text))
            stream = model.astream(messages, **arguments)
            return json.loads("".join([str(chunk.text) async for chunk in stream]))

    lines = suite.with_name(suite.name.replace(".llm.yaml", ".jsonl")).read_text(encoding="utf-8").splitlines()
    answers = await asyncio.gather(*(one(json.loads(line)["inputs"]) for line in lines))
    return sum(isinstance(answer["match_score"], int) for answer in answers)


if __name__ == "__main__":
    print(asyncio.run(ask(Path(sys.argv[1]), int(sys.argv[2]), streams=sys.argv[3] == "stream")), "answers")
