"""The machine that the agent is timed on: the fake driver, processes in containers of their own, one clock.

The driver's clock is injected: each sweep comes a second of it after the last, so that sweeps of 1 s can run back to
back and every one of them finds GPM samples a second apart, SM samples that are due, and energy to book.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from subprocess import Popen

from agent.budget import CpuBudget
from agent.daemon import NodeAgent, Parts
from agent.holdings import ProcessHoldings
from agent.opening import open_books
from agent.sampler import Sampler
from agent.settings import AgentSettings
from agent.store import StateStore
from cli.node_prices import NodePrices
from collectors.cgroup_usage import HolderUsageCollector
from collectors.host import HostCollector
from collectors.nvml import NvmlSource
from collectors.process_holders import SYSTEM_PROCESSES, ProcessHolders
from ledger.price_settings import PriceSettings
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process

GPUS = 8
PROCESSES_A_GPU = 4
NODE = "benchmark"
START_NS = 3600 * 10**9
SECOND_NS = 10**9
_SHOWN_AS_THEY_ARE = {"proc": ("stat", "meminfo", "loadavg", "diskstats", "vmstat", "1"), "sys": ("block", "class")}


class DriverClock:
    """The fake driver's injected clock, for the agent too."""

    boot_id = "benchmark"

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self._now_ns = driver.now_ns()
        self._wall_less_monotonic_ns = driver.wall_ns() - self._now_ns

    def advance(self, ns: int) -> None:
        """Move driver and agent on."""
        self._now_ns = self._driver.advance(ns=ns)

    def monotonic_ns(self) -> int:
        """The driver's clock."""
        return self._now_ns

    def wall_ns(self) -> int:
        """The driver's wall clock."""
        return self._now_ns + self._wall_less_monotonic_ns

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        """Let the time pass without waiting."""
        self.advance(max(0, duration_ns))
        return event.is_set()


class Containers:
    """A procfs and a cgroup tree in which each process is in a container of its own; the rest is this machine's."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys, self.passwd = root / "proc", root / "sys", root / "passwd"
        self.passwd.write_text("trainer:x:1000:1000::/:/bin/sh\n")
        for folder, names in _SHOWN_AS_THEY_ARE.items():
            (root / folder).mkdir()
            for name in names:
                (root / folder / name).symlink_to(f"/{folder}/{name}")

    def start(self, pid: int) -> None:
        """A process that runs in a container."""
        slice_ = f"system.slice/{_scope(pid)}"
        counters = {"cpu.stat": f"usage_usec {pid}\n", "io.stat": "8:0 rbytes=4096 wbytes=8192\n"}
        _write(self.sys / "fs/cgroup" / slice_, counters)
        shown = {
            "cgroup": f"0::/{slice_}\n",
            "status": "Name:\tpython3\nUid:\t1000\t1000\t1000\t1000\n",
            "stat": f"{pid} (python3) S{' 1' * 18} {pid} 0\n",
            "cmdline": "python3\0train.py\0",
        }
        _write(self.proc / str(pid), shown)

    def end(self, pid: int) -> None:
        """That process and its container are gone."""
        for folder in (self.proc / str(pid), self.sys / "fs/cgroup/system.slice" / _scope(pid)):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def _scope(pid: int) -> str:
    return f"docker-{sha256(str(pid).encode()).hexdigest()}.scope"


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@contextmanager
def real_processes(number: int) -> Generator[list[int]]:
    """PIDs of processes that exist, for those who ask the kernel about each."""
    children = [Popen(["/bin/sleep", "86400"]) for _ in range(number)]
    try:
        yield [child.pid for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def put_to_work(driver: FakeDriver, pids: Sequence[int], *, mig: bool = False) -> None:
    """All devices busy, the processes spread evenly; with MIG seven instances on each, all of them busy."""
    each = len(pids) // len(driver.devices)
    for place, device in enumerate(driver.devices):
        device.set(
            utilization=0.93,
            power_mw=612_345 + place,
            sm=0.71,
            tensor=0.4,
            dram=0.55,
            sm_clock_mhz=1755,
            temperature_celsius=64,
            memory_used_bytes=60 << 30,
            throttle_reasons=4,
            nvlink_rx_bytes_per_second=90 << 30,
            pcie_rx_bytes_per_second=3 << 30,
        )
        slots = [instance.slot for instance in device.mig(["1g.10gb"] * 7)] if mig else [None]
        own = pids[place * each : (place + 1) * each]
        device.processes(
            [
                Process(pid=pid, share=0.1 + 0.1 * n, memory_bytes=(8 + n) << 30, mig=slots[n % len(slots)])
                for n, pid in enumerate(own)
            ]
        )


@dataclass(slots=True)
class Rig:
    """An agent over the fake driver, in this process."""

    driver: FakeDriver
    clock: DriverClock
    agent: NodeAgent
    prices: NodePrices

    def sweep(self) -> None:
        """A second passes, and the agent sweeps."""
        self.clock.advance(SECOND_NS)
        self.agent.sweep()


@contextmanager
def running(folder: Path, driver: FakeDriver, containers: Containers) -> Generator[Rig]:
    """An agent wired as the real one, but for the clock and the roots of the host's files."""
    with driver.load_into_pynvml():
        clock = DriverClock(driver)
        settings = AgentSettings(data_dir=folder, series_cap=1_000_000)
        sampler = Sampler(NvmlSource(clock), clock, settings.call_timeout_seconds)
        prices = NodePrices(PriceSettings(), lambda: sorted(sampler.facts.values(), key=lambda facts: facts.index))
        store = StateStore(folder, NODE, "nvml", series_cap=settings.series_cap)
        processes = ProcessHolders(containers.proc, system_processes=SYSTEM_PROCESSES, passwd=containers.passwd)
        agent = NodeAgent(
            Parts(
                settings=settings,
                clock=clock,
                sampler=sampler,
                holders=ProcessHoldings(processes),
                store=store,
                accountant=open_books(store, clock, settings, prices.noted),
                budget=CpuBudget(None),
                interval_ns=lambda wished: wished,
                host=HostCollector(clock, proc=containers.proc, sys=containers.sys),
                usage=HolderUsageCollector(processes.identity_of, proc=containers.proc, sys=containers.sys),
            )
        )
        try:
            yield Rig(driver, clock, agent, prices)
        finally:
            agent.close()


def with_h100(folder: Path, number: int, *, injected_clock: bool = True) -> FakeDriver:
    """The driver of a machine with so many of them, its control file in ``folder``."""
    return FakeDriver.create(folder, [profiles.h100()] * number, start_ns=START_NS if injected_clock else None)


def folders(root: Path) -> Iterator[Path]:
    """One empty folder after another."""
    for number in count():
        folder = root / str(number)
        folder.mkdir()
        yield folder
