"""Learns a device's idle power from the hardware energy counter while the device is seen idle."""

from dataclasses import dataclass

from collectors.clock import NS_PER_SECOND


@dataclass(slots=True)
class IdlePower:
    """Idle power of one device in integer milliwatts; ``None`` until it was seen idle for ``learning_ns``."""

    learning_ns: int
    idle_mw: int | None = None
    _since_ns: int | None = None
    _since_mj: int = 0

    def observe(self, read_ns: int, energy_mj: int | None, *, idle: bool) -> None:
        """Take one reading; ``idle`` says that over the whole interval before it no activity was seen."""
        if energy_mj is None or not idle:
            self._since_ns = None
            return
        if self._since_ns is None or energy_mj < self._since_mj:
            self._since_ns, self._since_mj = read_ns, energy_mj
            return
        elapsed = read_ns - self._since_ns
        if elapsed >= self.learning_ns:
            self.idle_mw = (energy_mj - self._since_mj) * NS_PER_SECOND // elapsed
            self._since_ns, self._since_mj = read_ns, energy_mj
