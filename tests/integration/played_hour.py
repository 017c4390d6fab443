"""One hour of a Kubernetes node, played in simulated time: a script of pods and their work, and the agent beside it.

The script knows who worked in every 10 ms; the fake driver is told the same and reports it as coarsely as a real one
does. Everything from pynvml to the journal is real; kubelet, processes and clock are small fakes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from agent.budget import CpuBudget
from agent.daemon import NodeAgent, Parts
from agent.economics_settings import EconomicsSettings
from agent.kube_holdings import KubeHoldings
from agent.opening import open_books
from agent.poller import Poller
from agent.sampler import Sampler
from agent.serving import Serving
from agent.settings import AgentSettings
from agent.store import StateStore
from agent.work import WorkBooker
from cli.kube_node import device_maps
from collectors.cgroup_path import parse_cgroups
from collectors.errors import Unavailable
from collectors.holder import Holder
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_owners import Workload
from collectors.kube_pod_facts import ContainerFacts, PodFacts
from collectors.kube_pods import PodCache
from collectors.nvml import NvmlSource
from collectors.pod_resources import INTERVAL_NS, MIN_GAP_NS
from collectors.pod_resources_messages import ClaimedDevice, ContainerDevices, DeviceIds, DynamicClaim, PodDevices
from collectors.process_holders import ProcessIdentity, holder_of
from collectors.serving_poller import ServingPoller
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import ServingPod, pod_targets
from ledger.hours import PriceNote
from tests.collectors.nvml_rig import DriverClock
from tests.engines.server import ScriptedEngine
from tests.fakedriver.driver import FakeDevice, FakeDriver, FakeMig, Process
from tests.integration.played_patterns import SECOND, TICKS, Pattern

NAMESPACE = "ml"


@dataclass(frozen=True)
class Pod:
    """A pod of one container."""

    name: str
    number: int

    @property
    def holder(self) -> Holder:
        return Holder("pod", f"{NAMESPACE}/{self.name}/main")

    @property
    def container_id(self) -> str:
        return f"{self.number:064x}"

    @property
    def uid(self) -> str:
        return f"{self.number:08x}-1111-1111-1111-111111111111"

    def facts(self, phase: str) -> PodFacts:
        main = ContainerFacts("main", ids=(self.container_id,))
        return PodFacts(self.uid, NAMESPACE, self.name, None, Workload("Pod", self.name), phase, {}, {}, {"main": main})

    @cached_property
    def identity(self) -> ProcessIdentity:
        uid = self.uid.replace("-", "_")
        cgroups = parse_cgroups(
            f"0::/kubepods.slice/kubepods-pod{uid}.slice/cri-containerd-{self.container_id}.scope\n"
        )
        return ProcessIdentity(holder_of(cgroups.identity), cgroups, 0, 1)


@dataclass(frozen=True)
class Grant:
    """A pod holds devices from one time to another: ids of a device plugin, or a device of a claim."""

    pod: Pod
    begin_s: float
    end_s: float
    ids: tuple[str, ...] = ()
    claimed: str = ""
    resource: str = "nvidia.com/gpu"

    def told(self) -> PodDevices:
        devices = tuple(DeviceIds(self.resource, (each,)) for each in self.ids)
        claim = DynamicClaim("claim", NAMESPACE, (ClaimedDevice("gpu.nvidia.com", "node", self.claimed),))
        return PodDevices(
            NAMESPACE, self.pod.name, (ContainerDevices("main", devices, (claim,) if self.claimed else ()),)
        )


@dataclass(frozen=True)
class Worker:
    """A process of a stint."""

    pid: int
    whose: Pod | Holder | None
    """``None``: a process that nobody can explain."""
    kind: str = "compute"


@dataclass(frozen=True)
class Stint:
    """Processes work on a device, or on one of its MIG instances, by one pattern, from one time to another."""

    device: int
    begin_s: float
    end_s: float
    pattern: Pattern
    workers: Mapping[str, Worker]
    mig: int | None = None
    behind: Worker | None = None
    """The one process that the driver tells of in the place of the workers."""

    @property
    def shown(self) -> Mapping[Worker, tuple[str, ...]]:
        """Each process that the driver tells of, and whose shares it shows."""
        if self.behind is not None:
            return {self.behind: tuple(self.pattern.shares)}
        return {worker: (name,) if name in self.pattern.shares else () for name, worker in self.workers.items()}

    def active_ns(self, name: str, spans: Sequence[tuple[float, float]]) -> int:
        """The truth: active time of one worker within spans of time."""
        total = 0
        for begin_s, end_s in spans:
            begin, end = max(begin_s, self.begin_s), min(end_s, self.end_s)
            if begin < end:
                total += self.pattern.active_ns(name, _ticks(begin - self.begin_s), _ticks(end - self.begin_s))
        return total


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS)


class Kubelet:
    """Answers as the script says, no oftener than the real collector asks."""

    def __init__(self, now_s: Callable[[], float], grants: Sequence[Grant], offered: Sequence[str]) -> None:
        self._now_s = now_s
        self._grants = grants
        self._offered = (DeviceIds("nvidia.com/gpu", tuple(offered)),)
        self._last_s: float | None = None
        self._fresh = False
        self.silent: tuple[float, float] = (0, 0)
        self.refused = self.empty = 0

    def read_if_due(self, *, hurry: bool = False) -> tuple[PodDevices, ...] | None:
        now_s = self._now_s()
        if self._last_s is not None and now_s - self._last_s < (MIN_GAP_NS if hurry else INTERVAL_NS) / SECOND:
            return None
        self._last_s = now_s
        self._answers()
        if self._fresh:
            self._fresh = False
            self.empty += 1
            return ()
        return tuple(each.told() for each in self._grants if each.begin_s <= now_s < each.end_s)

    def read_allocatable(self) -> tuple[DeviceIds, ...]:
        self._answers()
        return self._offered

    def _answers(self) -> None:
        """Raises while it is silent; the first answer after that knows of nothing."""
        if self.silent[0] <= self._now_s() < self.silent[1]:
            self._fresh = True
            self.refused += 1
            raise Unavailable("/pod-resources/kubelet.sock: connection refused; is the kubelet running?")


class Identities:
    """What /proc tells of the processes that run."""

    def __init__(self, running: Mapping[int, Worker]) -> None:
        self._running = running

    def identities_of(self, pids: Sequence[int]) -> dict[int, ProcessIdentity]:
        found: dict[int, ProcessIdentity] = {}
        for pid in pids:
            whose = self._running[pid].whose if pid in self._running else None
            if isinstance(whose, Pod):
                found[pid] = whose.identity
            elif whose is not None:
                found[pid] = ProcessIdentity(whose, parse_cgroups("0::/system.slice/mps.service\n"), 0, 1)
        return found


@dataclass
class Script:
    """The hour."""

    grants: list[Grant] = field(default_factory=list)
    stints: list[Stint] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)
    claims: dict[tuple[str, str, str], str] = field(default_factory=dict)
    engines: dict[Pod, ScriptedEngine] = field(default_factory=dict)
    away: tuple[int, int] = (0, 0)
    """The agent dies after the sweep at the first of these seconds, and sweeps again at the second."""
    silent: tuple[float, float] = (0, 0)
    """The kubelet does not answer."""
    at: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What else happens."""


class Play:
    """The script, the driver that plays it, and the agent that watches."""

    def __init__(
        self,
        folder: Path,
        driver: FakeDriver,
        migs: Mapping[tuple[int, int], FakeMig],
        script: Script,
        pods: PodCache | None = None,
    ) -> None:
        """``pods`` follows an API server; without it the script itself tells of its pods as they come and go."""
        self.folder, self.driver, self.migs, self.script = folder, driver, migs, script
        self.begin_ns = driver.now_ns()
        self.clock = DriverClock(driver)
        self.running: dict[int, Worker] = {}
        self._telling = pods is None
        self.pods = pods or PodCache(KubeApi(KubeEndpoint("http://127.0.0.1:9")), "node", self.clock)
        self.kubelet = Kubelet(self.now_s, script.grants, script.offered)
        self.kubelet.silent = script.silent
        self._events = sorted(self._all_events(), key=lambda event: event[0])
        self.open()

    def now_s(self) -> float:
        return (self.driver.now_ns() - self.begin_ns) / SECOND

    def open(self) -> None:
        """A new agent process on the same directory."""
        settings = AgentSettings(node_name="node")
        self.store = StateStore(self.folder, "node", "nvml")
        note = PriceNote(3_600_000_000, "config", "2026-01-01", "on_demand", False)
        accountant = open_books(self.store, self.clock, settings, lambda _: ("p", note))
        kube = KubeHoldings(
            self.clock, self.kubelet, self.pods, Identities(self.running), lambda: device_maps(self.agent)
        )
        kube.claims = lambda: self.script.claims
        self.pages = ServingPoller(self.clock, ServingSettings())
        self.pages.set_targets(self._targets())
        booker = WorkBooker(accountant.books, accountant.hour_clock, self, EconomicsSettings())
        self.agent = NodeAgent(
            Parts(
                settings,
                self.clock,
                Sampler(NvmlSource(self.clock), self.clock, 30),
                kube,
                self.store,
                accountant,
                CpuBudget(None),
                lambda wished: wished,
                serving=Serving(self.pages, booker),
            )
        )
        self._poller = Poller("kubelet", kube.poll, 1.0, self.clock, self.agent.collectors)

    def die(self) -> None:
        """Nothing is closed in order; what remains is on the disk."""
        self.agent.parts.sampler.close()
        self.store._file.close()
        os.close(self.store._lock)

    def holder_of(self, target) -> Holder | None:
        return next((pod.holder for pod in self.script.engines if pod.name == target.pod), None)

    def _targets(self):
        for pod, engine in self.script.engines.items():
            said = {"wattledger.io/engine": engine.kind, "wattledger.io/port": str(engine.port)}
            yield from pod_targets(ServingPod(NAMESPACE, pod.name, "127.0.0.1", said), ServingSettings()).targets

    def play(self, until_s: int, after_sweep: Callable[[int], None] = lambda _: None) -> None:
        """Sweep at every full second up to and with ``until_s``."""
        died_s, back_s = self.script.away
        for second in range(round(self.now_s()), until_s + 1):
            while self._events and self._events[0][0] <= second:
                at_s, act = self._events.pop(0)
                self.driver.set_now_ns(max(self.driver.now_ns(), self.begin_ns + round(at_s * SECOND)))
                act()
            self.driver.set_now_ns(self.begin_ns + second * SECOND)
            if died_s < second < back_s:
                continue
            if died_s < second == back_s:
                self.open()
            self._poller.poll()
            self.pages.poll_due()
            self.agent.sweep()
            after_sweep(second)
            if second == died_s < back_s:
                self.die()

    def _all_events(self) -> list[tuple[float, Callable[[], None]]]:
        events = list(self.script.at)
        for grant in self.script.grants if self._telling else ():
            events.append((grant.begin_s, lambda pod=grant.pod: self.pods.put(pod.facts("Running"))))
            events.append((grant.end_s, lambda pod=grant.pod: self.pods.put(pod.facts("Succeeded"))))
        # at one instant those that end go before those that begin
        events += [(stint.end_s, lambda each=stint: self._end(each)) for stint in self.script.stints]
        events += [(stint.begin_s, lambda each=stint: self._begin(each)) for stint in self.script.stints]
        return events

    def _begin(self, stint: Stint) -> None:
        device = self.driver.device(stint.device)
        where: FakeDevice | FakeMig = device if stint.mig is None else self.migs[stint.device, stint.mig]
        idle_mw, full_mw = device.profile.idle_mw, device.profile.power_limits_mw[1] * 9 // 10
        where.script(stint.pattern.segments(idle_mw, full_mw), then="repeat")
        for worker, names in stint.shown.items():
            share = stint.pattern.steps(*names) if names else 0.0
            slot = None if stint.mig is None else self.migs[stint.device, stint.mig].slot
            self.running[worker.pid] = worker
            device.start(Process(pid=worker.pid, share=share, repeat=True, kind=worker.kind, mig=slot))

    def _end(self, stint: Stint) -> None:
        device = self.driver.device(stint.device)
        if stint.mig is None:
            device.set(utilization=0.0, power_mw=device.profile.idle_mw)
        else:
            self.migs[stint.device, stint.mig].set(utilization=0.0)
        for worker in stint.shown:
            del self.running[worker.pid]
            device.end(worker.pid)
