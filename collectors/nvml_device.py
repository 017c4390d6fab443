"""One device, read in one pass: every buffer, handle and remembered refusal of it lives here.

Owns the order of a reading: the stamp, energy beside it, activity, then the rest. Devices are read in different
threads at the same time, so nothing here is shared with another device.
"""

import threading
from typing import NamedTuple

from collectors import nvml_assemble as assemble
from collectors.clock import Clock
from collectors.errors import DeviceLost
from collectors.nvml_errors import DriverGone
from collectors.nvml_field_table import fields_of
from collectors.nvml_fields import FieldBatch
from collectors.nvml_gpm import DEVICE_METRICS, GpmFunctions, GpmSampler
from collectors.nvml_library import Library
from collectors.nvml_mig import Instance, MigWalk
from collectors.nvml_processes import ProcessLists, ShareSamples
from collectors.nvml_scalars import ACTIVITY, ENERGY, STATE, ScalarBatch
from collectors.readings import DeviceFacts, DeviceSweep, GpuReading, ProcessReading


class _Routes(NamedTuple):
    """Which process runs where, for as long as the driver tells the same."""

    processes: tuple[ProcessReading, ...] | None
    instances: list[Instance]
    own: tuple[tuple[ProcessReading, ...], ...]
    """Those of each instance."""
    rest: tuple[ProcessReading, ...]
    """Those of none."""


def _route(processes: tuple[ProcessReading, ...], instances: list[Instance]) -> _Routes:
    own = tuple([tuple([process for process in processes if instance.owns(process)]) for instance in instances])
    routed = frozenset[ProcessReading]().union(*own)
    return _Routes(processes, instances, own, tuple([process for process in processes if process not in routed]))


class DeviceReader:
    """Reads one device for as long as it stays on the bus and its driver stays loaded."""

    def __init__(
        self,
        library: Library,
        clock: Clock,
        facts: DeviceFacts,
        handle: int,
        *,
        gpm: GpmFunctions | None,
        driver_major: int,
        links: int,
        appearance: int,
    ) -> None:
        subject = f"GPU {facts.index} {facts.uuid}"
        self.facts = facts
        self.handle = handle
        self.appearance = appearance
        """Tells this stay on the bus from another of the same device."""
        self.retired = False
        """No longer the reader of this device; a call that returns late must not go on with its handle."""
        self._clock = clock
        self._subject = subject
        self._under_way = threading.Lock()
        self._ask_anew = False
        self._mig_mode = 0
        self._energy = ScalarBatch(library, handle, subject, (ENERGY,))
        self._activity = ScalarBatch(library, handle, subject, ACTIVITY)
        self._state = ScalarBatch(library, handle, subject, STATE)
        self._fields = FieldBatch(library, handle, subject, fields_of(driver_major, links))
        self._processes = ProcessLists(library, handle, subject)
        self._shares = ShareSamples(library, handle, subject)
        self._gpm = None if gpm is None else GpmSampler(gpm, handle, subject, DEVICE_METRICS)
        self._mig = MigWalk(library, handle, subject, gpm)
        self._routes = _Routes(None, [], (), ())

    @property
    def busy(self) -> bool:
        """A reading is under way, perhaps hanging."""
        return self._under_way.locked()

    def ask_anew(self) -> None:
        """Put the questions that were refused again, at the next reading."""
        self._ask_anew = True

    def retire(self, wait_seconds: float) -> None:
        """Read no more, and give the sample buffers back unless a reading hangs in the driver for longer."""
        self.retired = True
        if self._under_way.acquire(timeout=wait_seconds):
            try:
                if self._gpm is not None:
                    self._gpm.free()
                self._mig.forget()
            finally:
                self._under_way.release()

    def read(self) -> DeviceSweep:
        """The device and its MIG instances.

        Raises:
            DeviceLost: it does not answer, or an earlier reading of it still hangs.
            DriverGone: the driver does not.
        """
        if not self._under_way.acquire(blocking=False):
            raise DeviceLost(f"{self._subject}: the previous reading still hangs in the driver")
        try:
            return self._read()
        finally:
            self._under_way.release()

    def _read(self) -> DeviceSweep:
        if self._ask_anew:
            self._forget_refusals()
        now_ns = self._clock.monotonic_ns()
        energy = self._energy.read(now_ns)
        activity_values = self._activity.read(now_ns)
        metrics = {} if self._gpm is None else self._gpm.read(now_ns).by_metric()
        self._still_current()
        values = self._state.read(now_ns)
        if not (energy or activity_values or values):
            raise DeviceLost(f"{self._subject}: answers none of its getters; see dmesg and nvidia-smi")
        fields = self._fields.read(now_ns)
        self._still_current()
        mig_enabled = self._follow_mig_mode(values)
        processes = self._processes.read(now_ns)
        instances, rest = self._read_instances(now_ns, processes) if mig_enabled else ((), processes)
        activity = assemble.device_activity(activity_values, metrics)
        device = GpuReading(
            device=self.facts,
            read_ns=now_ns,
            mig_enabled=mig_enabled,
            activity=activity,
            activity_source=assemble.activity_source(activity, metrics),
            memory=assemble.memory_of(values),
            power=assemble.power_of(values, fields),
            energy_mj=energy["energy_mj"][0] if energy else None,
            driver_uptime_ns=assemble.uptime_ns(values),
            thermals=assemble.thermals_of(values, fields),
            clocks=assemble.clocks_of(values),
            throttle=assemble.throttle_of(values, fields),
            faults=assemble.faults_of(fields),
            links=assemble.links_of(fields, metrics),
            processes=rest or (),
            processes_known=rest is not None,
            share_samples=self._shares.read(now_ns, self._clock.wall_ns()),
        )
        return DeviceSweep(device, instances, self._mig.stranded_slices(now_ns) if instances else None)

    def _still_current(self) -> None:
        if self.retired:
            raise DriverGone(f"{self._subject}: the driver was initialized anew while this reading was under way")

    def _follow_mig_mode(self, values: assemble.Scalars) -> bool:
        """Whether MIG is on; a change of mode changes what can be asked."""
        mode = values.get("mig_mode", [0])[0]
        if mode != self._mig_mode:
            self._mig_mode = mode
            self._ask_anew = True
            self._mig.forget()
        return mode == 1

    def _forget_refusals(self) -> None:
        self._ask_anew = False
        for part in (self._energy, self._activity, self._state, self._fields, self._processes, self._shares):
            part.forget_refusals()
        if self._gpm is not None:
            self._gpm.forget_refusals()
        self._mig.forget_refusals()

    def _read_instances(
        self, now_ns: int, processes: tuple[ProcessReading, ...] | None
    ) -> tuple[tuple[GpuReading, ...], tuple[ProcessReading, ...] | None]:
        """The instances, and the device's processes that run in none of them."""
        instances = self._mig.instances()
        if processes is None:
            # Without the privilege to read the parent's list: from each instance's own.
            each = [(instance, instance.processes(now_ns)) for instance in instances]
            return tuple([self._read_instance(instance, now_ns, own) for instance, own in each]), None
        if self._routes.processes is not processes or self._routes.instances != instances:
            self._routes = _route(processes, instances)
        routes = zip(instances, self._routes.own, strict=True)
        return tuple([self._read_instance(instance, now_ns, own) for instance, own in routes]), self._routes.rest

    def _read_instance(
        self, instance: Instance, now_ns: int, processes: tuple[ProcessReading, ...] | None
    ) -> GpuReading:
        """One instance. GPM counts whole GPU instances: where it is cut further, nobody's activity can be told."""
        gpm = instance.read_gpm(now_ns)
        return GpuReading(
            device=self.facts,
            read_ns=now_ns,
            mig=instance.facts,
            mig_enabled=True,
            activity=assemble.instance_activity(gpm),
            activity_source="gpm" if gpm.metrics else None,
            memory=assemble.memory_of(instance.memory.read(now_ns)),
            processes=processes or (),
            processes_known=processes is not None,
        )
