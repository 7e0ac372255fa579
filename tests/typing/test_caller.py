"""A caller's own code checks strictly against the installed package (py.typed)."""

import subprocess
import sys
from pathlib import Path

CALLER = """
from pydantic import BaseModel

import llmtask


class Score(BaseModel):
    match_score: int


typed: llmtask.TaskResult[Score] = llmtask.run_structured_task("job_match", {"resume": "x"}, schema=Score)
score: int = typed.data.match_score
plain: BaseModel = llmtask.run_structured_task("job_match", {"resume": "x"}, locale="en", model_id="offline").data
for event in llmtask.run_streaming_task("job_match", {"resume": "x"}, schema=Score):
    if isinstance(event, llmtask.ResultEvent):
        score = event.result.data.match_score


async def later() -> int:
    return (await llmtask.arun_structured_task("job_match", {"resume": "x"}, schema=Score)).data.match_score
"""


def check(path: Path, code: str) -> subprocess.CompletedProcess[str]:
    path.write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={path.parent / 'cache'}",
        str(path),
    ]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)


def test_results_are_typed_for_a_strict_caller(tmp_path: Path) -> None:
    checked = check(tmp_path / "caller.py", CALLER)
    assert checked.returncode == 0, checked.stdout


def test_a_misspelt_option_does_not_pass_the_type_checker(tmp_path: Path) -> None:
    checked = check(tmp_path / "caller.py", CALLER.replace('locale="en"', 'local="en"'))
    assert "did you mean" in checked.stdout
