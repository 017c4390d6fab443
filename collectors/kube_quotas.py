"""GPU quotas of a cluster: ResourceQuota objects, and Kueue's ClusterQueues with the LocalQueues that lead to them.

Owns the shapes of both. Decides nothing: what several quotas on one namespace mean together is the ledger's. Must never
take a cluster without Kueue for one whose queues are empty.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Literal

from collectors.errors import Unsupported
from collectors.kube_api import KubeApi, Resource
from collectors.kube_errors import Forbidden, Malformed
from collectors.kube_json import JsonObject, child, children, text

RESOURCES = ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-*")
KUEUE_VERSIONS = ("v1beta2", "v1beta1")
_REQUESTS = "requests."
"""Kubernetes takes quotas of extended resources under this prefix only."""
_SUFFIXES = {
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "m": Decimal("0.001"),
}

QuotaKind = Literal["ResourceQuota", "ClusterQueue"]


@dataclass(frozen=True, slots=True)
class GpuQuota:
    """What somebody may hold of one resource at a time."""

    kind: QuotaKind
    name: str
    namespaces: tuple[str, ...]
    """Whose: the ResourceQuota's own; those with a LocalQueue to the ClusterQueue."""
    resource: str
    """Such as ``nvidia.com/gpu``; a MIG resource counts instances."""
    granted: int
    """A ClusterQueue's nominal quota, over its flavors."""
    used: int | None
    """As the cluster says now, what a queue borrowed with it; ``None`` where it has not said yet."""
    scoped: bool = False
    """It counts some of the pods only (scopes, such as a priority class)."""
    cohort: str = ""
    """The ClusterQueues that may borrow of each other."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """All GPU quotas of a cluster."""

    quotas: tuple[GpuQuota, ...]
    kueue: bool
    """Whether the cluster has Kueue."""
    missing: tuple[str, ...] = ()
    """What could not be read, with the remedy; the rest stands."""


def read_quotas(api: KubeApi, resources: Sequence[str] = RESOURCES) -> Quotas:
    """All quotas of ``resources``, names in which ``*`` stands for any text.

    A right that is missing for Kueue leaves its queues out and says so.

    Raises:
        Unavailable: the API server does not answer, or refuses ResourceQuotas; the message has the remedy.
    """
    found = api.list(Resource("/api/v1/resourcequotas"), lambda item: tuple(_of_resource_quota(item, resources)))
    quotas = [quota for each in found.items for quota in each]
    missing: tuple[str, ...] = ()
    kueue = True
    try:
        quotas += _of_kueue(api, resources)
    except Unsupported:
        kueue = False
    except Forbidden as refused:
        missing = (str(refused),)
    return Quotas(tuple(sorted(quotas, key=lambda q: (q.kind, q.namespaces, q.name, q.resource))), kueue, missing)


def _of_resource_quota(item: JsonObject, resources: Sequence[str]) -> Iterator[GpuQuota]:
    name, namespace = text(item, "metadata", "name"), text(item, "metadata", "namespace")
    hard, used = child(item, "spec", "hard"), child(item, "status", "used")
    spec = child(item, "spec")
    for key, granted in hard.items():
        resource = key.removeprefix(_REQUESTS)
        if resource == key or not _wanted(resource, resources):
            continue
        what = f"ResourceQuota {namespace}/{name}, {key}"
        yield GpuQuota(
            kind="ResourceQuota",
            name=name,
            namespaces=(namespace,),
            resource=resource,
            granted=_whole(granted, what),
            used=_whole(used[key], what) if key in used else None,
            scoped=bool(spec.get("scopes") or spec.get("scopeSelector")),
        )


def _of_kueue(api: KubeApi, resources: Sequence[str]) -> list[GpuQuota]:
    version = _kueue_version(api)
    leads = api.list(Resource(f"{version}/localqueues"), _lead).items
    queues = api.list(Resource(f"{version}/clusterqueues"), lambda item: item).items
    return [
        quota
        for item in queues
        for quota in _of_cluster_queue(
            item, tuple(sorted({namespace for namespace, queue in leads if queue == _name(item)})), resources
        )
    ]


def _kueue_version(api: KubeApi) -> str:
    """The group's path with the newest version that both sides speak.

    Raises:
        Unsupported: the cluster has no Kueue.
    """
    group = "/apis/kueue.x-k8s.io"
    served = {text(version, "version") for version in children(api.get(group), "versions")}
    for version in KUEUE_VERSIONS:
        if version in served:
            return f"{group}/{version}"
    raise Unsupported(f"Kueue serves {', '.join(sorted(served))}, known are {', '.join(KUEUE_VERSIONS)}")


def _lead(item: JsonObject) -> tuple[str, str]:
    return text(item, "metadata", "namespace"), text(item, "spec", "clusterQueue")


def _name(item: JsonObject) -> str:
    return text(item, "metadata", "name")


def _of_cluster_queue(item: JsonObject, namespaces: tuple[str, ...], resources: Sequence[str]) -> Iterator[GpuQuota]:
    granted = _by_resource(item, ("spec", "resourceGroups"), "nominalQuota", resources)
    used = _by_resource(item, ("status",), "total", resources)
    for resource, amount in granted.items():
        yield GpuQuota(
            kind="ClusterQueue",
            name=_name(item),
            namespaces=namespaces,
            resource=resource,
            granted=amount,
            used=used.get(resource),
            cohort=text(item, "spec", "cohortName") or text(item, "spec", "cohort"),
        )


def _by_resource(item: JsonObject, path: tuple[str, ...], figure: str, resources: Sequence[str]) -> dict[str, int]:
    """Sums over flavors."""
    if path == ("status",):
        flavors = list(children(item, "status", "flavorsUsage"))
    else:
        flavors = [flavor for group in children(item, *path) for flavor in children(group, "flavors")]
    sums: dict[str, int] = {}
    for flavor in flavors:
        for entry in children(flavor, "resources"):
            resource = text(entry, "name")
            if _wanted(resource, resources) and figure in entry:
                what = f"ClusterQueue {_name(item)}, {resource}, {figure}"
                sums[resource] = sums.get(resource, 0) + _whole(entry[figure], what)
    return sums


def _wanted(resource: str, resources: Sequence[str]) -> bool:
    return any(fnmatchcase(resource, pattern) for pattern in resources)


def _whole(quantity: object, what: str) -> int:
    """A Kubernetes quantity of whole things."""
    said = str(quantity)
    digits = said.rstrip("kKMmi")
    try:
        amount = Decimal(digits) * _SUFFIXES[said[len(digits) :]]
    except (InvalidOperation, KeyError) as error:
        raise Malformed(f"{what}: found {said[:40]!r}, which is no quantity") from error
    if not amount.is_finite() or amount != int(amount) or amount < 0 or isinstance(quantity, bool):
        raise Malformed(f"{what}: found {said[:40]!r}, allowed is a whole number, not below 0")
    return int(amount)
