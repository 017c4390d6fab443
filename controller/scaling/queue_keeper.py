"""Keeps the KEDA ScaledObjects of inference workloads: makes those that are missing, moves bounds at window edges.

Level-triggered: an edge that was missed is made up for. Touches only objects that bear its own label, and of these only
the two bounds; whoever edits the rest of one keeps it. KEDA scales; nothing here does.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from collectors.errors import SourceError, Unavailable
from collectors.kube_errors import Conflict
from collectors.kube_json import JsonObject
from controller.scaling.act import Writes
from controller.scaling.compose import SCALED_OBJECT, View
from controller.scaling.kinds.scaled_object import SCALED_OBJECT as KIND
from controller.scaling.model import Ref, Seen
from controller.scaling.patches import Patch
from controller.scaling.queue_scaling import bounds_patch, scaled_object
from controller.scaling.queue_settings import QueueScaling, QueueScalingSettings
from controller.scaling.writer import object_path

_log = logging.getLogger(__name__)

LABEL, OURS = "app.kubernetes.io/managed-by", "wattledger"


class Creates(Protocol):
    """The API server, for what is new."""

    def write(self, verb: Literal["create"], path: str, item: JsonObject) -> JsonObject:
        """Create."""
        ...


class Served(View, Protocol):
    """The cluster as it was last seen."""

    def ready(self) -> bool:
        """Whether all kinds that there are were listed."""
        ...

    def served(self, kind: str, /) -> str:
        """The version in which the API server has a kind; empty where it has none."""
        ...


@dataclass(slots=True)
class QueueKeeper:
    """The job.

    Args:
        settings: what is to be there.
        view: what is.
        writes: for what is there.
        api: for what is not.
        now: the time.
    """

    settings: QueueScalingSettings
    view: Served
    writes: Writes
    api: Creates
    now: Callable[[], datetime]
    _told: frozenset[str] = field(default=frozenset())

    def run(self) -> None:
        """Bring all to what they should be now.

        Raises:
            Unavailable: some could not be; each is named, and the others are.
        """
        if not self.settings.workloads or not self.view.ready():
            return
        if not self.view.served(SCALED_OBJECT):
            raise Unavailable("the cluster has no ScaledObject: install KEDA, or set queue_scaling.write: false")
        if failed := list(self._keep_all(self.now())):
            raise Unavailable("; ".join(failed))

    def _keep_all(self, now: datetime) -> Iterator[str]:
        """Why some could not be brought there."""
        for scaling in self.settings.workloads:
            ref = Ref(SCALED_OBJECT, scaling.namespace, scaling.name)
            seen = self.view.get(ref)
            why = self._make(scaling, ref, now) if seen is None else self._move(scaling, seen, now)
            if why:
                yield f"{ref}: {why}"

    def _make(self, scaling: QueueScaling, ref: Ref, now: datetime) -> str:
        path = object_path(KIND, self.view.served(SCALED_OBJECT), ref).rpartition("/")[0]
        try:
            self.api.write("create", path, scaled_object(scaling, self.settings, now))
        except Conflict:  # made meanwhile, and seen at the next look
            return ""
        except (SourceError, ValueError) as error:
            return str(error)
        _log.info("%s is made: KEDA scales %s %s by its queue", ref, scaling.kind, scaling.name)
        return ""

    def _move(self, scaling: QueueScaling, seen: Seen, now: datetime) -> str:
        if seen.labels.get(LABEL) != OURS:
            return f"left alone as somebody else's: label it {LABEL}={OURS}, or take it out of queue_scaling"
        body = bounds_patch(scaling, self.settings.timezone, seen.bounds, now)
        if seen.deleting or body is None:
            return ""
        wrote = self.writes.write(KIND, seen.ref, Patch("object", body), seen.version)
        if wrote.result == "done":
            _log.info("%s: other bounds from now on, as its windows have them", seen.ref)
            return ""
        return "" if wrote.result == "conflict" else wrote.why
