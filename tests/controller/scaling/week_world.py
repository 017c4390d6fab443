"""The cluster of the week on a real API server: nodes, pods, controllers, the cloud and people are played.

What is played happens at the script's clock; ``born`` is when each object and pod was made by it.
"""

import heapq
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from controller.scaling.cluster_view import ClusterView
from controller.scaling.model import Ref
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.registry import KINDS
from controller.scaling.writer import object_path
from tests.controller.scaling import week_script as script
from tests.controller.scaling.week_books import Node, Pod

REGISTRY = {kind.name: kind for kind in KINDS}
HPA, KEDA = "HorizontalPodAutoscaler", "ScaledObject"
PAUSED = "autoscaling.keda.sh/paused-replicas"
LONG_AGO = datetime(2026, 9, 1, tzinfo=UTC)
_HASH = "7d9f8"
_EMPTY = timedelta(seconds=script.EMPTY_SECONDS)
_TRIGGER = {"type": "prometheus", "metadata": {"query": "up", "threshold": "1", "serverAddress": "http://p"}}


def ref_of(kind: str, name: str) -> Ref:
    """Of a name such as ``serving/chat``."""
    return Ref(kind, *name.split("/"))


class World:
    """The cluster, as it is played.

    Args:
        server: the API server.
    """

    def __init__(self, server) -> None:
        self.now = script.BEGIN
        self._api = server.client(keep_connections=True)
        self._admin = server.admin
        self.runs: dict[Ref, script.Runs] = {}
        self.wanted: dict[Ref, object] = {}
        """By object, what its owner wrote."""
        self.versions: dict[Ref, str] = {}
        self.born: dict[Ref, datetime] = {}
        self.nodes: list[Node] = []
        self.pods: list[Pod] = []
        self._dirty: set[Ref] = set()
        self._reacting: dict[Ref, datetime] = {}
        self._moments: list[datetime] = []
        for space in ("dev-nlp", "lab", "vision", "serving", "training", "research"):
            self._admin.post("/api/v1/namespaces", {"metadata": {"name": space}})
        for pool, what in script.POOLS.items():
            if what.capacity == "reserved":
                self._begin_node(pool)
        for runs in script.AT_BEGIN:
            self.make(runs)
        self._make_scalers()
        for begin, end in script.EVALUATES:
            heapq.heappush(self._moments, begin)
            heapq.heappush(self._moments, end)

    # what the scaler is told

    def wrote(self, ref: Ref, version: str) -> None:
        """The scaler wrote an object."""
        self.versions[ref] = version
        self._touch(ref)

    def next_moment(self) -> datetime | None:
        """When something is played next."""
        while self._moments and self._moments[0] <= self.now:
            heapq.heappop(self._moments)
        return self._moments[0] if self._moments else None

    # what people do

    def make(self, runs: script.Runs, item: dict | None = None) -> Ref:
        """Somebody makes a workload."""
        ref = ref_of(runs.kind, runs.name)
        self.runs[ref] = runs
        self.born[ref] = LONG_AGO if self.now == script.BEGIN else self.now
        made = self._api.write("create", _folder(ref), item or _workload(runs))
        self._made(ref, made)
        return ref

    def edit(self, ref: Ref, patch: dict, *, wanted: bool = True) -> None:
        """Somebody changes an object."""
        item = self._api.patch(_path(ref), patch)
        if wanted:
            self.wanted[ref]["spec"] = item["spec"]
        self.wrote(ref, item["metadata"]["resourceVersion"])

    def delete(self, ref: Ref) -> None:
        """Somebody deletes a workload."""
        self._admin.delete(_path(ref))
        for known in (self.versions, self.wanted, self.runs):
            known.pop(ref)
        self._resize(ref, 0)

    def read(self, ref: Ref) -> dict:
        return self._api.get(_path(ref), frozenset())

    def events(self, space: str) -> list[dict]:
        """Events of a namespace."""
        return self._admin.get(f"/api/v1/namespaces/{space}/events")["items"]

    def remove(self) -> None:
        """Take away what others on this server could see; its clients are closed."""
        for ref in list(self.versions):
            self._admin.delete(_path(ref))
        for pod in self._living():
            self._admin.delete(f"/api/v1/namespaces/{pod.owner.namespace}/pods/{pod.name}")
        for node in self.nodes:
            if node.ended is None:
                self._admin.delete(f"/api/v1/nodes/{node.name}")
        self._api.close()

    def copied(self, ref: Ref, name: str) -> None:
        """Somebody gives a workload another name, as ``kubectl get -o yaml`` shows it."""
        item = self.read(ref)
        item["metadata"] = {"name": name, **{key: item["metadata"][key] for key in ("labels", "annotations")}}
        owned = self.wanted[ref]
        runs = self.runs[ref]
        self.delete(ref)
        made = self.make(replace(runs, name=f"{ref.namespace}/{name}"), item)
        self.wanted[made] = owned

    # what controllers, kubelets and the cloud do

    def play(self, now: datetime) -> None:
        """Bring the cluster in step with its objects."""
        self.now = now
        for pod in self._living():
            if not pod.ready and pod.ready_at <= now:
                self._become_ready(pod)
        for ref in [ref for ref, due in self._reacting.items() if due <= now]:
            del self._reacting[ref]
            self._react(ref)
        while self._dirty:
            ref = self._dirty.pop()
            if ref in self.versions:
                self._follow(ref)
        self._evaluate(now)
        for node in self.nodes:
            if node.emptied is not None and node.ended is None and node.emptied + _EMPTY <= now:
                node.ended = now
                self._admin.delete(f"/api/v1/nodes/{node.name}")

    def is_seen(self, view: ClusterView) -> bool:
        """Whether a view has all that was done."""
        objects = all((seen := view.get(ref)) and seen.version == version for ref, version in self.versions.items())
        gone = all(view.get(ref) is None for ref in self.born if ref not in self.versions)
        pods = {(pod.name, pod.ready) for pod in self._living()}
        nodes = {node.name for node in self.nodes if node.ended is None}
        known = view.nodes.keys() & {node.name for node in self.nodes}
        return objects and gone and known == nodes and pods == self._pods_seen(view)

    def _pods_seen(self, view: ClusterView) -> set[tuple[str, bool]]:
        return {(pod.name, pod.ready) for node in self.nodes for pod in view.pods_on(node.name)}

    def _living(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.ended is None]

    def _made(self, ref: Ref, item: dict) -> None:
        meta = item["metadata"]
        self.wanted[ref] = {
            "spec": item["spec"],
            "labels": meta.get("labels", {}),
            "annotations": {k: v for k, v in meta.get("annotations", {}).items() if k not in {RECORD, COMMAND}},
        }
        self.wrote(ref, meta["resourceVersion"])

    def _make_scalers(self) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment"}
        least, most = script.CHAT_BOUNDS
        hpa = {"minReplicas": least, "maxReplicas": most, "scaleTargetRef": {**target, "name": "chat"}}
        self._make_scaler("autoscaling/v2", HPA, script.CHAT.name, hpa, {})
        keda = {"scaleTargetRef": {"name": "embed"}, "minReplicaCount": 1, "maxReplicaCount": 8, "triggers": [_TRIGGER]}
        self._make_scaler("keda.sh/v1alpha1", KEDA, script.EMBED.name, keda, {PAUSED: script.EMBED_PAUSED})

    def _make_scaler(self, version: str, kind: str, name: str, spec: dict, annotations: dict) -> None:
        ref = ref_of(kind, name)
        self.born[ref] = LONG_AGO
        meta = {"name": ref.name, "annotations": annotations}
        item = {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
        self._made(ref, self._api.write("create", _folder(ref), item))

    def _touch(self, ref: Ref) -> None:
        if ref.kind in {HPA, KEDA}:
            self._reacting[ref] = self.now + timedelta(seconds=script.REACTS_SECONDS)
            heapq.heappush(self._moments, self._reacting[ref])
        else:
            self._dirty.add(ref)

    def _react(self, ref: Ref) -> None:
        """What an autoscaler makes of its target."""
        item, target = self.read(ref), Ref("Deployment", ref.namespace, ref.name)
        if ref.kind == HPA:
            wanted = min(item["spec"]["maxReplicas"], max(item["spec"]["minReplicas"], script.CHAT_DESIRED))
        else:
            wanted = int(item["metadata"]["annotations"][PAUSED])
        self.edit(target, {"spec": {"replicas": wanted}}, wanted=False)

    def _follow(self, ref: Ref) -> None:
        """What its controller makes of a workload."""
        item = self.read(ref)
        spec = item["spec"]
        wanted = (0 if spec["suspend"] else spec["parallelism"]) if ref.kind == "Job" else spec["replicas"]
        self._resize(ref, wanted)
        ready = sum(pod.ready for pod in self._living() if pod.owner == ref)
        status = {"observedGeneration": item["metadata"]["generation"], "replicas": wanted, "readyReplicas": ready}
        if ref.kind == "Deployment":
            status["updatedReplicas"] = wanted
        if ref.kind == "Job":
            status = {"active": wanted, "ready": ready}
        told = self._api.patch(_path(ref), {"status": status}, subresource="status")
        self.versions[ref] = told["metadata"]["resourceVersion"]

    def _resize(self, ref: Ref, wanted: int) -> None:
        pods = [pod for pod in self._living() if pod.owner == ref]
        for pod in pods[wanted:]:
            self._end_pod(pod)
        for _ in range(wanted - len(pods)):
            runs = self.runs[ref]
            self._begin_pod(ref, runs.pool, timedelta(seconds=runs.ready_seconds))

    def _begin_pod(self, owner: Ref, pool: str, ready_in: timedelta) -> Pod:
        node, gpu = self._place(owner, pool)
        name = owner.name if owner.kind == "Pod" else f"{owner.name}-{len(self.pods)}"
        pod = Pod(name, owner, node, gpu, self.now, self.now + ready_in)
        if self.now == script.BEGIN:
            pod.ready_at = self.now
        node.users[gpu] = owner
        node.busy.add(gpu)
        node.emptied = None
        self.pods.append(pod)
        self.born[Ref("Pod", owner.namespace, name)] = LONG_AGO if self.now == script.BEGIN else self.now
        self._api.write("create", f"/api/v1/namespaces/{owner.namespace}/pods", _pod(pod))
        heapq.heappush(self._moments, pod.ready_at)
        if pod.ready_at <= self.now:
            self._become_ready(pod)
        return pod

    def _place(self, owner: Ref, pool: str) -> tuple[Node, str]:
        """The GPU that it had, else one that nobody ever had, else whichever is free."""
        nodes = [node for node in self.nodes if node.pool == pool and node.ended is None]
        free = [(node, gpu) for node in nodes for gpu in node.gpus if gpu not in node.busy]
        if not free:
            node = self._begin_node(pool)
            return node, node.gpus[0]
        return min(free, key=lambda at: (at[0].users.get(at[1]) != owner, at[1] in at[0].users))

    def _end_pod(self, pod: Pod) -> None:
        pod.ended = self.now
        pod.node.busy.discard(pod.gpu)
        self.born.pop(Ref("Pod", pod.owner.namespace, pod.name))
        self._admin.delete(f"/api/v1/namespaces/{pod.owner.namespace}/pods/{pod.name}")
        if not pod.node.busy and script.POOLS[pod.node.pool].capacity != "reserved":
            pod.node.emptied = self.now
            heapq.heappush(self._moments, self.now + _EMPTY)

    def _become_ready(self, pod: Pod) -> None:
        pod.ready = True
        condition = {"type": "Ready", "status": "True"}
        path = f"/api/v1/namespaces/{pod.owner.namespace}/pods/{pod.name}"
        self._api.patch(path, {"status": {"phase": "Running", "conditions": [condition]}}, subresource="status")
        self._dirty.add(pod.owner)

    def _begin_node(self, pool: str) -> Node:
        what = script.POOLS[pool]
        node = Node(f"{pool}-{len(self.nodes)}", pool, self.now)
        self.nodes.append(node)
        labels = {
            "node.kubernetes.io/instance-type": pool,
            "karpenter.sh/capacity-type": what.capacity.replace("_", "-"),
        }
        self._api.write("create", "/api/v1/nodes", {"metadata": {"name": node.name, "labels": labels}})
        gpus = {"nvidia.com/gpu": str(what.gpus)}
        status = {"status": {"capacity": gpus, "allocatable": gpus}}
        self._api.patch(f"/api/v1/nodes/{node.name}", status, subresource="status")
        return node

    def _evaluate(self, now: datetime) -> None:
        """The pod that no policy concerns."""
        owner = Ref("Pod", "research", "evaluation")
        living = [pod for pod in self._living() if pod.owner == owner]
        if any(begin <= now < end for begin, end in script.EVALUATES):
            if not living:
                self._begin_pod(owner, script.LABELER.pool, timedelta(0))
        elif living:
            self._end_pod(living[0])


def _folder(ref: Ref) -> str:
    return _path(ref).rpartition("/")[0]


def _path(ref: Ref) -> str:
    kind = REGISTRY[ref.kind]
    return object_path(kind, kind.versions[0], ref)


def _pod_spec() -> dict:
    return {"containers": [{"name": "main", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}


def _workload(runs: script.Runs) -> dict:
    name = runs.name.partition("/")[2]
    template = {"metadata": {"labels": {"app": name}}, "spec": _pod_spec()}
    meta = {"name": name, "labels": {"app": name, **runs.labels}, "annotations": runs.annotations}
    if runs.kind == "Job":
        template["spec"]["restartPolicy"] = "Never"
        return {"metadata": meta, "spec": {"parallelism": runs.replicas, "suspend": False, "template": template}}
    spec = {"replicas": runs.replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    if runs.kind == "StatefulSet":
        spec["serviceName"] = name
    return {"metadata": meta, "spec": spec}


def _pod(pod: Pod) -> dict:
    meta: dict = {"name": pod.name}
    if pod.owner.kind == "Deployment":
        meta["labels"] = {"pod-template-hash": _HASH}
    owner = ("ReplicaSet", f"{pod.owner.name}-{_HASH}") if pod.owner.kind == "Deployment" else pod.owner[::2]
    if pod.owner.kind != "Pod":
        version = "batch/v1" if owner[0] == "Job" else "apps/v1"
        controlled = {"apiVersion": version, "kind": owner[0], "name": owner[1], "uid": "u-1", "controller": True}
        meta["ownerReferences"] = [controlled]
    return {"metadata": meta, "spec": {**_pod_spec(), "nodeName": pod.node.name}}
