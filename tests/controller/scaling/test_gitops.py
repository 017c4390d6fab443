"""Who keeps an object as Git has it, and the rule by which it leaves our levers alone."""

import pytest
import yaml

from controller.scaling.gitops import Gitops, ignore_rule, managed, pointers
from controller.scaling.registry import KINDS, kind_of
from tests.controller.scaling.kind_objects import OBJECTS

FLUX = "kustomize.toolkit.fluxcd.io"
TRACKING = "argocd.argoproj.io/tracking-id"


def seen(kind="Deployment", annotations=None, labels=None):
    item = OBJECTS[kind]
    metadata = {**item["metadata"], "annotations": annotations or {}, "labels": labels or {}}
    return kind_of(kind).seen({**item, "metadata": metadata})


@pytest.mark.parametrize(
    ("annotations", "labels", "told"),
    [
        ({TRACKING: "shop:apps/Deployment:team-a/llama"}, {}, "ArgoCD Application shop"),
        ({TRACKING: "tenants_shop:apps/Deployment:team-a/llama"}, {}, "ArgoCD Application tenants/shop"),
        ({}, {"argocd.argoproj.io/instance": "shop"}, "ArgoCD Application shop"),
        ({}, {f"{FLUX}/name": "apps", f"{FLUX}/namespace": "flux-system"}, "Flux Kustomization flux-system/apps"),
        ({}, {"helm.toolkit.fluxcd.io/name": "llama"}, "Flux HelmRelease llama"),
    ],
)
def test_tools_are_told_by_their_marks(annotations, labels, told):
    assert str(managed(seen(annotations=annotations, labels=labels))) == told


@pytest.mark.parametrize(
    "tracking",
    [
        "shop:apps/Deployment:team-a/other",
        "shop:apps/StatefulSet:team-a/llama",
        "shop",
        "",
        ":apps/Deployment:team-a/llama",
    ],
)
def test_a_mark_that_was_copied_from_another_object_tells_nothing(tracking):
    assert managed(seen(annotations={TRACKING: tracking})) is None


def test_what_nobody_marked_is_nobodys():
    assert managed(seen(labels={"app.kubernetes.io/instance": "shop"})) is None


def rule(gitops, kind):
    return yaml.safe_load(ignore_rule(gitops, kind_of(kind), seen(kind)))["spec"]


def test_argocd_is_told_by_ignore_differences_and_to_respect_them():
    assert rule(Gitops("ArgoCD", "Application", "shop"), "HorizontalPodAutoscaler") == {
        "ignoreDifferences": [
            {
                "group": "autoscaling",
                "kind": "HorizontalPodAutoscaler",
                "namespace": "team-a",
                "name": "llama",
                "jsonPointers": ["/spec/minReplicas", "/spec/maxReplicas"],
            }
        ],
        "syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true"]},
    }


def test_flux_is_told_by_ignore_rules_of_its_kustomization_or_release():
    target = {"group": "serving.kserve.io", "kind": "InferenceService", "namespace": "team-a", "name": "llama"}
    ignore = [{"paths": ["/metadata/annotations/serving.kserve.io~1stop"], "target": target}]
    assert rule(Gitops("Flux", "Kustomization", "apps"), "InferenceService") == {"ignore": ignore}
    helm = rule(Gitops("Flux", "HelmRelease", "llama"), "InferenceService")
    assert helm == {"driftDetection": {"ignore": ignore}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_has_the_pointers_of_its_levers(kind):
    expected = {
        "HorizontalPodAutoscaler": ("/spec/minReplicas", "/spec/maxReplicas"),
        "ScaledObject": ("/metadata/annotations/autoscaling.keda.sh~1paused-replicas",),
        "ScaledJob": ("/metadata/annotations/autoscaling.keda.sh~1paused",),
        "Notebook": ("/metadata/annotations/kubeflow-resource-stopped",),
        "InferenceService": ("/metadata/annotations/serving.kserve.io~1stop",),
        "PyTorchJob": ("/spec/runPolicy/suspend",),
        **dict.fromkeys(("Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet"), ("/spec/replicas",)),
    }
    assert pointers(kind, seen(kind.name)) == expected.get(kind.name, ("/spec/suspend",))
