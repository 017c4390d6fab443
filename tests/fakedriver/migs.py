"""MIG mode and instances of a fake device."""

import uuid
from collections.abc import Sequence
from typing import Unpack

from tests.fakedriver import layout
from tests.fakedriver.control import Block, Pool
from tests.fakedriver.profiles import DeviceProfile, MigProfile
from tests.fakedriver.readings import Signals
from tests.fakedriver.scripted import Scripted

UUIDS = uuid.UUID("6f1a7c52-3c1e-4a55-9d0e-6b1f0c3f7a11")


class FakeMig(Scripted):
    """One MIG device: the one compute instance of a GPU instance, or one of several."""

    def __init__(self, block: Block, pool: Pool, device: layout.Device, slot: int) -> None:
        super().__init__(block, pool, device, len(layout.SIGNALS) * (1 + slot))
        self.slot = slot
        self._slot = device.mig[slot]

    @property
    def uuid(self) -> str:
        """``MIG-...``."""
        return bytes(self._slot.uuid).decode()

    @property
    def gpu_instance_id(self) -> int:
        return int(self._slot.gi)

    @property
    def compute_instance_id(self) -> int:
        return int(self._slot.ci)

    def set(self, **signals: Unpack[Signals]) -> None:
        """As :meth:`FakeDevice.set`; only what a MIG instance has is ever read."""
        self.set_signals(**signals)


class Sliced(Scripted):
    """A device that may be cut into MIG instances."""

    profile: DeviceProfile
    uuid: str

    def __init__(self, block: Block, index: int) -> None:
        super().__init__(block, Pool(block, index), block.control.devices[index], 0)
        self._migs: dict[int, FakeMig] = {}

    def mig(self, profiles: Sequence[str] | None) -> list[FakeMig]:
        """MIG mode on with these instances (``1g.10gb``, or ``1c.3g.40gb``); ``None``: off."""
        for slot in list(self._migs):
            self.destroy_mig(slot)
        self._device.mig_enabled = profiles is not None
        return [self.add_mig(profile) for profile in profiles or ()]

    def add_mig(self, profile: str, *, gpu_instance: int | None = None, start: int | None = None) -> FakeMig:
        """One more instance in the first free slot; with ``gpu_instance`` one more compute instance in that.

        Args:
            profile: its name.
            gpu_instance: the GPU instance that it is made in; ``None``: one of its own.
            start: the memory slice that this one begins at; ``None``: the first that is free.

        Raises:
            ValueError: the board has no such profile, no slot is free, or it has no room for it.
        """
        kind, compute_slices = self._profile(profile)
        slot = self._free_mig_slot()
        row = self._device.mig[slot]
        row.start = self._room_for(kind, start) if gpu_instance is None else self._row_of(gpu_instance).start
        row.gi = slot + 1 if gpu_instance is None else gpu_instance
        row.ci = sum(1 for other in self._migs.values() if other.gpu_instance_id == row.gi)
        row.profile_id, row.slices_gi, row.slices_ci = kind.profile_id, kind.slices, compute_slices
        row.sm_count, row.memory_mib = kind.sm_count * compute_slices // kind.slices, kind.memory_mib
        row.memory_reserved_bytes = 16 << 20
        row.generation += 1
        row.uuid = f"MIG-{uuid.uuid5(UUIDS, f'{self.uuid}/{slot}/{row.generation}')}".encode()
        row.name = f"{self.profile.name} MIG {profile}".encode()
        mig = self._migs[slot] = FakeMig(self._block, self._pool, self._device, slot)
        mig.clear()
        row.present = 1
        return mig

    def add_gpu_instance(self, profile: str, *, start: int | None = None) -> int:
        """A GPU instance without any compute instance, which no MIG device shows; its slot.

        Raises:
            ValueError: the board has no such profile, or no room for it.
        """
        kind, _ = self._profile(profile)
        slot = self._free_mig_slot()
        row = self._device.mig[slot]
        row.start, row.gi, row.profile_id, row.slices_gi = (
            self._room_for(kind, start),
            slot + 1,
            kind.profile_id,
            kind.slices,
        )
        row.gpu_instance_only = 1
        return slot

    def destroy_gpu_instance(self, slot: int) -> None:
        """The GPU instance of :meth:`add_gpu_instance` is gone."""
        self._device.mig[slot].gpu_instance_only = 0

    def places(self, profile: MigProfile) -> tuple[int, ...]:
        """The memory slices at which an instance may begin."""
        return profile.places(max(each.size for each in self.profile.mig))

    def _free_mig_slot(self) -> int:
        rows = self._device.mig
        free = [slot for slot in range(7) if not (rows[slot].present or rows[slot].gpu_instance_only)]
        if not free:
            raise ValueError("seven MIG instances are there already")
        return free[0]

    def _row_of(self, gpu_instance: int) -> layout.MigSlot:
        return next(row for row in self._device.mig if row.present and row.gi == gpu_instance)

    def _room_for(self, kind: MigProfile, start: int | None) -> int:
        sizes = {each.profile_id: each.size for each in self.profile.mig}
        rows = [row for row in self._device.mig if row.present or row.gpu_instance_only]
        taken = {place for row in rows for place in range(row.start, row.start + sizes[row.profile_id])}
        wished = self.places(kind) if start is None else {start}.intersection(self.places(kind))
        fitting = [place for place in wished if taken.isdisjoint(range(place, place + kind.size))]
        if not fitting:
            raise ValueError(f"{self.profile.name} has no room for {kind.name}")
        return fitting[0]

    def _profile(self, name: str) -> tuple[MigProfile, int]:
        head, _, tail = name.partition(".")
        plain = tail if head.endswith("c") else name
        for profile in self.profile.mig:
            if profile.name == plain:
                return profile, int(head[:-1]) if head.endswith("c") else profile.slices
        raise ValueError(f"{self.profile.name} has no MIG profile {name}")

    def destroy_mig(self, slot: int) -> None:
        """That instance is gone; its handle and UUID are good for nothing any more."""
        self._device.mig[slot].present = 0
        del self._migs[slot]
