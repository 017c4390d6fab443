"""MIG: which instances a device has at this instant, and what part of it each one owns.

Owns the walk over the device's MIG slots at every reading: a slot whose handle or UUID changed holds another instance.
Slices are read, never assumed: an instance's by `nvmlDeviceGetAttributes_v2`, the device's as the largest
``sliceCount`` of the GPU instance profiles that it offers (that of the profile which takes the whole device: 7 on an
H100, 4 on an A30), and where no profile can be read, the number of MIG devices it can hold, which has been the same;
those that no profile can use by :mod:`collectors.nvml_mig_room`.
"""

import ctypes

import pynvml

from collectors.nvml_errors import raise_if_fatal
from collectors.nvml_gpm import INSTANCE_METRICS, GpmAnswer, GpmFunctions, GpmSampler
from collectors.nvml_library import Library, handle_of, may, text
from collectors.nvml_mig_room import MigRoom
from collectors.nvml_processes import ProcessLists
from collectors.nvml_scalars import MEMORY, ScalarBatch
from collectors.readings import MigFacts, ProcessReading

_UUID_BYTES = 96
_MEBIBYTES_PER_GIBIBYTE = 1024


class Instance:
    """One MIG instance with its own buffers."""

    def __init__(self, library: Library, handle: int, facts: MigFacts, gpm: GpmSampler | None) -> None:
        self.facts = facts
        self.memory = ScalarBatch(library, handle, facts.uuid, (MEMORY,))
        self.gpm = gpm
        self._library = library
        self._handle = handle
        self._processes: ProcessLists | None = None
        self.alone = True
        """No other compute instance shares its GPU instance."""

    def processes(self, now_ns: int) -> tuple[ProcessReading, ...] | None:
        """By its own lists, for when the parent's may not be read; ``None`` where these cannot be read either.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if self._processes is None:
            self._processes = ProcessLists(self._library, self._handle, self.facts.uuid)
        return self._processes.read(now_ns)

    def read_gpm(self, now_ns: int) -> GpmAnswer:
        """Its GPM metrics; none while it shares its GPU instance, which is all that GPM can tell apart.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if self.gpm is None:
            return GpmAnswer()
        if self.alone:
            return self.gpm.read(now_ns)
        self.gpm.restart()
        return GpmAnswer()

    def forget_refusals(self) -> None:
        """Ask everything again at the next reading."""
        self.memory.forget_refusals()
        if self._processes is not None:
            self._processes.forget_refusals()
        if self.gpm is not None:
            self.gpm.forget_refusals()

    def owns(self, process: ProcessReading) -> bool:
        """Whether the process, as the parent's list has it, runs here."""
        if process.gpu_instance_id != self.facts.gpu_instance_id:
            return False
        if process.compute_instance_id is None:
            return self.alone
        return process.compute_instance_id == self.facts.compute_instance_id


class _Slot:
    """One MIG index under the parent: its buffers, and the instance last found there."""

    def __init__(self, parent: int, index: int) -> None:
        self.handle = ctypes.c_void_p()
        self.uuid = ctypes.create_string_buffer(_UUID_BYTES)
        self.find_args = (ctypes.c_void_p(parent), ctypes.c_uint(index), ctypes.byref(self.handle))
        self.uuid_args = (self.handle, self.uuid, ctypes.c_uint(_UUID_BYTES))
        self.known: tuple[int | None, bytes] | None = None
        self.instance: Instance | None = None

    def forget(self) -> None:
        if self.instance is not None and self.instance.gpm is not None:
            self.instance.gpm.free()
        self.known = self.instance = None


class MigWalk:
    """The MIG instances of one device, looked up anew at each reading."""

    def __init__(self, library: Library, handle: int, subject: str, gpm: GpmFunctions | None) -> None:
        self._library = library
        self._handle = handle
        self._subject = f"{subject}: MIG"
        self._gpm = gpm
        self._by_index = library.function("nvmlDeviceGetMigDeviceHandleByIndex")
        self._uuid = library.function("nvmlDeviceGetUUID")
        self._slots: list[_Slot] = []
        self._room = MigRoom(handle, self._subject)
        self._parent_slices = 0

    def instances(self) -> list[Instance]:
        """The instances there are now; one that comes or goes meanwhile is in the next reading.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if not self._slots:
            self._slots = [_Slot(self._handle, index) for index in range(self._most())]
        found = [slot.instance for slot in self._slots if self._look(slot) and slot.instance is not None]
        shared = [instance.facts.gpu_instance_id for instance in found]
        for instance in found:
            instance.alone = shared.count(instance.facts.gpu_instance_id) == 1
        return found

    def stranded_slices(self, now_ns: int) -> int | None:
        """Compute slices that no profile can use beside the instances found last; ``None``: the driver does not tell.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        layout = tuple(slot.instance.facts.uuid for slot in self._slots if slot.instance is not None)
        return self._room.stranded(layout, now_ns) if layout else None

    def forget(self) -> None:
        """Drop all instances, as when MIG mode is turned off."""
        self._room.forget()
        for slot in self._slots:
            slot.forget()
        self._slots = []
        self._parent_slices = 0

    def forget_refusals(self) -> None:
        """Ask every instance everything again at the next reading."""
        self._room.forget_refusals()
        for slot in self._slots:
            if slot.instance is not None:
                slot.instance.forget_refusals()

    def _most(self) -> int:
        return may(self._subject, lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(handle_of(self._handle))) or 0

    def _look(self, slot: _Slot) -> bool:
        """Bring the slot up to date; false where it is empty."""
        if self._by_index is None or self._uuid is None:
            return False
        code = self._by_index(*slot.find_args) or self._uuid(*slot.uuid_args)
        if code:
            raise_if_fatal(code, self._subject)
            slot.forget()
            return False
        now = (slot.handle.value, slot.uuid.value)
        if now != slot.known:
            slot.forget()
            slot.instance = self._appeared(slot.handle.value or 0, now[1].decode("ascii", "replace"))
            slot.known = now if slot.instance else None
        return True

    def _appeared(self, handle: int, uuid: str) -> Instance | None:
        """A new instance, or ``None`` where it went while it was being asked."""
        facts = self._facts(handle, uuid)
        return None if facts is None else Instance(self._library, handle, facts, self._sampler(facts))

    def _sampler(self, facts: MigFacts) -> GpmSampler | None:
        if self._gpm is None:
            return None
        return GpmSampler(self._gpm, self._handle, facts.uuid, INSTANCE_METRICS, facts.gpu_instance_id)

    def _facts(self, address: int, uuid: str) -> MigFacts | None:
        handle = handle_of(address)
        gpu_instance = may(uuid, lambda: pynvml.nvmlDeviceGetGpuInstanceId(handle))
        compute_instance = may(uuid, lambda: pynvml.nvmlDeviceGetComputeInstanceId(handle))
        attributes = may(uuid, lambda: pynvml.nvmlDeviceGetAttributes_v2(handle))
        if gpu_instance is None or compute_instance is None or attributes is None:
            return None
        self._parent_slices = self._parent_slices or self._read_parent_slices()
        return MigFacts(
            uuid=uuid,
            gpu_instance_id=gpu_instance,
            compute_instance_id=compute_instance,
            profile=_profile_in(text(may(uuid, lambda: pynvml.nvmlDeviceGetName(handle)))) or profile_of(attributes),
            compute_slices=attributes.computeInstanceSliceCount,
            parent_slices=self._parent_slices,
        )

    def _read_parent_slices(self) -> int:
        return max((profile.slices for profile in self._room.profiles()), default=len(self._slots))


def _profile_in(name: str | None) -> str | None:
    """``1g.10gb`` of ``NVIDIA H100 80GB HBM3 MIG 1g.10gb``."""
    _, separator, profile = (name or "").partition(" MIG ")
    return profile.strip() if separator else None


def profile_of(attributes: pynvml.c_nvmlDeviceAttributes) -> str:
    """The profile's name from its slices and memory, as NVIDIA forms it."""
    compute, gpu = attributes.computeInstanceSliceCount, attributes.gpuInstanceSliceCount
    gibibytes = -(-attributes.memorySizeMB // _MEBIBYTES_PER_GIBIBYTE)
    prefix = f"{compute}c." if compute != gpu else ""
    return f"{prefix}{gpu}g.{gibibytes}gb"
