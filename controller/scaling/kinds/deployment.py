"""Deployment: replicas through ``/scale``."""

from collectors.kube_json import JsonObject, child, number
from controller.scaling.kinds.by_scale import ByScale, replicas_lever, replicas_of
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, is_stale, readiness


def _read(item: JsonObject) -> Traits:
    put, status = replicas_lever(item), child(item, "status")
    pod = child(item, "spec", "template", "spec")
    # pods of an older template are there: a rollout, though updated pods may be fewer than wanted for want of room
    rolling = is_stale(item) or (number(status, "replicas") or 0) > (number(status, "updatedReplicas") or 0)
    return Traits(
        put,
        readiness(replicas_of(put["replicas"]), number(status, "readyReplicas") or 0, rolling),
        gpus_of(pod),
        losses_of(pod),
    )


DEPLOYMENT = ByScale(
    "Deployment", "apps", ("v1",), "deployments", ("ReplicaSet",), _read, generation_counts_annotations=True
)
