"""Which GPU stands behind a device of dynamic resource allocation, by the ResourceSlices of this node.

Owns the layouts of the API's versions and when it is asked. Of a pool only the newest generation counts, and a UUID
that two devices claim is nobody's.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import Unsupported
from collectors.kube_api import KubeApi, Resource
from collectors.kube_json import JsonObject, child, children, number, text

_log = logging.getLogger(__name__)

INTERVAL_NS = 60 * NS_PER_SECOND
"""Default time between two lists that nothing hurries."""
MIN_GAP_NS = 5 * NS_PER_SECOND
"""Least time between two lists, whatever hurries them."""

_VERSIONS = ("v1", "v1beta2", "v1beta1")
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]{8,80}")

DeviceKey = tuple[str, str, str]
"""Driver, pool and device, as a claim names them."""


@dataclass(frozen=True, slots=True)
class DraDevice:
    """One device of a ResourceSlice."""

    driver: str
    pool: str
    device: str
    uuid: str | None = None
    """Of the GPU or MIG instance; ``None`` for a device that is none, or that does not exist before it is claimed."""
    kind: str | None = None
    """What the driver calls it: ``gpu``, ``mig``."""
    parent_uuid: str | None = None
    """Of a MIG instance: its GPU."""

    @property
    def key(self) -> DeviceKey:
        """How a claim names it."""
        return self.driver, self.pool, self.device


@dataclass(frozen=True, slots=True)
class Slice:
    """One ResourceSlice: some of a pool's devices."""

    driver: str
    pool: str
    generation: int
    devices: tuple[DraDevice, ...]


class ResourceSlices:
    """Lists the node's ResourceSlices when that is due."""

    def __init__(self, api: KubeApi, node: str, clock: Clock, *, interval_ns: int = INTERVAL_NS) -> None:
        self._api = api
        self._node = node
        self._clock = clock
        self._interval_ns = interval_ns
        self._version: str | None = None
        self._last_ns: int | None = None
        self._shared: frozenset[str] = frozenset()

    def read_if_due(self, *, hurry: bool = False) -> Mapping[DeviceKey, DraDevice] | None:
        """The node's devices, or ``None`` where no list is due. ``hurry`` asks ahead of time, for an unknown device.

        Raises:
            Unavailable: no answer, or a refusal; the message has the remedy.
            Unsupported: this cluster has no dynamic resource allocation.
        """
        now_ns = self._clock.monotonic_ns()
        gap_ns = MIN_GAP_NS if hurry else self._interval_ns
        if self._last_ns is not None and now_ns - self._last_ns < gap_ns:
            return None
        self._last_ns = now_ns
        devices, shared = devices_of(self._list())
        if shared - self._shared:
            _log.warning(
                "ResourceSlices give one UUID to several devices, so none has it: %s", ", ".join(sorted(shared))
            )
        self._shared = shared
        return devices

    def _list(self) -> tuple[Slice, ...]:
        # the kept one first; a cluster that was upgraded under us may have dropped it
        for version in dict.fromkeys((self._version or _VERSIONS[0], *_VERSIONS)):
            resource = Resource(f"/apis/resource.k8s.io/{version}/resourceslices", f"spec.nodeName={self._node}")
            try:
                listing = self._api.list(resource, slice_of, "0")
            except Unsupported:
                continue
            self._version = version
            return listing.items
        raise Unsupported("the cluster has no ResourceSlices (resource.k8s.io): it allocates no devices dynamically")


def uuids(devices: Mapping[DeviceKey, DraDevice]) -> dict[DeviceKey, str | None]:
    """Device to UUID, as ``device_ids.allocations`` takes it."""
    return {key: device.uuid for key, device in devices.items()}


def slice_of(found: JsonObject) -> Slice:
    """One ResourceSlice object of any version."""
    spec = child(found, "spec")
    driver, pool = text(spec, "driver"), text(spec, "pool", "name")
    return Slice(
        driver=driver,
        pool=pool,
        generation=number(spec, "pool", "generation") or 0,
        devices=tuple(_device(driver, pool, device) for device in children(spec, "devices")),
    )


def devices_of(slices: Iterable[Slice]) -> tuple[dict[DeviceKey, DraDevice], frozenset[str]]:
    """The devices of the newest generation of each pool, and the UUIDs that several of them claim and so none has."""
    listed = list(slices)
    newest: dict[tuple[str, str], int] = {}
    for each in listed:
        pool = (each.driver, each.pool)
        newest[pool] = max(each.generation, newest.get(pool, each.generation))
    current = [each for each in listed if each.generation == newest[each.driver, each.pool]]
    devices = {device.key: device for each in current for device in each.devices}
    counted = Counter(device.uuid for device in devices.values() if device.uuid is not None)
    shared = frozenset(uuid for uuid, count in counted.items() if count > 1)
    return {key: _without_shared(device, shared) for key, device in devices.items()}, shared


def _without_shared(device: DraDevice, shared: frozenset[str]) -> DraDevice:
    if device.uuid not in shared:
        return device
    return DraDevice(device.driver, device.pool, device.device, None, device.kind, device.parent_uuid)


def _device(driver: str, pool: str, device: JsonObject) -> DraDevice:
    # v1beta1 keeps the attributes one level down, under "basic"
    attributes = child(device, "attributes") or child(device, "basic", "attributes")

    def said(name: str) -> str:
        return text(attributes, name, "string") or text(attributes, f"{driver}/{name}", "string")

    uuid, parent = said("uuid"), said("parentUUID")
    return DraDevice(
        driver=driver,
        pool=pool,
        device=text(device, "name"),
        uuid=uuid if _UUID.fullmatch(uuid) else None,
        kind=said("type") or None,
        parent_uuid=parent if _UUID.fullmatch(parent) else None,
    )
