"""Books a fleet's past hours from what a Prometheus kept of its dcgm-exporters: some hours at a time, once.

A node existed when kube-state-metrics told of it; a GPU node of which no exporter told is ``unobserved``.

Owns which hours are still to be made and how far an import has come. What a journal told is never touched. A death at
any moment, or a Prometheus that does not answer, leaves hours booked or not booked, and the next import goes on. An
hour that Prometheus refuses, or answers in part, is left out and named; the others are booked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, cast

import polars as pl

from collectors.prometheus_api import QueryRefused
from ledger.agent_hours import AgentHour
from ledger.hours import NodeNote
from ledger.keeper import Kept
from ledger.namesakes import Place, clusters_of, strangers
from ledger.prometheus_dcgm import dcgm_hour
from ledger.prometheus_hours import PROMETHEUS, agent_hour
from ledger.prometheus_nodes import HOUR_SECONDS, NodeSeen, Query, node_notes, nodes_seen
from ledger.prometheus_pods import PodFacts
from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.tables import LIFETIMES, NODE_HOURS, PLACE, TIME, empty
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes

BOOKED_AT_ONCE = 1000
"""Node-hours booked together, which bounds memory."""
HOURS_AT_ONCE = 24
"""Hours booked together at most, so that little is asked for twice after an interruption."""
SETTLED = timedelta(minutes=10)
"""After its end an hour's last samples may still be on their way."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class FleetHour:
    """What is known of one hour of a fleet."""

    hours: Sequence[AgentHour]
    lifetimes: Sequence[NodeSeen] = ()


def fleet_hour(api: Query, hour_s: int, pods: PodFacts, cluster: str = "") -> FleetHour:
    """The hour as dcgm-exporter and kube-state-metrics told it.

    Raises:
        Unavailable: no whole answer; nothing of the hour is lost by asking again.
    """
    hours = dcgm_hour(api, hour_s, pods, cluster)
    told = {each.node for each in hours}
    nodes = nodes_seen(api, hour_s, node_notes(api, hour_s + HOUR_SECONDS, cluster))
    of_gpus = [each for each in nodes if each.has_gpus or each.note.node in told]
    silent = [agent_hour(each.note.node, hour_s, {}, {}, each.note) for each in of_gpus if each.note.node not in told]
    return FleetHour([*hours, *silent], of_gpus)


def seen_lifetimes(nodes: Iterable[NodeSeen]) -> pl.DataFrame:
    """Rows of LIFETIMES, one for each node's life."""
    lives: dict[tuple[str, str, float], NodeSeen] = {}
    for each in nodes:
        key = each.note.node, each.note.instance_id, each.began
        lives[key] = max(lives.get(key, each), each, key=lambda life: life.seen)
    frames = [
        api_lifetimes(
            [SeenNode(each.note.node, _moment(each.began), _place(each.note), each.note.gpu_count)],
            _moment(each.seen),
        )
        for each in lives.values()
    ]
    return pl.concat([empty(LIFETIMES), *frames])


def _place(note: NodeNote) -> Mapping[str, str]:
    return {name: getattr(note, name) for name in PLACE}


def _moment(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


class Keeping(Protocol):
    """Brings the books in step; see :class:`ledger.keeper.Keeper`."""

    def keep(self, hours: Sequence[AgentHour], *, since: datetime, now: datetime) -> Kept:
        """Book these hours."""
        ...


@dataclass(slots=True)
class Imported:
    """What an import did, and what the books say of its hours."""

    made: int = 0
    """Hours of the fleet that were made and booked now."""
    known: int = 0
    """That an earlier import had booked."""
    empty: int = 0
    """Of which Prometheus has nothing."""
    measured: int = 0
    """Node-hours left alone, since a journal told of them."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Node to why it is left out: another cluster has one of its name."""
    left: dict[datetime, str] = field(default_factory=dict[datetime, str])
    """Hour to why it is not booked: Prometheus refused it, or answered in part; the next import asks again."""


def whole_hours(since: datetime, until: datetime) -> list[datetime]:
    """The starts of the hours that lie between the two, ascending."""
    first = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = first if first >= since else first + _HOUR
    return [first + _HOUR * at for at in range(max(0, int((until - first) / _HOUR)))]


class Import:
    """Makes and books hours.

    Args:
        store: the ledger.
        keeper: books.
        make: the fleet's hour by its start, Unix seconds; raises SourceError where it cannot be had whole.
        cluster: whose fleet it is; how far an import has come is kept for each.
    """

    def __init__(self, store: Store, keeper: Keeping, make: Callable[[int], FleetHour], cluster: str = "") -> None:
        self._store = store
        self._keeper = keeper
        self._make = make
        self._cluster = cluster
        self._what = f"import/{cluster}"

    def run(
        self,
        hours: Sequence[datetime],
        now: datetime,
        *,
        again: bool = False,
        step: Callable[[], object] = lambda: None,
    ) -> Imported:
        """Make and book those that are not yet; all of them ``again``.

        Args:
            hours: starts of hours, ascending.
            now: the time.
            again: make hours again that an earlier import had booked.
            step: called after each hour.

        Raises:
            SourceError: Prometheus does not answer; what came before is booked.
            StoreError: a table could not be read or written.
        """
        result = Imported()
        done = set[int]() if again else self._done()
        waiting: list[tuple[int, FleetHour]] = []
        try:
            for hour in hours:
                hour_s = int(hour.timestamp())
                if hour_s in done:
                    result.known += 1
                else:
                    self._take(hour_s, waiting, result)
                if len(waiting) >= HOURS_AT_ONCE or sum(len(each.hours) for _, each in waiting) >= BOOKED_AT_ONCE:
                    self._book(waiting, now, result, again=again)
                step()
        finally:
            self._book(waiting, now, result, again=again)
        return result

    def _take(self, hour_s: int, waiting: list[tuple[int, FleetHour]], result: Imported) -> None:
        try:
            found = self._make(hour_s)
        except QueryRefused as error:  # Prometheus is there: it may answer the next
            result.left[_moment(hour_s)] = str(error)
            return
        if found.hours:
            waiting.append((hour_s, found))
        else:
            result.empty += 1

    def _book(self, waiting: list[tuple[int, FleetHour]], now: datetime, result: Imported, *, again: bool) -> None:
        if not waiting:
            return
        begun = [hour_s for hour_s, _ in waiting]
        told, booked = self._told(begun), set[tuple[int, str]]() if again else self._booked(begun)
        refused = self._strangers(each for _, fleet in waiting for each in fleet.hours)
        result.refused |= {node: why for (_, node), why in refused.items()}
        every = [each for _, fleet in waiting for each in fleet.hours if (each.began, each.node) not in refused]
        lives = [
            each
            for hour_s, fleet in waiting
            for each in fleet.lifetimes
            if (_moment(hour_s), each.note.node) not in refused
        ]
        # what an earlier import booked in an hour that is told again for others stays: Prometheus may have forgotten it
        fit = [each for each in every if (each.book.hour_s, each.node) not in told | booked]
        note_lifetimes(self._store, seen_lifetimes(lives))
        if fit:
            self._keeper.keep(fit, since=now + _HOUR, now=now)
        whole = {*begun} - {int(hour.timestamp()) for hour, _ in refused}  # of the others the next run tells again
        note_progress(self._store, self._what, {"done": _ranges({*self._done(), *whole})}, now)
        result.made += len(whole)
        result.measured += sum((each.book.hour_s, each.node) in told for each in every)
        waiting.clear()

    def _strangers(self, hours: Iterable[AgentHour]) -> Mapping[Place, str]:
        every = list(hours)
        known = clusters_of(self._store, ((each.began, each.node) for each in every))
        return strangers(every, known, self._cluster)

    def _told(self, hours: Iterable[int]) -> set[tuple[int, str]]:
        """Hour and node of which a journal told."""
        return self._registered(hours, pl.col("source") != PROMETHEUS)

    def _booked(self, hours: Iterable[int]) -> set[tuple[int, str]]:
        """Hour and node that an earlier import of this cluster booked."""
        return self._registered(hours, (pl.col("source") == PROMETHEUS) & (pl.col("cluster") == self._cluster))

    def _registered(self, hours: Iterable[int], which: pl.Expr) -> set[tuple[int, str]]:
        starts = pl.Series([_moment(hour_s) for hour_s in hours], dtype=TIME)
        rows = (
            self._store.scan(NODE_HOURS)
            .filter(
                pl.col("day").is_in(starts.dt.date().unique().implode()),
                pl.col("hour_utc").is_in(starts.implode()),
                pl.col("revision").is_not_null(),
                which,
            )
            .select("hour_utc", "node")
            .collect()
        )
        return {(int(hour.timestamp()), node) for hour, node in rows.iter_rows()}

    def _done(self) -> set[int]:
        ranges = cast("Sequence[tuple[int, int]]", progress(self._store, self._what).get("done", ()))
        return {hour_s for first, end in ranges for hour_s in range(first, end, 3600)}


def _ranges(hours: Iterable[int]) -> list[list[int]]:
    """Starts of hours as [first, end) each."""
    ranges: list[list[int]] = []
    for hour_s in sorted(hours):
        if ranges and ranges[-1][1] == hour_s:
            ranges[-1][1] = hour_s + 3600
        else:
            ranges.append([hour_s, hour_s + 3600])
    return ranges
