"""Kubeflow's PyTorchJob: ``runPolicy.suspend`` ends its pods, so it needs a declared checkpoint as a Job does."""

from dataclasses import dataclass

from collectors.kube_json import JsonObject, child, number
from controller.scaling.kinds.by_patch import ByPatch
from controller.scaling.kinds.job import checkpoint_losses
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, all_are, condition, count, flag, levers, readiness
from controller.scaling.model import Levers, Seen, Size


@dataclass(frozen=True, slots=True)
class PyTorchJob(ByPatch):
    """Levers ``suspend`` and ``runPolicy``.

    The second says whether ``runPolicy`` holds anything else; ``None``: it was not there, and is to go again.
    """

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Suspended; ``None``: it is already, or the size is not 0."""
        if seen.levers["suspend"] is True or not size.is_zero:
            return None
        return levers(suspend=True, runPolicy=seen.levers["runPolicy"] is True)

    def stands(self, levers: Levers) -> bool:
        """At truth values, or at none."""
        return all_are(bool, levers)

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"spec": {"runPolicy": None if levers["runPolicy"] is None else {"suspend": levers["suspend"]}}}


def _read(item: JsonObject) -> Traits:
    spec = child(item, "spec")
    policy = child(spec, "runPolicy")
    holds_more = bool(policy.keys() - {"suspend"}) if isinstance(spec.get("runPolicy"), dict) else None
    put = levers(suspend=flag(item, "spec", "runPolicy", "suspend"), runPolicy=holds_more)
    groups = child(spec, "pytorchReplicaSpecs")
    templates = {name: child(groups, name, "template") for name in groups}
    pods = {name: _replicas(child(groups, name)) for name in groups}
    finished = condition(item, "Succeeded", "Failed")
    lost = [loss for template in templates.values() for loss in losses_of(child(template, "spec"))]
    return Traits(
        put,
        readiness(0 if finished or put["suspend"] else sum(pods.values()), _active(item)),
        sum(pods[name] * gpus_of(child(template, "spec")) for name, template in templates.items()),
        (*checkpoint_losses(item, templates.get("Master", {})), *dict.fromkeys(lost)),
        finished=finished,
    )


def _replicas(group: JsonObject) -> int:
    said = count(group, "replicas")
    return 1 if said is None else said


def _active(item: JsonObject) -> int:
    groups = child(item, "status", "replicaStatuses")
    return sum(number(groups, name, "active") or 0 for name in groups)


PYTORCH_JOB = PyTorchJob("PyTorchJob", "kubeflow.org", ("v1",), "pytorchjobs", ("Pod", "PodGroup"), _read)
