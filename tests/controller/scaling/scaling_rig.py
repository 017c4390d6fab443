"""What the tests of scaling share: a clock that is moved by waiting, kinds that read little, objects of a real API."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from collectors.clock import NS_PER_SECOND
from collectors.kube_errors import Malformed
from collectors.kube_json import child, number, strings, text
from controller.scaling.model import Readiness, Ref, Seen
from tests.cluster.waiting import wait_until


class HandClock:
    """Stands still; a wait lets its time pass at once, and stays in ``waits``, in seconds."""

    boot_id = "boot"

    def __init__(self):
        self.now_ns = 1_000 * NS_PER_SECOND
        self.waits = []
        self._lock = threading.Lock()

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event, duration_ns):
        with self._lock:
            self.waits.append(duration_ns / NS_PER_SECOND)
            self.now_ns += duration_ns
        return event.is_set()


@dataclass(frozen=True)
class PlainKind:
    """A kind that is scaled by ``spec.replicas``."""

    name: str
    group: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    scale_subresource: bool = False
    sizes: str = "any"
    pods_owner_kinds: tuple[str, ...] = ()

    def seen(self, item):
        meta = child(item, "metadata")
        replicas = number(item, "spec", "replicas")
        if replicas is not None and replicas > 1000:
            raise Malformed(f"spec.replicas is {replicas}")
        target = child(item, "spec", "scaleTargetRef")
        return Seen(
            ref=Ref(self.name, text(meta, "namespace"), text(meta, "name")),
            uid=text(meta, "uid"),
            version=text(meta, "resourceVersion"),
            generation=number(meta, "generation") or 0,
            created=datetime(2026, 1, 1, tzinfo=UTC),
            levers={"replicas": replicas},
            readiness=Readiness(replicas or 0, number(item, "status", "readyReplicas") or 0),
            labels=strings(meta, "labels"),
            annotations=strings(meta, "annotations"),
            scales=(text(target, "kind"), text(target, "name")) if target else None,
        )

    def down(self, seen, size):
        raise NotImplementedError

    def patch(self, levers: Mapping[str, object]):
        return {"spec": dict(levers)}

    def command(self, seen, original):
        raise NotImplementedError


DEPLOYMENT = PlainKind("Deployment", "apps", "deployments", scale_subresource=True)
HPA = PlainKind("HorizontalPodAutoscaler", "autoscaling", "horizontalpodautoscalers", ("v2",))


def pod_template(gpus=0):
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    containers = [{"name": "main", "image": "i", "resources": {"limits": limits}}]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}


def deployment(name="web", replicas=3):
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": pod_template()}
    return {"metadata": {"name": name}, "spec": spec}


def folder(namespace, plural="deployments", group="apps/v1"):
    return f"/apis/{group}/namespaces/{namespace}/{plural}"


def crd(kind, version="v1"):
    """A CRD that takes anything."""
    names = {"kind": kind.name, "plural": kind.plural, "singular": kind.name.lower()}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": version, "served": True, "storage": True, "schema": schema}]
    spec = {"group": kind.group, "scope": "Namespaced", "names": names, "versions": versions}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": spec,
    }


def until(condition, seconds=30):
    """Returns once ``condition`` holds."""
    wait_until(condition, seconds, "what the test waits for", poll=0.02)
