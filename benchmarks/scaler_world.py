"""What the scaler's benchmark works against: ten thousand workloads on a real API server."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from collectors.kube_api import KubeApi
from collectors.kube_json import JsonObject
from tests.cluster.api_only import ApiServer
from tests.cluster.audited import USER, Call
from tests.cluster.crowd import Crowd

EDGE, BUSY, REST = "edge", "busy", "rest"
"""How namespaces begin: of those that a window edge concerns, of those whose GPUs nobody knows, of all others."""
_RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch"]}]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Deployments, the same number in each namespace."""

    workloads: int
    namespaces: int
    edge: int
    """Workloads without GPUs in namespaces of their own, which a window edge concerns."""
    busy: int
    """Workloads with a GPU in namespaces of their own, whose GPUs no agent knows."""

    @property
    def each(self) -> int:
        """Workloads of one namespace."""
        return self.workloads // self.namespaces

    def spaces(self) -> list[str]:
        """All namespaces."""
        edge, busy = self.edge // self.each, self.busy // self.each
        names = [EDGE] * edge + [BUSY] * busy + [REST] * (self.namespaces - edge - busy)
        return [f"{name}-{number:03}" for number, name in enumerate(names)]

    def deployments(self, start: str = "") -> list[tuple[str, str]]:
        """Namespace and name of those in namespaces that begin so."""
        return [
            (s, f"service-{number:02}") for s in self.spaces() if s.startswith(start) for number in range(self.each)
        ]

    def make(self, server: ApiServer) -> None:
        """Make namespaces and Deployments, each of which says that it is Ready."""
        with Crowd(server) as crowd:
            crowd.all(_make_namespace, self.spaces())
            crowd.all(_make_deployment, self.deployments())

    def make_pods(self, server: ApiServer) -> None:
        """A running pod with a GPU for each of the busy, eight on a node."""
        pods = list(enumerate(self.deployments(BUSY)))
        with Crowd(server) as crowd:
            crowd.all(_make_node, sorted({number // 8 for number, _ in pods}))
            crowd.all(_make_pod, pods)

    def settle(self, server: ApiServer, start: str) -> None:
        """Have Deployments say that they are as their specs ask, as their controller would."""
        with Crowd(server) as crowd:
            crowd.all(_settle, self.deployments(start))


def grant(server: ApiServer) -> None:
    """Let the controller do its work."""
    server.grant(USER, _RULES)


def count(calls: Sequence[Call]) -> Counter[str]:
    """Requests by verb and resource."""
    return Counter(f"{call.verb} {call.resource}" for call in calls)


def _deployment_path(space: str, name: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{space}/deployments" + (f"/{name}" if name else "")


def _make_namespace(api: KubeApi, name: str) -> None:
    api.write("create", "/api/v1/namespaces", {"metadata": {"name": name}})


def _make_deployment(api: KubeApi, where: tuple[str, str]) -> None:
    space, name = where
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": space, "team": space}
    gpus = {} if space.startswith(EDGE) else {"nvidia.com/gpu": "1"}
    container = {
        "name": "server",
        "image": "registry.example.com/serving/model-server:2026.11",
        "args": ["--model=/models/current", "--port=8000"],
        "env": [{"name": f"OPTION_{number}", "value": "a-value-as-people-have-it"} for number in range(8)],
        "resources": {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"memory": "32Gi", **gpus}},
        "ports": [{"containerPort": 8000}],
    }
    annotations = {"deployment.kubernetes.io/revision": "1", "example.com/owner": f"{space}@example.com"}
    item = {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    api.write("create", _deployment_path(space), item)
    _say(api, where, generation=1, replicas=1)


def _settle(api: KubeApi, where: tuple[str, str]) -> None:
    found = cast("Any", api.get(_deployment_path(*where)))
    _say(api, where, generation=found["metadata"]["generation"], replicas=found["spec"]["replicas"])


def _say(api: KubeApi, where: tuple[str, str], *, generation: int, replicas: int) -> None:
    numbers = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), replicas)
    body: JsonObject = {"status": {"observedGeneration": generation, **numbers}}
    api.patch(_deployment_path(*where), body, subresource="status")


def _make_node(api: KubeApi, number: int) -> None:
    labels = {"node.kubernetes.io/instance-type": "p5.48xlarge"}
    api.write("create", "/api/v1/nodes", {"metadata": {"name": f"gpu-{number:04}", "labels": labels}})
    api.patch(
        f"/api/v1/nodes/gpu-{number:04}", {"status": {"allocatable": {"nvidia.com/gpu": "8"}}}, subresource="status"
    )


def _make_pod(api: KubeApi, pod: tuple[int, tuple[str, str]]) -> None:
    number, (space, deployment) = pod
    name = f"{deployment}-7d4b9c6f5d"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"{number:08}", "controller": True}
    limits = {"nvidia.com/gpu": "1"}
    item = {
        "metadata": {
            "name": f"{name}-x2x4z",
            "labels": {"app.kubernetes.io/name": deployment, "pod-template-hash": "7d4b9c6f5d"},
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": f"gpu-{number // 8:04}",
            "containers": [{"name": "server", "image": "server:1", "resources": {"limits": limits}}],
        },
    }
    path = f"/api/v1/namespaces/{space}/pods"
    api.write("create", path, item)
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    api.patch(f"{path}/{name}-x2x4z", {"status": ready}, subresource="status")
