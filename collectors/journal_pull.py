"""Fetches the agents' journals and states: many nodes at once, each within a deadline and a bound on its size.

Owns the connection to an agent and the words for what went wrong. It hands on what an agent says of its hours and
judges none of them; but an answer that names another node than the one asked is refused, whole. Never goes through a
proxy, never follows a redirect.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote, urlsplit

from collectors.errors import Misconfigured, SourceError, Unavailable
from collectors.kube_json import JsonObject
from collectors.timed_http import connection_until

AT_ONCE = 64
"""Agents asked at the same time."""
SECONDS = 15.0
"""For one agent's whole answer."""
MOST_BYTES = 256 * 1024 * 1024
"""Fourteen days of a node with 56 MIG instances and a hundred holders are a tenth of this."""
_CHUNK = 1 << 20
_OUT_OF_DATE = "renew the agent's server.tls_cert_file, or set this machine's clock"
_OTHER_NAME = (
    "give the agent one that bears the host of its address (subjectAltName), or ask it by a name that it bears"
)
_REMEDIES = {9: _OUT_OF_DATE, 10: _OUT_OF_DATE, 62: _OTHER_NAME, 64: _OTHER_NAME}
"""By OpenSSL's ``X509_V_ERR`` codes: not yet valid, expired, another host, another IP address."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where an agent serves its journal."""

    url: str
    """``http://10.0.0.7:9477`` or https; a path before ``/v1/hours`` stands in it."""
    node: str = ""
    """Whose journal has to be there; empty: whoever answers."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What an agent answered."""

    address: AgentAddress
    node: str
    source: str
    change: int
    """What to ask with next time, so that only newer closed hours come."""
    hours: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What an agent says of its node now: ``/v1/state``."""

    address: AgentAddress
    state: JsonObject


@dataclass(frozen=True, slots=True)
class Silent:
    """An agent that gave no answer, or none of its kind, and why."""

    address: AgentAddress
    reason: str


class JournalPull:
    """Asks agents for their hours.

    Args:
        token_file: the bearer token that agents ask for; read again at each pull, never shown.
        ca_file: what the agents' certificates are signed with; ``None`` trusts the system's authorities.
        seconds: for one agent's whole answer.
        at_once: agents asked at the same time, which bounds memory and sockets.
        most_bytes: of one answer.
    """

    def __init__(
        self,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        seconds: float = SECONDS,
        at_once: int = AT_ONCE,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._token_file = token_file
        self._ca_file = ca_file
        self._seconds = seconds
        self._at_once = at_once
        self._most_bytes = most_bytes

    def pull(self, asked: Sequence[tuple[AgentAddress, str]], at_once: int | None = None) -> Iterator[Journal | Silent]:
        """Each agent's hours since what is said beside its address, in the order in which they answer.

        Args:
            asked: addresses with ``change:N`` of the last answer, an hour such as ``2026-11-22T06:00:00Z``, or nothing
                for all that is kept.
            at_once: fewer at a time than usual, where much is asked for.

        Raises:
            Misconfigured: the token or the certificates cannot be read: no agent could be asked.
        """
        yield from self._each([(address, _hours_path(since), self._journal) for address, since in asked], at_once)

    def states(self, asked: Iterable[AgentAddress]) -> Iterator[State | Silent]:
        """What each agent says of its node now, in the order in which they answer.

        Raises:
            Misconfigured: as :meth:`pull`.
        """
        yield from self._each([(address, "/v1/state", _state) for address in asked], None)

    def _each(
        self, asked: Sequence[tuple[AgentAddress, str, Callable[[AgentAddress, bytes], T]]], at_once: int | None
    ) -> Iterator[T | Silent]:
        headers = self._headers()
        context = self._context(needed=any(address.url.lower().startswith("https:") for address, *_ in asked))
        waiting: set[Future[T | Silent]] = set()
        most = min(at_once or self._at_once, self._at_once)

        def ask(address: AgentAddress, path: str, read: Callable[[AgentAddress, bytes], T]) -> T | Silent:
            try:
                return read(address, self._fetch(address, path, headers, context))
            except (OSError, http.client.HTTPException) as error:
                return Silent(address, _no_answer(error))
            except SourceError as error:
                return Silent(address, str(error))
            except ValueError as error:
                return Silent(address, f"is no address that can be asked ({error}): write http://HOST:PORT")

        with ThreadPoolExecutor(most, thread_name_prefix="pull") as pool:
            for each in asked:
                waiting.add(pool.submit(ask, *each))
                # no more answers are held than are asked for at once
                if len(waiting) >= 2 * most:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (each.result() for each in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)

    def _fetch(
        self, address: AgentAddress, path: str, headers: dict[str, str], context: ssl.SSLContext | None
    ) -> bytes:
        parts = urlsplit(address.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misconfigured("is no address: write http://HOST:PORT or https://HOST:PORT")
        try:
            with closing(connection_until(time.monotonic() + self._seconds, parts, context)) as connection:
                connection.request("GET", f"{parts.path.rstrip('/')}{path}", headers=headers)
                with connection.getresponse() as response:
                    _check(response.status)
                    return self._body(response)
        except TimeoutError as error:
            raise TimeoutError(f"no whole answer within {self._seconds:g} s") from error

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._most_bytes:
                raise Unavailable(f"answered more than {self._most_bytes} bytes: it was given up")
        if response.length:
            raise http.client.IncompleteRead(bytes(body), response.length)
        return bytes(body)

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"}
        except OSError as error:
            raise Misconfigured(f"the agents' token {self._token_file} cannot be read: {error.strerror}") from error

    def _context(self, *, needed: bool) -> ssl.SSLContext | None:
        if self._ca_file is None:
            return ssl.create_default_context() if needed else None
        try:
            return ssl.create_default_context(cafile=str(self._ca_file))
        except OSError as error:
            raise Misconfigured(f"the certificates in {self._ca_file} cannot be read: {error}") from error

    def _journal(self, address: AgentAddress, body: bytes) -> Journal:
        try:
            said = json.loads(body)
            journal = Journal(
                address,
                node=str(said["node"]),
                source=str(said["source"]),
                change=int(said["change"]),
                hours=tuple(cast("list[JsonObject]", said["hours"])),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"answered what is no journal ({type(error).__name__}): is it a wattledger agent?"
            ) from error
        if address.node and journal.node != address.node:
            raise Misconfigured(
                f"is asked for the hours of {address.node} and serves those of {journal.node}: nothing of it is "
                "booked; set agent.node_name on that node, or mend its address"
            )
        return journal


def _hours_path(since: str) -> str:
    return f"/v1/hours?since={quote(since)}" if since else "/v1/hours"


def _state(address: AgentAddress, body: bytes) -> State:
    try:
        said: object = json.loads(body)
    except ValueError as error:
        raise Unavailable("answered what is no JSON: is it a wattledger agent?") from error
    if not isinstance(said, dict):
        raise Unavailable("answered what is no state: is it a wattledger agent?")
    state = cast("JsonObject", said)
    if address.node and state.get("node") != address.node:
        raise Misconfigured(
            f"is asked for the state of {address.node} and serves that of {state.get('node')}: set agent.node_name on "
            "that node, or mend its address"
        )
    return State(address, state)


def _no_answer(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = _REMEDIES.get(error.verify_code, "set controller.agents.ca_file to what the agents' are signed with")
        return f"shows a certificate that is not accepted ({error.verify_message.rstrip('.')}): {remedy}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return f"speaks no TLS that we know ({error.reason}): is it http:// where its address says https://?"
    return f"does not answer ({str(error) or type(error).__name__}): does the agent run there?"


def _check(status: int) -> None:
    if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
        raise Misconfigured(f"refuses the token ({status}): set controller.agents.token_file to the agents' own")
    if status != http.client.OK:
        raise Unavailable(f"answered {status}: is it a wattledger agent?")
