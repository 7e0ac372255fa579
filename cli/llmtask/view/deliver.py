"""Where the answer of a run goes, and in which form."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from llmtask.errors import UsageError
from llmtask.service import Event, Plan
from llmtask.view import run as view
from llmtask.view.console import STDOUT_CLOSED, answer, draw, harmless, json_text, stdout


class Format(StrEnum):
    """What stdout, or the output file, carries."""

    PRETTY = "pretty"
    """Indented JSON, in colour on a terminal."""
    JSON = "json"
    """JSON on one line."""
    TEXT = "text"
    """An indented outline for people."""
    EVENTS = "events"
    """Every event of the run as a line of JSON on stdout, the result last."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What somebody wants done with an answer."""

    form: Format = Format.PRETTY
    select: str | None = None
    """JMESPath of the part that is wanted."""
    output: Path | None = None
    """The file to write instead of stdout."""

    def check(self) -> None:
        """Refuse, before anything is paid for, what could not be delivered.

        Raises:
            UsageError: The path to select is wrong, or the output's folder is missing or cannot be written, or there is
                no output at all.
        """
        if self.form is Format.EVENTS and (self.output or self.select):
            message = "--format events writes every event to stdout; leave --output and --select out"
            raise UsageError(message)
        if self.select:
            _compiled(self.select)
        if self.output is None and sys.stdout is None:
            raise UsageError(STDOUT_CLOSED)
        problem = _problem(self.output) if self.output else ""
        if problem:
            message = f"--output {str(self.output)!r}: {problem}"
            raise UsageError(message)

    def watch_and_write(self, events: Iterator[Event[Any]], plan: Plan) -> None:
        """Show the run while it goes on, write its answer, and close with a line on what it took."""
        live_events = self.form is Format.EVENTS
        result = view.emit(events) if live_events else view.watch(events, plan)
        value = self._selected(result.to_json())
        if self.output:
            save(self.output, self._text(value) + "\n")
        elif self.form is Format.PRETTY and not isinstance(value, str):
            _show_json(value)
        elif not live_events:
            answer(self._text(value))
        view.close(result, str(self.output) if self.output else None)

    def _selected(self, whole: Any) -> Any:
        """The part of the answer that is wanted.

        Raises:
            UsageError: The path does not fit this answer; all of it is on stdout, for it is paid for.
        """
        try:
            return _select(whole, self.select)
        except UsageError:
            answer(json_text(whole))
            raise

    def _text(self, value: Any) -> str:
        if self.form is Format.TEXT:
            return "\n".join(outline(value))
        if self.select and isinstance(value, str):
            return harmless(value)
        return json_text(value, indent=2 if self.form is Format.PRETTY else None)


def _problem(output: Path) -> str:
    """Why a file cannot be written; empty where it can."""
    folder = output.absolute().parent
    if output.is_dir():
        return "is a folder; name a file in it"
    if not folder.is_dir():
        return f"there is no folder {str(output.parent)!r}; make it first"
    if not os.access(folder, os.W_OK) and not (output.exists() and os.access(output, os.W_OK)):
        return f"the folder {str(output.parent)!r} cannot be written; choose another"
    return ""


def kept(text: str, folder: Path) -> str:
    """Keep an answer that was paid for and does not fit, where its owner alone can read it; says where it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".txt", time.strftime("%Y%m%d-%H%M%S-"), folder)
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8", errors="surrogatepass")
    except OSError as error:
        return f"the answer could not be kept in {folder} ({error.strerror})"
    return f"the answer as it came is in {name} (--no-keep keeps none)"


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that is there keeps its mode.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device: there is nothing to replace
            path.write_text(text, encoding="utf-8")
            return
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.absolute().parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(mode)
                temporary.replace(path.resolve() if path.is_symlink() else path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        message = f"--output {str(path)!r} cannot be written ({error.strerror}); the answer follows on stdout"
        answer(text.rstrip("\n"))
        raise UsageError(message) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _select(value: Any, path: str | None) -> Any:
    if not path:
        return value
    import jmespath  # only for --select

    try:
        return _compiled(path).search(value)
    except jmespath.exceptions.JMESPathError as error:
        message = (
            f"--select {path!r} does not fit this answer, which is on stdout whole: {' '.join(str(error).split())}"
        )
        raise UsageError(message) from error


def _compiled(path: str) -> Any:
    import jmespath

    try:
        compiled = jmespath.compile(path)
        with suppress(jmespath.exceptions.JMESPathTypeError):  # that nothing fits is no surprise
            compiled.search(None)  # an unknown function is found before anything is paid for
    except jmespath.exceptions.JMESPathError as error:
        message = f"--select {path!r} is no JMESPath: {' '.join(str(error).split())}"
        raise UsageError(message) from error
    return compiled


def _show_json(value: Any) -> None:
    """JSON for people: in colour on a terminal, plain in a pipe."""
    console = stdout()
    if console.is_terminal and not console.no_color:
        from rich.json import JSON

        draw(JSON(json_text(value), indent=2, ensure_ascii=False), soft_wrap=True)
    else:
        answer(json_text(value))


def outline(value: Any, depth: int = 0) -> list[str]:
    """A value as indented lines: `key: value`, lists with dashes."""
    if isinstance(value, dict):
        return [line for key, one in value.items() for line in _entry(f"{'  ' * depth}{key}:", one, depth)]
    if isinstance(value, list):
        return [line for one in value for line in _entry(f"{'  ' * depth}-", one, depth)]
    return _plain(value).splitlines()


def _entry(label: str, value: Any, depth: int) -> list[str]:
    if isinstance(value, dict | list) and value:
        return [label, *outline(value, depth + 1)]
    lines = _plain(value).splitlines() or [""]
    if len(lines) > 1:
        return [label, *("  " * (depth + 1) + line for line in lines)]
    return [f"{label} {lines[0]}".rstrip()]


def _plain(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    return harmless(value) if isinstance(value, str) else json_text(value)
