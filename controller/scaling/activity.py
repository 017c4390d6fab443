"""Whether the GPUs of a workload worked in the last minutes, from the hours that its nodes' agents tell.

Owns what is remembered of agents' hours for this. It hears every journal that is pulled anyway, and asks nobody itself.
What it cannot tell is ``None``, never idle.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from collectors.clock import NS_PER_SECOND
from collectors.kube_json import JsonObject, text
from controller.scaling.gpu_time import ACCOUNTED, KEPT_HOURS, Cell, Meter, NodeTimes, Stretch
from controller.scaling.model import Activity, PodSeen, Workload
from ledger.accounts import Account
from ledger.hours import hour_start

_log = logging.getLogger(__name__)

MOST_MINUTES = 1440
"""So far back it can be told whether GPUs worked."""
FRESH_SECONDS = 60.0
"""Figures older than this are asked for again before a down is decided on them."""
_LAG_NS = 15 * NS_PER_SECOND
"""A device may be read so much later than its node's clock has come, which says nothing of it."""
_WORKED = timedelta(hours=24)
_KEPT = timedelta(hours=KEPT_HOURS)
_STRETCHES = 4
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Node:
    times: NodeTimes
    heard: datetime = _NEVER
    worked: dict[str, int] = field(default_factory=dict[str, int])
    """Pods (``namespace/name``) of which work was counted, and the start of the last hour in which it was."""
    doubted: str = ""
    _stretches: dict[int, Stretch | None] = field(default_factory=dict[int, Stretch | None])
    """By since when; until the next hour comes."""

    def take(self, hour_s: int, document: JsonObject, newest_s: int) -> None:
        self._stretches.clear()
        if hour_s > newest_s - KEPT_HOURS * 3600:
            self.times.take(document)
        if hour_s > newest_s - _WORKED.total_seconds():
            self.worked.update(dict.fromkeys(_working(document), hour_s))

    def stretch(self, since_ns: int) -> Stretch | None:
        if since_ns not in self._stretches:
            if len(self._stretches) >= _STRETCHES:
                self._stretches.clear()
            self._stretches[since_ns] = self.times.stretch(since_ns)
        return self._stretches[since_ns]

    def doubt(self, node: str, why: str) -> None:
        if why != self.doubted:
            self.doubted = why
            _log.warning(
                "node %s: an hour tells nothing of activity, %s; run agent and controller of one version", node, why
            )


class ActivityBook:
    """What agents told lately; may be used by several threads.

    Args:
        most_minutes: the most that it will be asked about, which bounds what is kept.
    """

    def __init__(self, most_minutes: int = MOST_MINUTES) -> None:
        self._kept_hours = _hours(most_minutes)
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()
        self._swept = _NEVER

    def reach(self, most_minutes: int) -> None:
        """Be asked about so many minutes at most from now on; what it does not have yet is asked for before a down."""
        with self._lock:
            self._kept_hours = _hours(most_minutes)
            for known in self._nodes.values():
                known.times.keep(self._kept_hours)

    def take(self, node: str, documents: Sequence[JsonObject], now: datetime) -> None:
        """Note hours that a node's agent served and that may be booked; the same again changes nothing."""
        hours = sorted(((hour_start(text(each, "hour_utc")), each) for each in documents), key=lambda each: each[0])
        if not hours:
            return
        newest_s = hours[-1][0]
        with self._lock:
            known = self._nodes.setdefault(node, _Node(NodeTimes(self._kept_hours)))
            known.heard = now
            for hour_s, document in hours:
                try:
                    known.take(hour_s, document, newest_s)
                except (KeyError, TypeError, ValueError) as error:
                    known.doubt(node, f"{text(document, 'hour_utc')}: {error!r}")
            self._sweep(now)

    def of(self, workload: Workload, now: datetime, minutes: int) -> Activity | None:
        """How its GPUs worked in the last ``minutes``; ``None``: of a pod that holds some nothing is known.

        A workload none of whose pods holds a GPU now has GPUs that did not work, unless its pods are there unseen.
        """
        if workload.hides_pods:
            return None
        told = [self._pod(pod, now, minutes) for pod in holding(workload)]
        if None in told:
            return None
        known = [each for each in told if each is not None]
        return Activity(
            active_ratio=max((each.active_ratio for each in known), default=0.0),
            covered_seconds=min((each.covered_seconds for each in known), default=minutes * 60.0),
            age_seconds=max((each.age_seconds for each in known), default=0.0),
            unknown_ratio=max((each.unknown_ratio for each in known), default=0.0),
        )

    def gap(self, workload: Workload, now: datetime, minutes: int) -> str:
        """Of which pod nothing is known, and on which node, for people; empty: of each something is."""
        return next(
            (
                f"pod {pod.namespace}/{pod.name} on node {pod.node}"
                for pod in holding(workload)
                if self._pod(pod, now, minutes) is None
            ),
            "",
        )

    def nodes_to_ask(
        self, workloads: Iterable[Workload], now: datetime, minutes: int, fresh_seconds: float = FRESH_SECONDS
    ) -> frozenset[str]:
        """Nodes of these workloads' GPUs whose figures are old or do not reach back so far: asked before a decision."""
        asked = set[str]()
        for pod in (pod for workload in workloads for pod in holding(workload)):
            told = self._pod(pod, now, minutes)
            if told is None or told.age_seconds > fresh_seconds or told.covered_seconds < minutes * 60:
                asked.add(pod.node)
        return frozenset(asked)

    def worked(self, pod: PodSeen, now: datetime) -> bool:
        """Whether work (requests, tokens) was counted of this pod in the last 24 hours, as far as was heard."""
        with self._lock:
            known = self._nodes.get(pod.node)
            last_s = known.worked.get(name_of(pod)) if known else None
        return last_s is not None and last_s > now.timestamp() - _WORKED.total_seconds()

    def heard(self, now: datetime, seconds: float = 600.0) -> bool:
        """Whether any agent was heard so lately."""
        with self._lock:
            return any((now - known.heard).total_seconds() <= seconds for known in self._nodes.values())

    def _pod(self, pod: PodSeen, now: datetime, minutes: int) -> Activity | None:
        with self._lock:
            known = self._nodes.get(pod.node)
            newest_ns = known.times.newest_ns() if known else None
            if known is None or newest_ns is None:
                return None
            asked_ns = minutes * 60 * NS_PER_SECOND
            stretch = known.stretch(min(_ns(now), newest_ns) - asked_ns)
            heard = known.heard
        if stretch is None:
            return None
        age = max((now - heard).total_seconds(), (_ns(now) - stretch.end_ns) / NS_PER_SECOND, 0.0)
        return _told(stretch, pod, asked_ns, age)

    def _sweep(self, now: datetime) -> None:
        """Forget nodes that were not heard for long, and work of long ago."""
        if now - self._swept < timedelta(minutes=10):
            return
        self._swept = now
        self._nodes = {node: known for node, known in self._nodes.items() if now - known.heard < _KEPT}
        oldest_s = now.timestamp() - _WORKED.total_seconds()
        for known in self._nodes.values():
            known.worked = {pod: hour_s for pod, hour_s in known.worked.items() if hour_s > oldest_s}


def _hours(minutes: int) -> int:
    return min(KEPT_HOURS, max(minutes, 1) // 60 + 2)


def holding(workload: Workload) -> Iterator[PodSeen]:
    """Its pods that hold GPUs now: bound to a node, and not over."""
    return (pod for pod in workload.pods if pod.gpus and pod.node and pod.phase not in {"Succeeded", "Failed"})


def name_of(pod: PodSeen) -> str:
    """As agents' holders begin."""
    return f"{pod.namespace}/{pod.name}"


def _told(stretch: Stretch, pod: PodSeen, asked_ns: int, age_seconds: float) -> Activity | None:
    name = name_of(pod)
    cells = stretch.cells.get(name, ())
    if not cells or (name not in stretch.shared and len(cells) < pod.gpus):
        return None
    shares = [_shares(stretch, name, cell, asked_ns) for cell in cells]
    begin_ns = max(stretch.begin_ns, _ns(pod.created))
    return Activity(
        active_ratio=max(active for active, _ in shares),
        covered_seconds=max(0.0, (stretch.end_ns - begin_ns) / NS_PER_SECOND),
        age_seconds=age_seconds,
        unknown_ratio=max(unknown for _, unknown in shares),
    )


def _shares(stretch: Stretch, pod: str, cell: Cell, asked_ns: int) -> tuple[float, float]:
    """Active and unknown share of the time asked for, of one device; at most, where the stretch is longer."""
    uuid, mig = cell

    def grown(account: str, *, of: str = "", part: str = "") -> int:
        return stretch.grown.get(Meter(uuid, part, of, account), 0)

    active = grown(Account.ACTIVE, of=pod, part=mig)
    unmeasured = grown(Account.UNMEASURED, of=pod, part=mig)
    held = active + unmeasured + grown(Account.IDLE, of=pod, part=mig)
    counted_ns = min(asked_ns, stretch.length_ns)
    # what it held of the minutes asked for, as it held it over the whole stretch
    held_then = max(1.0, held * counted_ns / stretch.length_ns)
    unread_ns = max(0, stretch.length_ns - grown(ACCOUNTED) - _LAG_NS)
    hidden_ns = unread_ns + grown(Account.UNOBSERVED) + grown(Account.UNATTRIBUTED, part=mig)
    return min(1.0, active / held_then), min(1.0, unmeasured / held_then + hidden_ns / counted_ns)


def _working(document: JsonObject) -> Iterator[str]:
    """Pods of which the hour has work."""
    columns = cast("list[str]", document.get("work_columns", []))
    for row in cast("list[list[object]]", document.get("work", [])):
        told = dict(zip(columns, row, strict=True))
        parts = str(told["holder"]).split("/")
        if told["holder_kind"] == "pod" and len(parts) > 1 and told["amount"]:
            yield "/".join(parts[:2])


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * NS_PER_SECOND)
