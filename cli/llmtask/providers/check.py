"""Whether an endpoint can be reached."""

import socket
import urllib.parse

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
