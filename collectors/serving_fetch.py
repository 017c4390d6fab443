"""Fetches one metrics page over HTTP within a limit of time and size.

Owns the connection and the words for what went wrong. Never goes through a proxy, never follows a redirect, sends no
credentials, and asks for no compression: on one node it would only cost CPU on both ends.
"""

import http.client
import ssl
import time
import urllib.parse
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from collectors.errors import Misconfigured, Unavailable
from collectors.openmetrics import MAX_PAGE_BYTES, PageRefused, read_page
from collectors.timed_http import connection_until
from collectors.web_address import masked

FETCH_SECONDS = 2.0
"""Default limit of a whole fetch, connection included."""

_ACCEPT = "text/plain;version=0.0.4"


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """The bytes of a page."""

    body: bytes
    whole: bool
    """Whether the transport vouches for its length."""


class Fetch(Protocol):
    """Gets a page, or raises Unavailable."""

    def __call__(self, url: str, *, timeout_seconds: float, max_bytes: int) -> FetchedPage:
        """The page at ``url``."""
        ...


@lru_cache(maxsize=1024)
def split_url(url: str) -> urllib.parse.SplitResult:
    """The parts of a page's address.

    Raises:
        Misconfigured: it is no http or https address, or bears a user's name.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and url.isprintable()
        usable = usable and "@" not in parts.netloc and " " not in url
    except ValueError:
        usable = False
    else:
        if usable:
            return parts
    raise Misconfigured(f"the address of a metrics page is {masked(url)!r}: it has to be http://HOST:PORT/PATH")


def fetch_page(url: str, *, timeout_seconds: float = FETCH_SECONDS, max_bytes: int = MAX_PAGE_BYTES) -> FetchedPage:
    """The page at ``url``. The certificate of an https page is not verified: a pod's address has none to its name.

    Raises:
        Unavailable: no connection, no whole answer in time, another status than 200, an answer in no plain encoding.
        PageRefused: the page is longer than ``max_bytes``.
        Misconfigured: ``url`` is no address.
    """
    parts = split_url(url)
    ends = time.monotonic() + timeout_seconds
    try:
        with closing(_connection(parts, ends)) as connection:
            return _get(connection, parts, max_bytes)
    except PageRefused as error:
        raise PageRefused(f"{url}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        if not (isinstance(error, TimeoutError) or time.monotonic() >= ends):
            raise Unavailable(
                f"{url} does not answer ({str(error) or type(error).__name__}): "
                "check that the engine runs, and the port and path of its metrics"
            ) from error
    raise Unavailable(
        f"{url} did not end within {timeout_seconds:g} s: look at the engine's load, or raise serving.timeout_seconds"
    )


def _get(connection: http.client.HTTPConnection, parts: urllib.parse.SplitResult, max_bytes: int) -> FetchedPage:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"})
    with connection.getresponse() as response:
        _check(response, parts.geturl())
        # A page that says how long it is needs no room to grow.
        fits = response.length is not None and response.length <= max_bytes
        body = response.read(response.length) if fits else read_page(response, max_bytes)
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return FetchedPage(body, whole=response.length is not None or response.chunked)


def _check(response: http.client.HTTPResponse, url: str) -> None:
    if http.client.MULTIPLE_CHOICES <= response.status < http.client.BAD_REQUEST:
        raise Unavailable(
            f"{url} redirects ({response.status}), which is not followed: give the address of the page itself"
        )
    if response.status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        raise Unavailable(f"{url} answers {response.status}: let this node read the page without credentials")
    if response.status != http.client.OK:
        raise Unavailable(f"{url} answers {response.status} {response.reason}: check the port and path of its metrics")
    encoding = response.getheader("Content-Encoding", "identity")
    if encoding != "identity":
        raise Unavailable(f"{url} answers in {encoding!r} although plain text was asked for: turn compression off")


def _connection(parts: urllib.parse.SplitResult, ends: float) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return connection_until(ends, parts, None)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return connection_until(ends, parts, context)
