"""KubeRay's RayCluster: ``suspend`` deletes all its pods; what the head knew of jobs and actors goes with it."""

from collectors.kube_json import JsonObject, child, children, number
from controller.scaling.kinds.by_patch import BySuspend, suspend_lever
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, condition, count, is_stale, readiness

HEAD = "the Ray head: jobs, actors and objects in memory end with it"


def ray_gpus(cluster: JsonObject) -> int:
    """GPUs that the pods of a cluster of this spec request together."""
    head = gpus_of(child(cluster, "headGroupSpec", "template", "spec"))
    return head + sum(_pods(group) * gpus_of(_pod(group)) for group in children(cluster, "workerGroupSpecs"))


def ray_losses(cluster: JsonObject) -> tuple[str, ...]:
    """What goes with a cluster of this spec."""
    pods = [child(cluster, "headGroupSpec", "template", "spec"), *map(_pod, children(cluster, "workerGroupSpecs"))]
    return (HEAD, *dict.fromkeys(loss for pod in pods for loss in losses_of(pod)))


def ray_pods(cluster: JsonObject) -> int:
    """Pods that a cluster of this spec begins with: its head and its workers."""
    return 1 + sum(_pods(group) for group in children(cluster, "workerGroupSpecs"))


def _pod(group: JsonObject) -> JsonObject:
    return child(group, "template", "spec")


def _pods(group: JsonObject) -> int:
    if group.get("suspend") is True:
        return 0
    replicas, hosts = count(group, "replicas"), count(group, "numOfHosts")
    least = count(group, "minReplicas") or 0
    return max(least, 0 if replicas is None else replicas) * (1 if hosts is None else hosts)


def _read(item: JsonObject) -> Traits:
    put, spec, status = suspend_lever(item), child(item, "spec"), child(item, "status")
    workers = number(status, "readyWorkerReplicas")
    workers = (number(status, "availableWorkerReplicas") or 0) if workers is None else workers
    head = 1 if condition(item, "HeadPodReady") or status.get("state") == "ready" else 0
    return Traits(
        put,
        readiness(0 if put["suspend"] else ray_pods(spec), workers + head, is_stale(item)),
        ray_gpus(spec),
        ray_losses(spec),
    )


RAY_CLUSTER = BySuspend("RayCluster", "ray.io", ("v1",), "rayclusters", ("Pod",), _read)
