"""What the cloud says this machine is, and a careful client of its metadata server.

Owns the identity and the transport. The client goes to the link-local address alone: no proxy, no redirect, a short
time limit, a bounded answer. Must never trust what comes back: whoever stands at that address (a captive portal, a
proxy that catches all) gets its answer refused.
"""

import http.client
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from collectors.errors import Unavailable

Provider = Literal["aws", "azure", "gcp"]
CloudCapacityType = Literal["on_demand", "spot"]

METADATA_SERVER = "http://169.254.169.254"
LARGEST_ANSWER_BYTES = 64 * 1024
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class CloudIdentity:
    """The instance that this machine is, in its provider's own names."""

    provider: Provider
    instance_id: str
    instance_type: str
    region: str
    zone: str | None
    capacity_type: CloudCapacityType | None
    """``None`` where the provider did not say. A reserved or committed instance looks on-demand from inside."""
    account: str | None
    """AWS account, Azure subscription, GCP project."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer; header names in small letters."""

    text: str
    headers: Mapping[str, str]


def json_strings(text: str) -> dict[str, str] | None:
    """The plain strings of a JSON object; ``None`` where ``text`` is none."""
    try:
        document: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    items = cast("dict[str, object]", document).items()
    return {key: value for key, value in items if isinstance(value, str)}


@dataclass(frozen=True, slots=True)
class MetadataServer:
    """One provider's metadata server."""

    cloud: str
    """How messages name the provider."""
    remedy: str
    """What to do when it does not answer."""
    base_url: str = METADATA_SERVER
    timeout_seconds: float = 0.5

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """GET ``path``.

        Raises:
            Unavailable: no answer in time, an error status, a redirect, or more than 64 KiB.
        """
        return self.ask("GET", path, headers)

    def find(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        """GET ``path``; ``None`` where the server says that there is no such thing (404).

        Raises:
            Unavailable: as :meth:`get`.
        """
        status, answer = self._exchange("GET", path, headers)
        return None if status == http.client.NOT_FOUND else self._accept(path, status, answer)

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Ask with any method.

        Raises:
            Unavailable: as :meth:`get`.
        """
        return self._accept(path, *self._exchange(method, path, headers))

    def field(self, name: str, text: str, pattern: str) -> str:
        """``text`` where it is what a ``name`` can be.

        Raises:
            Unavailable: it is something else.
        """
        value = text.strip()
        if not re.fullmatch(pattern, value):
            raise self.refusal(f"gave {value[:60]!r} as its {name}")
        return value

    def refusal(self, what: str) -> Unavailable:
        """The error for an answer that cannot be the metadata server's."""
        return Unavailable(
            f"{self.cloud} metadata server at {self.base_url} {what}: this is not its answer;"
            " see whether a proxy or captive portal answers for the link-local address 169.254.169.254"
        )

    def _accept(self, path: str, status: int, answer: Answer) -> Answer:
        if status in _REDIRECTS:
            raise self.refusal(f"redirected {path} to {answer.headers.get('location', 'nowhere')[:80]!r}")
        if status != http.client.OK:
            raise Unavailable(f"{self.cloud} metadata server refused {path} (HTTP {status}): {self.remedy}")
        return answer

    def _exchange(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Answer]:
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port or 80, timeout=self.timeout_seconds
        )
        deadline = time.monotonic() + self.timeout_seconds
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            body = self._read(response, path, deadline)
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, Answer(body.decode("utf-8", "replace"), named)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"{self.cloud} metadata server at {self.base_url} did not answer within"
                f" {self.timeout_seconds:g} s ({type(error).__name__}): {self.remedy}"
            ) from error
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse, path: str, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(8192):
            body += chunk
            if len(body) > LARGEST_ANSWER_BYTES:
                raise self.refusal(f"answered {path} with more than {LARGEST_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError(path)
        return bytes(body)
