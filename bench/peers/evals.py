"""The same cases for pydantic-evals, over the openai SDK. Runs in an environment that holds both, and no llmtask.

python bench/peers/evals.py MESSAGES CONCURRENCY BASE_URL KEY
"""

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI  # noqa: TID253  # a script, and what it measures
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator, EvaluatorContext

Messages = list[dict[str, str]]
FOREIGN = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")


@dataclass
class Between(Evaluator[Messages, Any]):
    """A number lies in a range."""

    def evaluate(self, ctx: EvaluatorContext[Messages, Any]) -> bool:
        """Whether it is so."""
        return 60 <= ctx.output["match_score"] <= 90


@dataclass
class Length(Evaluator[Messages, Any]):
    """A list is so long."""

    def evaluate(self, ctx: EvaluatorContext[Messages, Any]) -> bool:
        """Whether it is so."""
        return 3 <= len(ctx.output["strengths"]) <= 6


@dataclass
class Grounded(Evaluator[Messages, Any]):
    """Quotes are in the input."""

    def evaluate(self, ctx: EvaluatorContext[Messages, Any]) -> bool:
        """Whether it is so."""
        return all(one["evidence"] in ctx.inputs[1]["content"] for one in ctx.output["strengths"])


@dataclass
class Language(Evaluator[Messages, Any]):
    """No letter is of another language's."""

    def evaluate(self, ctx: EvaluatorContext[Messages, Any]) -> bool:
        """Whether it is so."""
        return not FOREIGN.search(json.dumps(ctx.output, ensure_ascii=False))


async def evaluate(path: Path, concurrency: int, base_url: str, key: str) -> int:
    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)

    async def task(messages: Messages) -> Any:
        answer = await client.chat.completions.create(
            model="deepseek-flash",
            messages=messages,  # type: ignore[arg-type]
            temperature=0.1,
            max_tokens=8192,
            extra_body={"thinking": {"type": "disabled"}, "response_format": {"type": "json_object"}},
        )
        return json.loads(answer.choices[0].message.content or "")

    lines = path.read_text(encoding="utf-8").splitlines()
    cases = [Case(name=f"c{index}", inputs=json.loads(line)) for index, line in enumerate(lines)]
    dataset = Dataset(name="bench", cases=cases, evaluators=[Between(), Length(), Grounded(), Language()])
    report = await dataset.evaluate(task, max_concurrency=concurrency, progress=False)
    verdicts = [[one.value for one in case.assertions.values()] for case in report.cases]
    return sum(len(found) == 4 and all(found) for found in verdicts)


if __name__ == "__main__":
    print(asyncio.run(evaluate(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])), "passed")
