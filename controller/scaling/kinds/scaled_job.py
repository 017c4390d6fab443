"""KEDA's ScaledJob: paused, so that no new Jobs are made; those that run go on."""

from collectors.kube_json import JsonObject, child
from controller.scaling.kinds.by_patch import ByAnnotation, annotation_lever
from controller.scaling.kinds.pod_template import gpus_of
from controller.scaling.kinds.reading import Traits, readiness
from controller.scaling.kinds.scaled_object import PAUSED


def _read(item: JsonObject) -> Traits:
    pod = child(item, "spec", "jobTargetRef", "template", "spec")
    return Traits(annotation_lever(item, "paused", PAUSED), readiness(0, 0), gpus_of(pod))


SCALED_JOB = ByAnnotation(
    "ScaledJob", "keda.sh", ("v1alpha1",), "scaledjobs", ("Job",), _read, lever="paused", key=PAUSED
)
