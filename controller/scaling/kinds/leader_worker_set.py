"""LeaderWorkerSet: groups of a leader and its workers, through ``/scale``; one replica is one group."""

from collectors.kube_json import JsonObject, child, number
from controller.scaling.kinds.by_scale import ByScale, replicas_lever, replicas_of
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, condition, count, is_stale, readiness


def _read(item: JsonObject) -> Traits:
    put, group = replicas_lever(item), child(item, "spec", "leaderWorkerTemplate")
    workers = child(group, "workerTemplate", "spec")
    leader = child(group, "leaderTemplate", "spec") or workers
    size = max(1, count(item, "spec", "leaderWorkerTemplate", "size") or 1)  # with the leader
    ready = number(item, "status", "readyReplicas") or 0
    return Traits(
        put,
        readiness(replicas_of(put["replicas"]) * size, ready * size, is_stale(item) or _is_rolling(item)),
        gpus_of(leader) + gpus_of(workers) * (size - 1),
        tuple(dict.fromkeys((*losses_of(leader), *(losses_of(workers) if size > 1 else ())))),
    )


def _is_rolling(item: JsonObject) -> bool:
    return condition(item, "UpdateInProgress")


LEADER_WORKER_SET = ByScale(
    "LeaderWorkerSet",
    "leaderworkerset.x-k8s.io",
    ("v1",),
    "leaderworkersets",
    ("StatefulSet", "Pod", "ControllerRevision"),
    _read,
)
