"""What careful strangers broke once, from the command line: each stays mended."""

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmtask.errors import ExitCode
from llmtask.main import app

TEXT = "Engineer since 2020 at Example Ltd, wants a senior role in Hangzhou."


def llmtask(*argv: str) -> Any:
    return CliRunner().invoke(app, list(argv))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMTASK_DB", str(tmp_path / "usage.db"))
    (tmp_path / "resume.md").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_a_pipe_named_as_output_is_written_and_stays_a_pipe(here: Path) -> None:
    os.mkfifo(here / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((here / "pipe").read_text(encoding="utf-8")))
    reader.start()
    outcome = llmtask("run", "job_match", "-i", "resume.md", "-m", "offline", "-s", "match_score", "-o", "pipe")
    assert outcome.exit_code == ExitCode.DONE
    reader.join()
    assert (read, (here / "pipe").is_fifo()) == (["50\n"], True)


@pytest.mark.parametrize("text", ["routes: {job_mach: {worker: stream}}\n", "routes: {'jop_*': {worker: stream}}\n"])
def test_a_route_that_no_task_takes_is_refused(text: str, here: Path) -> None:
    (here / "config.yaml").write_text(text, encoding="utf-8")
    outcome = llmtask("route", "job_match")
    assert outcome.exit_code == ExitCode.PROJECT
    assert "config.yaml:1: no task matches the route" in outcome.stderr


def test_a_schema_file_that_prints_and_exits_is_a_project_error(here: Path) -> None:
    (here / "config.yaml").write_text("tasks: {job_match: {schema: 'loud:Loud'}}\n", encoding="utf-8")
    (here / "schemas").mkdir()
    (here / "schemas/loud.py").write_text("print('hello')\nraise SystemExit(7)\n", encoding="utf-8")
    outcome = llmtask("run", "job_match", "-i", "resume.md", "-m", "offline")
    assert (outcome.exit_code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert "schemas/loud.py:2: fails to import (SystemExit: 7)" in outcome.stderr


def test_another_programs_database_is_not_touched_by_a_report(here: Path) -> None:
    connection = sqlite3.connect(here / "other.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = (here / "other.db").read_bytes()
    outcome = llmtask("usage", "report", "--db", "other.db")
    assert outcome.exit_code == ExitCode.PROJECT
    assert "something else" in outcome.stderr
    assert (here / "other.db").read_bytes() == before


def test_an_unknown_function_is_found_before_the_call(here: Path) -> None:
    outcome = llmtask("run", "job_match", "-i", "resume.md", "-m", "offline", "-s", "foo(match_score)")
    assert (outcome.exit_code, outcome.stdout) == (ExitCode.USAGE, "")
    assert not (here / "usage.db").exists()


def test_a_task_in_one_locale_alone_is_listed(here: Path) -> None:
    (here / "config.yaml").write_text("tasks: {ticket: {schema: 'ticket:Ticket'}}\n", encoding="utf-8")
    (here / "prompts/en").mkdir(parents=True)
    prompt = "description: Classifies.\nvariables: {ticket: {description: its text}}\nsystem: s\nuser: '{{ ticket }}'\n"
    (here / "prompts/en/ticket.yaml").write_text(prompt, encoding="utf-8")
    assert "ticket" in llmtask("tasks", "list").stdout
    assert llmtask("tasks", "show", "ticket").exit_code == 0


def test_a_default_locale_without_prompts_is_told_by_the_lint(here: Path) -> None:
    (here / "config.yaml").write_text("defaults: {locale: fr}\n", encoding="utf-8")
    outcome = llmtask("prompts", "lint")
    assert outcome.exit_code == ExitCode.PROJECT
    assert "defaults.locale is 'fr'" in outcome.stderr
