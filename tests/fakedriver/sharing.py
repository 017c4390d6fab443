"""Processes on a fake device: who is there, and their true SM shares."""

from collections.abc import Sequence
from fractions import Fraction

from tests.fakedriver import layout
from tests.fakedriver.control import Block
from tests.fakedriver.migs import Sliced
from tests.fakedriver.readings import KINDS, Process

NO_INSTANCE = 0xFFFFFFFF
_PROCESS_TRACKS = len(layout.SIGNALS) * (1 + layout.MAX_MIG)


class Shared(Sliced):
    """A device that processes hold."""

    def __init__(self, block: Block, index: int) -> None:
        super().__init__(block, index)
        self._processes: dict[int, Process] = {}

    def sampling(
        self,
        period_ms: float = 1000,
        lag_ms: float = 0,
        missing: float = 0.0,
        seed: int = 1,
        depth: int = 16,
        *,
        empty_as_success: bool = False,
    ) -> None:
        """How process utilization is sampled: every ``period_ms`` since driver load, delivered ``lag_ms`` late.

        ``missing`` is the share of samples that never come, by ``seed``; ``depth`` the samples of a process that the
        driver keeps; ``empty_as_success`` answers no new samples with SUCCESS and 0, not NOT_FOUND.
        """
        d = self._device
        d.sample_period_ns, d.sample_lag_ns = round(period_ms * 1e6), round(lag_ms * 1e6)
        d.sample_missing_ppm, d.sample_seed, d.sample_depth = round(missing * layout.PPM), seed, depth
        d.sample_empty_success = empty_as_success

    def processes(self, processes: Sequence[Process]) -> None:
        """From now on these, and no others, hold the device; one whose pid stays keeps its start."""
        table = self._device.processes
        wanted = {process.pid: process for process in processes}
        if len(wanted) != len(processes):
            raise ValueError("the same pid twice")
        with self._block.writing(self._device):
            at_ns = self._block.now_ns()
            kept: set[int] = set()
            for slot, row in enumerate(table):
                if row.pid and row.end_ns > at_ns and row.pid not in wanted:
                    row.end_ns = at_ns
                    self._pool.timeline(_PROCESS_TRACKS + slot).change(at_ns, 0)
                    self._pool.publish({_PROCESS_TRACKS + slot})
                elif row.pid and row.end_ns > at_ns:
                    kept.add(row.pid)
                    self._place(slot, wanted[row.pid], row.start_ns, at_ns)
            for pid in wanted.keys() - kept:
                start_ns = wanted[pid].start_ns
                self._place(self._free_slot(at_ns), wanted[pid], at_ns if start_ns is None else start_ns, at_ns)
        self._processes = wanted

    def start(self, process: Process) -> None:
        """One more process."""
        self.processes([*self._processes.values(), process])

    def end(self, pid: int) -> None:
        """That process is gone."""
        self.processes([process for process in self._processes.values() if process.pid != pid])

    def _free_slot(self, at_ns: int) -> int:
        table = self._device.processes
        slots = [(row.end_ns if row.pid else -1, slot) for slot, row in enumerate(table)]
        end_ns, slot = min(slots)
        if end_ns > at_ns:
            raise ValueError(f"the fake driver holds {layout.MAX_PROCESSES} processes a device")
        return slot

    def _place(self, slot: int, process: Process, start_ns: int, at_ns: int) -> None:
        row = self._device.processes[slot]
        mig = None if process.mig is None else self._device.mig[process.mig]
        row.kind, row.start_ns = 1 + KINDS.index(process.kind), start_ns
        row.end_ns = layout.FOREVER if process.end_ns is None else process.end_ns
        row.gi, row.ci = (NO_INSTANCE, NO_INSTANCE) if mig is None else (mig.gi, mig.ci)
        row.memory_bytes = layout.NOT_AVAILABLE if process.memory_bytes is None else process.memory_bytes
        row.encoder_percent, row.decoder_percent = round(process.encoder * 100), round(process.decoder * 100)
        row.memory_percent = round(process.memory * 100)
        share_from_ns = max(start_ns, at_ns) if row.pid == process.pid else start_ns
        self._script_share(_PROCESS_TRACKS + slot, process, share_from_ns)
        row.pid = process.pid

    def _script_share(self, track: int, process: Process, start_ns: int) -> None:
        timeline = self._pool.timeline(track)
        steps = process.share if isinstance(process.share, tuple) else ((0, process.share),)
        at_ns = start_ns
        for duration_ns, share in steps:
            timeline.change(at_ns, round(share * layout.PPM))
            at_ns += duration_ns
        if process.repeat and at_ns > start_ns:
            timeline.loop(start_ns, at_ns - start_ns)
        elif at_ns > start_ns:
            timeline.change(at_ns, 0)
        if process.end_ns is not None:
            timeline.change(process.end_ns, 0)
        self._pool.publish({track})

    def true_share(self, pid: int, begin_ns: int, end_ns: int) -> Fraction:
        """The exact mean SM share of a process over an interval, sampling aside.

        Raises:
            KeyError: the device holds no process of that pid, and remembers none.
        """
        for slot, row in enumerate(self._device.processes):
            if row.pid == pid:
                return self._pool.timeline(_PROCESS_TRACKS + slot).mean(begin_ns, end_ns) / layout.PPM
        raise KeyError(pid)
