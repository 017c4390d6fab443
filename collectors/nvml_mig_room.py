"""MIG: what of a device its GPU instances leave, and what of that no profile can use any more.

Owns the profiles' ids, slices and counts, which are read, never assumed, and the arithmetic of what is stranded: the
slices outside GPU instances, less the most that one profile alone could still take of them. The smallest profile takes
what any mix could, so the most of one is the most of all. Slices inside a GPU instance are not stranded though no
compute instance has them: a compute instance may be made there.

The driver tells a profile's remaining capacity to privileged users alone (CAP_SYS_ADMIN); to others nothing is known.
"""

import ctypes
from dataclasses import dataclass

import pynvml

from collectors.nvml_library import handle_of, may

PROFILE_COUNT = 0x12
"""NVML_GPU_INSTANCE_PROFILE_COUNT: a driver refuses the numbers it does not know."""
SETTLING_NS = 10_000_000_000
"""Instances come and go in steps, a GPU instance after its last compute instance: so long after a change the driver
is asked once more."""
REREAD_NS = 600_000_000_000
"""A GPU instance without compute instances comes and goes unseen: it is asked for now and then."""


@dataclass(frozen=True, slots=True)
class GpuInstanceProfile:
    """A way to cut the device that its driver offers."""

    profile_id: int
    slices: int
    """Compute slices."""
    most: int
    """Instances that an empty device has room for."""


class MigRoom:
    """The room that one device in MIG mode has left."""

    def __init__(self, handle: int, subject: str) -> None:
        self._handle = handle
        self._subject = subject
        self._profiles: tuple[GpuInstanceProfile, ...] | None = None
        self._layout: tuple[str, ...] | None = None
        self._settled = True
        self._due_ns = 0
        self._stranded: int | None = None

    def profiles(self) -> tuple[GpuInstanceProfile, ...]:
        """What the device offers; read once, and again while nothing answers.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if not self._profiles:
            found = (self._profile(number) for number in range(PROFILE_COUNT))
            by_id = {profile.profile_id: profile for profile in found if profile is not None}
            self._profiles = tuple(by_id.values())
        return self._profiles

    def stranded(self, layout: tuple[str, ...], now_ns: int) -> int | None:
        """Compute slices that no profile can use; ``None``: the driver does not tell.

        Asked when the layout changed, a little later once more, and then rarely.

        Args:
            layout: the UUIDs of the MIG devices there are.
            now_ns: monotonic time.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        changed = layout != self._layout
        if changed or now_ns >= self._due_ns:
            self._settled = not changed
            self._due_ns = now_ns + (REREAD_NS if self._settled else SETTLING_NS)
            self._stranded = self._read()
            self._layout = layout
        return self._stranded

    def forget(self) -> None:
        """Ask everything again, as when MIG mode was turned off and on."""
        self._profiles = self._layout = self._stranded = None

    def forget_refusals(self) -> None:
        """Ask at the next reading where the driver did not tell."""
        if self._stranded is None:
            self._layout = None

    def _profile(self, number: int) -> GpuInstanceProfile | None:
        device = handle_of(self._handle)
        info = may(self._subject, lambda: pynvml.nvmlDeviceGetGpuInstanceProfileInfo(device, number, 1))
        if info is None or not info.sliceCount:
            return None
        return GpuInstanceProfile(info.id, info.sliceCount, info.instanceCount)

    def _read(self) -> int | None:
        profiles = self.profiles()
        total = max((profile.slices for profile in profiles), default=0)
        given, takeable = 0, 0
        for profile in profiles:
            instances, more = self._instances(profile), self._more(profile)
            if instances is None or more is None:
                return None
            given += instances * profile.slices
            takeable = max(takeable, more * profile.slices)
        return max(0, total - given - takeable) if total else None

    def _more(self, profile: GpuInstanceProfile) -> int | None:
        device = handle_of(self._handle)
        return may(self._subject, lambda: pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(device, profile.profile_id))

    def _instances(self, profile: GpuInstanceProfile) -> int | None:
        """GPU instances of this profile, with or without compute instances."""
        found = (pynvml.c_nvmlGpuInstance_t * max(1, profile.most))()
        count = ctypes.c_uint(len(found))
        device = handle_of(self._handle)
        answer = may(
            self._subject,
            lambda: pynvml.nvmlDeviceGetGpuInstances(device, profile.profile_id, found, ctypes.byref(count)),
        )
        return None if answer is None else count.value
