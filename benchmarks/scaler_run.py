"""The controller as a process of its own, and what a while of it cost: requests, CPU, memory, seconds of a look."""

import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kube_node import cpu_seconds, peak_kib
from benchmarks.scaler_world import BUSY, EDGE, REST
from tests.cluster.audited import USER, AuditedServer, Call
from tests.integration.agent_process import AgentProcess, eventually

TICK_SECONDS = 5.0
WRITES_PER_SECOND = 50.0
_SCRAPE_SECONDS = 15.0
_READY_SECONDS = 180.0
_REST = {"name": "rest", "namespaces": [f"{REST}-*"], "up": "always"}
"""Concerns most workloads, so that each look resolves a policy for all of them."""


class Controller(AgentProcess):
    """`wattledger controller` with schedules."""

    @cached_property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self.listen}"

    def await_look(self) -> None:
        """Wait until it has seen the whole cluster."""
        self.eventually("the cluster is seen", "schedule_look_age_seconds")

    def eventually(self, what: str, name: str) -> None:
        """Wait for a metric."""

        def look() -> bool:
            self._must_live()
            try:
                return bool(self.scrape().find(f"wattledger_{name}"))
            except OSError:
                return False

        eventually(what, look, _READY_SECONDS, every=0.5)

    def look_seconds(self) -> float:
        """What the last look took."""
        return float(self.scrape().total("wattledger_job_duration_seconds", job="schedule"))

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads, so far."""
        return cpu_seconds(self.process.pid)

    @property
    def rss_mib(self) -> float:
        """Resident now: VmRSS of proc_pid_status(5)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    @property
    def peak_mib(self) -> float:
        """The most that was ever resident."""
        return peak_kib(self.process.pid) / 1024


@dataclass(frozen=True, slots=True)
class While:
    """What some minutes of it cost."""

    minutes: float
    calls: Sequence[Call]
    cpu_percent: float
    look_seconds: Sequence[float]
    rss_mib: float
    peak_mib: float


def controller(
    server: AuditedServer, folder: Path, policies: Sequence[Mapping[str, Any]] = (), agents: Sequence[str] = ()
) -> Controller:
    """Starts one, which asks the agents at these addresses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = settings(server, policies, agents)
    return Controller(folder, config=config, command=("controller",), listen=f"127.0.0.1:{port}")


def settings(
    server: AuditedServer, policies: Sequence[Mapping[str, Any]], agents: Sequence[str] = ()
) -> dict[str, Any]:
    """Its configuration."""
    kubernetes = {"api_url": server.url, "token_file": str(server.token_file(USER)), "ca_file": str(server.ca)}
    schedule = {
        "enabled": True,
        "dry_run": False,
        "tick_seconds": TICK_SECONDS,
        "writes_per_second": WRITES_PER_SECOND,
        "lead_least_seconds": 0,
        "lead_most_seconds": 0,
        "policies": [*policies, _REST],
    }
    return {
        "kubernetes": {"mode": "on", **kubernetes},
        "controller": {"lease": {"mode": "on"}, "agents": {"urls": list(agents)}},
        "schedule": schedule,
        "prices": {"cloud_identity": "off", "live": {"aws": "off"}},
    }


def edge_policy(begin: datetime, end: datetime) -> Mapping[str, Any]:
    """Down between two moments, at once and without guards of GPUs."""
    window = f"{begin.isoformat()}/{end.isoformat()}"
    return {"name": "edge", "namespaces": [f"{EDGE}-*"], "gpu_only": False, "down": window, "grace_minutes": 0}


def busy_policy() -> Mapping[str, Any]:
    """Always down, which no guard lets through whose agents say nothing."""
    return {"name": "busy", "namespaces": [f"{BUSY}-*"], "down": "always", "grace_minutes": 0}


def observe(server: AuditedServer, running: Controller, seconds: float) -> While:
    """Let it run for so long, scraped as Prometheus does."""
    began, since, cpu = time.monotonic(), datetime.now(UTC), running.cpu_seconds
    looks: list[float] = []
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(left, _SCRAPE_SECONDS))
        looks.append(running.look_seconds())
    took = time.monotonic() - began
    return While(
        minutes=took / 60,
        calls=[call for call in server.calls() if call.came >= since],
        cpu_percent=100 * (running.cpu_seconds - cpu) / took,
        look_seconds=looks,
        rss_mib=running.rss_mib,
        peak_mib=running.peak_mib,
    )


def await_writes(server: AuditedServer, concerns: Callable[[Call], bool], number: int, until: datetime) -> list[Call]:
    """The writes, once there are so many of them and then none for ten seconds; what there is when time is up."""
    while True:
        found = [call for call in server.calls() if concerns(call)]
        now = datetime.now(UTC)
        quiet = found and now - max(call.ended for call in found) > timedelta(seconds=10)
        if (len(found) >= number and quiet) or now > until:
            return found
        time.sleep(1)
