"""What can go wrong with a fake device."""

from tests.fakedriver import layout
from tests.fakedriver.control import Block
from tests.fakedriver.migs import FakeMig
from tests.fakedriver.sharing import NO_INSTANCE, Shared

_ALL_BITS = 2**64 - 1


class Faulty(Shared):
    """A device that can be lost, hang, fail and be counted."""

    def __init__(self, block: Block, index: int) -> None:
        super().__init__(block, index)
        self.index = index

    def lose(self) -> None:
        """Off the bus: every call about it answers GPU_IS_LOST."""
        self._device.lost = 1
        self._block.announce()

    def restore(self) -> None:
        """Back, with its counters as they went on."""
        self._device.lost = 0
        self._block.announce()

    def detach(self) -> None:
        """Gone from the driver's count; the indices of those behind it move up."""
        self._device.present = 0
        self._block.announce()

    def attach(self) -> None:
        """In the driver's count again."""
        self._device.present = 1
        self._block.announce()

    def _cell(self, function: str, keep: int, bits: int) -> None:
        place = self._block.function_id(function)
        self._device.cells[place] = self._device.cells[place] & keep | bits
        self._block.announce()

    def fail(self, function: str, code: int) -> None:
        """That function answers this code for this device and its MIG instances; 0: no longer."""
        self._cell(function, _ALL_BITS - 0xFFFF, code)

    def fail_field(self, field_id: int, code: int) -> None:
        """That field value answers this code; 0: no longer."""
        self._device.field_faults[field_id] = code

    def delay(self, function: str, milliseconds: float) -> None:
        """That function takes so long for this device."""
        self._cell(function, (1 << layout.DELAY_SHIFT) - 1, round(milliseconds * 1000) << layout.DELAY_SHIFT)

    def hang(self, function: str = "*") -> None:
        """Calls of that function (``*``: any) about this device do not return until :meth:`release`."""
        for name in self._block.library.functions if function == "*" else (function,):
            self._cell(name, _ALL_BITS, layout.HANG_BIT)

    def release(self) -> None:
        """Calls that hang return."""
        for place in range(len(self._block.library.functions)):
            self._device.cells[place] &= ~layout.HANG_BIT
        self._block.announce()

    def clear_faults(self) -> None:
        """No faults, hangs, delays or overridden fields any more."""
        self._device.cells[:] = [0] * layout.MAX_FUNCTIONS
        self._device.field_faults[:] = [0] * layout.MAX_FIELDS
        self._device.override_count = 0
        self._block.announce()

    def set_field(self, field_id: int, value: int, scope: int = 0) -> None:
        """That field value answers this number, whatever the device has.

        Raises:
            ValueError: more overrides than the block has room for.
        """
        count = self._device.override_count
        rows = [row for row in self._device.overrides[:count] if (row.field_id, row.scope) == (field_id, scope)]
        if not rows and count == layout.MAX_OVERRIDES:
            raise ValueError(f"no more than {layout.MAX_OVERRIDES} fields can be overridden")
        row = rows[0] if rows else self._device.overrides[count]
        row.field_id, row.scope, row.value = field_id, scope, value
        self._device.override_count = count + (not rows)

    def inject_xid(self, xid: int, *, mig: FakeMig | None = None) -> None:
        """An XID error event, for every event set that is registered for this device."""
        control = self._block.control
        with self._block.lock:
            event = control.events[control.event_head % layout.MAX_EVENTS]
            event.sequence, event.type, event.data, event.device = control.event_head, 8, xid, self.index
            event.gi = NO_INSTANCE if mig is None else mig.gpu_instance_id
            event.ci = NO_INSTANCE if mig is None else mig.compute_instance_id
            control.event_head += 1
        self._block.announce()

    def calls(self) -> dict[str, int]:
        """Calls about this device by function."""
        counts = self._device.calls
        return {name: counts[i] for i, name in enumerate(self._block.library.functions) if counts[i]}
