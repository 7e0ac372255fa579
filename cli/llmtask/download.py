"""Fetches a file over HTTP, bounded in size and time, and nothing but what was asked for; sends a document."""

import time
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmtask.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

_CONNECT_S = 10
_MOST_REDIRECTS = 5


def download(url: str, *, most_bytes: int, total_s: float = 60) -> bytes:
    """The file at a URL.

    Args:
        url: An http or https URL.
        most_bytes: The largest file to take.
        total_s: The longest to wait for all of it.

    Raises:
        DownloadError: It cannot be fetched, or is larger; says why.
    """
    import httpx2  # 90 ms that whoever fetches nothing saves

    try:
        with (
            httpx2.Client(follow_redirects=True, max_redirects=_MOST_REDIRECTS, timeout=_CONNECT_S) as client,
            client.stream("GET", url, headers={"User-Agent": "llmtask"}) as response,
        ):
            _check(url, response)
            return _body(url, response, most_bytes, time.monotonic() + total_s)
    except httpx2.TimeoutException as error:
        raise _failed(url, f"no answer within {_CONNECT_S} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise _failed(url, " ".join(str(error).split()) or type(error).__name__) from error


def post(url: str, document: Mapping[str, str]) -> None:
    """Send a document as JSON.

    Raises:
        DownloadError: It was not taken.
    """
    import httpx2  # as above

    try:
        response = httpx2.post(url, json=dict(document), timeout=_CONNECT_S, headers={"User-Agent": "llmtask"})
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        message = f"{without_password(url)} cannot be reached: {type(error).__name__}"
        raise DownloadError(message) from error
    if not response.is_success:
        message = f"{without_password(url)} does not take it: HTTP {response.status_code}"
        raise DownloadError(message)


def _check(url: str, response: "httpx2.Response") -> None:
    if url.lower().startswith("https:") and response.url.scheme != "https":
        raise _failed(url, f"it redirects to {response.url.host} without encryption")
    if response.status_code != 200:
        raise _failed(url, f"HTTP {response.status_code} {response.reason_phrase}".strip())


def _body(url: str, response: "httpx2.Response", most_bytes: int, deadline: float) -> bytes:
    found = bytearray()
    for piece in response.iter_bytes():
        found += piece
        if len(found) > most_bytes:
            raise _failed(url, f"it is larger than {most_bytes // 2**20} MiB")
        if time.monotonic() > deadline:
            raise _failed(url, "it did not come to its end in time")
    return bytes(found)


def _failed(url: str, why: str) -> DownloadError:
    message = f"{without_password(url)} cannot be fetched: {why}"
    return DownloadError(message)


def without_password(url: str) -> str:
    """A URL that may be shown and stored."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return repr(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
