"""The URL of a broker; needs nothing installed."""

from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from llmtask.errors import UsageError

_SCHEMES = ("redis", "rediss", "unix")


def place(url: str) -> str:
    """The URL of a broker without its password, for people.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        message = f"--broker is no URL ({error}); it looks like redis://:password@host:6379/0"
        raise UsageError(message) from error
    if parts.scheme not in _SCHEMES or not (host or parts.path):
        message = "--broker is not the URL of a Redis or Valkey server; it looks like redis://:password@host:6379/0"
        raise UsageError(message)
    return f"{parts.scheme}://{host}{port}{parts.path}"


def roomy(url: str, connections: int) -> str:
    """The URL with room for so many connections: the default of 100 stalls whoever does more at once."""
    parts = urlsplit(url)
    said = parse_qs(parts.query)
    said.setdefault("max_connections", [str(connections)])
    return urlunsplit(parts._replace(query=urlencode(said, doseq=True)))
