"""What the scaler's benchmark works against: a real API server that keeps an audit log, and ten thousand workloads.

The audit log is the server's own testimony of who asked for what and when, and costs neither side a proxy.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar, cast

from collectors.kube_api import KubeApi
from collectors.kube_json import JsonObject
from controller.scaling.informers import PAGE_OBJECTS
from tests.cluster.api_only import ApiServer

T = TypeVar("T")

USER = "scaler"
"""As whom the controller asks."""
EDGE, BUSY, REST = "edge", "busy", "rest"
"""How namespaces begin: of those that a window edge concerns, of those whose GPUs nobody knows, of all others."""
_AT_ONCE = 6
_PAGE = f"limit={PAGE_OBJECTS}"
_RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch"]}]
_POLICY = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {{level: Metadata, users: [{USER}]}}
- {{level: None}}
"""


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the controller, as the server wrote it down."""

    verb: str
    resource: str
    """With its subresource, such as ``deployments/scale``; of what is no resource its path."""
    came: datetime
    ended: datetime
    code: int
    uri: str = ""

    @property
    def of_books(self) -> bool:
        """Whether the same process asks for its books: what nodes and agents there are, and what quotas grant.

        Lists of scaling are told by the length of their pages, which is theirs alone.
        """
        return "kueue" in self.uri or (self.verb == "list" and _PAGE not in self.uri)

    @property
    def writes(self) -> bool:
        """Whether it changes a workload."""
        return self.verb == "patch"

    @property
    def renews(self) -> bool:
        """Whether it is about the Lease."""
        return self.resource == "leases"


class AuditedServer(ApiServer):
    """Writes down what the controller asks for."""

    def calls(self) -> list[Call]:
        """All requests so far but watches that have not begun."""
        return [call for line in self._lines() if (call := _call(json.loads(line))) is not None]

    def _lines(self) -> Iterator[str]:
        with (self.folder / "audit.log").open(encoding="utf-8") as log:
            yield from (line for line in log if line.endswith("\n"))

    def _run(self, name: str, *arguments: str) -> None:
        if name == "kube-apiserver":
            policy = self.folder / "audit-policy.yaml"
            policy.write_text(_POLICY, encoding="utf-8")
            arguments += (f"--audit-policy-file={policy}", f"--audit-log-path={self.folder}/audit.log")
        super()._run(name, *arguments)


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


class Crowd:
    """Makes requests as administrator, some at once."""

    def __init__(self, server: ApiServer) -> None:
        self._api = server.client(timeout_seconds=60, keep_connections=True)
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._api.close()

    def all(self, make: Callable[[KubeApi, T], None], items: Iterable[T]) -> None:
        """One request, or more, for each; returns once all are answered."""
        for _ in self._pool.map(partial(make, self._api), items):
            pass


def grant(server: ApiServer) -> None:
    """Let the controller do its work."""
    server.grant(USER, _RULES)


def count(calls: Sequence[Call]) -> Counter[str]:
    """Requests by verb and resource."""
    return Counter(f"{call.verb} {call.resource}" for call in calls)


def _call(event: dict[str, Any]) -> Call | None:
    watches = event["verb"] == "watch"
    if watches != (event["stage"] == "ResponseStarted"):
        return None
    about = cast("dict[str, str]", event.get("objectRef") or {})
    parts = (about.get("resource"), about.get("subresource"))
    return Call(
        verb=event["verb"],
        resource="/".join(part for part in parts if part) or event["requestURI"],
        came=_moment(event["requestReceivedTimestamp"]),
        ended=_moment(event["stageTimestamp"]),
        code=int(event.get("responseStatus", {}).get("code", 0)),
        uri=event["requestURI"],
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


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
