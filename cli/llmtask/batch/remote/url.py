"""The URL of a broker; needs nothing installed."""

from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from llmtask.errors import UsageError

_SCHEMES = ("redis", "rediss")
_PORT = 6379
_LIKE = "redis://:password@host:6379/0"


def place(url: str) -> str:
    """The URL of a broker without its password, for people; the same for all that name the same server alike.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError as error:
        message = f"--broker is no URL ({error}); it looks like {_LIKE}"
        raise UsageError(message) from error
    if parts.scheme == "unix" and parts.path:
        return f"unix://{parts.path}"
    if parts.scheme not in _SCHEMES or not host:
        message = f"--broker is not the URL of a Redis or Valkey server; it looks like {_LIKE}"
        raise UsageError(message)
    database = parts.path.strip("/") or "0"
    if not (database.isascii() and database.isdigit()):
        message = f"--broker names a database that is no number; it looks like {_LIKE}"
        raise UsageError(message)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}/{int(database)}"


def roomy(url: str, connections: int) -> str:
    """The URL with room for so many connections: the default of 100 stalls whoever does more at once."""
    parts = urlsplit(url)
    said = parse_qs(parts.query)
    said.setdefault("max_connections", [str(connections)])
    return urlunsplit(parts._replace(query=urlencode(said, doseq=True)))
