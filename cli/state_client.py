"""Fetches `/v1/state` from a running agent, and says in one line why where that fails."""

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from collectors.errors import Misconfigured, Unavailable
from collectors.web_address import masked, web_address
from exporters.state import NodeState

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class StateClient:
    """Where the agent is and how to be let in."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None

    def fetch(self) -> NodeState:
        """The agent's state now.

        Raises:
            Misconfigured: address, token or certificate are not right.
            Unavailable: nobody answers there, or not as an agent does.
        """
        request = urllib.request.Request(f"{self.url.rstrip('/')}/v1/state", headers=self._headers())  # noqa: S310  (the scheme is checked)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=self._tls()) as answer:  # noqa: S310
                return self._state(answer.read(_MAX_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error.code) from error
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from error
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error

    def _headers(self) -> dict[str, str]:
        try:
            web_address(self.url, such_as="http://127.0.0.1:9477", instead="give --token-file")
        except ValueError as error:
            raise Misconfigured(f"--url {masked(self.url)}: {error}") from error
        if self.token_file is None:
            return {}
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise Misconfigured(f"--token-file {self.token_file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise Misconfigured(f"--token-file {self.token_file}: is not a token (not ASCII)") from error
        if not token or not token.isprintable():
            raise Misconfigured(f"--token-file {self.token_file}: found no token of one line in it")
        return {"Authorization": f"Bearer {token}"}

    def _tls(self) -> ssl.SSLContext | None:
        if urlsplit(self.url).scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise Misconfigured(f"--ca-file {self.ca_file}: is no readable certificate ({error.strerror})") from error

    def _state(self, body: bytes) -> NodeState:
        try:
            state: object = json.loads(body)
        except ValueError as error:
            raise Unavailable(f"{self.url} answers, but not as a wattledger agent does; is the port right?") from error
        if not isinstance(state, dict) or not NodeState.__required_keys__ <= state.keys():
            raise Unavailable(
                f"{self.url} answers as an agent of another version; use the same wattledger here and there"
            )
        return cast("NodeState", state)

    def _refused(self, status: int) -> Misconfigured | Unavailable:
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            remedy = "it does not take this token" if self.token_file else "give --token-file"
            return Misconfigured(f"{self.url} asks for a token: {remedy}")
        if status == HTTPStatus.NOT_FOUND:
            return Unavailable(f"{self.url} has no /v1/state: is this a wattledger agent?")
        return Unavailable(f"{self.url} answers with status {status}; its log says why")

    def _unreachable(self, reason: object) -> Misconfigured | Unavailable:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return Misconfigured(f"{self.url}: certificate not trusted ({reason.verify_message}); give --ca-file")
        if isinstance(reason, ssl.SSLError):
            return Unavailable(f"{self.url} does not speak TLS; try http://")
        why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return Unavailable(f"{self.url} does not answer ({why}); start `wattledger up` there, or give --url")
