"""Tells somebody when a batch stops, breaks or is done: a command of theirs, or a webhook."""

import json
import os
import shlex
import subprocess
import threading
import urllib.request
from typing import Literal, TypeAlias

from llmtask.errors import UsageError

Kind: TypeAlias = Literal["stop", "circuit", "done"]
_PATIENCE_S = 10.0


class Alerts:
    """Sends alerts, each in a thread of its own: no batch waits for one, or fails with one."""

    def __init__(self, target: str | None, run_id: str) -> None:
        """Take where they go.

        Args:
            target: A URL, which gets `{"event": ..., "batch": ..., "text": ...}` by POST, or a command, which gets the
                same on its standard input; None for nowhere.
            run_id: The batch.

        Raises:
            UsageError: It is no command.
        """
        self._target, self._run_id = target, run_id
        self._threads: list[threading.Thread] = []
        self.problems: list[str] = []
        """What went wrong with them, for people."""
        self._command: list[str] = []
        if target and not _is_url(target):
            try:
                self._command = shlex.split(target)
            except ValueError as error:
                message = f"--alert {target!r} is neither a URL nor a command ({error})"
                raise UsageError(message) from error

    def send(self, kind: str, text: str) -> None:
        """Send one."""
        if self._target:
            thread = threading.Thread(target=self._send, args=(kind, text), name="llmtask-alert", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Give those on their way some seconds."""
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def _send(self, kind: str, text: str) -> None:
        document = json.dumps({"event": kind, "batch": self._run_id, "text": text}, ensure_ascii=False).encode()
        try:
            if self._command:
                environment = {**os.environ, "LLMTASK_EVENT": kind, "LLMTASK_BATCH": self._run_id}
                subprocess.run(  # noqa: S603  # the user's own command, given on the command line
                    self._command, input=document, env=environment, check=True, timeout=_PATIENCE_S, capture_output=True
                )
            else:
                _post(str(self._target), document)
        except (OSError, subprocess.SubprocessError) as error:
            self.problems.append(f"the alert of {kind!r} was not taken: {type(error).__name__}")


def _is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def _post(url: str, document: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, document, headers, method="POST")  # noqa: S310  # http or https: see above
    with urllib.request.urlopen(request, timeout=_PATIENCE_S):  # noqa: S310  # as above
        pass
