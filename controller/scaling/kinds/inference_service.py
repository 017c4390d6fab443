"""KServe's InferenceService: stopped while an annotation says so; its Deployments or Knative services go, it stays."""

from collections.abc import Iterator

from collectors.kube_json import JsonObject, child, text
from controller.scaling.kinds.by_patch import ByAnnotation, annotation_lever
from controller.scaling.kinds.pod_template import container_gpus, gpus_of, losses_of
from controller.scaling.kinds.reading import Traits, condition, count, is_stale, is_true, readiness

STOP = "serving.kserve.io/stop"
_COMPONENTS = ("predictor", "transformer", "explainer")


def _read(item: JsonObject) -> Traits:
    put, spec = annotation_lever(item, "stop", STOP), child(item, "spec")
    parts = [child(spec, name) for name in _COMPONENTS if name in spec]
    wanted = 0 if is_true(put["stop"]) else sum(_fewest(part) for part in parts)
    changing = text(item, "status", "modelStatus", "transitionStatus") == "InProgress" and wanted > 0
    lost = [loss for part in parts for pod in (part, child(part, "workerSpec")) for loss in losses_of(pod)]
    return Traits(
        put,
        readiness(wanted, wanted if condition(item, "Ready") else 0, is_stale(item) or changing),
        sum(_gpus(part) * max(1, _fewest(part)) for part in parts),
        tuple(dict.fromkeys(lost)),
    )


def _fewest(part: JsonObject) -> int:
    said = count(part, "minReplicas")
    return 1 if said is None else said


def _gpus(part: JsonObject) -> int:
    """Of one replica: what stands under ``model``, or under the name of a framework, is a container too."""
    nodes = count(part, "workerSpec", "pipelineParallelSize") or 1
    workers = gpus_of(child(part, "workerSpec")) * (nodes - 1)
    return gpus_of(part) + sum(container_gpus(model) for model in _models(part)) + workers


def _models(part: JsonObject) -> Iterator[JsonObject]:
    for key in part:
        model = child(part, key)
        if "resources" in model and key != "workerSpec":
            yield model


INFERENCE_SERVICE = ByAnnotation(
    "InferenceService",
    "serving.kserve.io",
    ("v1beta1",),
    "inferenceservices",
    ("Deployment", "HorizontalPodAutoscaler", "ScaledObject", "Service"),
    _read,
    lever="stop",
    key=STOP,
)
