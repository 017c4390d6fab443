"""What scheduled scaling costs a cluster of 10,000 workloads, against its targets: ``python -m benchmarks.scaler``.

A real API server, 10,000 Deployments in 500 namespaces, and `wattledger controller` as a process of its own. Who asked
for what, and when, is what the server's audit log says. Parts:

  steady   requests, CPU and memory while nothing is to be done, beside those without any workload
  edge     a window that begins and ends for 1,000 workloads: from the edge to the last write
  ready    the same edge for workloads with pods, on a cluster of its own with nodes that kwok plays, up to the last pod
           Ready
  preview  what `wattledger schedule preview` asks for and takes
  guards   1,000 workloads with GPUs that are in their window, and of whose GPUs nothing is known
  peer     the requests of py-kube-downscaler's loop on the same objects

Exits with status 1 when a target is missed, and names it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import yaml

from benchmarks.agent_table import Table, machine, median
from benchmarks.scaler_preview import preview
from benchmarks.scaler_ready import ready
from benchmarks.scaler_run import (
    TICK_SECONDS,
    WRITES_PER_SECOND,
    While,
    await_writes,
    busy_policy,
    controller,
    edge_policy,
    observe,
)
from benchmarks.scaler_world import EDGE, Fleet, count, grant
from tests.cluster.audited import USER, AuditedServer, Call
from tests.cluster.build import KUBERNETES_VERSION

PARTS = ("steady", "edge", "ready", "preview", "guards", "peer")
PEER, PEER_CLIENT, PEER_SECONDS, PEER_PASSES = "peer", "pykube-ng==23.6.0", 60, 3
"""The loop's default interval."""
_SETTLE_SECONDS = 30.0
_MOST = timedelta(seconds=150)
"""For the writes of an edge."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts share."""

    table: Table
    server: AuditedServer
    fleet: Fleet
    folder: Path
    seconds: float


def main() -> None:
    parser = ArgumentParser(
        prog="python -m benchmarks.scaler", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--namespaces", type=int, default=500)
    parser.add_argument("--edge", type=int, default=1000, help="workloads that an edge concerns")
    parser.add_argument("--seconds", type=float, default=660, help="of steady state; kinds are looked for each 600")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part: {', '.join(sorted(unknown))}")
    fleet = Fleet(given.workloads, given.namespaces, given.edge, given.edge)
    print(machine())
    print(f"Kubernetes {KUBERNETES_VERSION}: API server and etcd without fsync, on the same machine")
    print(f"others at work: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    table, parts = Table(), given.parts or PARTS
    with tempfile.TemporaryDirectory() as folder:
        if set(parts) - {"ready"}:
            with AuditedServer.up() as server:
                grant(server)
                server.install_crds()
                run(Bench(table, server, fleet, Path(folder), given.seconds), parts)
        if "ready" in parts:
            ready(table, Path(folder) / "ready", fleet.edge)
    if table.missed:
        sys.exit("\nmissed: " + "; ".join(table.missed))
    print("\nall targets are kept")


def run(bench: Bench, parts: Sequence[str]) -> None:
    """The parts on one server, in their order."""
    empty = _steady(bench, "empty", min(bench.seconds, 120)) if "steady" in parts else None
    began = time.monotonic()
    bench.fleet.make(bench.server)
    print(f"\n{bench.fleet.workloads:,} Deployments made in {time.monotonic() - began:.0f} s", flush=True)
    if empty is not None:
        show_steady(bench, empty, _steady(bench, "full", bench.seconds))
    if "edge" in parts:
        edge(bench)
    if "preview" in parts:
        preview(bench.table, bench.server, bench.fleet, bench.folder)
    if "guards" in parts:
        bench.fleet.make_pods(bench.server)
        guards(bench)
    if "peer" in parts:
        peer(bench)


def _steady(bench: Bench, name: str, seconds: float) -> While:
    far = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    policy = edge_policy(far, far + timedelta(days=1))
    with controller(bench.server, bench.folder / name, [policy]) as running:
        running.await_look()
        time.sleep(_SETTLE_SECONDS)
        return observe(bench.server, running, seconds)


def show_steady(bench: Bench, empty: While, full: While) -> None:
    """Both against the targets."""
    table, fleet = bench.table, bench.fleet
    asked = [call for call in full.calls if not call.renews]
    books = [call for call in asked if call.of_books]
    scaling = [call for call in asked if not call.of_books]
    table.section(
        f"{fleet.workloads:,} workloads in {fleet.namespaces} namespaces, nothing to do, {full.minutes:.1f} minutes"
    )
    table.row("lists of scaling", sum(call.verb == "list" for call in scaling), "requests", most=0)
    table.row("all requests of scaling", len(scaling) / full.minutes, "a minute", most=1)
    table.row("requests of the books: nodes, agents, quotas", len(books) / full.minutes, "a minute")
    table.row("both", len(asked) / full.minutes, "a minute", most=1)
    table.row("the Lease's", (len(full.calls) - len(asked)) / full.minutes, "a minute")
    table.row("memory above that without workloads", full.rss_mib - empty.rss_mib, "MiB", most=64)
    table.row("the same, peaks", full.peak_mib - empty.peak_mib, "MiB", most=64)
    table.row("memory", full.rss_mib, "MiB")
    table.row("memory without workloads", empty.rss_mib, "MiB")
    table.row("a look, by the clock", median(full.look_seconds), "s")
    table.row("the longest look", max(full.look_seconds), "s")
    table.row("CPU", full.cpu_percent, "% of a core")
    table.row("CPU without workloads", empty.cpu_percent, "% of a core")
    table.row("so a look, by CPU time", (full.cpu_percent - empty.cpu_percent) / 100 * TICK_SECONDS, "s")
    for what, number in sorted(count(asked).items()):
        print(f"| of these: {what} | {number} | | |")


def edge(bench: Bench) -> None:
    """A window begins, and ends."""
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=75)
    end = begin + timedelta(seconds=105)
    with controller(bench.server, bench.folder / "edge", [edge_policy(begin, end)]) as running:
        running.await_look()
        late = datetime.now(UTC) > begin
        cpu = running.cpu_seconds
        down = await_writes(bench.server, _patches(begin, end), 2 * bench.fleet.edge, end)
        down_cpu = running.cpu_seconds - cpu
        stood = _replicas(bench)
        time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
        cpu = running.cpu_seconds
        up = await_writes(bench.server, _patches(end), 2 * bench.fleet.edge, end + _MOST)
        up_cpu = running.cpu_seconds - cpu
        stands = _replicas(bench)
        ready = datetime.now(UTC)
        bench.fleet.settle(bench.server, EDGE)
        done = await_writes(bench.server, _patches(ready), bench.fleet.edge, ready + _MOST)
        peak_mib = running.peak_mib
    table, number = bench.table, bench.fleet.edge
    table.section(f"A window edge of {number:,} workloads, two writes each, at {WRITES_PER_SECOND:g} writes/s")
    if late or stood != [0] * number or stands != [1] * number:
        table.missed.append(f"the edge itself: late {late}, down {stood.count(0)}, back {stands.count(1)} of {number}")
    table.row("down: from the edge to the last write", _span(begin, down), "s", most=60)
    table.row("from the edge to the first", (down[0].came - begin).total_seconds(), "s")
    table.row("writes in the busiest second", _busiest(down), "writes", most=1.5 * WRITES_PER_SECOND)
    table.row("writes between first and last", _rate(down), "writes/s", most=WRITES_PER_SECOND * 1.05)
    table.row("CPU time of the controller", down_cpu, "s")
    table.row("back: from the edge to the last write", _span(end, up), "s", most=60)
    table.row("from the edge to the first", (up[0].came - end).total_seconds(), "s")
    table.row("writes between first and last", _rate(up), "writes/s")
    table.row("CPU time of the controller", up_cpu, "s")
    table.row("Ready again: records taken away", len(done), "writes")
    table.row("between first and last of these", _rate(done), "writes/s")
    table.row("peak memory", peak_mib, "MiB")


def guards(bench: Bench) -> None:
    """A window that guards keep shut."""
    with controller(bench.server, bench.folder / "guards", [busy_policy()]) as running:
        running.await_look()
        time.sleep(_SETTLE_SECONDS)
        seen = observe(bench.server, running, min(bench.seconds, 120))
    table = bench.table
    table.section(f"{bench.fleet.busy:,} workloads with GPUs in their window, refused for want of telemetry")
    table.row("writes", sum(call.writes for call in seen.calls), "writes", most=0)
    table.row("lists", sum(call.verb == "list" and not call.of_books for call in seen.calls), "requests", most=0)
    table.row("a look, by the clock", median(seen.look_seconds), "s")
    table.row("the longest look", max(seen.look_seconds), "s")
    table.row("CPU", seen.cpu_percent, "% of a core")
    table.row("memory", seen.rss_mib, "MiB")


def peer(bench: Bench) -> None:
    """The same objects, by another's loop."""
    table = bench.table
    table.section(f"The requests of py-kube-downscaler's loop, by {PEER_CLIENT}, every {PEER_SECONDS} s")
    python = bench.folder / "peer" / "bin" / "python"
    venv.create(python.parents[1], with_pip=True)
    pip = [str(python), "-m", "pip", "install", "-q", PEER_CLIENT]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"not measured: {' '.join(done.stderr.split())[-200:]}")
        return
    before = len(bench.server.calls())
    *passes, edge_pass = _passes(bench, python)
    calls = bench.server.calls()[before:]
    lists = [call for call in calls if call.verb == "list"]
    each = (len(calls) - edge_pass["written"]) / (PEER_PASSES + 1)
    table.row("requests of a pass that changes nothing", each, "requests")
    table.row("the same in an hour", each * 3600 / PEER_SECONDS, "requests")
    table.row("lists of every object in an hour", len(lists) / (PEER_PASSES + 1) * 3600 / PEER_SECONDS, "requests")
    table.row("a pass, by the clock", median(told["seconds"] for told in passes), "s")
    table.row("a pass, by CPU time", median(told["cpu_seconds"] for told in passes), "s")
    table.row(f"a pass that puts {edge_pass['written']:,} down, by the clock", edge_pass["seconds"], "s")
    table.row("peak memory", edge_pass["peak_mib"], "MiB")


def _passes(bench: Bench, python: Path) -> list[dict[str, Any]]:
    """Three that change nothing, and one that puts down."""
    access = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": bench.server.url, "certificate-authority": str(bench.server.ca)}}
        ],
        "users": [{"name": USER, "user": {"token": bench.server.token_file(USER).read_text(encoding="ascii")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": USER}}],
        "current-context": "test",
    }
    kubeconfig = bench.folder / "peer.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(access), encoding="utf-8")
    asked = "\n" * PEER_PASSES + f"{EDGE}\n"
    command = [str(python), str(Path(__file__).with_name("scaler_peer.py")), str(kubeconfig)]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _patches(since: datetime, until: datetime | None = None) -> Callable[[Call], bool]:
    """Whether a call is a patch that succeeded, from a moment on."""

    def concerns(call: Call) -> bool:
        return call.writes and call.code < 300 and call.came >= since and (until is None or call.came < until)

    return concerns


def _replicas(bench: Bench) -> list[int]:
    api = bench.server.admin
    wanted = {space for space, _ in bench.fleet.deployments(EDGE)}
    found = [api.get(f"/apis/apps/v1/namespaces/{space}/deployments")["items"] for space in sorted(wanted)]
    return [item["spec"]["replicas"] for items in found for item in items]


def _span(since: datetime, calls: Sequence[Call]) -> float:
    return (max(call.ended for call in calls) - since).total_seconds()


def _rate(calls: Sequence[Call]) -> float:
    """Writes a second between the first and the last."""
    came = sorted(call.came for call in calls)
    return (len(came) - 1) / max(1e-3, (came[-1] - came[0]).total_seconds())


def _busiest(calls: Sequence[Call]) -> int:
    """The most that came within one second."""
    came = sorted(call.came.timestamp() for call in calls)
    most, first = 0, 0
    for last, moment in enumerate(came):
        while moment - came[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


if __name__ == "__main__":
    main()
