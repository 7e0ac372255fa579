"""Addresses of PostgreSQL databases: read so that a password is never part of what is shown."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from llmtask.errors import UsageLogError

SCHEMES = ("postgresql://", "postgres://")
_SECRET = ("password", "sslpassword")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is, and the secrets that open it."""

    place: str
    """The URL without its secrets."""
    secrets: dict[str, str] = field(repr=False)
    """`password` and `sslpassword`, as far as the URL has them."""


def is_address(text: object) -> bool:
    """Whether it is a database's URL, and no file's name."""
    return isinstance(text, str) and text.lower().startswith(SCHEMES)


def address(url: str) -> Address:
    """The address that a URL names.

    Raises:
        UsageLogError: It is none. What it says is not repeated: part of it may be a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _mistaken() from error
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    # What follows a raw /, ? or # of a password would be taken for the database's name, and shown.
    if parts.fragment or "@" in parts.path or "@" in parts.query:
        raise _mistaken()
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    secrets = {key: value for key, value in pairs if key in _SECRET}
    if password:
        secrets["password"] = unquote(password)
    shown = "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in pairs if key not in _SECRET)
    account = f"{quote(unquote(name), safe='')}@" if name else ""
    return Address(f"postgresql://{account}{hosts}{parts.path}{f'?{shown}' if shown else ''}", secrets)


def _mistaken() -> UsageLogError:
    return UsageLogError(
        "the usage log's address is no URL of PostgreSQL; write postgresql://user@host:5432/database, with %40 for @, "
        "%2F for /, %3F for ? and %23 for # in a password, or keep the password in PGPASSWORD or ~/.pgpass"
    )
