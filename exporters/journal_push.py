"""Sends the agent's open hour to the controller when the agent ends, so that a node that goes takes no minutes along.

Owns the request and its bound: whatever hangs, name server or peer, the agent ends in time. What is not sent is lost
only where the node is: else the controller pulls it later.
"""

import http.client
import logging
import ssl
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)

PATH = "/api/v1/hours"


@dataclass(frozen=True, slots=True)
class JournalPush:
    """Where the hour is sent."""

    url: str
    """The controller's address; a path before ``/api/v1`` stands in it."""
    token_file: Path | None = None
    ca_file: Path | None = None
    seconds: float = 5.0
    """For all of it."""

    def push(self, body: bytes) -> bool:
        """Send it; whether it was taken. A failure is logged, once, and is no error."""
        said: list[str] = []
        sender = threading.Thread(target=lambda: said.append(self._attempt(body)), name="push", daemon=True)
        sender.start()
        sender.join(self.seconds)
        why = said[0] if said else f"no answer within {self.seconds:g} s"
        if why:
            _log.warning("the open hour was not sent to %s: %s", self.url, why)
        return not why

    def _attempt(self, body: bytes) -> str:
        """Why it was not taken; empty: it was."""
        try:
            return self._send(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return str(error) or type(error).__name__

    def _send(self, body: bytes) -> str:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        headers = {"Content-Type": "application/json"}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {self.token_file.read_text(encoding='ascii').strip()}"
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=self.seconds, context=self._context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=self.seconds)
        )
        with closing(connection):
            connection.request("POST", parts.path.rstrip("/") + PATH, body=body, headers=headers)
            with connection.getresponse() as answer:
                text = answer.read(500).decode("utf-8", "replace").strip()
        if answer.status == http.client.OK:
            return ""
        return f"it answered {answer.status}: {text}"

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
