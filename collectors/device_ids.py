"""From what the kubelet says of devices to the devices themselves: device-plugin ids and DRA claims to UUIDs.

Owns the spellings of ids. Must never guess: an id that is not understood, or that cannot be right, is named in the
answer and held by nobody there; what its processes do is then explained by their cgroups or by nobody.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from collectors.pod_resources_messages import ClaimedDevice, ContainerDevices, PodDevices

GPU_RESOURCES = ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-*")
"""Extended resources whose ids are GPUs, as NVIDIA's and GKE's device plugins name them; ``*`` stands for any end."""
GPU_DRIVERS = ("gpu.nvidia.com",)
"""DRA drivers whose devices are GPUs."""

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_BY_UUID = re.compile(rf"((?:GPU|MIG)-{_UUID})(?:::([0-9]+))?")
_OLD_MIG = re.compile(rf"MIG-(GPU-{_UUID})/([0-9]{{1,3}})/([0-9]{{1,3}})(?:::([0-9]+))?")
_GKE = re.compile(r"nvidia([0-9]{1,3})(?:/gi([0-9]{1,3}))?(?:/(vgpu[0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class DeviceMaps:
    """The node's devices, for ids that do not hold a UUID."""

    uuid_by_index: Mapping[int, str] = field(default_factory=dict[int, str])
    """Number in ``/dev/nvidiaN`` to the GPU's UUID."""
    mig_by_instance: Mapping[tuple[str, int, int], str] = field(default_factory=dict[tuple[str, int, int], str])
    """(GPU UUID, GPU instance, compute instance) to the MIG instance's UUID."""


@dataclass(frozen=True, slots=True)
class DeviceId:
    """What an id names."""

    uuid: str
    """Of a GPU or of a MIG instance, as the driver spells it."""
    replica: str | None = None
    """Which share of it, where it is shared by replicas."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one container holds of one device."""

    namespace: str
    pod: str
    container: str
    replicas: int
    """Shares held; 1 where the device is given whole."""
    resource: str
    """The extended resource, or the DRA driver."""


@dataclass(frozen=True, slots=True)
class Allocations:
    """Who was given which device."""

    by_device: Mapping[str, tuple[Allocation, ...]] = field(default_factory=dict[str, tuple[Allocation, ...]])
    """UUID of a GPU or MIG instance to its containers."""
    unknown: tuple[str, ...] = ()
    """Ids that nothing was booked for, each in words: whose it is and why."""
    doubtful: frozenset[str] = frozenset()
    """Devices that somebody was given, though it cannot be told to whom; not in ``by_device``."""
    lost: bool = False
    """Whether an id names a device that cannot be told: any that nobody is known to hold may be it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Whose devices are GPUs, by configuration."""

    resources: tuple[str, ...] = GPU_RESOURCES
    drivers: tuple[str, ...] = GPU_DRIVERS

    def resource(self, name: str) -> bool:
        """Whether the ids of this extended resource are GPUs."""
        return any(fnmatchcase(name, pattern) for pattern in self.resources)


def resolve(device_id: str, maps: DeviceMaps) -> DeviceId | None:
    """The device that a device plugin's id names, or ``None`` where the id is not understood.

    Understood are ``GPU-UUID`` and ``MIG-UUID``, each with ``::N`` for a replica; ``MIG-GPU-UUID/GI/CI`` of drivers
    before R470; and GKE's ``nvidiaN``, ``nvidiaN/giM``, each with ``/vgpuK`` for a replica. A number after a single
    hyphen is not: plugins that write it choose the device elsewhere.
    """
    if match := _BY_UUID.fullmatch(device_id):
        return DeviceId(match[1], match[2])
    if match := _OLD_MIG.fullmatch(device_id):
        uuid = maps.mig_by_instance.get((match[1], int(match[2]), int(match[3])))
        return None if uuid is None else DeviceId(uuid, match[4])
    if match := _GKE.fullmatch(device_id):
        gpu = maps.uuid_by_index.get(int(match[1]))
        uuid = gpu if gpu is None or match[2] is None else _only_instance(gpu, int(match[2]), maps)
        return None if uuid is None else DeviceId(uuid, match[3])
    return None


def _only_instance(gpu: str, gpu_instance: int, maps: DeviceMaps) -> str | None:
    """The one compute instance of a GPU instance; ``None`` where it has none or is cut further."""
    uuids = [uuid for (parent, gi, _), uuid in maps.mig_by_instance.items() if (parent, gi) == (gpu, gpu_instance)]
    return uuids[0] if len(uuids) == 1 else None


_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Grant:
    place: _Place
    uuid: str
    resource: str
    device_id: str
    shareable: bool
    """Whether the same id may be given to several pods."""


@dataclass(slots=True)
class _Doubts:
    """What nothing is booked for."""

    words: list[str] = field(default_factory=list[str])
    devices: set[str] = field(default_factory=set[str])
    lost: bool = False

    def add(self, words: str, uuid: str | None) -> None:
        """One id; ``None`` where it does not tell which device it is."""
        self.words.append(words)
        if uuid is None:
            self.lost = True
        else:
            self.devices.add(uuid)


def allocations(
    pods: Iterable[PodDevices],
    claims: Mapping[tuple[str, str, str], str | None],
    maps: DeviceMaps,
    accepted: Accepted = Accepted(),
) -> Allocations:
    """Who holds which device.

    Kubelets before 1.34 name pods that have ended too, with devices that others hold by now: leave those pods out.

    Args:
        pods: the kubelet's answer.
        claims: (driver, pool, device) of the node's ResourceSlices to the UUID; ``None`` where a device is no GPU or
            does not tell.
        maps: the node's devices.
        accepted: the resources and drivers whose devices are GPUs.
    """
    doubts = _Doubts()
    grants: list[_Grant] = []
    for pod in pods:
        for container in pod.containers:
            place = (pod.namespace, pod.pod, container.name)
            grants += _plugin_grants(place, container, maps, accepted, doubts)
            grants += _claim_grants(place, container, claims, accepted, doubts)
    by_device = _by_device(_without_conflicts(grants, doubts))
    doubtful = frozenset(doubts.devices - by_device.keys())
    return Allocations(by_device, tuple(dict.fromkeys(doubts.words)), doubtful, doubts.lost)


def _plugin_grants(
    place: _Place, container: ContainerDevices, maps: DeviceMaps, accepted: Accepted, doubts: _Doubts
) -> Iterator[_Grant]:
    for devices in container.devices:
        gpu = accepted.resource(devices.resource_name)
        for device_id in devices.ids:
            found = resolve(device_id, maps)
            if gpu and found is not None:
                yield _Grant(place, found.uuid, devices.resource_name, device_id, shareable=False)
            elif gpu:
                doubts.add(_words(devices.resource_name, device_id, place, "the id is not understood"), None)
            elif found is not None and _BY_UUID.fullmatch(device_id):
                why = "the resource is not among those configured as GPUs"
                doubts.add(_words(devices.resource_name, device_id, place, why), found.uuid)


def _claim_grants(
    place: _Place,
    container: ContainerDevices,
    claims: Mapping[tuple[str, str, str], str | None],
    accepted: Accepted,
    doubts: _Doubts,
) -> Iterator[_Grant]:
    # A container may name one device by several requests of a claim, or by several claims: it holds it once.
    devices = dict.fromkeys(device for claim in container.claims for device in claim.devices)
    for driver, pool, device in dict.fromkeys(map(_claim_key, devices)):
        uuid = claims.get((driver, pool, device))
        if uuid is not None:
            yield _Grant(place, uuid, driver, f"{pool}/{device}", shareable=True)
        elif driver in accepted.drivers:
            why = "the node's ResourceSlices do not tell its UUID"
            doubts.add(_words(driver, f"{pool}/{device}", place, why), None)


def _claim_key(device: ClaimedDevice) -> tuple[str, str, str]:
    return device.driver, device.pool, device.device


def _words(resource: str, device_id: str, place: _Place, why: str) -> str:
    return f"{resource} {device_id:.120} of {'/'.join(place)}: {why}"


def _without_conflicts(grants: Iterable[_Grant], doubts: _Doubts) -> list[_Grant]:
    """The grants less those of an id that a device plugin gave to two pods: one of them must be wrong."""
    places: dict[str, dict[_Place, None]] = {}
    kept = list(grants)
    for grant in kept:
        if not grant.shareable:
            places.setdefault(grant.device_id, {})[grant.place] = None
    torn = {device_id for device_id, held in places.items() if len({place[:2] for place in held}) > 1}
    for grant in kept:
        if not grant.shareable and grant.device_id in torn:
            others = ", ".join("/".join(p) for p in places[grant.device_id] if p != grant.place)
            words = _words(grant.resource, grant.device_id, grant.place, f"the same id is given to {others}")
            doubts.add(words, grant.uuid)
    return [grant for grant in kept if grant.shareable or grant.device_id not in torn]


def _by_device(grants: Iterable[_Grant]) -> dict[str, tuple[Allocation, ...]]:
    ids: dict[str, dict[tuple[_Place, str], set[str]]] = {}
    for grant in grants:
        ids.setdefault(grant.uuid, {}).setdefault((grant.place, grant.resource), set()).add(grant.device_id)
    return {
        uuid: tuple(Allocation(*place, len(held), resource) for (place, resource), held in sorted(holders.items()))
        for uuid, holders in sorted(ids.items())
    }
