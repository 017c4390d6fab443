"""Hours of our own nodes from the counters that a Prometheus scraped off their agents, where a journal is lost.

Owns which series stand for what. ``__finished__`` takes over what others had counted, so it is never counted; what is
folded into ``__other__`` is held by somebody, whose name is lost. A device's counters add up to its time at each
scrape, which tells when they began and when they were reset.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from collectors.holder import NOBODY
from collectors.prometheus_api import Series
from ledger.agent_hours import AgentHour
from ledger.counter_steps import Page, Points, Span, gained
from ledger.hours import HolderKey, HolderNote, NodeNote, WorkKey
from ledger.prometheus_hours import DeviceEstimate, agent_hour
from ledger.prometheus_nodes import HOUR_SECONDS, Query

SECONDS = "wattledger_account_gpu_seconds_total"
ENERGY = "wattledger_account_energy_joules_total"
WORK = "wattledger_work_total"
PHASES = "wattledger_serving_phase_seconds_total"
HOLDERS = "wattledger_holder_info"
DEVICES = "wattledger_gpu_info"
FINISHED, OTHER = "__finished__", "__other__"
MARGIN_SECONDS = 300
"""Samples are asked for from so long before the hour until so long after it."""
NODES_AT_ONCE = 10
"""In one query: a full node brings about a hundred thousand samples an hour."""
_HOLDER_LABELS = ("holder_kind", "holder", "namespace", "pod", "container")
_CELL_LABELS = ("gpu_uuid", "mig", "account")
_NOTE_LABELS = ("workload", "team", "environment", "pod_uid")
_MS, _NS = 1_000, 1_000_000_000

_Key = tuple[str, ...]
_Origin = frozenset[tuple[str, str]]
"""What tells two scrapers of one agent apart: the labels that are not ours."""


def own_hours(api: Query, hour_s: int, places: Mapping[str, NodeNote], *, simulated: bool = False) -> list[AgentHour]:
    """The hour of those nodes of which there are samples, as estimates.

    Args:
        api: the Prometheus.
        hour_s: start of the hour, Unix seconds; it ended at least :data:`MARGIN_SECONDS` ago.
        places: nodes by name, with what is known of where they are.
        simulated: whether the ledger is a simulated one; devices of the other kind are left out.

    Raises:
        Unavailable: no whole answer; nothing of the hour is lost by asking again.
        Misconfigured: it lets us not in.
    """
    made: list[AgentHour] = []
    every = sorted(places)
    for names in (every[at : at + NODES_AT_ONCE] for at in range(0, len(every), NODES_AT_ONCE)):
        answers = _Answers.ask(api, hour_s, names)
        for node in names:
            book = answers.node(node)
            devices = {uuid: each for uuid, each in book.devices(simulated=simulated).items() if each.cells}
            if devices:
                made.append(agent_hour(node, hour_s, devices, book.notes(), places[node], work=book.work()))
    return made


@dataclass(frozen=True, slots=True)
class _Answers:
    span: Span
    series: Mapping[str, Mapping[str, Sequence[Series]]]
    """By metric and node."""

    @classmethod
    def ask(cls, api: Query, hour_s: int, nodes: Iterable[str]) -> "_Answers":
        at = hour_s + HOUR_SECONDS + MARGIN_SECONDS
        which = "|".join(re.escape(node) for node in nodes)
        where = '{node=~"' + which.replace("\\", "\\\\").replace('"', '\\"') + '"}'
        window = f"[{HOUR_SECONDS + 2 * MARGIN_SECONDS}s]"
        found: dict[str, dict[str, list[Series]]] = {}
        for metric in (SECONDS, ENERGY, WORK, PHASES, HOLDERS, DEVICES):
            found[metric] = _by_node(api.query(f"{metric}{where}{window}", at))
        return cls(Span(hour_s, hour_s + HOUR_SECONDS, hour_s - MARGIN_SECONDS), found)

    def node(self, node: str) -> "_NodeBook":
        return _NodeBook(self.span, {metric: nodes.get(node, ()) for metric, nodes in self.series.items()})


@dataclass(slots=True)
class _NodeBook:
    """One node's answers, each agent's scrape counted once."""

    span: Span
    series: Mapping[str, Sequence[Series]]
    _owners: dict[_Origin, tuple[float, float]] = field(default_factory=dict[_Origin, tuple[float, float]])
    _pages: dict[str, Page] = field(default_factory=dict[str, Page])
    _cells: dict[_Key, Points] = field(default_factory=dict[_Key, Points])

    def __post_init__(self) -> None:
        self._owners = _owners(self.series[SECONDS])
        self._cells = self._counters(SECONDS, (*_CELL_LABELS, "method"))
        totals: dict[str, dict[float, float]] = {}
        for (uuid, *_), points in self._cells.items():
            total = totals.setdefault(uuid, {})
            for when, value in points:
                total[when] = total.get(when, 0.0) + value
        self._pages = {uuid: Page.of(total) for uuid, total in totals.items()}

    def devices(self, *, simulated: bool) -> dict[str, DeviceEstimate]:
        """Time and energy."""
        told = {each.labels.get("gpu_uuid", ""): each.labels for each in self.series[DEVICES]}
        known = {uuid: told.get(uuid, {}) for uuid in self._pages if _is_kind(told.get(uuid, {}), simulated=simulated)}
        devices = {uuid: DeviceEstimate(labels.get("model", "")) for uuid, labels in sorted(known.items())}
        for (uuid, mig, account, _, kind, holder), points in self._cells.items():
            if uuid in devices and holder != FINISHED:
                seconds = gained(points, self._pages[uuid], self.span, clock=True)
                devices[uuid].add(mig, (kind, holder), account, round(seconds * _NS))
        for (uuid, mig, account, kind, holder), points in self._counters(ENERGY, _CELL_LABELS).items():
            if uuid in devices and holder != FINISHED:
                energy_mj = round(gained(points, self._pages[uuid], self.span) * _MS)
                devices[uuid].own_energy[mig, kind, holder, account] = energy_mj
        for device in devices.values():
            if device.own_energy:
                device.energy_mj = sum(device.own_energy.get(key, 0) for key in device.cells)
        return devices

    def work(self) -> dict[WorkKey, int]:
        """What was produced."""
        done: dict[WorkKey, int] = {}
        if not self._pages:
            return done
        page = Page.together(self._pages.values())
        for metric, label, suffix, scale in ((WORK, "kind", "", 1), (PHASES, "phase", "_ns", _NS)):
            for (model, what, kind, holder), points in self._counters(metric, ("model", label)).items():
                amount = 0 if holder == FINISHED else round(gained(points, page, self.span) * scale)
                if amount:
                    done[WorkKey(kind, holder, model, "", what + suffix)] = amount
        return done

    def notes(self) -> dict[HolderKey, HolderNote]:
        """Who the holders are beyond their names."""
        foreign = {label for origin in self._owners for label, _ in origin}
        found: dict[HolderKey, HolderNote] = {}
        for each in sorted(self.series[HOLDERS], key=self._last_seen):
            ours = {label: value for label, value in each.labels.items() if label not in foreign}
            found[HolderKey(*_holder(ours))] = _note(ours)
        return found

    def _last_seen(self, series: Series) -> float:
        """Within the hour; 0 for what came after it."""
        return max((when for when, _ in series.points if when <= self.span.end), default=0.0)

    def _counters(self, metric: str, identity: Sequence[str]) -> dict[_Key, Points]:
        """Samples by our own labels, holder kind and holder last."""
        found: dict[_Key, dict[float, float]] = {}
        for each in self.series[metric]:
            after, until = self._owners.get(_origin(each.labels), (0.0, 0.0))
            key = (*(each.labels.get(label, "") for label in identity), *_holder(each.labels))
            points = found.setdefault(key, {})
            points.update((when, value) for when, value in each.points if after < when <= until and isfinite(value))
        return {key: sorted(points.items()) for key, points in found.items() if points}


def _by_node(series: Iterable[Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for each in series:
        found.setdefault(each.labels.get("node", ""), []).append(each)
    return found


_OURS = frozenset(("__name__", "node", *_CELL_LABELS, "method", "model", "kind", "phase", *_HOLDER_LABELS))


def _origin(labels: Mapping[str, str]) -> _Origin:
    return frozenset((label, value) for label, value in labels.items() if label not in _OURS)


def _owners(series: Iterable[Series]) -> dict[_Origin, tuple[float, float]]:
    """From after when until when each origin's samples count: of two at a time the one that was there first."""
    spans: dict[_Origin, tuple[float, float]] = {}
    for each in series:
        origin, (first, last) = _origin(each.labels), (each.points[0][0], each.points[-1][0])
        known = spans.get(origin, (first, last))
        spans[origin] = min(first, known[0]), max(last, known[1])
    owners: dict[_Origin, tuple[float, float]] = {}
    after = 0.0
    for origin, (_, last) in sorted(spans.items(), key=lambda item: (item[1][0], -item[1][1], sorted(item[0]))):
        if last > after:
            owners[origin] = after, last
            after = last
    return owners


def _holder(labels: Mapping[str, str]) -> tuple[str, str]:
    """Kind and name; the inverse of :mod:`agent.holder_labels`."""
    if "holder" in labels or "holder_kind" in labels:
        return labels.get("holder_kind", ""), labels.get("holder", "")
    namespace, pod, container = (labels.get(label, "") for label in ("namespace", "pod", "container"))
    if pod in (FINISHED, OTHER):
        return "", pod
    if pod:
        return "pod", f"{namespace}/{pod}/{container}"
    kind, _, name = container.partition(":")
    return (kind, name) if name else (NOBODY.kind, NOBODY.name)


def _note(labels: Mapping[str, str]) -> HolderNote:
    kind, _, workload = labels.get("workload", "").rpartition("/")
    known = {"__name__", "node", *_HOLDER_LABELS, *_NOTE_LABELS}
    return HolderNote(
        workload_kind=kind,
        workload=workload,
        namespace=labels.get("namespace", ""),
        pod=labels.get("pod", ""),
        container=labels.get("container", "") if labels.get("pod") else "",
        pod_uid=labels.get("pod_uid", ""),
        team=labels.get("team", ""),
        environment=labels.get("environment", ""),
        dimensions={label: value for label, value in sorted(labels.items()) if label not in known},
    )


def _is_kind(labels: Mapping[str, str], *, simulated: bool) -> bool:
    return "source" not in labels or (labels["source"] == "simulated") == simulated
