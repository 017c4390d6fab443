"""Argo's Rollout: replicas through ``/scale``; its pods may be described by a Deployment that it refers to."""

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, number, text
from controller.scaling.kinds.by_scale import ByScale, replicas_lever, replicas_of
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, is_stale, readiness


def _read(item: JsonObject) -> Traits:
    put, status = replicas_lever(item), child(item, "status")
    pod = child(item, "spec", "template", "spec")
    rolling = (
        is_stale(item)
        or text(status, "currentPodHash") != text(status, "stableRS")
        or (number(status, "replicas") or 0) > (number(status, "updatedReplicas") or 0)
    )
    return Traits(
        put,
        readiness(replicas_of(put["replicas"]), number(status, "readyReplicas") or 0, rolling),
        gpus_of(pod),
        losses_of(pod),
        template_of=_template_of(item),
    )


def _template_of(item: JsonObject) -> tuple[str, str] | None:
    said = child(item, "spec", "workloadRef")
    if not said:
        return None
    if not text(said, "kind") or not text(said, "name"):
        raise Malformed("spec.workloadRef does not name a kind and an object")
    return text(said, "kind"), text(said, "name")


ROLLOUT = ByScale("Rollout", "argoproj.io", ("v1alpha1",), "rollouts", ("ReplicaSet",), _read)
