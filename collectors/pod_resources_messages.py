"""The messages of the kubelet's PodResources v1 that tell who was given which device, read from protobuf bytes.

Owns the field numbers of ``k8s.io/kubelet/pkg/apis/podresources/v1`` and as much of the wire format as they need.
Fields that are not wanted or not known are skipped; a message that is not whole is refused, never read in part.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from collectors.errors import Unavailable

MAX_FIELDS = 500_000
"""Most fields that one answer may hold; a node of 250 pods with 256 CPUs each needs some 70,000."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 10
_MORE = 0x80


class MalformedMessage(Unavailable):
    """Bytes that are not the message they should be; nothing of them may be used."""


@dataclass(frozen=True, slots=True)
class DeviceIds:
    """One grant by a device plugin, its ids as the plugin spells them; the kubelet gives one entry per device."""

    resource_name: str
    """Extended resource, such as ``nvidia.com/gpu`` or ``nvidia.com/mig-1g.10gb``."""
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimedDevice:
    """One device given by dynamic resource allocation; driver, pool and device name it in the ResourceSlices."""

    driver: str
    pool: str
    device: str
    cdi_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DynamicClaim:
    """One ResourceClaim of a container."""

    name: str
    namespace: str
    devices: tuple[ClaimedDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerDevices:
    """What one container was given; both empty where it was given nothing."""

    name: str
    devices: tuple[DeviceIds, ...] = ()
    claims: tuple[DynamicClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class PodDevices:
    """What the containers of one pod were given. The kubelet tells no pod UID: join by namespace and name."""

    namespace: str
    pod: str
    containers: tuple[ContainerDevices, ...] = ()


def decode_list(message: bytes) -> tuple[PodDevices, ...]:
    """The pods of a ``ListPodResourcesResponse``, in its order.

    Raises:
        MalformedMessage: the bytes are cut off, lack a name, hold one that is not UTF-8, hold a field of no known
            kind, or over ``MAX_FIELDS`` fields.
    """
    return tuple(_pod(pod) for pod in _Message(message, _Budget(MAX_FIELDS)).messages(1))


def decode_allocatable(message: bytes) -> tuple[DeviceIds, ...]:
    """The devices of an ``AllocatableResourcesResponse``: every id that could be given, replicas included.

    Raises:
        MalformedMessage: as :func:`decode_list`.
    """
    devices = _Message(message, _Budget(MAX_FIELDS)).messages(1)
    return tuple(DeviceIds(entry.text(1, "a resource's name"), entry.texts(2)) for entry in devices)


def _pod(message: "_Message") -> PodDevices:
    return PodDevices(
        namespace=message.text(2, "a pod's namespace"),
        pod=message.text(1, "a pod's name"),
        containers=tuple(_container(container) for container in message.messages(3)),
    )


def _container(message: "_Message") -> ContainerDevices:
    return ContainerDevices(
        name=message.text(1, "a container's name"),
        devices=tuple(
            DeviceIds(devices.text(1, "a resource's name"), devices.texts(2)) for devices in message.messages(2)
        ),
        claims=tuple(_claim(claim) for claim in message.messages(5)),
    )


def _claim(message: "_Message") -> DynamicClaim:
    return DynamicClaim(
        name=message.text(2, "a claim's name"),
        namespace=message.text(3, "a claim's namespace"),
        devices=tuple(_claimed_device(device) for device in message.messages(4)),
    )


def _claimed_device(message: "_Message") -> ClaimedDevice:
    return ClaimedDevice(
        driver=message.text(2, "a claimed device's driver"),
        pool=message.text(3, "a claimed device's pool"),
        device=message.optional_text(4),
        cdi_devices=tuple(device.text(1, "a CDI device's name") for device in message.messages(1)),
    )


class _Budget:
    """Counts fields over a whole answer, so that many tiny ones cannot fill the memory."""

    def __init__(self, fields: int) -> None:
        self._left = fields

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise MalformedMessage(f"PodResources answer holds over {MAX_FIELDS} fields; it cannot be one node's pods")


class _Message:
    """One message, its length-delimited fields by number; numbers and unknown fields are skipped."""

    def __init__(self, data: bytes, budget: _Budget) -> None:
        self._budget = budget
        self._fields: dict[int, list[bytes]] = {}
        for number, value in _length_delimited_fields(data, budget):
            self._fields.setdefault(number, []).append(value)

    def messages(self, number: int) -> Iterator["_Message"]:
        return (_Message(value, self._budget) for value in self._fields.get(number, ()))

    def texts(self, number: int) -> tuple[str, ...]:
        return tuple(_text(value) for value in self._fields.get(number, ()))

    def optional_text(self, number: int) -> str:
        """Empty where the field is not there, as proto3 has it; of several the last counts."""
        texts = self.texts(number)
        return texts[-1] if texts else ""

    def text(self, number: int, what: str) -> str:
        text = self.optional_text(number)
        if not text:
            raise MalformedMessage(
                f"PodResources answer lacks {what} (field {number}); the kubelet may speak another API"
            )
        return text


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"PodResources answer holds a name that is not UTF-8: {value[:40]!r}") from error


def _length_delimited_fields(data: bytes, budget: _Budget) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        budget.spend()
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, position = _varint(data, position)
            continue
        length, position = _varint(data, position) if kind == _BYTES else (_fixed_length(kind), position)
        start, position = position, position + length
        if position > end:
            raise MalformedMessage(f"PodResources answer is cut off: field {number} needs {length} bytes")
        if kind == _BYTES:
            yield number, data[start:position]


def _fixed_length(kind: int) -> int:
    if kind not in _FIXED_BYTES:
        raise MalformedMessage(f"PodResources answer holds a field of wire type {kind}; it is not protobuf")
    return _FIXED_BYTES[kind]


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` in base 128, low group first, and the position behind it."""
    if position < len(data) and data[position] < _MORE:
        return data[position], position + 1
    number = 0
    for place in range(_VARINT_BYTES):
        if position + place >= len(data):
            raise MalformedMessage("PodResources answer is cut off within a number")
        byte = data[position + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < _MORE:
            return number, position + place + 1
    raise MalformedMessage(f"PodResources answer holds a number of over {_VARINT_BYTES} bytes")
