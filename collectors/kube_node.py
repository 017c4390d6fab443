"""What the Kubernetes node of this agent is: instance, place, kind of capacity, GPUs as their features are labelled.

Owns the labels by which clouds and autoscalers tell these. What no label tells is absent; no cloud is guessed from a
label that any cluster may bear.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from collectors.cloud_metadata import CloudCapacityType, CloudIdentity, Provider
from collectors.kube_api import KubeApi
from collectors.kube_json import JsonObject, strings, text

NodeCapacityType = Literal["on_demand", "spot", "reserved", "capacity_block"]

_SPOT_VALUES: Mapping[str, NodeCapacityType] = {
    "spot": "spot",
    "ec2spot": "spot",
    "preemptible": "spot",
    "low": "spot",
    "on-demand": "on_demand",
    "on_demand": "on_demand",
    "ondemand": "on_demand",
    "od": "on_demand",
    "normal": "on_demand",
    "regular": "on_demand",
    "standard": "on_demand",
    "reserved": "reserved",
    "capacity_block": "capacity_block",
    "capacity-block": "capacity_block",
}
_VALUE_LABELS = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-provisioning",
    "kubernetes.azure.com/scalesetpriority",
    "spotinst.io/node-lifecycle",
    "node.kubernetes.io/lifecycle",
    "node-lifecycle",
    "lifecycle",
)
"""Labels whose value names the kind of capacity; the first with a value that is known counts."""
_TRUE_LABELS = (
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "scheduling.cast.ai/spot",
    "oci.oraclecloud.com/oke-is-preemptible",
)
"""Labels that are ``true`` on a spot node and missing on others."""
_SILENT_ON_DEMAND = ("cloud.google.com/gke-nodepool", "kubernetes.azure.com/cluster")
"""Labels of managed nodes that would bear a spot label if they were spot."""

_REGION = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")

_AWS_ID = re.compile(r"aws://(?:/[^/]*){1,2}/(i-[0-9a-f]{8,17})")
_GCE_ID = re.compile(r"gce://([^/]+)/([^/]+)/([^/]+)")
_AZURE_ID = re.compile(r"azure://(/subscriptions/([^/]+)/.+)", re.IGNORECASE)
_GKE_INSTANCE = "container.googleapis.com/instance_id"
"""Annotation with the instance's number, which bills name it by; ``spec.providerID`` has its name."""


@dataclass(frozen=True, slots=True)
class GpuFeatures:
    """What NVIDIA's GPU feature discovery wrote about the node; absent where it does not run."""

    product: str | None = None
    """With ``-SHARED`` or ``-MIG-1g.5gb`` behind it, where the device plugin shares or cuts the GPUs."""
    count: int | None = None
    memory_mib: int | None = None
    family: str | None = None
    compute_capability: str | None = None
    """Such as ``9.0``."""
    replicas: int | None = None
    """Replicas of each GPU that the device plugin offers."""
    sharing_strategy: str | None = None
    """``none``, ``time-slicing`` or ``mps``."""
    mig_strategy: str | None = None
    """``none``, ``single`` or ``mixed``."""
    driver_version: str | None = None
    clique: str | None = None
    """NVLink domain and clique of a multi-node machine."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node."""

    name: str
    provider: Provider | None = None
    """``None`` on a bare host and in a cloud that has no prices here."""
    provider_id: str | None = None
    """``spec.providerID`` as it stands."""
    instance_id: str | None = None
    """AWS: ``i-...``; GCP: the number where GKE tells it, else the name; Azure: the resource id."""
    instance_type: str | None = None
    region: str | None = None
    zone: str | None = None
    capacity_type: NodeCapacityType | None = None
    account: str | None = None
    """Azure subscription or GCP project; an AWS node does not tell."""
    gpu: GpuFeatures = GpuFeatures()
    extended: Mapping[str, int] = field(default_factory=dict[str, int])
    """Extended resource to how many the node has, healthy or not."""

    def cloud_identity(self) -> CloudIdentity | None:
        """What prices are looked up by; ``None`` where provider, type or region are not known.

        Reserved capacity is on demand by its list price; a capacity block has a price of its own, so its kind is left
        open.
        """
        if self.provider is None or not (self.instance_id and self.instance_type and self.region):
            return None
        return CloudIdentity(
            provider=self.provider,
            instance_id=self.instance_id,
            instance_type=self.instance_type,
            region=self.region,
            zone=self.zone,
            capacity_type=_list_price_type(self.capacity_type),
            account=self.account,
        )


def read_node(api: KubeApi, name: str) -> NodeFacts:
    """The node called ``name``.

    Raises:
        Unavailable: no answer, or a refusal; the message has the remedy.
        Unsupported: there is no such node.
    """
    return node_facts(api.get(f"/api/v1/nodes/{quote(name, safe='')}", frozenset({"managedFields", "images"})))


def node_facts(node: JsonObject) -> NodeFacts:
    """The facts of one node object."""
    labels = strings(node, "metadata", "labels")
    provider_id = text(node, "spec", "providerID")
    provider, instance_id, account = _instance(provider_id, strings(node, "metadata", "annotations"))
    region = _first(labels, _REGION)
    return NodeFacts(
        name=text(node, "metadata", "name"),
        provider=provider,
        provider_id=provider_id or None,
        instance_id=instance_id,
        instance_type=_first(labels, _INSTANCE_TYPE),
        region=region,
        zone=_zone(provider, region, _first(labels, _ZONE)),
        capacity_type=capacity_type(labels),
        account=account,
        gpu=_gpu_features(labels),
        extended=_extended(node),
    )


def capacity_type(labels: Mapping[str, str]) -> NodeCapacityType | None:
    """Whether the node is spot, by the labels of all clouds; ``None`` where none of them tells."""
    if any(labels.get(label, "").lower() == "true" for label in _TRUE_LABELS):
        return "spot"
    for label in _VALUE_LABELS:
        found = _SPOT_VALUES.get(labels.get(label, "").lower())
        if found is not None:
            return found
    return "on_demand" if any(label in labels for label in _SILENT_ON_DEMAND) else None


def _list_price_type(found: NodeCapacityType | None) -> CloudCapacityType | None:
    if found == "reserved":
        return "on_demand"
    return None if found == "capacity_block" else found


def _instance(provider_id: str, annotations: Mapping[str, str]) -> tuple[Provider | None, str | None, str | None]:
    """Provider, instance and account."""
    if match := _AWS_ID.fullmatch(provider_id):
        return "aws", match[1], None
    if match := _GCE_ID.fullmatch(provider_id):
        numbered = annotations.get(_GKE_INSTANCE, "")
        return "gcp", numbered if numbered.isdecimal() else match[3], match[1]
    if match := _AZURE_ID.fullmatch(provider_id):
        return "azure", match[1], match[2]
    return None, provider_id.partition("://")[2].strip("/") or None, None


def instance_of(provider_id: str) -> tuple[Provider | None, str | None]:
    """Provider and instance that a node's ``spec.providerID`` names."""
    provider, instance_id, _ = _instance(provider_id, {})
    return provider, instance_id


def _zone(provider: Provider | None, region: str | None, zone: str | None) -> str | None:
    # Azure puts a fault domain, such as 0, where a machine is in no zone
    if provider == "azure" and zone is not None and not re.fullmatch(rf"{re.escape(region or '')}-\d", zone):
        return None
    return zone


def _gpu_features(labels: Mapping[str, str]) -> GpuFeatures:
    def said(key: str) -> str | None:
        return labels.get(f"nvidia.com/{key}") or None

    major, minor = said("gpu.compute.major"), said("gpu.compute.minor")
    return GpuFeatures(
        product=said("gpu.product"),
        count=_whole(said("gpu.count")),
        memory_mib=_whole(said("gpu.memory")),
        family=said("gpu.family"),
        compute_capability=f"{major}.{minor}" if major and minor else None,
        replicas=_whole(said("gpu.replicas")),
        sharing_strategy=said("gpu.sharing-strategy"),
        mig_strategy=said("mig.strategy"),
        driver_version=said("cuda.driver-version.full") or _old_driver_version(labels),
        clique=said("gpu.clique"),
    )


def _old_driver_version(labels: Mapping[str, str]) -> str | None:
    parts = [labels.get(f"nvidia.com/cuda.driver.{part}", "") for part in ("major", "minor", "rev")]
    return ".".join(part for part in parts if part) or None


def _extended(node: JsonObject) -> dict[str, int]:
    capacity = strings(node, "status", "capacity")
    counted = {name: _whole(amount) for name, amount in capacity.items() if "/" in name}
    return {name: count for name, count in counted.items() if count is not None}


def _whole(said: str | None) -> int | None:
    return int(said) if said is not None and re.fullmatch("[0-9]{1,9}", said) else None


def _first(labels: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((labels[key] for key in keys if labels.get(key)), None)
