"""What the agent costs a full Kubernetes node: memory, CPU and series, against the targets.

Run ``python -m benchmarks.kube_node``. The node has 8 GPUs of 7 MIG instances each on the tests' fake driver, 110 pods
of which 56 hold an instance and work on it, a kubelet socket served by a real gRPC server, an API server that is
watched, and 16 serving pages of 200 kB whose counters grow. The agent is the real command in a process of its own,
sweeping every second and scraped every 15; it is run first without pages, then with them. CPU is that of its process
by the kernel's count. Exits non-zero when a target is missed and names it.

Not in the figures: the time of a real driver's calls, which are the fake's here.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kube_world import World, make_world
from tests.integration.agent_process import AgentProcess, Scrape, fetch

SCRAPE_SECONDS = 15
WARM_UP_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")
_HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
_AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and the most that it may be."""

    name: str
    value: float
    most: float
    unit: str

    @property
    def missed(self) -> bool:
        """Whether it is more."""
        return self.value > self.most

    def __str__(self) -> str:
        verdict = "MISSED" if self.missed else "ok"
        return f"{self.name:58}{self.value:9.2f} {self.unit:10} at most {self.most:5.0f}   {verdict}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of the agent cost."""

    cpu_percent: tuple[float, ...]
    """Of one core, for each window."""
    rss_mib: float
    """The most that the kernel saw resident."""
    scrape: Scrape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="length of a window of CPU")
    parser.add_argument("--windows", type=int, default=3, help="windows of each run; the median counts")
    parser.add_argument("--pages", type=int, default=16, help="serving pages of the second run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = stack.enter_context(make_world(Path(folder), pages=given.pages))
        plain = measure(world, Path(folder) / "plain", pages=False, seconds=given.seconds, windows=given.windows)
        serving = measure(world, Path(folder) / "serving", pages=True, seconds=given.seconds, windows=given.windows)
    targets = list(judge(plain, serving, given.pages))
    show(plain, serving, targets, given)
    if missed := [target.name for target in targets if target.missed]:
        sys.exit(f"missed: {'; '.join(missed)}")


def measure(world: World, folder: Path, *, pages: bool, seconds: int, windows: int) -> Cost:
    """Run the agent until it is warm, then for the windows."""
    with AgentProcess(folder, world.environment, config=world.config(pages=pages)) as agent:
        agent.until("all instances are held", lambda scrape: len(held(scrape)) == world.instances, 60)
        if pages:
            work = "wattledger_work_total"
            agent.until("all pages are booked", lambda s: len(holders(s, work)) == world.pages, 90)
        pid = agent.process.pid
        spend(agent, WARM_UP_SECONDS)
        used = [100 * (spend(agent, seconds)) / seconds for _ in range(windows)]
        rss_mib = peak_kib(pid) / 1024
        return Cost(tuple(used), rss_mib, agent.scrape())


def spend(agent: AgentProcess, seconds: int) -> float:
    """CPU seconds of the agent over that time, scraped as Prometheus does."""
    began, before = time.monotonic(), cpu_seconds(agent.process.pid)
    for at in range(0, seconds, SCRAPE_SECONDS):
        time.sleep(max(0.0, began + at - time.monotonic()))
        fetch(f"{agent.url}/metrics", 15, **_AS_PROMETHEUS)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    return cpu_seconds(agent.process.pid) - before


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its threads included: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_kib(pid: int) -> int:
    """VmHWM of proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def held(scrape: Scrape) -> set[str]:
    """The MIG instances that are booked to a pod."""
    booked = scrape.find("wattledger_account_gpu_seconds_total")
    return {sample.labels["mig"] for sample in booked if sample.labels["pod"] and sample.labels["mig"]}


def holders(scrape: Scrape, name: str) -> set[str]:
    return {sample.labels["pod"] for sample in scrape.find(name) if sample.labels.get("pod")}


def per_device(scrape: Scrape) -> Counter[tuple[str, str]]:
    """Series by device or instance that bear no holder."""
    samples = (s.labels for s in scrape.samples if "gpu_uuid" in s.labels and not s.labels.get("pod"))
    return Counter((labels["gpu_uuid"], labels.get("mig", "")) for labels in samples)


def per_holder(scrape: Scrape) -> Counter[str]:
    """Series by pod, the parts of histograms apart."""
    shown = (s for s in scrape.samples if s.labels.get("pod") and not s.name.endswith(_HISTOGRAM_PARTS))
    return Counter(sample.labels["pod"] for sample in shown)


def judge(plain: Cost, serving: Cost, pages: int) -> Iterator[Target]:
    """Every target."""
    yield Target("memory without serving pages, peak", plain.rss_mib, 64, "MiB")
    yield Target(f"memory with {pages} pages of 200 kB, peak", serving.rss_mib, 64, "MiB")
    yield Target("CPU without serving pages", statistics.median(plain.cpu_percent), 1, "% of core")
    yield Target(f"CPU with {pages} pages of 200 kB", statistics.median(serving.cpu_percent), 2, "% of core")
    yield Target("series of one device or MIG instance", max(per_device(serving.scrape).values()), 40, "series")
    yield Target("series of one holder, histograms apart", max(per_holder(serving.scrape).values()), 25, "series")


def show(plain: Cost, serving: Cost, targets: Sequence[Target], given: argparse.Namespace) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} CPUs ({cpu_model()}), Linux {platform.release()}, ", end="")
    print(f"Python {platform.python_version()}, wattledger {version('wattledger')}, h2 {version('h2')}")
    print(f"8 GPUs x 7 MIG instances, 110 pods, sweeps every second, {given.windows} windows of {given.seconds} s")
    for target in targets:
        print(target)
    for name, cost in (("without pages", plain), ("with pages", serving)):
        windows = ", ".join(f"{percent:.2f}" for percent in cost.cpu_percent)
        size = len(cost.scrape.text) // 1000
        print(f"{name}: CPU {windows} %; page of {len(cost.scrape.series)} series, {size} kB")


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
