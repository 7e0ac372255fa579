"""`llmtask run`, option by option."""

import json
import os
import stat
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from llmtask.project import load_project
from llmtask.schemas import load_schema
from llmtask.usage import UsageLog
from tests.commands.conftest import JOB, RESUME, ROOT, Command, WriteFiles

TASKS = ("resume_summary", "detailed_resume_summary", "job_summary", "job_match", "resume_customize", "interview_prep")
FIELDS = ["match_score", "overall_assessment", "strengths", "weaknesses", "cover_letter_script"]


def test_stdout_carries_the_valid_json_and_nothing_else(run: Command) -> None:
    outcome = run()
    assert outcome.code == ExitCode.DONE
    assert list(json.loads(outcome.stdout)) == FIELDS


def test_the_closing_line_and_the_warning_of_a_sample_go_to_stderr(run: Command) -> None:
    closing, sample = run().stderr.splitlines()
    assert closing.startswith("valid ✓ job_match (zh) · offline · ~")
    assert "¥0.00" in closing
    assert "first token" in closing
    assert "no language model wrote it" in sample


@pytest.mark.parametrize("locale", ["zh", "en"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_every_locale_answers_with_its_schema(command: Command, task: str, locale: str) -> None:
    document = ROOT / "examples" / f"{'job' if task == 'job_summary' else 'resume'}.{locale}.md"
    outcome = command("run", task, "--locale", locale, "--input", str(document), "--model", "offline")
    assert outcome.code == ExitCode.DONE, outcome.stderr
    load_schema(load_project(), task).model_validate_json(outcome.stdout)
    assert [(row.task_template_id, row.locale, row.is_success) for row in outcome.rows] == [(task, locale, 1)]


def test_the_alias_of_a_task_runs_the_task(command: Command, resume: str) -> None:
    outcome = command("run", "resume_detailed_summary", "--input", resume, "--model", "offline")
    assert outcome.rows[0].task_template_id == "detailed_resume_summary"


def test_a_run_leaves_one_row_without_a_word_of_the_resume(run: Command) -> None:
    outcome = run()
    [row] = outcome.rows
    assert (row.provider, row.model_id, row.upstream_model, row.tier, row.worker) == (
        "offline",
        "offline",
        "offline",
        "paid",
        "stream",
    )
    assert (row.is_estimate, row.cost_nanos, row.currency, row.finish_reason) == (1, 0, "CNY", "stop")
    assert row.total_tokens == row.input_tokens + row.output_tokens > 0
    stored = b"".join(path.read_bytes() for path in outcome.log.parent.glob("usage.db*"))
    assert "陈远".encode() not in stored
    assert "分库分表".encode() not in stored


# --locale


def test_the_locale_chooses_the_prompt(run: Command) -> None:
    texts = {locale: run("--locale", locale, "--dry-run").stdout for locale in ("zh", "en")}
    assert "task     job_match (en)" in texts["en"]
    assert "You are a recruiter" in texts["en"]
    assert "task     job_match (zh)" in texts["zh"]
    assert "你是一名" in texts["zh"]


def test_without_a_locale_the_configs_counts(run: Command, files: WriteFiles) -> None:
    files({"config.yaml": "defaults: {locale: en}\n"})
    assert run().rows[0].locale == "en"


def test_a_draft_of_the_prompt_goes_into_the_log_by_its_name(run: Command, files: WriteFiles) -> None:
    shipped = (ROOT / "prompts/zh/job_match.yaml").read_text(encoding="utf-8")
    files({"config.yaml": "", "prompts/zh/job_match@v2.yaml": shipped})
    assert run().rows[-1].prompt_version is None
    assert run("--prompt", "v2").rows[-1].prompt_version == "v2"


# --input and --var


def document(stdout: str, name: str) -> str:
    """The text of a document in what `--dry-run` shows."""
    return stdout.split(f'<document name="{name}"')[1].split("\n", 1)[1].split("\n</document")[0]


def test_a_bare_input_fills_the_default_variable(run: Command) -> None:
    assert document(run("--dry-run").stdout, "resume") == RESUME


def test_a_named_input_fills_its_variable(run: Command, job: str) -> None:
    shown = run("--input", f"job={job}", "--dry-run").stdout
    assert document(shown, "job") == JOB
    assert document(shown, "resume") == RESUME


def test_a_path_with_an_equals_sign_is_a_path_when_no_name_stands_before_it(
    command: Command, files: WriteFiles
) -> None:
    files({"a=b.md": RESUME})
    shown = command("run", "job_match", "--input", "./a=b.md", "--dry-run").stdout
    assert document(shown, "resume") == RESUME


@pytest.mark.parametrize("argv", [["--input", "-"], ["--input", "resume=-"], []])
def test_standard_input_is_read_where_it_is_named_or_nothing_else_is(command: Command, argv: list[str]) -> None:
    shown = command("run", "job_match", *argv, "--dry-run", stdin=RESUME).stdout
    assert document(shown, "resume") == RESUME


def test_standard_input_can_fill_another_variable_than_the_default_one(run: Command) -> None:
    assert document(run("--input", "job=-", "--dry-run", stdin=JOB).stdout, "job") == JOB


def test_standard_input_is_left_alone_where_the_variable_has_its_text(run: Command) -> None:
    shown = run("--dry-run", stdin="something that a loop around the command still needs").stdout
    assert document(shown, "resume") == RESUME


def test_two_variables_cannot_both_be_standard_input(command: Command) -> None:
    outcome = command("run", "job_match", "--input", "-", "--input", "job=-", stdin=RESUME)
    assert outcome.code == ExitCode.USAGE
    assert outcome.stderr == "llmtask: standard input can fill one variable only; name files for the others\n"


@pytest.mark.parametrize("again", [["--input", "resume.md"], ["--input", "resume=resume.md"], ["--var", "resume=x"]])
def test_a_variable_that_is_given_twice_is_refused(run: Command, again: list[str]) -> None:
    outcome = run(*again)
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "'resume' is given twice" in outcome.stderr


def test_var_gives_a_text_and_keeps_every_further_equals_sign(command: Command) -> None:
    shown = command("run", "job_match", "--var", "resume=a=b {{ job }}", "--dry-run").stdout
    assert document(shown, "resume") == "a=b {{ job }}"


def test_var_without_an_equals_sign_is_refused(run: Command) -> None:
    outcome = run("--var", "job")
    assert outcome.code == ExitCode.USAGE
    assert "--var 'job' is not of the form NAME=VALUE" in outcome.stderr


def test_the_text_of_an_input_is_never_rendered(command: Command) -> None:
    text = "{{ 7 * 7 }} {% for x in y %} {{ nothing }}"
    shown = command("run", "job_match", "--dry-run", stdin=text).stdout
    assert document(shown, "resume") == text


# --model, --free, --paid, --reasoning


def route_line(stdout: str) -> str:
    return next(line for line in stdout.splitlines() if line.startswith("route"))


@pytest.mark.parametrize(
    ("argv", "route"),
    [
        ([], "paid · deepseek-chat (deepseek-flash) · queue q_deepseek_chat · stream"),
        (["--paid"], "paid · deepseek-chat (deepseek-flash) · queue q_deepseek_chat · stream"),
        (["--free"], "free · glm-4.5-flash (glm-4.7-flash) · queue q_glm_flash · stream"),
        (["--reasoning"], "paid · deepseek-reasoner (deepseek-flash) · queue q_deepseek_reasoner · stream"),
        (["--reasoning", "--free"], "free · glm-4.5-flash (glm-4.7-flash) · queue q_glm_flash · stream"),
        (["--model", "glm-4.5-flash"], "paid · glm-4.5-flash (glm-4.7-flash) · queue q_glm_flash · stream"),
        (["--model", "ollama/qwen3:8b"], "paid · ollama/qwen3:8b (qwen3:8b) · queue - · stream"),
    ],
)
def test_the_route_follows_the_options(command: Command, resume: str, argv: list[str], route: str) -> None:
    shown = command("run", "job_match", "--input", resume, *argv, "--dry-run").stdout
    assert route_line(shown) == f"route    {route}"


def test_without_a_tier_the_configs_counts(command: Command, resume: str, files: WriteFiles) -> None:
    files({"config.yaml": "defaults: {tier: free}\n"})
    shown = command("run", "job_match", "--input", resume, "--dry-run").stdout
    assert "free · glm-4.5-flash" in route_line(shown)


# a missing key


@pytest.mark.parametrize(
    ("tier", "names"), [("--paid", "DEEPSEEK_API_KEY"), ("--free", "ZHIPU_API_KEY or ZHIPUAI_API_KEY")]
)
def test_a_missing_key_names_the_variable_and_three_ways_on(
    command: Command, resume: str, tier: str, names: str
) -> None:
    outcome = command("run", "job_match", "--input", resume, tier)
    assert (outcome.code, outcome.stdout, outcome.rows) == (ExitCode.KEY, "", [])
    assert f"set {names} " in outcome.stderr
    assert "another model with --model" in outcome.stderr
    assert "--model offline" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_openais_key_is_no_deepseek_key(command: Command, resume: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-openai")
    outcome = command("run", "job_match", "--input", resume)
    assert outcome.code == ExitCode.KEY
    assert "set DEEPSEEK_API_KEY" in outcome.stderr
    assert "sk-canary-openai" not in outcome.stderr


# --stream, --format, --select


@pytest.mark.parametrize(("argv", "is_stream"), [([], 1), (["--stream"], 1), (["--no-stream"], 0)])
def test_the_row_says_whether_the_call_streamed(run: Command, argv: list[str], is_stream: int) -> None:
    outcome = run(*argv)
    assert list(json.loads(outcome.stdout)) == FIELDS
    assert outcome.rows[0].is_stream == is_stream


def test_pretty_is_indented_and_json_is_one_line_of_the_same(run: Command) -> None:
    pretty, compact = run("--format", "pretty").stdout, run("--format", "json").stdout
    assert pretty.startswith('{\n  "match_score": 50,')
    assert compact.count("\n") == 1
    assert json.loads(pretty) == json.loads(compact)
    assert "八年后端开发经验" in compact


def test_text_is_an_outline(run: Command) -> None:
    lines = run("--format", "text").stdout.splitlines()
    assert lines[0] == "match_score: 50"
    assert "strengths:" in lines
    assert not any(line.startswith(("{", '"')) for line in lines)


def test_events_are_lines_of_json_with_the_result_last(run: Command) -> None:
    events = [json.loads(line) for line in run("--format", "events").stdout.splitlines()]
    *pieces, last = events
    assert {piece["event"] for piece in pieces} == {"text", "partial"}
    text = "".join(piece["text"] for piece in pieces if piece["event"] == "text")
    assert json.loads(text) == last["data"]
    assert (last["event"], last["model_id"], last["attempts"]) == ("result", "offline", 1)


def test_an_unknown_format_is_refused(run: Command) -> None:
    outcome = run("--format", "xml")
    assert (outcome.code, outcome.rows) == (ExitCode.USAGE, [])
    assert "xml" in outcome.stderr


def test_a_selected_string_is_bare_and_everything_else_is_json(run: Command) -> None:
    assert run("--select", "match_score").stdout == "50\n"
    assert run("--select", "overall_assessment").stdout == "八年后端开发经验，熟悉高并发场景下的一致性设计。\n"
    assert run("--select", "nothing.like.this").stdout == "null\n"
    assert json.loads(run("--select", "strengths[].point").stdout)[0].startswith("主导订单库")


def test_a_function_of_a_part_can_be_selected(run: Command) -> None:
    assert run("--select", "length(strengths)").stdout == "3\n"


def test_a_path_that_is_no_jmespath_is_refused_before_the_call(run: Command) -> None:
    outcome = run("--select", "strengths[")
    assert (outcome.code, outcome.stdout, outcome.rows) == (ExitCode.USAGE, "", [])
    assert "--select 'strengths[' is no JMESPath" in outcome.stderr


def test_an_answer_that_the_path_does_not_fit_is_not_lost(run: Command, work: Path) -> None:
    outcome = run("--select", "length(match_score)", "--output", "answer.json")
    assert outcome.code == ExitCode.USAGE
    assert list(json.loads(outcome.stdout)) == FIELDS
    assert "does not fit this answer" in outcome.stderr
    assert not (work / "answer.json").exists()


# --output


def test_output_writes_the_file_and_leaves_stdout_empty(run: Command, work: Path) -> None:
    outcome = run("--output", "answer.json")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert list(json.loads((work / "answer.json").read_text(encoding="utf-8"))) == FIELDS
    assert "→ answer.json" in outcome.stderr
    assert sorted(path.name for path in work.iterdir()) == ["answer.json", "resume.md"]


def test_events_go_to_stdout_alone(run: Command, work: Path) -> None:
    for option in (("--output", "answer"), ("--select", "match_score")):
        outcome = run("--format", "events", *option)
        assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert not (work / "answer").exists()


@pytest.mark.parametrize("form", ["json", "text"])
def test_output_is_in_the_form_that_was_asked_for(run: Command, work: Path, form: str) -> None:
    run("--format", form, "--output", "answer", "--select", "match_score")
    assert (work / "answer").read_text(encoding="utf-8") == "50\n"


def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(run: Command, files: WriteFiles, work: Path) -> None:
    files({"answer.json": "old"})
    (work / "answer.json").chmod(0o640)
    run("--output", "answer.json")
    assert stat.S_IMODE((work / "answer.json").stat().st_mode) == 0o640
    assert list(json.loads((work / "answer.json").read_text(encoding="utf-8"))) == FIELDS


def test_a_new_file_has_the_mode_of_any_new_file(run: Command, work: Path) -> None:
    before = os.umask(0o027)
    try:
        run("--output", "answer.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((work / "answer.json").stat().st_mode) == 0o640


def test_a_link_stays_a_link(run: Command, files: WriteFiles, work: Path) -> None:
    files({"there/answer.json": "old"})
    (work / "link.json").symlink_to("there/answer.json")
    run("--output", "link.json", "--select", "match_score")
    assert (work / "link.json").is_symlink()
    assert (work / "there" / "answer.json").read_text(encoding="utf-8") == "50\n"


@pytest.mark.parametrize(
    ("path", "problem"), [("nowhere/answer.json", "there is no folder 'nowhere'"), (".", "is a folder")]
)
def test_an_output_that_cannot_be_written_is_refused_before_the_call(run: Command, path: str, problem: str) -> None:
    outcome = run("--output", path)
    assert (outcome.code, outcome.stdout, outcome.rows) == (ExitCode.USAGE, "", [])
    assert problem in outcome.stderr


def test_a_run_that_fails_leaves_the_old_file_as_it_was(
    command: Command, resume: str, files: WriteFiles, work: Path
) -> None:
    files({"answer.json": "old"})
    assert command("run", "job_match", "--input", resume, "--output", "answer.json").code == ExitCode.KEY
    assert (work / "answer.json").read_text(encoding="utf-8") == "old"


# --user, --service, --timeout, --dry-run, --no-log, --db, --project


def test_user_and_service_land_in_the_row(run: Command) -> None:
    [row] = run("--user", "user-7", "--service", "web").rows
    assert (row.user_id, row.service_id) == ("user-7", "web")


@pytest.mark.usefixtures("silent_vendor")
def test_a_vendor_that_never_answers_ends_with_the_timeout(command: Command, resume: str) -> None:
    outcome = command("run", "job_match", "--input", resume, "--timeout", "0.5")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROVIDER, "")
    assert "deepseek: timeout" in outcome.stderr
    [row] = outcome.rows
    assert (row.is_success, row.error_class, row.model_id) == (0, "timeout", "deepseek-chat")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_timeout_that_is_no_time_is_refused(run: Command, seconds: str) -> None:
    outcome = run("--timeout", seconds)
    assert (outcome.code, outcome.rows) == (ExitCode.USAGE, [])
    assert "--timeout" in outcome.stderr


def test_a_dry_run_shows_what_would_be_sent_and_needs_no_key(command: Command, resume: str) -> None:
    outcome = command("run", "job_match", "--input", resume, "--dry-run")
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert "schema   JobMatch" in outcome.stdout
    assert "tokens   about " in outcome.stdout
    assert "cost     at most about ¥" in outcome.stdout
    assert outcome.stdout.index("--- system ---") < outcome.stdout.index("--- user ---")


def test_a_dry_run_calls_nothing_and_logs_nothing(run: Command) -> None:
    outcome = run("--dry-run")
    assert 'match_score": 50' not in outcome.stdout
    assert not outcome.log.exists()


def test_no_log_writes_no_row(run: Command) -> None:
    outcome = run("--no-log")
    assert list(json.loads(outcome.stdout)) == FIELDS
    assert not outcome.log.exists()


def test_db_names_another_log(run: Command, work: Path) -> None:
    outcome = run("--db", "mine.db")
    assert not outcome.log.exists()
    assert len(UsageLog(work / "mine.db").latest(10)) == 1
    assert stat.S_IMODE((work / "mine.db").stat().st_mode) == 0o600


def test_project_names_another_project(run: Command, files: WriteFiles) -> None:
    files({"elsewhere/config.yaml": "defaults: {locale: en}\n"})
    assert run("--project", "elsewhere").rows[0].locale == "en"


# images


def test_a_screenshot_of_a_job_goes_to_the_vision_model(command: Command, screenshot: str) -> None:
    for tier, queue in (("--paid", "q_glm_vision_paid"), ("--free", "q_glm_vision_free")):
        shown = command("run", "job_summary", "--input", f"job={screenshot}", tier, "--dry-run").stdout
        assert route_line(shown).endswith(
            f"· glm-4.1v-thinking-flash (glm-4.1v-thinking-flash) · queue {queue} · structured"
        )
        assert "--- image job: image/png, 69 bytes ---" in shown


def test_a_screenshot_beside_a_resume_goes_to_the_vision_model_too(
    command: Command, resume: str, screenshot: str
) -> None:
    shown = command("run", "job_match", "--input", resume, "--input", f"job={screenshot}", "--dry-run").stdout
    assert "glm-4.1v-thinking-flash" in route_line(shown)
    assert document(shown, "resume") == RESUME


def test_a_task_without_a_vision_route_refuses_an_image_and_says_what_to_add(command: Command, screenshot: str) -> None:
    outcome = command("run", "resume_summary", "--input", screenshot, "--dry-run")
    assert outcome.code == ExitCode.USAGE
    assert "add routes.resume_summary.vision.paid to config.yaml" in outcome.stderr


def test_a_model_that_takes_no_images_is_refused_with_one(command: Command, screenshot: str) -> None:
    outcome = command("run", "job_match", "--input", screenshot, "--model", "deepseek-chat")
    assert outcome.code == ExitCode.USAGE
    assert "model 'deepseek-chat' takes no images" in outcome.stderr
