"""Deployment: replicas through ``/scale``."""

from collectors.kube_json import JsonObject, child, children, number
from controller.scaling.kinds.by_scale import ByScale, replicas_lever, replicas_of
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, is_stale, readiness

_ROLLOUT = frozenset({"NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"})
"""Why it progresses, until the rollout is through; scaling alone leaves the reason as it was."""


def _progresses(item: JsonObject) -> bool:
    """Whether a rollout goes on of which no pod of the older template is left, as with the strategy Recreate."""
    return any(
        each.get("type") == "Progressing" and each.get("status") == "True" and each.get("reason") in _ROLLOUT
        for each in children(item, "status", "conditions")
    )


def _read(item: JsonObject) -> Traits:
    put, status = replicas_lever(item), child(item, "status")
    pod = child(item, "spec", "template", "spec")
    # pods of an older template are there: a rollout, though updated pods may be fewer than wanted for want of room
    rolling = is_stale(item) or (number(status, "replicas") or 0) > (number(status, "updatedReplicas") or 0)
    rolling = rolling or (_progresses(item) and (number(status, "readyReplicas") or 0) < replicas_of(put["replicas"]))
    return Traits(
        put,
        readiness(replicas_of(put["replicas"]), number(status, "readyReplicas") or 0, rolling),
        gpus_of(pod),
        losses_of(pod),
    )


DEPLOYMENT = ByScale(
    "Deployment", "apps", ("v1",), "deployments", ("ReplicaSet",), _read, generation_counts_annotations=True
)
