"""Follows a collection of the API: list, then watch, for as long as the agent lives.

Owns the order of calls and the waits between them. Whatever fails, it goes on: a watch that broke off is taken up at
the last version seen, one whose version is too old is listed again, and each failure waits longer than the last.
"""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError
from collectors.kube_api import KubeApi, Resource
from collectors.kube_errors import Busy, Expired, Malformed
from collectors.kube_json import JsonObject
from collectors.kube_transport import Stopped

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)

WATCH_SECONDS = 240
"""Least length of a watch; up to a quarter more is added, so that a fleet's agents do not return together."""


class Backoff:
    """Waits between tries: each twice the last up to ``most_seconds``, half of it left to chance."""

    def __init__(
        self, first_seconds: float = 0.5, most_seconds: float = 30.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._chance = chance
        self._failures = 0

    def next_seconds(self) -> float:
        """How long to wait now; one more failure is counted."""
        longest = min(self._most_seconds, self._first_seconds * (1 << min(self._failures, 30)))
        self._failures += 1
        return longest * (1 + self._chance()) / 2

    def reset(self) -> None:
        """Begin anew: something went well."""
        self._failures = 0

    def spread(self, seconds: int) -> int:
        """``seconds`` and up to a quarter more."""
        return seconds + int(seconds * self._chance() / 4)


class Sink(Protocol[_Taken_contra]):
    """Where objects go; called from the following thread alone."""

    def replace(self, items: Sequence[_Taken_contra], /) -> None:
        """Take a whole list."""
        ...

    def put(self, item: _Taken_contra, /) -> None:
        """Take one that is new or changed."""
        ...

    def remove(self, item: _Taken_contra, /) -> None:
        """Take one that is gone."""
        ...


@dataclass(frozen=True, slots=True)
class FollowState:
    """How following goes."""

    synced: bool = False
    """A list has been taken."""
    heard_ns: int | None = None
    """When the server last said anything good."""
    error: str | None = None


class Follower(Generic[T]):
    """Brings ``sink`` up to date with ``resource``."""

    def __init__(
        self,
        api: KubeApi,
        resource: Resource,
        keep: Callable[[JsonObject], T],
        *,
        sink: Sink[T],
        clock: Clock,
        backoff: Backoff | None = None,
    ) -> None:
        self.state = FollowState()
        self._api = api
        self._resource = resource
        self._keep = keep
        self._sink = sink
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._version: str | None = None
        """Where to watch on from; ``None`` when a list is due."""
        self._list_from = "0"
        """What the next list may be as old as; from the server's memory at first, since all nodes may start at once."""
        self._told = False

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set."""
        while not stop.is_set():
            wait_seconds = self._round(stop)
            if wait_seconds:
                self._clock.wait(stop, int(wait_seconds * NS_PER_SECOND))

    def _round(self, stop: threading.Event) -> float:
        """One list where it is due, and one watch; how long to wait after it, in seconds."""
        try:
            if self._version is None:
                self._version = self._list(stop)
            return self._watch(self._version, stop)
        except Stopped:
            return 0.0
        except (Expired, Malformed) as error:
            self._version = None
            self._note(error)
        except SourceError as error:
            self._note(error)
            if isinstance(error, Busy):
                return max(self._backoff.next_seconds(), error.retry_after_seconds)
        return self._backoff.next_seconds()

    def _list(self, stop: threading.Event) -> str:
        try:
            listing = self._api.list(self._resource, self._keep, self._list_from, stop)
        except (Expired, Malformed):
            # from the store, by pages: it is whole however old or large what the server has in memory is
            self._list_from = ""
            raise
        self._sink.replace(listing.items)
        self._list_from = listing.resource_version
        self.state = replace(self.state, synced=True)
        self._heard()
        return listing.resource_version

    def _watch(self, version: str, stop: threading.Event) -> float:
        began_ns, seconds = self._clock.monotonic_ns(), self._backoff.spread(WATCH_SECONDS)
        heard = False
        with closing(self._api.watch(self._resource, self._keep, version, seconds=seconds, stop=stop)) as watch:
            self._heard()
            for event in watch:
                if event.item is not None and event.kind == "DELETED":
                    self._sink.remove(event.item)
                elif event.item is not None:
                    self._sink.put(event.item)
                self._version = self._list_from = event.resource_version
                self._backoff.reset()
                self._heard()
                heard = True
        lasted = self._clock.monotonic_ns() - began_ns >= NS_PER_SECOND
        if heard or lasted:
            self._backoff.reset()
            return 0.0
        # a server that ends each watch at once would be asked without a pause
        return self._backoff.next_seconds()

    def _heard(self) -> None:
        if self._told:
            _log.info("%s is followed again", self._resource.path)
            self._told = False
        self.state = replace(self.state, heard_ns=self._clock.monotonic_ns(), error=None)

    def _note(self, error: SourceError) -> None:
        # a version that is too old is what every long absence ends with
        if not self._told and not isinstance(error, Expired):
            _log.warning("following %s: %s", self._resource.path, error)
            self._told = True
        self.state = replace(self.state, error=str(error))
