"""Objects of each kind as an API server gives them, and what a merge patch makes of them."""

import copy
import json
import shlex
from typing import Any

Item = dict[str, Any]
CREATED = "2026-03-02T08:00:00Z"


def pod_spec(gpus: int = 2, **more: object) -> Item:
    container = {"name": "main", "image": "registry.example/model:1", "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return {"containers": [container], **more}


def template(gpus: int = 2, **more: object) -> Item:
    return {"metadata": {"labels": {"app": "x"}}, "spec": pod_spec(gpus, **more)}


def item(
    api_version: str,
    kind: str,
    spec: Item,
    status: Item | None = None,
    *,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
) -> Item:
    metadata = {
        "name": "llama",
        "namespace": "team-a",
        "uid": "0b8e6c3e-2a0c-4d1e-9c0a-0d5a6f5b7a11",
        "resourceVersion": "4711",
        "generation": 3,
        "creationTimestamp": CREATED,
        "labels": labels or {"app": "llama"},
        "annotations": {"team.example/mail": "a@example.com", **(annotations or {})},
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


def selector() -> Item:
    return {"matchLabels": {"app": "x"}}


OBJECTS: dict[str, Item] = {
    "Deployment": item(
        "apps/v1",
        "Deployment",
        {"replicas": 3, "selector": selector(), "template": template()},
        {"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3},
    ),
    "StatefulSet": item(
        "apps/v1",
        "StatefulSet",
        {"replicas": 3, "selector": selector(), "serviceName": "llama", "template": template()},
        {"observedGeneration": 3, "replicas": 3, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "a"},
    ),
    "CronJob": item(
        "batch/v1",
        "CronJob",
        {
            "schedule": "0 3 * * *",
            "suspend": False,
            "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}},
        },
    ),
    "Job": item(
        "batch/v1",
        "Job",
        {"parallelism": 2, "completions": 5, "suspend": False, "template": template(restartPolicy="Never")},
        {"ready": 2, "active": 2, "succeeded": 1},
    ),
    "HorizontalPodAutoscaler": item(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {
            "minReplicas": 2,
            "maxReplicas": 10,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
        },
        {"currentReplicas": 4, "desiredReplicas": 4},
    ),
    "ScaledObject": item(
        "keda.sh/v1alpha1",
        "ScaledObject",
        {"scaleTargetRef": {"name": "llama"}, "minReplicaCount": 1, "maxReplicaCount": 8, "triggers": []},
    ),
    "ScaledJob": item(
        "keda.sh/v1alpha1", "ScaledJob", {"jobTargetRef": {"template": template(restartPolicy="Never")}, "triggers": []}
    ),
    "Rollout": item(
        "argoproj.io/v1alpha1",
        "Rollout",
        {"replicas": 3, "selector": selector(), "template": template(), "strategy": {"canary": {}}},
        {
            "observedGeneration": "3",
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "currentPodHash": "abc",
            "stableRS": "abc",
        },
    ),
    "LeaderWorkerSet": item(
        "leaderworkerset.x-k8s.io/v1",
        "LeaderWorkerSet",
        {
            "replicas": 3,
            "leaderWorkerTemplate": {"size": 4, "leaderTemplate": template(1), "workerTemplate": template(8)},
        },
        {"observedGeneration": 3, "replicas": 3, "readyReplicas": 2, "updatedReplicas": 3},
    ),
    "Notebook": item(
        "kubeflow.org/v1", "Notebook", {"template": {"spec": pod_spec(1)}}, {"readyReplicas": 1, "conditions": []}
    ),
    "RayCluster": item(
        "ray.io/v1",
        "RayCluster",
        {
            "headGroupSpec": {"rayStartParams": {}, "template": template(0)},
            "workerGroupSpecs": [{"groupName": "g", "replicas": 3, "numOfHosts": 1, "template": template(4)}],
        },
        {"observedGeneration": 3, "state": "ready", "readyWorkerReplicas": 3},
    ),
    "RayService": item(
        "ray.io/v1",
        "RayService",
        {
            "serveConfigV2": "applications: []",
            "rayClusterConfig": {
                "headGroupSpec": {"rayStartParams": {}, "template": template(1)},
                "workerGroupSpecs": [{"groupName": "g", "replicas": 2, "numOfHosts": 2, "template": template(4)}],
            },
        },
        {"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True"}]},
    ),
    "PyTorchJob": item(
        "kubeflow.org/v1",
        "PyTorchJob",
        {
            "runPolicy": {"cleanPodPolicy": "None"},
            "pytorchReplicaSpecs": {
                "Master": {"template": template(8)},
                "Worker": {"replicas": 3, "template": template(8)},
            },
        },
        {"replicaStatuses": {"Master": {"active": 1}, "Worker": {"active": 3}}},
    ),
    "InferenceService": item(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        {
            "predictor": {
                "minReplicas": 2,
                "model": {"modelFormat": {"name": "vllm"}, "resources": {"limits": {"nvidia.com/gpu": "4"}}},
            }
        },
        {"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True"}]},
    ),
}
"""One of each, of about the same shape as in the field."""

BY_REPLICAS = ("Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet")
STOPPED_WHOLE = tuple(sorted(OBJECTS.keys() - {*BY_REPLICAS, "HorizontalPodAutoscaler", "ScaledObject"}))


def an(kind: str, **spec: object) -> Item:
    """One of a kind, with other fields in its spec; ``None`` takes one away."""
    made = copy.deepcopy(OBJECTS[kind])
    made["spec"] = {key: value for key, value in {**made["spec"], **spec}.items() if value is not None}
    return made


def annotated(made: Item, **annotations: str | None) -> Item:
    made["metadata"]["annotations"].update({key: value for key, value in annotations.items() if value is not None})
    return made


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


_FORGETTING = (("annotate", "annotations"), ("label", "labels"))


def commanded(target: Item, command: str) -> Any:
    """What kubectl's commands make of an object, by their words."""
    first, *others = (shlex.split(part) for part in command.split(" && "))
    patch = (
        {"spec": {"replicas": int(first[2].removeprefix("--replicas="))}}
        if first[1] == "scale"
        else json.loads(first[-1])
    )
    item = merged(target, patch)
    for words, (verb, field) in zip(others, _FORGETTING, strict=False):
        assert words[:2] == ["kubectl", verb]
        assert first[first.index("-n") : first.index("-n") + 3] == words[2:5]
        assert all(key.endswith("-") for key in words[5:])
        item = merged(item, {"metadata": {field: {key.removesuffix("-"): None for key in words[5:]}}})
    return item
