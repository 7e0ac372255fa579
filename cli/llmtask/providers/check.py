"""Whether an endpoint can be reached."""

import socket
import urllib.parse

from llmtask.project import Project, require_trust

_WAIT_S = 3.0


def reach(project: Project, provider_id: str) -> str | None:
    """What keeps a connection to a provider from being made; None where it can be made. Sends nothing.

    Raises:
        UntrustedError: The provider is not the starter's, and the project is not trusted.
    """
    require_trust(project, provider_id)
    parts = urllib.parse.urlsplit(project.config.providers[provider_id].base_url or "")
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
