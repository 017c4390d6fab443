"""Asks a Prometheus HTTP API: instant queries, whole or not at all.

Owns the grammar of its answers and the words for what went wrong. An answer with warnings is partial (Thanos and Mimir
say so when a store does not answer) and is refused like none: what is booked from half an answer could never be told
from the truth. Must never put a secret into a message.
"""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from collectors.errors import Misconfigured, Unavailable
from collectors.prometheus_settings import PrometheusSettings
from collectors.timed_http import connection_until

TRIES = 3
PAUSE_SECONDS = 2.0
MOST_BYTES = 512 * 1024 * 1024
_CHUNK = 1 << 20
_RETRIED = frozenset({429, 500, 502, 503, 504})
_MOST_REASON = 300


class QueryRefused(Unavailable):
    """It answers, but not this query, or not whole; another may have its answer."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Unix seconds and value; one point in the answer to an instant vector."""

    @property
    def value(self) -> float:
        """The last point's."""
        return self.points[-1][1]


class PrometheusApi:
    """One API; may be used by several threads.

    Args:
        settings: where it is and how to be let in.
        pause: waits so many seconds between two tries.
    """

    def __init__(self, settings: PrometheusSettings, pause: Callable[[float], None] = time.sleep) -> None:
        if settings.url is None:
            raise Misconfigured("no Prometheus is configured: set prometheus.url or give --prometheus URL")
        self._url = settings.url
        self._settings = settings
        self._pause = pause

    def query(self, expression: str, at: float) -> list[Series]:
        """An instant query; a range selector such as ``metric[1h]`` gives raw samples.

        Args:
            expression: PromQL.
            at: Unix seconds.

        Raises:
            QueryRefused: a refusal of this query, or a partial answer.
            Unavailable: no answer after some tries; the message has the remedy.
            Misconfigured: it lets us not in, or a secret's file cannot be read.
        """
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                self._pause(PAUSE_SECONDS * attempt)
            try:
                status, body = self._post(urlencode({"query": expression, "time": f"{at:.3f}"}))
            except (OSError, http.client.HTTPException) as error:
                reason = f"does not answer ({str(error) or type(error).__name__})"
                continue
            if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
                raise Misconfigured(
                    f"{self._url} refuses us ({status}): set prometheus.token_file, or username and password_file, or "
                    "tenant"
                )
            if status in _RETRIED:
                reason = f"answers {status}"
                continue
            return self._series(status, body, expression)
        raise Unavailable(f"{self._url} {reason}, {TRIES} times: nothing is booked of it, and it will be asked again")

    def _post(self, form: str) -> tuple[int, bytes]:
        parts = urlsplit(self._url)
        seconds = self._settings.timeout_seconds
        context = self._context() if parts.scheme == "https" else None
        headers = self._headers()
        try:
            with closing(connection_until(time.monotonic() + seconds, parts, context)) as connection:
                connection.request("POST", f"{parts.path}/api/v1/query", form, headers)
                with connection.getresponse() as response:
                    return response.status, _body(response)
        except TimeoutError as error:
            raise TimeoutError(f"no whole answer within {seconds:g} s") from error

    def _headers(self) -> dict[str, str]:
        settings = self._settings
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if settings.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(settings.token_file)}"
        if settings.username is not None and settings.password_file is not None:
            pair = f"{settings.username}:{_secret(settings.password_file)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        if settings.tenant is not None:
            headers["X-Scope-OrgID"] = settings.tenant
        return headers

    def _context(self) -> ssl.SSLContext:
        file = self._settings.ca_file
        try:
            return ssl.create_default_context(cafile=None if file is None else str(file))
        except OSError as error:
            raise Misconfigured(f"prometheus.ca_file {self._settings.ca_file} cannot be read: {error}") from error

    def _series(self, status: int, body: bytes, expression: str) -> list[Series]:
        try:
            said = cast("dict[str, Any]", json.loads(body))
            if said["status"] != "success":
                reason = str(said.get("error", ""))[:_MOST_REASON]
                raise QueryRefused(f"{self._url} answers {status} to {expression[:_MOST_REASON]}: {reason}")
            if said.get("warnings") or said.get("isPartial"):
                told = "; ".join(str(each) for each in said.get("warnings") or ["isPartial"])[:_MOST_REASON]
                raise QueryRefused(f"{self._url} answers in part only ({told}): nothing is booked of it")
            return [_one(each) for each in said["data"]["result"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"{self._url} answers {status} with what is no Prometheus API: mend prometheus.url"
            ) from error


def _one(said: Mapping[str, Any]) -> Series:
    points = said["values"] if "values" in said else [said["value"]]
    return Series(dict(said["metric"]), tuple((float(when), float(value)) for when, value in points))


def _body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > MOST_BYTES:
            raise QueryRefused(f"an answer of more than {MOST_BYTES} bytes was given up; ask for fewer nodes at once")
    if response.length:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _secret(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Misconfigured(f"{file} cannot be read: {error.strerror}") from error
