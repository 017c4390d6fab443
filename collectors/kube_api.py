"""A light client of the Kubernetes API: get, list by pages, watch, write. No ``kubernetes`` package, cache or thread.

Owns the grammar of lists and watch events. What is not wanted of an object is dropped while it is read, and what is
kept of it is made before the next one: memory is bounded by one page, not by the cluster.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar, cast
from urllib.parse import urlencode

from collectors.errors import Unavailable
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_errors import Expired, Failure, Malformed
from collectors.kube_json import JsonObject, child, children, number, text
from collectors.kube_transport import Answer, Deadline, Transport, reasons_of

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
"""For a whole answer; a watch has its own."""
PAGE_OBJECTS = 50
MOST_PAGE_BYTES = 32 * 1024 * 1024
MOST_EVENT_BYTES = 4 * 1024 * 1024
"""The store behind the API server holds objects of 1.5 MiB at most."""
FIELD_MANAGER = "wattledger"
"""By this name ``managedFields`` tells which fields were patched from here; GitOps tools can be told to leave them."""
_MOST_PAGES = 2000
_GRACE_SECONDS = 15.0

EventKind = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
_KINDS: dict[str, EventKind] = {
    "ADDED": "ADDED",
    "MODIFIED": "MODIFIED",
    "DELETED": "DELETED",
    "BOOKMARK": "BOOKMARK",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection of objects."""

    path: str
    """Such as ``/api/v1/pods``."""
    field_selector: str = ""
    dropped: frozenset[str] = frozenset({"managedFields"})
    """Keys, at any depth, whose objects and lists are dropped while reading; strings under them stay."""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """All objects of a collection at one version."""

    items: tuple[T, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One change."""

    kind: EventKind
    item: T | None
    """``None`` for a bookmark."""
    resource_version: str


class KubeApi:
    """Asks one API server; may be used by several threads.

    Args:
        endpoint: where it is.
        timeout_seconds: for a whole answer.
        page_objects: most objects of one page of a list.
        keep_connections: for who asks many times a second; close it in the end.
    """

    def __init__(
        self,
        endpoint: KubeEndpoint,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        page_objects: int = PAGE_OBJECTS,
        keep_connections: bool = False,
    ) -> None:
        self._transport = Transport(endpoint, keep=keep_connections)
        self._server = endpoint.base_url
        self._timeout_seconds = timeout_seconds
        self._page_objects = page_objects

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    def get(self, path: str, dropped: frozenset[str] = frozenset({"managedFields"})) -> JsonObject:
        """One object.

        Raises:
            Unavailable: no answer, a refusal or no JSON; by the kinds of ``collectors.kube_errors``.
            Unsupported: there is no such object.
        """
        return self._read("get", path, "", dropped, None)

    def write(self, verb: Literal["create", "update"], path: str, item: JsonObject) -> JsonObject:
        """Write one object, and have it as it stands then.

        Raises:
            Conflict: another wrote it first.
            Unavailable: as :meth:`get`; it may have been written all the same.
            Unsupported: the server does not have the resource.
        """
        return self._send(verb, path, "", item)

    def patch(self, path: str, body: JsonObject, *, subresource: str = "") -> JsonObject:
        """Merge ``body`` into one object (RFC 7386; ``None`` removes a member), and have it as it stands then.

        Args:
            path: of the object.
            body: with ``metadata.resourceVersion`` it is merged into that very version, or not at all.
            subresource: such as ``scale``; it is what is merged into, and what comes back.

        Raises:
            Conflict: the object is not at that version any more.
            Rejected: the server, or an admission webhook, does not accept what would come out.
            Unavailable: as :meth:`get`; it may have been merged all the same.
            Unsupported: there is no such object, or it has no such subresource.
        """
        whole = f"{path}/{subresource}" if subresource else path
        return self._send("patch", whole, _query(fieldManager=FIELD_MANAGER), body)

    def delete(self, path: str, uid: str, version: str) -> None:
        """Delete one object if it still is that one, and stands at that resourceVersion.

        Raises:
            Conflict: it is another one, or at another version.
            Unavailable: as :meth:`get`; it may have been deleted all the same.
            Unsupported: there is no such object.
        """
        only = {"uid": uid, "resourceVersion": version}
        self._send("delete", path, "", {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": only})

    def list(
        self,
        resource: Resource,
        keep: Callable[[JsonObject], T],
        resource_version: str = "",
        stop: threading.Event | None = None,
    ) -> Listing[T]:
        """All objects, each as ``keep`` makes it.

        Args:
            resource: which.
            keep: what is kept of one; it may raise ``Malformed`` for what cannot be one.
            resource_version: at least this old; ``"0"`` takes what the server has in memory, which costs it least;
                empty reads the store.
            stop: gives up when set.

        Raises:
            Unavailable: as :meth:`get`.
            Expired: that version, or the page after this one, is no longer to be had.
            Unsupported: the server does not have the resource.
        """
        items: list[T] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = self._list_query(resource, resource_version, token)
            page = self._read("list", resource.path, query, resource.dropped, stop)
            if not isinstance(page.get("items"), list) and not text(page, "kind").endswith("List"):
                raise Malformed(f"the API server at {self._server} answered list {resource.path} without a list")
            items += [keep(item) for item in children(page, "items")]
            token = text(page, "metadata", "continue")
            if not token:
                return Listing(tuple(items), self._version(page, f"list {resource.path}"))
        raise Malformed(f"the API server at {self._server} answered list {resource.path} with pages without end")

    def watch(
        self,
        resource: Resource,
        keep: Callable[[JsonObject], T],
        resource_version: str,
        *,
        seconds: int,
        stop: threading.Event | None = None,
        silent_seconds: float | None = None,
    ) -> "Watch[T]":
        """The changes after ``resource_version``, for ``seconds``; close it.

        One that says nothing for ``silent_seconds`` breaks off; see :meth:`Watch.limit_silence`.

        Raises:
            Unavailable: as :meth:`get`.
            Expired: the server no longer has that version; list again.
        """
        query = _query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=str(seconds),
            fieldSelector=resource.field_selector,
            labelSelector=resource.label_selector,
        )
        deadline = Deadline(seconds + _GRACE_SECONDS, stop, silent_seconds)
        answer = self._transport.open("watch", resource.path, query, deadline)
        return Watch(answer, deadline, resource, keep, server=self._server)

    def _list_query(self, resource: Resource, resource_version: str, token: str) -> str:
        first = resource_version if not token else ""
        return _query(
            limit=str(self._page_objects),
            fieldSelector=resource.field_selector,
            labelSelector=resource.label_selector,
            resourceVersion=first,
            # without it a version together with a limit means that very version
            resourceVersionMatch="NotOlderThan" if first else "",
            **{"continue": token},
        )

    def _send(self, verb: str, path: str, query: str, item: JsonObject) -> JsonObject:
        deadline = Deadline(self._timeout_seconds)
        with self._transport.open(verb, path, query, deadline, json.dumps(item).encode()) as answer:
            body = answer.read(MOST_PAGE_BYTES)
        return _parse(body, frozenset({"managedFields"}), f"the API server at {self._server} answered {verb} {path}")

    def _read(
        self, verb: str, path: str, query: str, dropped: frozenset[str], stop: threading.Event | None
    ) -> JsonObject:
        with self._transport.open(verb, path, query, Deadline(self._timeout_seconds, stop)) as answer:
            body = answer.read(MOST_PAGE_BYTES)
        return _parse(body, dropped, f"the API server at {self._server} answered {verb} {path}")

    def _version(self, page: JsonObject, asked: str) -> str:
        version = text(page, "metadata", "resourceVersion")
        if not version:
            raise Malformed(f"the API server at {self._server} answered {asked} without a resource version")
        return version


class Watch(Generic[T]):
    """A stream of changes."""

    def __init__(
        self, answer: Answer, deadline: Deadline, resource: Resource, keep: Callable[[JsonObject], T], *, server: str
    ) -> None:
        self._answer = answer
        self._deadline = deadline
        self._server = server
        self._resource = resource
        self._keep = keep

    def close(self) -> None:
        """End it."""
        self._answer.close()

    def limit_silence(self, seconds: float) -> None:
        """Break off once nothing came for so long. A server sends a bookmark a minute, once it knows of a version."""
        self._deadline.silent_seconds = seconds

    def __iter__(self) -> Iterator[WatchEvent[T]]:
        """Each change, until the server ends the watch as it was told to.

        Raises:
            Unavailable: the stream broke off; the last version seen may be watched on from.
            Expired: list again.
            Malformed: an event that is none, or over the limit.
        """
        what = f"the API server at {self._server} sent on watch {self._resource.path}"
        for line in self._answer.lines(MOST_EVENT_BYTES):
            if line.strip():
                yield self._event(_parse(line, self._resource.dropped, what), what)

    def _event(self, said: JsonObject, what: str) -> WatchEvent[T]:
        kind, item = text(said, "type"), child(said, "object")
        if kind == "ERROR":
            raise self._error(item)
        version = text(item, "metadata", "resourceVersion")
        if kind not in _KINDS or not version:
            raise Malformed(f"{what} an event of type {kind[:40]!r} with version {version[:40]!r}")
        kept = None if kind == "BOOKMARK" else self._keep(item)
        return WatchEvent(_KINDS[kind], kept, version)

    def _error(self, status: JsonObject) -> Exception:
        code = number(status, "code") or 0
        reasons, message = reasons_of(status), text(status, "message")[:200]
        if "Expired" in reasons or "Gone" in reasons:
            return Expired(f"the API server at {self._server} ended the watch on {self._resource.path}: {message}")
        failure = Failure(self._server, self._resource.path, "watch", code, message, reasons)
        error = failure.error()
        return error if isinstance(error, Unavailable) else Unavailable(str(error))


def _query(**parameters: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value})


def _parse(body: bytes, dropped: frozenset[str], what: str) -> JsonObject:
    try:
        document: object = json.loads(body, object_hook=partial(_without, dropped))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} {bytes(body[:60])!r}, which is no JSON ({type(error).__name__})") from error
    if not isinstance(document, dict):
        raise Malformed(f"{what} {bytes(body[:60])!r}, which is no JSON object")
    return cast("JsonObject", document)


def _without(dropped: frozenset[str], found: dict[str, object]) -> dict[str, object]:
    # a label may be called env: only what holds more than a string goes
    for key in dropped.intersection(found):
        if isinstance(found[key], dict | list):
            del found[key]
    return found
