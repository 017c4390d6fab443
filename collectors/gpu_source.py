"""The contract that every source of GPU readings keeps (the NVIDIA driver, the simulation)."""

from collections.abc import Sequence
from typing import Protocol

from collectors.readings import DeviceFacts, DeviceSweep, SourceName, XidEvent


class GpuSource(Protocol):
    """A source of GPU readings. It only reads; it never sets anything on a device.

    ``read`` may be called from different threads for different devices at the same time, and may hang for as long
    as the driver hangs; the caller guards that. No other method may block for longer than a driver call.
    """

    @property
    def name(self) -> SourceName:
        """What the metrics' ``source`` label says."""
        ...

    def discover(self) -> Sequence[DeviceFacts]:
        """The devices there are now, in the driver's order. Call again after any :class:`Unavailable`, or every minute.

        A device that is present but does not answer is left out and told by :meth:`unreadable`.

        Raises:
            Unavailable: no driver, or it does not answer at all. The message says what to do.
        """
        ...

    def unreadable(self) -> Sequence[str]:
        """One line for each device slot that the last :meth:`discover` saw but could not identify."""
        ...

    def read(self, uuid: str) -> DeviceSweep:
        """One device and its MIG instances.

        Raises:
            DeviceLost: this device does not answer; ``discover`` tells when it is back.
            Unavailable: the driver itself is gone (reload under way).
        """
        ...

    def drain_xids(self) -> Sequence[XidEvent]:
        """XIDs that came in since the last call; never blocks."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...
