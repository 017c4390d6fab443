"""Why pods of a workload that is late do not come to be, from the Events of its object.

A quota, or a webhook, refuses the making of pods, so that there are none that could tell. Some kinds have a condition
for it; StatefulSets and Jobs tell it in Events alone. These are read once of an object that is late, and again while it
stays so: nobody follows the Events of a whole cluster for it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from collectors.errors import SourceError
from collectors.kube_api import Listing, Resource
from collectors.kube_json import JsonObject, text
from controller.scaling.kinds.reading import MOST_CHARS
from controller.scaling.model import Seen

_log = logging.getLogger(__name__)

AGAIN = timedelta(minutes=5)
"""Of one object they are read so often."""
MOST_AT_ONCE = 10
"""Objects whose Events are read at one asking; the others' at the next ones."""
MOST_KNOWN = 5_000
_LEADING = timedelta(minutes=1)
"""Clocks of a cluster differ."""
_FAILED = "FailedCreate"


class Api(Protocol):
    """The API server."""

    def list(self, resource: Resource, keep: Callable[[JsonObject], "_Told"], /) -> Listing["_Told"]:
        """All objects."""
        ...


@dataclass(frozen=True, slots=True)
class _Told:
    at: datetime | None
    said: str


@dataclass(frozen=True, slots=True)
class _Known:
    asked: datetime
    told: _Told | None


class UnmadePods:
    """Reads them; may be used by several threads.

    Args:
        api: the API server; ``None``: nobody is asked, and nothing is known.
    """

    def __init__(self, api: Api | None = None) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._wanted: dict[str, Seen] = {}
        self._known: dict[str, _Known] = {}
        self._failing = False

    def why(self, seen: Seen, since: datetime) -> str:
        """The newest Event by which the making of a pod of it failed; empty: none is known. Never waits.

        Args:
            seen: an object that is late.
            since: when it began to come back; what was told before is of the past.
        """
        with self._lock:
            if len(self._wanted) < MOST_KNOWN:
                self._wanted[seen.uid] = seen
            known = self._known.get(seen.uid)
        told = None if known is None else known.told
        if told is None or (told.at is not None and told.at < since - _LEADING):
            return ""
        return told.said

    def ask(self, now: datetime) -> None:
        """Read the Events of those that :meth:`why` was asked about; raises nothing."""
        if self._api is None:
            return
        with self._lock:
            wanted, self._wanted = self._wanted, {}
            self._known = {uid: known for uid, known in self._known.items() if uid in wanted or self._is_new(uid, now)}
        due = [seen for uid, seen in wanted.items() if not self._is_new(uid, now)]
        for seen in due[:MOST_AT_ONCE]:
            told = self._read(self._api, seen)
            with self._lock:
                self._known[seen.uid] = _Known(now, told)
            if self._failing:  # a server that is slow to fail is not asked ten times over
                return

    def _is_new(self, uid: str, now: datetime) -> bool:
        known = self._known.get(uid)
        return known is not None and now - known.asked < AGAIN

    def _read(self, api: Api, seen: Seen) -> _Told | None:
        folder = f"/api/v1/namespaces/{quote(seen.ref.namespace, safe='')}/events"
        try:
            found = api.list(Resource(folder, f"involvedObject.uid={seen.uid},type=Warning"), _told).items
        except SourceError as error:
            if not self._failing:
                _log.warning(
                    "why late pods are not made is not known, since Events cannot be read (right: list events): %s",
                    error,
                )
            self._failing = True
            return None
        self._failing = False
        refused = [told for told in found if told.said.startswith(_FAILED)]
        return max(refused, key=lambda told: told.at or datetime.min.replace(tzinfo=UTC), default=None)


def _told(item: JsonObject) -> _Told:
    said = f"{text(item, 'reason')}: {text(item, 'message')}"[:MOST_CHARS]
    written = text(item, "lastTimestamp") or text(item, "series", "lastObservedTime") or text(item, "eventTime")
    try:
        return _Told(datetime.fromisoformat(written).astimezone(UTC), said)
    except ValueError:
        return _Told(None, said)
