"""Whether an endpoint can be reached, and whether a model answers."""

import socket
import urllib.parse

from llmtask.project import Project
from llmtask.providers.call import Request

_WAIT_S = 3.0


def reach(base_url: str) -> str | None:
    """What keeps a connection to a server from being made; None where it can be made. Sends nothing.

    Args:
        base_url: The URL of its API.
    """
    parts = urllib.parse.urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_WAIT_S):
            return None
    except socket.gaierror:
        return f"cannot be reached: the name {parts.hostname!r} is not known (no network?)"
    except TimeoutError:
        return f"cannot be reached: no answer within {_WAIT_S:g} s"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"


def check_model(project: Project, model_id: str) -> str:
    """Ask a model for one word.

    Returns:
        The model's name as its answer carried it.

    Raises:
        LlmtaskError: It cannot be asked, or did not answer.
    """
    from llmtask.providers import open_chat  # this package's own door

    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    request = Request("Answer in JSON.", 'Answer with the JSON object {"ok": true}.', schema)
    chat = open_chat(project, model_id, project.config.defaults.timeouts)
    names = [delta.model for delta in chat.ask(request, live=False) if delta.model]
    return names[-1] if names else project.model(model_id).name
