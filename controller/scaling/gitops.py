"""Workloads that ArgoCD or Flux keeps as Git has them, and the rule by which they leave our levers alone.

Owns how their objects are told, and the form of the rules; which field a rule names is the kind's own patch. A tool
that is not told puts back what a schedule put down; after the second time the workload is contested.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from collectors.kube_json import JsonObject
from controller.scaling.kind import Kind
from controller.scaling.model import Seen

TRACKING_ID = "argocd.argoproj.io/tracking-id"
INSTANCE = "argocd.argoproj.io/instance"
KUSTOMIZATION = "kustomize.toolkit.fluxcd.io"
HELM_RELEASE = "helm.toolkit.fluxcd.io"

Tool = Literal["ArgoCD", "Flux"]
Owner = Literal["Application", "Kustomization", "HelmRelease"]


@dataclass(frozen=True, slots=True)
class Gitops:
    """What keeps an object as Git has it."""

    tool: Tool
    kind: Owner
    """Of the tool's own object, which takes the rule."""
    name: str
    namespace: str = ""
    """Empty: the tool's own, which the object does not tell."""

    def __str__(self) -> str:
        return f"{self.tool} {self.kind} {self.namespace and self.namespace + '/'}{self.name}"


def managed(seen: Seen) -> Gitops | None:
    """What keeps an object as Git has it; ``None``: nothing that says so.

    An ArgoCD that marks its objects by ``app.kubernetes.io/instance`` alone is not told from Helm.
    """
    if (application := _application(seen)) is not None:
        namespace, _, name = application.rpartition("_")
        return Gitops("ArgoCD", "Application", name, namespace)
    owners: tuple[tuple[str, Owner], ...] = ((HELM_RELEASE, "HelmRelease"), (KUSTOMIZATION, "Kustomization"))
    for group, kind in owners:
        if name := seen.labels.get(f"{group}/name", ""):
            return Gitops("Flux", kind, name, seen.labels.get(f"{group}/namespace", ""))
    return None


def _application(seen: Seen) -> str | None:
    """By the annotation ``APP:GROUP/KIND:NAMESPACE/NAME``: one that was copied from another object tells nothing."""
    if (tracking := seen.annotations.get(TRACKING_ID)) is None:
        return seen.labels.get(INSTANCE) or None
    application, _, rest = tracking.partition(":")
    which, _, name = rest.partition(":")
    same = which.rpartition("/")[2] == seen.ref.kind and name == f"{seen.ref.namespace}/{seen.ref.name}"
    return application if same and application else None


def pointers(kind: Kind, seen: Seen) -> tuple[str, ...]:
    """The fields of an object that its levers are, as JSON pointers (RFC 6901)."""
    return tuple(_leaves(kind.patch(seen.levers)))


def _leaves(patch: JsonObject, above: str = "") -> Iterator[str]:
    for key, value in patch.items():
        pointer = f"{above}/{key.replace('~', '~0').replace('/', '~1')}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(cast("JsonObject", value), pointer)
        else:
            yield pointer


def ignore_rule(gitops: Gitops, kind: Kind, seen: Seen) -> str:
    """What is to be added to the tool's object, as YAML."""
    target = [
        f"group: {kind.group}",
        f"kind: {kind.name}",
        f"namespace: {seen.ref.namespace}",
        f"name: {seen.ref.name}",
    ]
    fields = pointers(kind, seen)
    if gitops.tool == "ArgoCD":
        rule = ["ignoreDifferences:", *_item([*target, "jsonPointers:", *(f"  - {field}" for field in fields)])]
        lines = [*rule, "syncPolicy:", "  syncOptions:", "    - RespectIgnoreDifferences=true"]
    else:
        paths = ["paths:", *(f"  - {field}" for field in fields)]
        rule = ["ignore:", *_item([*paths, "target:", *(f"  {line}" for line in target)])]
        is_helm = gitops.kind == "HelmRelease"
        lines = ["driftDetection:", *(f"  {line}" for line in rule)] if is_helm else rule
    return "\n".join(["spec:", *(f"  {line}" for line in lines)])


def _item(lines: list[str]) -> list[str]:
    """One item of a list."""
    return [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]
