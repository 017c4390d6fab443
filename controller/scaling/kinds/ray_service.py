"""KubeRay's RayService: ``suspend`` of the service itself, which deletes its clusters and makes them anew.

Not ``rayClusterConfig.suspend``: as the version has it, it is copied onto new clusters only, or leaves one running in
the middle of an upgrade. Where KubeRay is too old to know the field the API server drops it, and nothing is stopped.
"""

from collectors.kube_json import JsonObject, child, text
from controller.scaling.kinds.by_patch import BySuspend, suspend_lever
from controller.scaling.kinds.ray_cluster import ray_gpus, ray_losses, ray_pods
from controller.scaling.kinds.reading import Traits, condition, is_stale, readiness


def _read(item: JsonObject) -> Traits:
    put, cluster = suspend_lever(item), child(item, "spec", "rayClusterConfig")
    wanted = 0 if put["suspend"] else ray_pods(cluster)
    upgrading = condition(item, "UpgradeInProgress", "RollbackInProgress") or _has_two(item)
    return Traits(
        put,
        readiness(wanted, wanted if condition(item, "Ready") else 0, is_stale(item) or upgrading),
        ray_gpus(cluster),
        ray_losses(cluster),
    )


def _has_two(item: JsonObject) -> bool:
    status = child(item, "status")
    return all(text(status, which, "rayClusterName") for which in ("activeServiceStatus", "pendingServiceStatus"))


RAY_SERVICE = BySuspend("RayService", "ray.io", ("v1",), "rayservices", ("RayCluster",), _read)
