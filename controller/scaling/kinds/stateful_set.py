"""StatefulSet: replicas through ``/scale``; claims that are deleted with their pods are a loss."""

from collectors.kube_json import JsonObject, child, children, number, text
from controller.scaling.kinds.by_scale import ByScale, replicas_lever, replicas_of
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, is_stale, readiness


def _read(item: JsonObject) -> Traits:
    put, spec = replicas_lever(item), child(item, "spec")
    pod = child(spec, "template", "spec")
    wanted = replicas_of(put["replicas"])
    return Traits(
        put,
        readiness(wanted, number(item, "status", "readyReplicas") or 0, is_stale(item) or _is_rolling(item, wanted)),
        gpus_of(pod),
        (*_deleted_claims(spec), *losses_of(pod)),
    )


def _is_rolling(item: JsonObject, wanted: int) -> bool:
    status, strategy = child(item, "status"), child(item, "spec", "updateStrategy")
    if text(strategy, "type") == "OnDelete" or text(status, "updateRevision") == text(status, "currentRevision"):
        return False
    kept = number(strategy, "rollingUpdate", "partition") or 0  # so many stay at the older revision for good
    return (number(status, "updatedReplicas") or 0) < wanted - kept


def _deleted_claims(spec: JsonObject) -> tuple[str, ...]:
    if text(spec, "persistentVolumeClaimRetentionPolicy", "whenScaled") != "Delete":
        return ()
    names = ", ".join(repr(text(claim, "metadata", "name")) for claim in children(spec, "volumeClaimTemplates"))
    return (f"persistentVolumeClaimRetentionPolicy.whenScaled is Delete: the claims {names} go",) if names else ()


STATEFUL_SET = ByScale("StatefulSet", "apps", ("v1",), "statefulsets", ("Pod", "ControllerRevision"), _read)
