"""Tells somebody when a batch stops, breaks or is done: a command of theirs, or a webhook."""

import json
import shlex
import subprocess
import threading

from llmtask.download import post
from llmtask.errors import DownloadError, UsageError

_PATIENCE_S = 10.0


class Alerts:
    """Sends alerts, each in a thread of its own: no batch waits for one, or fails with one."""

    def __init__(self, target: str | None) -> None:
        """Take where they go.

        Args:
            target: A URL, which gets `{"event": "stop" | "circuit" | "done", "text": "..."}` by POST, or a command,
                which gets the same on its standard input; None for nowhere.

        Raises:
            UsageError: It is no command.
        """
        self._target = target
        self._threads: list[threading.Thread] = []
        self.problems: list[str] = []
        """What went wrong with them, for people."""
        self._command: list[str] = []
        if target and not target.startswith(("http://", "https://")):
            try:
                self._command = shlex.split(target)
            except ValueError as error:
                message = f"--alert {target!r} is neither a URL nor a command ({error})"
                raise UsageError(message) from error

    def send(self, event: str, text: str) -> None:
        """Send one."""
        if self._target:
            document = {"event": event, "text": text}
            thread = threading.Thread(target=self._send, args=(document,), name="llmtask-alert", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Give those on their way some seconds."""
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def _send(self, document: dict[str, str]) -> None:
        try:
            if self._command:
                said = json.dumps(document, ensure_ascii=False).encode()
                subprocess.run(  # noqa: S603  # the user's own command, given on the command line
                    self._command, input=said, check=True, timeout=_PATIENCE_S, capture_output=True
                )
            else:
                post(str(self._target), document)
        except (OSError, subprocess.SubprocessError, DownloadError) as error:
            self.problems.append(f"the alert of {document['event']!r} was not taken: {error}")
