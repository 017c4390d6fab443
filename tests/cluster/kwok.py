"""Nodes and pods in numbers: kwok plays them beside a real API server, controller-manager and scheduler.

Deployments get real pods, which are really scheduled to nodes that advertise GPUs; what a kubelet would do with them is
said by ``stages.yaml``. Needs neither kubelets nor root, and ends with the process that started it.
"""

import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from collectors.kube_api import KubeApi
from tests.cluster import build
from tests.cluster.api_only import CONTROLLERS, free_port
from tests.cluster.audited import AuditedServer
from tests.cluster.crowd import Crowd
from tests.cluster.waiting import wait_until

STAGES = Path(__file__).parent / "stages.yaml"
GPU = "nvidia.com/gpu"
GPUS_PER_NODE = 8
INSTANCE_TYPE = "p5.48xlarge"
INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
HOLDS_GPUS = "example.com/gpus"
"""Label of pods with GPUs, so that they can be listed without the others."""
_PER_SECOND, _AT_ONCE = 500, 1000
"""Requests of controller-manager and scheduler; by default they are made for clusters of more than two cores."""
_LEASE_SECONDS = 40
_READY_SECONDS = 60


def _ready_delay_seconds() -> float:
    stages = yaml.safe_load_all(STAGES.read_text(encoding="utf-8"))
    delay = next(stage["spec"]["delay"] for stage in stages if stage["metadata"]["name"] == "pod-ready")
    return float(delay["durationMilliseconds"]) / 1000


READY_DELAY_SECONDS = _ready_delay_seconds()
"""From a pod's being bound to a node to Ready."""


class KwokCluster(AuditedServer):
    """One that stands. Make it with :meth:`up`."""

    groups = (build.KWOK,)
    controllers = (*CONTROLLERS, "node-lifecycle-controller", "pod-garbage-collector-controller")
    controller_options = (f"--kube-api-qps={_PER_SECOND}", f"--kube-api-burst={_AT_ONCE}")

    def make_nodes(self, names: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
        """Nodes of eight GPUs each; returns once pods can be scheduled to all of them."""

        def make(api: KubeApi, name: str) -> None:
            api.write("create", "/api/v1/nodes", cast("Any", _node(name, labels or {})))

        with Crowd(self) as crowd:
            crowd.all(make, names)
        wait_until(
            lambda: set(names) <= self._open_nodes(), _READY_SECONDS, f"{len(names)} nodes to be Ready", poll=0.3
        )

    def make_namespaces(self, names: Sequence[str]) -> None:
        """Namespaces of these names."""

        def make(api: KubeApi, name: str) -> None:
            api.write("create", "/api/v1/namespaces", {"metadata": {"name": name}})

        with Crowd(self) as crowd:
            crowd.all(make, names)

    def make_deployments(self, items: Sequence[dict[str, Any]]) -> None:
        """Deployments as :func:`deployment` writes them; their pods follow."""

        def make(api: KubeApi, item: dict[str, Any]) -> None:
            api.write("create", f"/apis/apps/v1/namespaces/{item['metadata']['namespace']}/deployments", item)

        with Crowd(self) as crowd:
            crowd.all(make, items)

    def deployments(self) -> list[dict[str, Any]]:
        """All of them."""
        return list(self.admin.get("/apis/apps/v1/deployments")["items"])

    def gpu_pods(self) -> list[dict[str, Any]]:
        """All pods with GPUs, also those on their way out."""
        return list(self.admin.get(f"/api/v1/pods?labelSelector={HOLDS_GPUS}&resourceVersion=0")["items"])

    def count_pods(self) -> int:
        """How many there are, also those on their way out."""
        found = self.admin.get("/api/v1/pods?limit=1")
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    def _start(self) -> None:
        super()._start()
        self.start_controllers()
        self._run(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig()}",
            "--secure-port=0",
            "--leader-elect=false",
            f"--kube-api-qps={_PER_SECOND}",
            f"--kube-api-burst={_AT_ONCE}",
        )
        address = f"127.0.0.1:{free_port()}"
        self._run(
            "kwok",
            f"--kubeconfig={self.kubeconfig()}",
            f"--config={STAGES}",
            f"--server-address={address}",
            "--manage-all-nodes",
            f"--node-lease-duration-seconds={_LEASE_SECONDS}",
            "--v=WARN",
        )
        wait_until(lambda: self._is_ready() and _is_healthy(address), _READY_SECONDS, "kwok to be ready")

    def _open_nodes(self) -> set[str]:
        items = self.admin.get("/api/v1/nodes")["items"]
        return {item["metadata"]["name"] for item in items if not item["spec"].get("taints") and _is_node_ready(item)}


def deployment(
    namespace: str, name: str, *, replicas: int = 1, gpus: int = 0, node_labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A Deployment; ``gpus`` of each of its pods."""
    labels = {"app": name} | ({HOLDS_GPUS: str(gpus)} if gpus else {})
    limits = {GPU: str(gpus)} if gpus else {}
    container = {"name": "main", "image": "registry.example/main:1", "resources": {"limits": limits}}
    pod = {"containers": [container], "nodeSelector": dict(node_labels or {})}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": {"team": namespace}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _node(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    room = {"cpu": "192", "memory": "2Ti", "pods": "250", GPU: str(GPUS_PER_NODE)}
    return {
        "metadata": {"name": name, "labels": {INSTANCE_TYPE_LABEL: INSTANCE_TYPE, **labels}},
        "status": {"allocatable": room, "capacity": room},
    }


def _is_node_ready(item: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in item["status"].get("conditions", ()))


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
