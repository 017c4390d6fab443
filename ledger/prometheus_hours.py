"""Hours worked out from a Prometheus: estimates, for what no journal tells.

Owns what both ways in share: presence in minutes, rows that add up to what was present, and the mark ``prometheus`` on
all of it. An hour of this kind is an :class:`~ledger.agent_hours.AgentHour` like any other, so it is booked by the same
code; what was not present in it becomes ``unobserved`` there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from collectors.clock import NS_PER_HOUR
from ledger.accounts import Account, EnergyMethod, Method
from ledger.agent_hours import AgentHour
from ledger.apportion import apportion
from ledger.hours import Amount, CellKey, DeviceHour, HolderKey, HolderNote, HourBook, NodeNote, RowKey, WorkKey, encode

PROMETHEUS = "prometheus"
NOBODY = ("", "")


@dataclass(slots=True)
class DeviceEstimate:
    """One device, or one MIG instance's part of it, in one hour."""

    model: str = ""
    cells: dict[tuple[str, str, str, str], int] = field(default_factory=dict[tuple[str, str, str, str], int])
    """(mig, holder kind, holder, account) to whole-GPU nanoseconds."""
    energy_mj: int | None = None
    own_energy: dict[tuple[str, str, str, str], int] = field(default_factory=dict[tuple[str, str, str, str], int])
    """Energy of single cells, where it is known better than by time."""

    def add(self, mig: str, holder: tuple[str, str], account: str, gpu_ns: int) -> None:
        """Count time; nothing of nothing."""
        if gpu_ns > 0:
            key = (mig, *holder, account)
            self.cells[key] = self.cells.get(key, 0) + gpu_ns


def agent_hour(
    node: str,
    hour_s: int,
    devices: Mapping[str, DeviceEstimate],
    holders: Mapping[HolderKey, HolderNote],
    facts: NodeNote,
    *,
    work: Mapping[WorkKey, int] | None = None,
) -> AgentHour:
    """One node's hour as estimated; a device never gets more than the hour, its cells then shrink alike."""
    book = HourBook(hour_s=hour_s, node_facts=facts, work=dict(work or {}))
    book.holders.update(holders)
    for uuid, device in sorted(devices.items()):
        keys = sorted(device.cells)
        times = [device.cells[key] for key in keys]
        if sum(times) > NS_PER_HOUR:
            times = apportion(NS_PER_HOUR, times)
        joules = _energy(device, keys, times)
        for key, gpu_ns, energy_mj in zip(keys, times, joules, strict=True):
            mig, kind, holder, account = key
            method = EnergyMethod.INTERPOLATED if device.energy_mj is not None else EnergyMethod.NONE
            row = RowKey(CellKey(uuid, mig, kind, holder, account, Method.PROMETHEUS), method, "")
            book.rows[row] = Amount(gpu_ns, energy_mj)
        book.devices[uuid] = DeviceHour(device.model, sum(times), device.energy_mj if keys else None)
    digest = hashlib.sha256(encode(book, node=node, source=PROMETHEUS)).hexdigest()
    return AgentHour(node=node, book=book, source=PROMETHEUS, closed=True, digest=digest)


def _energy(device: DeviceEstimate, keys: Sequence[tuple[str, str, str, str]], times: Sequence[int]) -> list[int]:
    if device.energy_mj is None or not keys:
        return [0] * len(keys)
    weights = [device.own_energy.get(key, 0) for key in keys] if device.own_energy else list(times)
    return apportion(device.energy_mj, weights if any(weights) else list(times))


def split_activity(
    device: DeviceEstimate, mig: str, holder: tuple[str, str], gpu_ns: int, activity: float | None
) -> None:
    """Put time under the accounts that its mean activity tells; work that nobody holds is ``unattributed``."""
    held = holder != NOBODY
    if activity is None:
        device.add(mig, holder, Account.UNMEASURED if held else Account.UNALLOCATED, gpu_ns)
        return
    active = min(gpu_ns, max(0, round(gpu_ns * activity)))
    device.add(mig, holder, Account.ACTIVE if held else Account.UNATTRIBUTED, active)
    device.add(mig, holder, Account.IDLE if held else Account.UNALLOCATED, gpu_ns - active)
