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
from collectors.errors import SourceError, Unsupported
from collectors.kube_api import KubeApi, Resource
from collectors.kube_errors import Busy, Expired, Forbidden, Malformed
from collectors.kube_json import JsonObject
from collectors.kube_transport import Stopped

_log = logging.getLogger(__name__)

T = TypeVar("T")
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)

WATCH_SECONDS = 240
"""Least length of a watch; up to a quarter more is added, so that a fleet's agents do not return together."""
_MUTE_PART = 0.9
"""The silence is counted from before a watch is open."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a follower uses the server; as they stand they are those of a node's agent."""

    watch_seconds: int = WATCH_SECONDS
    from_store: bool = False
    """Lists are read by pages, each from the store: memory stays bounded, where all nodes do not list at once."""
    silent_seconds: float | None = None
    """A watch on which something was heard breaks off after so long without a word; bookmarks come each minute."""
    mute_seconds: float | None = None
    """As ``silent_seconds`` where nothing was heard yet: old servers send no bookmark of what never changed for a
    while. After so long a silence it is listed again, since a watch may open and never speak."""
    refused_seconds: float = 0.0
    """Least wait after a missing right, which only a person gives."""
    ends: bool = False
    """Following ends where the server does not have the resource."""


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
    forbidden: bool = False
    """The error is a right that is missing."""
    gone: bool = False
    """The server does not have the resource, and following has ended."""


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
        habits: Habits | None = None,
    ) -> None:
        self.state = FollowState()
        self._api = api
        self._resource = resource
        self._keep = keep
        self._sink = sink
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._habits = habits or Habits()
        self._version: str | None = None
        """Where to watch on from; ``None`` when a list is due."""
        self._list_from = "" if self._habits.from_store else "0"
        """What the next list may be as old as; from the server's memory at first, since all nodes may start at once."""
        self._told = False

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set, or there is nothing to follow."""
        while not stop.is_set() and not self.state.gone:
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
            if self._was_mute():
                self._version = None
            self._note(error)
            return self._pause_seconds(error)
        return self._backoff.next_seconds()

    def _was_mute(self) -> bool:
        """Whether nothing came for about as long as a mute watch is kept: opening one proves nothing, a list does."""
        mute, heard_ns = self._habits.mute_seconds, self.state.heard_ns
        if mute is None or heard_ns is None:
            return False
        return self._clock.monotonic_ns() - heard_ns >= int(mute * _MUTE_PART * NS_PER_SECOND)

    def _pause_seconds(self, error: SourceError) -> float:
        if isinstance(error, Unsupported) and self._habits.ends:
            self.state = replace(self.state, gone=True)
            return 0.0
        least = error.retry_after_seconds if isinstance(error, Busy) else 0.0
        if isinstance(error, Forbidden):
            least = self._habits.refused_seconds
        return max(self._backoff.next_seconds(), least)

    def _list(self, stop: threading.Event) -> str:
        try:
            listing = self._api.list(self._resource, self._keep, self._list_from, stop)
        except (Expired, Malformed):
            # from the store, by pages: it is whole however old or large what the server has in memory is
            self._list_from = ""
            raise
        self._sink.replace(listing.items)
        self._remember(listing.resource_version)
        self.state = replace(self.state, synced=True)
        self._heard()
        return listing.resource_version

    def _remember(self, version: str) -> None:
        self._version = version
        if not self._habits.from_store:
            self._list_from = version

    def _watch(self, version: str, stop: threading.Event) -> float:
        habits, heard = self._habits, False
        began_ns, seconds = self._clock.monotonic_ns(), self._backoff.spread(habits.watch_seconds)
        watching = self._api.watch(
            self._resource, self._keep, version, seconds=seconds, stop=stop, silent_seconds=habits.mute_seconds
        )
        with closing(watching) as watch:
            self._heard()
            for event in watch:
                if not heard and habits.silent_seconds is not None:
                    watch.limit_silence(habits.silent_seconds)
                if event.item is not None and event.kind == "DELETED":
                    self._sink.remove(event.item)
                elif event.item is not None:
                    self._sink.put(event.item)
                self._remember(event.resource_version)
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
        self.state = replace(self.state, heard_ns=self._clock.monotonic_ns(), error=None, forbidden=False)

    def _note(self, error: SourceError) -> None:
        # a version that is too old is what every long absence ends with
        if not self._told and not isinstance(error, Expired):
            _log.warning("following %s: %s", self._resource.path, error)
            self._told = True
        self.state = replace(self.state, error=str(error), forbidden=isinstance(error, Forbidden))
