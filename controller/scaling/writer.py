"""One write to the API server: upon the version that was read, at the configured rate, and told by how it ended.

Owns waiting: for a turn, and after an answer that asks for it. Must never write without ``resourceVersion``, and never
repeat a write that may have happened: who reads the object again knows more than who asks twice.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unavailable, Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_errors import Busy, Conflict, Refused, Rejected
from collectors.kube_follow import Backoff
from collectors.kube_json import JsonObject, child, text
from controller.scaling.act import Result, Wrote
from controller.scaling.kind import Kind
from controller.scaling.model import Ref, Seen
from controller.scaling.patches import Patch
from controller.scaling.rate import TokenBucket

MOST_TRIES = 5
"""Of one write that the server each time did not take up (429)."""
MOST_WAIT_SECONDS = 30
"""Who is asked to wait longer does other things meanwhile."""
_ANSWERS: tuple[tuple[type[SourceError], Result], ...] = (
    (Conflict, "conflict"),
    (Unsupported, "gone"),
    (Refused, "forbidden"),
    (Rejected, "refused"),
)


class Health(Protocol):
    """Who wants to know whether the API server answers."""

    def good(self, now_ns: int, /) -> None:
        """It answered; a refusal is an answer."""
        ...

    def bad(self, now_ns: int, why: str, /) -> None:
        """It did not, or failed."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """When a writer writes."""

    clock: Clock
    stop: threading.Event
    """Ends every wait."""
    bucket: TokenBucket
    backoff: Backoff


class Writer:
    """Writes patches; several threads may use it.

    Args:
        api: the API server.
        served: the version in which it has a kind, by the kind's name; empty where it has none.
        pace: rate and waits.
        health: is told how the API server answers.
    """

    def __init__(self, api: KubeApi, served: Callable[[str], str], pace: Pace, health: Health) -> None:
        self._api = api
        self._served = served
        self._pace = pace
        self._health = health
        self._lock = threading.Lock()
        self._held_until_ns = 0

    def write(self, kind: Kind, ref: Ref, patch: Patch, version: str) -> Wrote:
        """Write one patch if the object still stands at ``version``.

        It is tried again only where the server did certainly not take it up.
        """
        api_version = self._served(kind.name)
        if not api_version:
            return Wrote("gone", why=f"the API server has no {kind.name}")
        path = object_path(kind, api_version, ref)
        body = {**patch.body, "metadata": {**child(patch.body, "metadata"), "resourceVersion": version}}
        subresource = "scale" if patch.place == "scale" else ""
        return self._tried(f"patch {path}", lambda: _version(self._api.patch(path, body, subresource=subresource)))

    def create(self, kind: Kind, ref: Ref, item: JsonObject) -> Wrote:
        """Make one object; ``conflict``: it is there already. Tried again as :meth:`write` is."""
        api_version = self._served(kind.name)
        if not api_version:
            return Wrote("gone", why=f"the API server has no {kind.name}")
        folder = object_path(kind, api_version, ref).rpartition("/")[0]
        return self._tried(f"create {folder}", lambda: _version(self._api.write("create", folder, item)))

    def delete(self, kind: Kind, seen: Seen) -> Wrote:
        """Delete one object if it still stands as it was seen. Tried again as :meth:`write` is."""
        api_version = self._served(kind.name)
        if not api_version:
            return Wrote("gone", why=f"the API server has no {kind.name}")
        path = object_path(kind, api_version, seen.ref)

        def ask() -> str:
            self._api.delete(path, seen.uid, seen.version)
            return seen.version

        return self._tried(f"delete {path}", ask)

    def _tried(self, what: str, ask: Callable[[], str]) -> Wrote:
        """Ask until the server took it up; ``ask`` gives the version that stands then."""
        why = ""
        for _ in range(MOST_TRIES):
            late = self._wait()
            if late:
                return Wrote("unknown", why=f"not written: {late}" + (f", after {why}" if why else ""))
            wrote = self._once(what, ask)
            if isinstance(wrote, Wrote):
                return wrote
            why = wrote
        return Wrote("unknown", why=f"not written, {MOST_TRIES} times: {why}")

    def _wait(self) -> str:
        """Wait for a turn; why there is none, or empty."""
        clock = self._pace.clock
        with self._lock:
            now_ns = clock.monotonic_ns()
            held_ns = self._held_until_ns - now_ns
            if held_ns > MOST_WAIT_SECONDS * NS_PER_SECOND:
                return f"the API server asks to be left alone for {held_ns // NS_PER_SECOND} s"
            wait_ns = max(held_ns, self._pace.bucket.take(now_ns))
        if self._pace.stop.is_set() or (wait_ns > 0 and clock.wait(self._pace.stop, wait_ns)):
            return "the controller is stopping"
        return ""

    def _once(self, what: str, ask: Callable[[], str]) -> Wrote | str:
        """One try; where the server did not take it up, what it said."""
        try:
            version = ask()
        except (Conflict, Unsupported, Refused, Rejected) as error:
            return self._answered(next(result for kind, result in _ANSWERS if isinstance(error, kind)), error)
        except Busy as error:
            self._failed(error, error.retry_after_seconds)
            return str(error) if error.untouched else Wrote("unknown", why=str(error))
        except Unavailable as error:
            self._failed(error)
            return Wrote("unknown", why=str(error))
        if not version:
            return self._answered("unknown", f"the API server answered {what} without a resource version")
        self._answered("done")
        return Wrote("done", version)

    def _answered(self, result: Result, why: object = "") -> Wrote:
        self._health.good(self._pace.clock.monotonic_ns())
        with self._lock:
            self._pace.backoff.reset()
        return Wrote(result, why=str(why))

    def _failed(self, error: Exception, least_seconds: float = 0.0) -> None:
        now_ns = self._pace.clock.monotonic_ns()
        self._health.bad(now_ns, str(error))
        with self._lock:
            seconds = max(least_seconds, self._pace.backoff.next_seconds())
            self._held_until_ns = max(self._held_until_ns, now_ns + int(seconds * NS_PER_SECOND))


def _version(answer: JsonObject) -> str:
    return text(answer, "metadata", "resourceVersion")


def object_path(kind: Kind, version: str, ref: Ref) -> str:
    """Where an object is, in a version of its kind's group."""
    group = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
    return f"{group}/namespaces/{quote(ref.namespace, safe='')}/{kind.plural}/{quote(ref.name, safe='')}"
