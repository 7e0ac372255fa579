"""Cassettes: recordings as files that are committed and reviewed, one per item, without keys and without input.

A file is what an item's answers were, in order. Valid JSON stands in it as JSON, not as a string, wherever its text can
be written again to the byte.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmtask.errors import ProjectError, UsageError
from llmtask.project import Project, shown
from llmtask.providers import find_key
from llmtask.service import Asking
from llmtask.testing.run import ItemKey
from llmtask.testing.suite import SUFFIX
from llmtask.testing.tape import Recording
from llmtask.tokens import Tokens

_ABOUT = "Recorded by `llmtask test --record`, played by `--replay`. Holds answers, no input and no keys."
_FORMS: dict[str, dict[str, Any]] = {  # how models write JSON
    "compact": {"separators": (",", ":")},
    "spaced": {},
    "indented": {"indent": 2},
    "indented by 4": {"indent": 4},
}
_PARTS = {"system": "the prompt", "turns": "the answer that was asked about again"}
_UNFIT = re.compile(r'[<>:"/\\|?*%\x00-\x1f]|^\.|[. ]$')
_LONGEST_NAME = 200  # bytes of a file's name; systems take 255
_SHORTEST_SECRET = 8  # characters; shorter ones are in every text


class Cassettes:
    """A folder of cassettes."""

    def __init__(self, folder: Path, project: Project) -> None:
        """Name the folder; the project's keys are kept out of what is written."""
        self.folder = folder
        self._secrets = _secrets(project)
        self._read: dict[Path, dict[str, Recording]] = {}

    def path(self, key: ItemKey) -> Path:
        """Where an item's cassette is: <folder>/<suite's path below tests/>/<case>@<model>-<locale>.json."""
        suite = key.suite.removesuffix(SUFFIX)
        below = suite.removeprefix("tests/") if suite.startswith("tests/") else f"elsewhere/{suite.strip('/')}"
        return self.folder.joinpath(*map(_fit, below.split("/")), f"{_fit(key.name)}.json")

    def recordings(self, key: ItemKey) -> dict[str, Recording]:
        """An item's recordings, by what was asked; none where it has no cassette.

        Raises:
            ProjectError: The file cannot be read, or is no cassette.
        """
        path = self.path(key)
        if path not in self._read:
            self._read[path] = _loaded(path)
        return self._read[path]

    def complaint(self, key: ItemKey, what: Asking, repeat: int) -> str:
        """Why an item has no recording of what would have been asked."""
        path, known = self.path(key), self.recordings(key)
        if not known:
            return f"not recorded: there is no {shown(path)}; --record {shown(self.folder)} makes it"
        changed = min((_changed(one, what) for one in known.values()), key=len)
        why = f"{' and '.join(changed)} changed since" if changed else f"repeat {repeat} is not in it"
        return f"not recorded: {shown(path)}: {why}; --record {shown(self.folder)} records it anew"

    def write(self, key: ItemKey, recordings: Iterable[Recording]) -> None:
        """Put an item's recordings in the place of those that it had.

        Raises:
            ProjectError: The file cannot be written.
        """
        path = self.path(key)
        calls = [_entry(one) for one in sorted(recordings, key=lambda one: (one.repeat, one.at))]
        if not calls:
            return
        document = {"about": _ABOUT, "case": key.case, "model": key.model_id, "locale": key.locale, "calls": calls}
        text = self._without_secrets(json.dumps(document, ensure_ascii=False, indent=2)) + "\n"
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            message = f"{shown(path)}: cannot be written ({error.strerror}); name another folder with --record"
            raise ProjectError(message) from error
        self._read.pop(path, None)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def require_folder(folder: Path) -> None:
    """Stop before the first item where there is nothing to replay.

    Raises:
        UsageError: There is no such folder.
    """
    if not folder.is_dir():
        message = f"--replay: there is no folder {str(folder)!r}; --record {folder} makes one"
        raise UsageError(message)


def _secrets(project: Project) -> list[str]:
    """The keys of all providers, as they would stand in a JSON string."""
    keys = [find_key(project, name) for name in project.config.providers]
    values = {part for key in keys if key for part in (key.value, *key.value.split("."))}
    return sorted((json.dumps(one)[1:-1] for one in values if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)


def _changed(one: Recording, what: Asking) -> list[str]:
    names = sorted({*one.parts, *what.parts})
    return [_PARTS.get(name, f"the {name}") for name in names if one.parts.get(name) != what.parts.get(name)]


def _fit(name: str) -> str:
    """The name as a file may have it everywhere; no two names become one."""
    fit = _UNFIT.sub(lambda found: f"%{ord(found[0]):02x}", name)
    if len(fit.encode()) <= _LONGEST_NAME:
        return fit
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{fit.encode()[: _LONGEST_NAME - 20].decode(errors='ignore')}~{digest}"


def _entry(recording: Recording) -> dict[str, Any]:
    """A recording as a cassette holds it: what is empty is left out."""
    entry = {name: value for name, value in asdict(recording).items() if value not in (None, "", {})}
    if recording.tokens:
        entry["tokens"] = {name: value for name, value in asdict(recording.tokens).items() if value}
    for name in ("text", "tool_arguments"):
        if name in entry:
            entry[name] = _readable(entry[name])
    return entry


def _readable(text: str) -> Any:
    """JSON as such, where its text follows from it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict):
        return text
    form = next((name for name, options in _FORMS.items() if _dumped(value, options) == text), None)
    return {"form": form, "json": value} if form else text


def _dumped(value: Any, options: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _loaded(path: Path) -> dict[str, Recording]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        recordings = [_recording(entry) for entry in document["calls"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{shown(path)}: is no cassette ({type(error).__name__}: {error}); --record makes it anew"
        raise ProjectError(message) from error
    return {one.key: one for one in recordings}


def _recording(entry: dict[str, Any]) -> Recording:
    values = {"first_token_ms": None, **entry, "tokens": Tokens(**entry["tokens"]) if "tokens" in entry else None}
    for name in ("text", "tool_arguments"):
        if isinstance(values.get(name), dict):
            values[name] = _dumped(values[name]["json"], _FORMS[values[name]["form"]])
    return Recording(**values)
