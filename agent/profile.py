"""Each holder's profile in the open hours: how it used what it held.

Owns the sums of the open hours and their file. Means carry their own weights, so absent is absent. A profile is no
account: it is saved every half minute, and a death of the agent may cost it that much.

A row, as it stands in the journal::

    {"gpu_uuid", "mig", "holder_kind", "holder",           # gpu_uuid is empty on rows of the host's CPU and I/O
     "measures": {name: [weighted, ns, peak]},             # mean = weighted / ns
     "totals": {name: amount}}

Measures: ``duty_cycle_ppm``, ``sm_ppm``, ``tensor_ppm``, ``dram_ppm`` (of the device or MIG instance), ``memory_mib``
(the holder's own), ``power_mw`` (attributed to the holder), ``power_limit_mw``, ``node_iowait_ppm``. Totals:
``throttle_ns.REASON``, ``pcie_bytes``, ``nvlink_bytes`` (of the device while held), ``cpu_ns``, ``io_read_bytes``,
``io_written_bytes``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agent.accountant import DeviceView
from agent.attribution import PPM
from agent.log_file import write_atomically
from agent.units import HolderUse
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.host import HolderUsage
from collectors.readings import Activity, GpuReading
from ledger.json_text import compact

_MIB = 1 << 20
_MEASURES = (
    "duty_cycle_ppm",
    "sm_ppm",
    "tensor_ppm",
    "dram_ppm",
    "power_limit_mw",
    "node_iowait_ppm",
    "memory_mib",
    "power_mw",
)


class ProfileKey(NamedTuple):
    """Whose profile."""

    hour_s: int
    gpu_uuid: str
    mig: str
    holder_kind: str
    holder: str


@dataclass(slots=True)
class _Row:
    measures: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    totals: dict[str, int] = field(default_factory=dict[str, int])

    def measure(self, amounts: Sequence[int | None], ns: int) -> None:
        """Take the amounts of :data:`_MEASURES`, in that order."""
        measures = self.measures
        for name, amount in zip(_MEASURES, amounts):  # noqa: B905  (one amount stands for each name)
            if amount is None:
                continue
            entry = measures.get(name)
            if entry is None:
                measures[name] = [amount * ns, ns, amount]
                continue
            entry[0] += amount * ns
            entry[1] += ns
            if amount > entry[2]:  # noqa: PLR1730  (the innermost loop of a sweep spares the call)
                entry[2] = amount

    def add(self, amounts: Iterable[tuple[str, int]]) -> None:
        totals = self.totals
        for name, amount in amounts:
            totals[name] = totals.get(name, 0) + amount


class _Use(NamedTuple):
    mig: str
    holder: Holder
    memory_mib: int | None
    row: _Row


class _Found(NamedTuple):
    """The rows of those who were on a device."""

    hour_s: int
    uses: tuple[HolderUse, ...]
    rows: list[_Use]


@dataclass(slots=True)
class ProfileBook:
    """Profiles of the open hours."""

    rows: dict[ProfileKey, _Row] = field(default_factory=dict[ProfileKey, _Row])
    _throttle: dict[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    _usage: dict[Holder, HolderUsage] = field(default_factory=dict[Holder, HolderUsage])
    _found: dict[str, "_Found"] = field(default_factory=dict[str, "_Found"])
    """By device."""

    def observe(self, hour_s: int, view: DeviceView, iowait_ratio: float | None) -> None:
        """Take the interval that a sweep closed on one device."""
        device = view.sweep.device
        ns = view.interval_ns
        throttled = self._throttle_since(device)
        if ns <= 0:
            return
        energy: dict[tuple[str, Holder], int] = {}
        for share in view.shares:
            place = share.mig, share.holder
            energy[place] = energy.get(place, 0) + share.energy_mj
        limit_watts = device.power.limit_watts
        limit_mw = None if limit_watts is None else round(limit_watts * 1000)
        iowait_ppm = None if iowait_ratio is None else round(iowait_ratio * PPM)
        has_energy = device.energy_mj is not None
        totals = [*_moved(device, ns), *((f"throttle_ns.{reason}", amount) for reason, amount in throttled.items())]
        parts = {"": device} | {part.mig.uuid: part for part in view.sweep.instances if part.mig}
        for mig, holder, memory_mib, row in self._rows_of(hour_s, view):
            power_mw = energy.get((mig, holder), 0) * NS_PER_SECOND // ns if has_energy else None
            row.measure((*_measured(parts[mig].activity), limit_mw, iowait_ppm, memory_mib, power_mw), ns)
            row.add(totals)

    def observe_usage(self, hour_s: int, usage: Mapping[Holder, HolderUsage]) -> None:
        """Take the holders' CPU and I/O counters; the increments since the call before are booked."""
        for holder, now in usage.items():
            before = self._usage.get(holder)
            row = self._row(ProfileKey(hour_s, "", "", holder.kind, holder.name))
            for name in ("cpu_ns", "io_read_bytes", "io_written_bytes"):
                value = getattr(now, name)
                start = 0 if before is None else getattr(before, name) or 0
                if value is not None and value > start:
                    row.add(((name, value - start),))
        self._usage = dict(usage)

    def hours(self) -> set[int]:
        """The hours that have rows."""
        return {key.hour_s for key in self.rows}

    def take(self, hour_s: int) -> list[dict[str, Any]]:
        """The rows of an hour, which are forgotten."""
        keys = sorted(key for key in self.rows if key.hour_s == hour_s)
        self._found.clear()
        return [_plain(key, self.rows.pop(key)) for key in keys]

    def show(self, hour_s: int) -> list[dict[str, Any]]:
        """The rows of an hour as they stand."""
        return [_plain(key, self.rows[key]) for key in sorted(key for key in self.rows if key.hour_s == hour_s)]

    def save(self, path: Path) -> None:
        """Write all rows.

        Raises:
            OSError: the disk is full or fails.
        """
        write_atomically(
            path, compact([[*key, row.measures, row.totals] for key, row in self.rows.items()], depth=1).encode()
        )

    def load(self, path: Path, open_hours: Iterable[int]) -> None:
        """Read rows of hours that are still open; what is not there or not readable is left out."""
        kept = set(open_hours)
        self._found.clear()
        try:
            for *key, measures, totals in json.loads(path.read_bytes()):
                if key[0] in kept:
                    self.rows[ProfileKey(*key)] = _Row(measures, totals)
        except (OSError, ValueError, TypeError):
            self.rows.clear()

    def _rows_of(self, hour_s: int, view: DeviceView) -> Iterable["_Use"]:
        """The rows of a device's holders, looked up once for as long as these are the same."""
        uuid = view.sweep.device.device.uuid
        found = self._found.get(uuid)
        if found is None or found.hour_s != hour_s or found.uses is not view.uses:
            found = self._found[uuid] = _Found(
                hour_s,
                view.uses,
                [
                    _Use(
                        use.mig,
                        use.holder,
                        None if use.memory_bytes is None else use.memory_bytes // _MIB,
                        self._row(ProfileKey(hour_s, uuid, use.mig, use.holder.kind, use.holder.name)),
                    )
                    for use in view.uses
                    if use.holder is not None
                ],
            )
        return found.rows

    def _row(self, key: ProfileKey) -> _Row:
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = _Row()
        return row

    def _throttle_since(self, device: GpuReading) -> dict[str, int]:
        before = self._throttle.get(device.device.uuid, {})
        now = device.throttle.duration_ns
        self._throttle[device.device.uuid] = now
        return {reason: value - before[reason] for reason, value in now.items() if value > before.get(reason, value)}


def _measured(activity: Activity) -> tuple[int | None, int | None, int | None, int | None]:
    duty_cycle, sm, tensor, dram = activity.duty_cycle, activity.sm, activity.tensor, activity.dram
    return (
        None if duty_cycle is None else round(duty_cycle * PPM),
        None if sm is None else round(sm * PPM),
        None if tensor is None else round(tensor * PPM),
        None if dram is None else round(dram * PPM),
    )


def _moved(device: GpuReading, ns: int) -> list[tuple[str, int]]:
    """Bytes over the device's links, by their rates."""
    links = device.links
    both_ways = (
        ("pcie_bytes", (links.pcie_rx_bytes_per_second, links.pcie_tx_bytes_per_second)),
        ("nvlink_bytes", (links.nvlink_rx_bytes_per_second, links.nvlink_tx_bytes_per_second)),
    )
    known = [(name, [rate for rate in rates if rate is not None]) for name, rates in both_ways]
    return [(name, round(sum(rates) * ns / NS_PER_SECOND)) for name, rates in known if rates]


def _plain(key: ProfileKey, row: _Row) -> dict[str, Any]:
    return {**key._asdict(), "measures": row.measures, "totals": row.totals}
