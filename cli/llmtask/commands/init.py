"""`llmtask init`: a project of one's own, from the starter."""

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from llmtask.errors import ProjectError, UsageError
from llmtask.project import CONFIG, shown, starter_root, trust_always
from llmtask.view.console import note, warn

_FOLDERS = ("prompts", "schemas", "examples", "tests/suites")
_OURS = ("__pycache__", ".*", "answers", "record.py")  # of those, what only the starter's own tests need
_CONFIG_TEXT = """\
# yaml-language-server: $schema=./schemas/config.schema.json
#
# Only what differs from the starter's config.yaml stands here; it is merged in key by key. A list or a plain value
# replaces the starter's, `key: null` removes it. `llmtask models list` and `llmtask tasks list` show the result.

defaults:
  locale: zh

# providers:
#   deepseek: {base_url: http://127.0.0.1:8000/v1}
# models:
#   my-model: {provider: ollama, name: "qwen3:8b", structured: json_schema, context: 32768}
# routes:
#   job_match: {paid: {model: my-model}}
"""

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where; made if it is missing.")] = Path(),
) -> None:
    """Make a project: its own config.yaml, and the starter's prompts, schemas, suites and examples to edit.

    [bold]llmtask init my-tasks && cd my-tasks && llmtask tasks list[/]
    """
    taken = [name for name in (CONFIG, *_FOLDERS) if (folder / name).exists()]
    if taken:
        message = f"{shown(folder.absolute() / taken[0])} exists already; nothing was changed. Choose another folder"
        raise UsageError(message)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FOLDERS:
            shutil.copytree(starter_root() / name, folder / name, ignore=shutil.ignore_patterns(*_OURS))
        (folder / CONFIG).write_text(_CONFIG_TEXT, encoding="utf-8")
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text(".env\n.llmtask/\n__pycache__/\n", encoding="utf-8")
    except OSError as error:
        message = f"{str(folder)!r} cannot be written ({error.strerror}); choose another folder"
        raise UsageError(message) from error
    try:
        trust_always(folder)
    except ProjectError as error:  # where nothing can be kept, the project is there all the same
        warn(str(error))
    note(f"made {shown(folder.absolute())}: {CONFIG}, {', '.join(f'{name}/' for name in _FOLDERS)}", style="green")
    example, place = (shlex.quote(str(path)) for path in (folder / "examples" / "resume.zh.md", folder))
    note(f"next: llmtask run job_match --input {example} --model offline --project {place}")
