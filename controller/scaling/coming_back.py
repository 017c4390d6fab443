"""How long workloads take to be Ready again, and which of them are late.

Owns what is learnt of restores: the lead time of the next one, and why one that is overdue does not come. A restore is
finished when its pods are Ready, not when it was written.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from controller.scaling.model import PodSeen, Ref
from controller.scaling.record import Record

REMEMBERED = 8
"""Restores of each workload that the lead time is taken from."""
_MARGIN = 1.25
"""Over the slowest of them."""
UNSAID = "its pods are not Ready, and nothing says why"
_CAPACITY, _IMAGE, _QUOTA = "no capacity", "image", "quota"
_SHORT = re.compile(rf"not Ready, {_CAPACITY} for ([A-Za-z0-9._-]+(?:, [A-Za-z0-9._-]+)*): ")
_BY_QUOTA = re.compile(r"\b(exceeded|failed|insufficient|unknown for) quota\b")
"""As the admission of quotas says it; a pod may be named anything."""


class LeadTimes:
    """How long before its window ends a workload is brought back.

    Args:
        least: of a workload of which nothing is known, and of all others.
        most: whatever was seen.
    """

    def __init__(self, least: timedelta, most: timedelta) -> None:
        self._least = least
        self._most = most
        self._seen: dict[Ref, deque[float]] = {}

    def learn(self, ref: Ref, seconds: float) -> None:
        """Take how long one restore took from its first write to Ready."""
        self._seen.setdefault(ref, deque(maxlen=REMEMBERED)).append(seconds)

    def of(self, ref: Ref) -> timedelta:
        """A quarter more than the slowest of the last restores, within the limits; whole seconds."""
        seen = self._seen.get(ref)
        if not seen:
            return self._least
        return min(self._most, max(self._least, timedelta(seconds=ceil(max(seen) * _MARGIN))))

    def keep(self, refs: Iterable[Ref]) -> None:
        """Forget all others."""
        kept = frozenset(refs)
        self._seen = {ref: seen for ref, seen in self._seen.items() if ref in kept}


@dataclass(frozen=True, slots=True)
class Came:
    """A restore that is finished."""

    seconds: float
    """From its first write to Ready."""
    delay_seconds: float
    """From the moment for which it was due; below zero: it was Ready in time."""


def came(record: Record, now: datetime) -> Came | None:
    """What a finished restore took; ``None``: the record was not being restored."""
    if record.restoring is None:
        return None
    due = record.due or record.restoring
    return Came((now - record.restoring).total_seconds(), (now - due).total_seconds())


@dataclass(frozen=True, slots=True)
class Late:
    """A restore that should be finished."""

    ref: Ref
    since: datetime
    """When it was due."""
    reason: str
    """One of ``no capacity``, ``image``, ``quota``, ``refused``, ``other``: a label of metrics."""
    why: str
    """As the cluster says it."""
    instance_types: tuple[str, ...] = ()
    """Where its pods ran, where capacity is what is missing."""

    @property
    def told(self) -> str:
        """For people, and for the next process: see :func:`short_types`."""
        short = f" for {', '.join(self.instance_types)}" if self.instance_types else ""
        return f"not Ready, {self.reason}{short}: {self.why}"


def short_types(told: str) -> tuple[str, ...]:
    """The instance types that were short, of a late restore as it was :attr:`told <Late.told>`."""
    found = _SHORT.match(told)
    return tuple(found[1].split(", ")) if found else ()


def late(
    ref: Ref, record: Record, pods: Sequence[PodSeen], now: datetime, allowed: timedelta, *, unmade: str = ""
) -> Late | None:
    """Why a restore is overdue; ``None``: it is not.

    Args:
        ref: the object.
        record: what it bears.
        pods: of its workload.
        now: the time.
        allowed: how long after it was due it is not yet called late.
        unmade: why pods of it cannot be made; a quota lets none come to be that could tell it.
    """
    due = record.due or record.restoring
    if due is None or now - due < allowed:
        return None
    said = sorted(pod.waiting for pod in pods if pod.waiting) or [each for each in (unmade,) if each]
    reason = _reason(said[0]) if said else "other"
    types = record.instance_types if reason == _CAPACITY else ()
    return Late(ref, due, reason, said[0] if said else UNSAID, types)


def _reason(said: str) -> str:
    lowered = said.lower()
    if _BY_QUOTA.search(lowered):
        return _QUOTA
    if "image" in lowered.partition(":")[0]:
        return _IMAGE
    if lowered.startswith("unschedulable") or "insufficient" in lowered:
        return _CAPACITY
    return "other"
