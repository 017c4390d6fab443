"""What is never scaled: what a cluster, its autoscalers, its devices and whoever watches over it need to work.

Owns the table of namespaces, labels and names, each with its reason. There is no other way in: nothing is taken for
protected because it looks important, and nothing in the table can be taken out by a policy or an annotation.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from controller.scaling.model import Seen

_SYSTEM = "the cluster itself runs there"
_MONITORING = "monitoring: who watches must stay up to see what happens"
_AUTOSCALER = "an autoscaler: without it nothing would come back"
_DEVICES = "device plugins and drivers: without them no pod gets a GPU"
_NETWORK = "networking: without it nothing is reached"
_CERTIFICATES = "certificates and webhooks: without them the API server refuses writes"
_STORAGE = "storage: without it no volume is mounted"

NAMESPACES: Mapping[str, str] = MappingProxyType(
    {
        "kube-system": _SYSTEM,
        "kube-public": _SYSTEM,
        "kube-node-lease": _SYSTEM,
        "openshift-*": _SYSTEM,
        "monitoring": _MONITORING,
        "monitoring-*": _MONITORING,
        "observability": _MONITORING,
        "datadog": _MONITORING,
        "loki": _MONITORING,
        "opencost": _MONITORING,
        "kubecost": _MONITORING,
        "thanos": _MONITORING,
        "victoria-metrics": _MONITORING,
        "prometheus": _MONITORING,
        "kube-prometheus-stack": _MONITORING,
        "cattle-monitoring-system": _MONITORING,
        "gmp-system": _MONITORING,
        "gmp-public": _MONITORING,
        "gke-managed-*": _SYSTEM,
        "keda": _AUTOSCALER,
        "keda-system": _AUTOSCALER,
        "karpenter": _AUTOSCALER,
        "cluster-autoscaler": _AUTOSCALER,
        "knative-serving": _AUTOSCALER,
        "vertical-pod-autoscaler": _AUTOSCALER,
        "vpa": _AUTOSCALER,
        "gpu-operator": _DEVICES,
        "gpu-operator-resources": _DEVICES,
        "nvidia-gpu-operator": _DEVICES,
        "nvidia-device-plugin": _DEVICES,
        "nvidia-dra-driver-gpu": _DEVICES,
        "nvidia-network-operator": _DEVICES,
        "node-feature-discovery": _DEVICES,
        "cert-manager": _CERTIFICATES,
        "istio-system": _NETWORK,
        "calico-system": _NETWORK,
        "cilium": _NETWORK,
        "longhorn-system": _STORAGE,
        "rook-ceph": _STORAGE,
    }
)
"""Namespace, or shell pattern of some, to why."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "prometheus": _MONITORING,
        "prometheus-operator": _MONITORING,
        "kube-prometheus-stack": _MONITORING,
        "kube-state-metrics": _MONITORING,
        "node-exporter": _MONITORING,
        "prometheus-node-exporter": _MONITORING,
        "alertmanager": _MONITORING,
        "grafana": _MONITORING,
        "dcgm-exporter": _MONITORING,
        "nvidia-dcgm-exporter": _MONITORING,
        "victoria-metrics-operator": _MONITORING,
        "victoria-metrics-single": _MONITORING,
        "victoria-metrics-agent": _MONITORING,
        "vmsingle": _MONITORING,
        "vmagent": _MONITORING,
        "vmalert": _MONITORING,
        "vmalertmanager": _MONITORING,
        "vminsert": _MONITORING,
        "vmselect": _MONITORING,
        "vmstorage": _MONITORING,
        "thanos": _MONITORING,
        "thanos-compactor": _MONITORING,
        "thanos-query": _MONITORING,
        "thanos-receive": _MONITORING,
        "thanos-ruler": _MONITORING,
        "thanos-storegateway": _MONITORING,
        "loki": _MONITORING,
        "mimir": _MONITORING,
        "tempo": _MONITORING,
        "opencost": _MONITORING,
        "kubecost": _MONITORING,
        "datadog": _MONITORING,
        "datadog-agent": _MONITORING,
        "datadog-cluster-agent": _MONITORING,
        "opentelemetry-collector": _MONITORING,
        "opentelemetry-operator": _MONITORING,
        "metrics-server": _AUTOSCALER,
        "prometheus-adapter": _AUTOSCALER,
        "keda": _AUTOSCALER,
        "keda-operator": _AUTOSCALER,
        "keda-operator-metrics-apiserver": _AUTOSCALER,
        "keda-metrics-apiserver": _AUTOSCALER,
        "keda-admission-webhooks": _AUTOSCALER,
        "cluster-autoscaler": _AUTOSCALER,
        "vertical-pod-autoscaler": _AUTOSCALER,
        "vpa-recommender": _AUTOSCALER,
        "vpa-updater": _AUTOSCALER,
        "vpa-admission-controller": _AUTOSCALER,
        "karpenter": _AUTOSCALER,
        "gpu-operator": _DEVICES,
        "nvidia-device-plugin": _DEVICES,
        "nvidia-device-plugin-ds": _DEVICES,
        "nvidia-device-plugin-daemonset": _DEVICES,
        "nvidia-dra-driver-gpu-controller": _DEVICES,
        "aws-load-balancer-controller": _NETWORK,
        "cert-manager": _CERTIFICATES,
        "cert-manager-webhook": _CERTIFICATES,
        "cert-manager-cainjector": _CERTIFICATES,
        "wattledger": "wattledger: the controller does not scale itself, nor its agents",
    }
)
"""Whole name of an object, or whole value of one of :data:`NAME_LABELS`, to why."""

NAME_PATTERNS: Mapping[str, str] = MappingProxyType(
    {"*-cluster-autoscaler": _AUTOSCALER, "keda-add-ons-http-*": _AUTOSCALER}
)
"""The same by shell pattern, for names that vary with the cloud or the part."""

NAME_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/part-of", "k8s-app", "app")
"""Labels whose value says what an object is."""


def why_protected(seen: Seen, own_namespace: str = "", extra_namespaces: Iterable[str] = ()) -> str:
    """What in the table, or in the configuration, names this object, and why; empty: nothing does.

    Args:
        seen: the object.
        own_namespace: the controller's own; empty: it runs outside of the cluster.
        extra_namespaces: further ones, or shell patterns of them.
    """
    namespace = seen.ref.namespace
    if own_namespace and namespace == own_namespace:
        return f"namespace {namespace}: this controller runs there"
    for pattern, why in NAMESPACES.items():
        if fnmatchcase(namespace, pattern):
            return f"namespace {namespace}: {why}"
    for pattern in extra_namespaces:
        if fnmatchcase(namespace, pattern):
            return f"namespace {namespace}: the configuration protects {pattern}"
    for label in NAME_LABELS:
        if why := _of_name(value := seen.labels.get(label, "")):
            return f"label {label}={value}: {why}"
    why = _of_name(seen.ref.name)
    return f"name {seen.ref.name}: {why}" if why else ""


def _of_name(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    return next((why for pattern, why in NAME_PATTERNS.items() if fnmatchcase(name, pattern)), "")
