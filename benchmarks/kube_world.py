"""A full Kubernetes node for the benchmark: devices, pods, kubelet, API server and serving pages, all of our own."""

import re
import threading
import uuid
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.parser import build_page
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.processes import FakeHost

# The tests' stand-ins bear no types.
kube_server: Any = import_module("tests.collectors.kube_server")
kubelet: Any = import_module("tests.collectors.kubelet")

GPUS, INSTANCES, PODS = 8, 7, 110
PAGE_BYTES = 200_000
NODE = "gpu-node-1"
_FIRST_PID = 10_000
_RESOURCE = "nvidia.com/mig-1g.10gb"


@dataclass(frozen=True, slots=True)
class World:
    """The node as its agent meets it."""

    environment: Mapping[str, str]
    settings: Mapping[str, Mapping[str, object]]
    targets: tuple[Mapping[str, object], ...]
    instances: int = GPUS * INSTANCES

    @property
    def pages(self) -> int:
        """How many serving pages there are."""
        return len(self.targets)

    def config(self, *, pages: bool) -> Mapping[str, Mapping[str, object]]:
        """The agent's settings; everything that matters for cost is the default."""
        serving = {"targets": self.targets} if pages else {"enabled": False}
        # Without its own budget, so that what is measured is what a sweep every second costs.
        agent = {"interval_seconds": 1.0, "cpu_budget_ratio": 1.0, "node_name": NODE}
        return {**self.settings, "agent": agent, "serving": serving}


@contextmanager
def make_world(folder: Path, *, pages: int) -> Generator[World]:
    """Build it; everything ends with the block."""
    with ExitStack() as stack:
        driver = stack.enter_context(FakeDriver.create(folder, [profiles.h100()] * GPUS))
        host = FakeHost(folder / "host")
        migs = share_out(driver, host, folder / "host/sys")
        socket = kubelet.Kubelet(folder / "kubelet")
        stack.callback(socket.stop)
        given = [
            kubelet.pod("ml", name(n), held=[kubelet.devices(_RESOURCE, migs[n])] if n < len(migs) else [])
            for n in range(PODS)
        ]
        socket.answer(*given, offered=kubelet.allocatable(_RESOURCE, *migs))
        api = kube_server.KubeServer()
        stack.callback(api.close)
        api.set({"metadata": {"name": NODE, "labels": {}}, "spec": {}, "status": {}}, path="/api/v1/nodes")
        api.set(*(pod(n) for n in range(PODS)))
        token = folder / "token"
        token.write_text("token")
        kubernetes = {"mode": "on", "node": NODE, "kubelet_socket": str(socket.socket), "api_url": api.url}
        settings: dict[str, dict[str, object]] = {section: dict(values) for section, values in host.config.items()}
        settings["host"]["sys"] = str(folder / "host/sys")
        settings["kubernetes"] = {**kubernetes, "token_file": str(token)}
        server = stack.enter_context(serve_pages())
        targets = tuple(
            {
                "url": f"http://127.0.0.1:{server.server_address[1]}/{n}/metrics",
                "name": f"ml/{name(n)}",
                "holder": {"pod": f"ml/{name(n)}/main"},
            }
            for n in range(pages)
        )
        yield World(driver.environment(), settings, targets)


def name(number: int) -> str:
    return f"chat-{number:03}-7d9c6b5f4-{number:05}"


def pod_uid(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def container_id(number: int) -> str:
    return f"{number + 1:064x}"


def share_out(driver: FakeDriver, host: FakeHost, sys: Path) -> list[str]:
    """Cut every device, put a pod's process on each instance and let all work; the instances' UUIDs by pod."""
    uuids: list[str] = []
    for device in driver.devices:
        device.set(power_mw=512_345 + device.index, sm_clock_mhz=1755, temperature_celsius=64)
        processes: list[Process] = []
        for mig in device.mig(["1g.10gb"] * INSTANCES):
            number = len(uuids)
            cgroup = f"/kubepods.slice/kubepods-pod{pod_uid(number).replace('-', '_')}.slice"
            cgroup += f"/cri-containerd-{container_id(number)}.scope"
            pid = host.process(_FIRST_PID + number, f"0::{cgroup}\n")
            fill_cgroup(sys / "fs/cgroup" / cgroup[1:])
            mig.set(graphics=0.83, sm=0.6 + number / 1000, tensor=0.31, dram=0.44, memory_used_bytes=6 << 30)
            processes.append(Process(pid=pid, memory_bytes=6 << 30, mig=mig.slot))
            uuids.append(mig.uuid)
        device.processes(processes)
    (sys / "fs/cgroup/cgroup.controllers").write_text("cpu io memory\n")
    return uuids


def fill_cgroup(folder: Path) -> None:
    """As much of a cgroup of version 2 as is read."""
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 123456789\nuser_usec 100000000\nsystem_usec 23456789\n")
    (folder / "io.stat").write_text("259:0 rbytes=1048576 wbytes=2097152 rios=10 wios=20 dbytes=0 dios=0\n")


def pod(number: int) -> Mapping[str, Any]:
    """A pod as an API server tells it, with the parts that a real one has and nobody here reads."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name(number)[:-6], "uid": "u", "controller": True}
    labels = {"app": f"chat-{number:03}", "team": f"team-{number % 7}", "pod-template-hash": "7d9c6b5f4"}
    env = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(30)]
    container = {"name": "main", "image": "registry.example.org/chat:1", "env": env, "ports": [{"containerPort": 8000}]}
    state = {"name": "main", "ready": True, "containerID": f"containerd://{container_id(number)}"}
    made: dict[str, Any] = kube_server.pod(name(number), uid=pod_uid(number), node=NODE)
    made["metadata"] |= {"labels": labels, "ownerReferences": [owner]}
    made["spec"]["containers"] = [container]
    made["status"]["containerStatuses"] = [state]
    return made


@contextmanager
def serve_pages() -> Generator[ThreadingHTTPServer]:
    """Pages of one model's engine, each under a path of its own; with each fetch all counters have grown."""
    template = Template(build_page(PAGE_BYTES, openmetrics=False).decode())
    fetches: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fetches[self.path] = fetches.get(self.path, 0) + 1
            body = template.page(fetches[self.path])
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the standard library's name)
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Template:
    """A page whose counters are multiples of what they are on the first."""

    def __init__(self, text: str) -> None:
        one_model = re.sub(r"Model-\d+-70B", "Model-70B", text)
        self._lines = [line.rpartition(" ") for line in one_model.splitlines()]

    def page(self, times: int) -> bytes:
        """The page after so many fetches."""
        lines = (
            f"{head} {float(value) * times!r}" if head[0] != "#" and grows(head) else f"{head} {value}"
            for head, _, value in self._lines
        )
        return ("\n".join(lines) + "\n").encode()


def grows(series: str) -> bool:
    bare = series.partition("{")[0]
    return bare.endswith(("_total", "_bucket", "_count", "_sum"))
