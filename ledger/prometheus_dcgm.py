"""A ledger from dcgm-exporter and kube-state-metrics alone: each hour of a fleet estimated from what Prometheus kept.

Owns the queries and what is made of their answers. Per hour and device:

- presence: minutes in which the device had a sample (`count by (UUID)` over 60 steps of a minute), so an outage of the
  exporter is missing time, not idle time;
- who: each series' pod, by minutes. Pods on one device at once share its minutes in proportion to theirs. Series of
  one holder, which an exporter that was started anew tells of by another ``instance``, are one: their minutes are added
  up, to an hour at most, and their means weighed by them;
- activity: the mean of ``DCGM_FI_PROF_GR_ENGINE_ACTIVE``, or else of ``DCGM_FI_DEV_GPU_UTIL``, over those minutes: a
  duty cycle, an upper bound of work. A series with a sample that is no number tells none;
- MIG instances: compute slices of their profile by seven (A30: four) of their parent; slices that no series has are
  ``unallocated``;
- energy: the counter's difference between the hour's ends, or, where it was reset or missing, mean power times
  presence; shared by time, since idle power is not known.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite

from collectors.clock import NS_PER_HOUR
from collectors.gpu_model import canonical_model
from collectors.prometheus_api import Series
from ledger.accounts import Account
from ledger.agent_hours import AgentHour
from ledger.apportion import apportion
from ledger.hours import HolderKey, HolderNote, NodeNote
from ledger.prometheus_hours import NOBODY, DeviceEstimate, agent_hour, split_activity
from ledger.prometheus_nodes import HOUR_SECONDS, STEPS, Query, node_notes
from ledger.prometheus_pods import PodFacts

_log = logging.getLogger(__name__)

MINUTES = 60
MINUTE_NS = NS_PER_HOUR // MINUTES
PRESENCE = ("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL")
"""The first that the fleet has is what a device's presence and pods are told by."""
ACTIVITY = (("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1.0), ("DCGM_FI_DEV_GPU_UTIL", 100.0))
"""Metric and what stands for fully active; for each series the first that it has."""
ENERGY, POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"
NODE_LABELS = ("node", "kubernetes_node", "Hostname", "instance")
_EXPORTER = re.compile(r"dcgm-exporter")
_PROFILE = re.compile(r"(\d+)g\.")
_SLICES, _A30_SLICES = 7, 4

_Key = tuple[str, str, str, str, str]
"""UUID, MIG instance, profile, holder kind, holder."""


@dataclass(slots=True)
class _Node:
    devices: dict[str, DeviceEstimate] = field(default_factory=dict[str, DeviceEstimate])
    holders: dict[HolderKey, HolderNote] = field(default_factory=dict[HolderKey, HolderNote])


def dcgm_hour(api: Query, hour_s: int, pods: PodFacts, cluster: str = "") -> list[AgentHour]:
    """Every node's hour as estimated; a node without a sample in it has none.

    Args:
        api: the Prometheus.
        hour_s: start of the hour, Unix seconds.
        pods: what is known of pods beyond their names, see :mod:`ledger.prometheus_pods`.
        cluster: as the installation calls it.

    Raises:
        Unavailable: no whole answer; nothing of the hour is lost by asking again.
    """
    end = hour_s + HOUR_SECONDS
    metric, presence = _presence(api, end)
    if not presence:
        return []
    honoured = not any("exported_pod" in each.labels for each in presence)
    minutes = {key: min(MINUTES, round(told)) for key, told in _sums(presence, honoured=honoured).items()}
    present = {
        each.labels["UUID"]: round(each.value)
        for each in api.query(f"count_over_time((count by (UUID) ({metric})){STEPS})", end)
    }
    activity = _activity(api, end, honoured=honoured)
    energy = _energy(api, hour_s, present)
    nodes = {each.labels["UUID"]: _node_of(each.labels) for each in presence}
    models = {each.labels["UUID"]: each.labels.get("modelName", "") for each in presence}
    books: dict[str, _Node] = {}
    for uuid, node_name in sorted(nodes.items()):
        node = books.setdefault(node_name, _Node())
        series = {key: count for key, count in minutes.items() if key[0] == uuid}
        device = node.devices[uuid] = DeviceEstimate(models[uuid], energy_mj=energy.get(uuid))
        _book_device(device, present.get(uuid, 0), series, activity)
        for _, _, _, kind, holder in series:
            if kind:
                node.holders[HolderKey(kind, holder)] = pods.note(holder)
    facts = {note.node: note for note in node_notes(api, end, cluster)}
    return [
        agent_hour(name, hour_s, node.devices, node.holders, facts.get(name, NodeNote(node=name, cluster=cluster)))
        for name, node in sorted(books.items())
    ]


def _presence(api: Query, end: int) -> tuple[str, list[Series]]:
    for metric in PRESENCE:
        if found := api.query(f"count_over_time({metric}{STEPS})", end):
            return metric, found
    return "", []


def _activity(api: Query, end: int, *, honoured: bool) -> dict[_Key, float]:
    found: dict[_Key, float] = {}
    for metric, full in ACTIVITY:
        told = api.query(f"sum_over_time({metric}{STEPS})", end)
        known = {frozenset(each.labels.items()): each for each in told if isfinite(each.value)}
        _tell_of_no_number(metric, end, [each for each in told if not isfinite(each.value)])
        counted = api.query(f"count_over_time({metric}{STEPS})", end)
        samples = _sums((each for each in counted if frozenset(each.labels.items()) in known), honoured=honoured)
        for key, total in _sums(known.values(), honoured=honoured).items():
            if key in samples:
                found.setdefault(key, total / samples[key] / full)
    return found


def _tell_of_no_number(metric: str, end: int, series: Sequence[Series]) -> None:
    if series:
        hour = datetime.fromtimestamp(end - HOUR_SECONDS, UTC)
        _log.warning(
            "the hour %s: %d series of %s, such as that of %s, have samples that are no number and are refused; time "
            "that nothing else measures is booked as unmeasured; mend the exporter",
            f"{hour:%Y-%m-%dT%H:%MZ}",
            len(series),
            metric,
            series[0].labels["UUID"],
        )


def _sums(series: Iterable[Series], *, honoured: bool) -> dict[_Key, float]:
    """What the series of one holder on one device say together."""
    found: dict[_Key, float] = {}
    for each in series:
        key = _identity(each.labels, honoured=honoured)
        found[key] = found.get(key, 0.0) + each.value
    return found


def _energy(api: Query, hour_s: int, present: Mapping[str, int]) -> dict[str, int]:
    """Millijoules by device."""
    end = hour_s + HOUR_SECONDS
    last = f"max by (UUID) (last_over_time({ENERGY}[5m]))"
    ends, begins = _by_uuid(api.query(last, end)), _by_uuid(api.query(last, hour_s))
    energy = {
        uuid: round(ends[uuid] - begins[uuid]) for uuid in ends.keys() & begins.keys() if ends[uuid] >= begins[uuid]
    }
    total, samples = (f"sum by (UUID) ({over}_over_time({POWER}{STEPS}))" for over in ("sum", "count"))
    for uuid, watts in _by_uuid(api.query(f"{total} / {samples}", end)).items():
        energy.setdefault(uuid, round(watts * 1000 * 60 * present.get(uuid, 0)))
    return energy


def _by_uuid(series: Iterable[Series]) -> dict[str, float]:
    return {each.labels["UUID"]: each.value for each in series if isfinite(each.value)}


def _identity(labels: Mapping[str, str], *, honoured: bool) -> _Key:
    uuid, mig, profile = labels["UUID"], labels.get("GPU_I_ID", ""), labels.get("GPU_I_PROFILE", "")
    prefix = "" if honoured else "exported_"
    pod = labels.get(f"{prefix}pod", "")
    if not pod or (honoured and _EXPORTER.search(pod)):
        return (uuid, mig, profile, *NOBODY)
    holder = "/".join((labels.get(f"{prefix}namespace", ""), pod, labels.get(f"{prefix}container", "")))
    return uuid, mig, profile, "pod", holder


def _node_of(labels: Mapping[str, str]) -> str:
    name = next((labels[label] for label in NODE_LABELS if labels.get(label)), "")
    host, _, port = name.rpartition(":")
    return host if port.isdecimal() and host else name


def _book_device(
    device: DeviceEstimate, present_minutes: int, series: Mapping[_Key, int], activity: Mapping[_Key, float]
) -> None:
    whole_ns = min(present_minutes, MINUTES) * MINUTE_NS
    instances = {key[1]: key[2] for key in series if key[1]}
    if not instances:
        _book_holders(device, "", whole_ns, series, activity)
        return
    total = _A30_SLICES if canonical_model(device.model) == "A30" else _SLICES
    cut = {mig: min(total, _slices(profile)) for mig, profile in sorted(instances.items())}
    left = max(0, total - sum(cut.values()))
    *parts, rest = apportion(whole_ns, [*cut.values(), left])
    for mig, part in zip(cut, parts, strict=True):
        own = {key: count for key, count in series.items() if key[1] == mig}
        # an instance made or destroyed within the hour was there for its own minutes alone
        there = min(1.0, max(own.values()) / max(1, present_minutes)) if len(own) == 1 else 1.0
        held = round(part * there)
        _book_holders(device, f"gi{mig}", held, own, activity)
        device.add("", NOBODY, Account.UNALLOCATED, part - held)
    device.add("", NOBODY, Account.UNALLOCATED, rest)


def _book_holders(
    device: DeviceEstimate, mig: str, whole_ns: int, series: Mapping[_Key, int], activity: Mapping[_Key, float]
) -> None:
    keys = sorted(series)
    for key, gpu_ns in zip(keys, apportion(whole_ns, [series[key] for key in keys]), strict=True):
        split_activity(device, mig, (key[3], key[4]), gpu_ns, activity.get(key))


def _slices(profile: str) -> int:
    match = _PROFILE.match(profile)
    return int(match[1]) if match else 1
