"""The machine that the agent dies on: its devices and their script, who holds them, its clock, and when to kill."""

import collections
import random
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kills_truth import Saved, load
from benchmarks.kills_watch import Broken
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDevice, FakeDriver, Process, Segment
from tests.integration.agent_process import AgentProcess
from tests.integration.processes import FakeHost, container, container_name

COMPACT_BYTES = 6_000
"""The log is started anew after a few sweeps, so that kills meet that too."""
_HOUR_NS = 3_600_000_000_000
_NS = 1_000_000_000
_UNKNOWN_PID = 999_999
_CAROLS_PID = 4000


@dataclass(frozen=True, slots=True)
class Scripted:
    """What a device does all along, besides drawing power."""

    profile: profiles.DeviceProfile
    activity_percent: int
    accounts: frozenset[str]
    """Where its time must be booked while the agent lives."""
    may: frozenset[str] = frozenset()


# A job may end while there is no agent; its last samples, which the driver delivers late, then tell of a stranger.
DEVICES = (
    Scripted(profiles.h100(), 80, frozenset({"active", "idle"}), frozenset({"unattributed"})),
    Scripted(profiles.a100(), 100, frozenset({"unattributed"})),
    Scripted(profiles.t4(), 0, frozenset({"unallocated"})),
)
CONFIG: Mapping[str, Mapping[str, object]] = {
    # The budget is no part of the law; a slow machine may take long for a call.
    "agent": {
        "interval_seconds": 0.1,
        "fsync_seconds": 1,
        "finished_holder_seconds": 60,
        "cpu_budget_ratio": 1,
        "call_timeout_seconds": 30,
    }
}


@dataclass
class Bench:
    """The machine that the agent dies on."""

    folder: Path
    driver: FakeDriver
    host: FakeHost
    port: int
    chance: random.Random
    wall_offset_ns: int = 0
    steps: int = 0
    jobs: int = 0
    born_ns: list[int] = field(default_factory=list[int])
    died_ns: list[int] = field(default_factory=list[int])
    landed: "collections.Counter[str]" = field(default_factory=collections.Counter[str])

    @property
    def books(self) -> Path:
        """The data directory."""
        return self.folder / "books"

    def live(self) -> AgentProcess:
        """Start the agent."""
        self.born_ns.append(self.driver.now_ns())
        clock = str(COMPACT_BYTES), str(self.wall_offset_ns)
        return AgentProcess(
            self.folder / "lives",
            self.driver.environment(),
            config={**CONFIG, **self.host.config},
            listen=f"127.0.0.1:{self.port}",
            data_dir=self.books,
            program=(sys.executable, "-m", "benchmarks.kills_agent", *clock),
        )

    def die(self, agent: AgentProcess, where: str) -> None:
        """Kill it, and forget what it wrote unless it fell by itself."""
        if agent.process.poll() is not None:
            raise Broken(f"the agent ended by itself, status {agent.process.returncode}:\n{agent.said}")
        agent.kill()
        self.died_ns.append(self.driver.now_ns())
        self.landed[where] += 1
        for file in agent.folder.glob(f"{agent.log.name}*"):
            file.unlink()

    def end(self, agent: AgentProcess) -> Saved:
        """End it in order; what it saved."""
        status = agent.terminate()
        self.died_ns.append(self.driver.now_ns())
        if status != 0:
            raise Broken(f"the agent ended with status {status}:\n{agent.said}")
        return load(self.books)

    def dead_ns(self) -> int:
        """For so long nobody lived, between the first start and the last."""
        return sum(born - died for died, born in zip(self.died_ns[:-1], self.born_ns[1:], strict=True))

    def step_clock(self) -> None:
        """Let the wall clock step, at times: to just before a full hour, or back."""
        draw = self.chance.random()
        if draw < 0.25:
            now_ns = time.time_ns() + self.wall_offset_ns
            step_ns = _HOUR_NS - now_ns % _HOUR_NS - round(self.chance.uniform(0.7, 2.0) * _NS)
        elif draw < 0.30:
            step_ns = -round(self.chance.uniform(60, 5400) * _NS)
        else:
            return
        self.wall_offset_ns += step_ns
        self.driver.step_wall(step_ns / _NS)
        self.steps += 1

    def next_job(self) -> str:
        """Another container works beside carol on the shared device from now on; returns the one that is gone."""
        self.jobs += 1
        pid = self.host.process(5000 + self.jobs, container(self.jobs))
        job = Process(pid=pid, share=0.5, memory_bytes=20 << 30)
        carol = Process(pid=_CAROLS_PID, share=0.25, memory_bytes=10 << 30)
        self.driver.device(0).processes([job, carol])
        return container_name(self.jobs - 1)


def make_bench(folder: Path, seed: int) -> Bench:
    """Devices that draw nothing yet, with those who hold them."""
    driver = FakeDriver.create(folder, [scripted.profile for scripted in DEVICES])
    for device, scripted in zip(driver.devices, DEVICES, strict=True):
        clock_mhz = scripted.profile.max_clocks_mhz[0]
        device.set(power_mw=0, utilization=scripted.activity_percent / 100, sm_clock_mhz=clock_mhz)
    host = FakeHost(folder)
    host.user_process(_CAROLS_PID, "carol")
    driver.device(1).processes([Process(pid=_UNKNOWN_PID, share=1.0)])
    bench = Bench(folder, driver, host, _free_port(), random.Random(seed))
    bench.next_job()
    return bench


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def play(device: FakeDevice, scripted: Scripted, chance: random.Random, seconds: int) -> None:
    """From now on the power changes every second or so."""
    segments: list[Segment] = []
    left = seconds * _NS
    while left > 0:
        duration_ns = chance.randrange(_NS // 5, 2 * _NS)
        power_mw = chance.randrange(scripted.profile.idle_mw, scripted.profile.power_limits_mw[1])
        segments.append(Segment(duration_ns, power_mw=power_mw))
        left -= duration_ns
    device.script(segments)


def moments(bench: Bench) -> Mapping[str, Callable[[], object]]:
    """What to wait for before the kill, by name; the journal counts only where an hour is about to end."""
    log, journal = bench.books / "state.log", bench.books / "journal"
    until = time.monotonic() + bench.chance.uniform(0.5, 1.5)
    moments: dict[str, Callable[[], object]] = {
        "working": lambda: time.monotonic() > until,
        "saving": _changed(log),
        "starting the log anew": (bench.books / "state.json.partial").exists,
    }
    hour_ends_ns = _HOUR_NS - (time.time_ns() + bench.wall_offset_ns) % _HOUR_NS
    if hour_ends_ns < 4 * _NS:
        return {"closing an hour": _changed(journal), "working": moments["working"]}
    return moments


def _changed(path: Path) -> Callable[[], bool]:
    """Whether a file or folder is another than when this was first asked."""
    before: list[tuple[int, int]] = []

    def look() -> bool:
        status = path.stat()
        before.append((status.st_mtime_ns, status.st_size))
        del before[1:-1]
        return before[-1] != before[0]

    return look
