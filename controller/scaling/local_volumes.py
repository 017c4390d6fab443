"""Which volumes of workloads are local to a node, and go with it when an autoscaler releases it.

A workload names claims; which volume a claim is bound to stands on the volume. Owns the volumes that are local: all
others, which are most, are not kept. A claim that is bound to nothing holds nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collectors.kube_json import JsonObject, child, children, text
from controller.scaling.kind import Kind
from controller.scaling.kinds.pod_template import written_claims_of

DROPPED_OF_VOLUMES = frozenset({"managedFields", "annotations", "labels", "nodeAffinity", "csi"})
UNSEEN = (
    "its volume claims may be bound to local volumes, and the cluster's volumes cannot be seen (right: get, list and "
    "watch persistentvolumes)"
)
_OUTLIVED = frozenset({"CronJob", "ScaledJob"})
"""A down of these ends no pod."""


@dataclass(frozen=True, slots=True)
class VolumeSeen:
    """A PersistentVolume."""

    name: str
    namespace: str
    """Of the claim that it is bound to; empty: to none."""
    claim: str
    local: bool


def volume_seen(item: JsonObject) -> VolumeSeen:
    """What is kept of each."""
    spec = child(item, "spec")
    bound = child(spec, "claimRef")
    return VolumeSeen(
        name=text(item, "metadata", "name"),
        namespace=text(bound, "namespace"),
        claim=text(bound, "name"),
        local="local" in spec or "hostPath" in spec,
    )


def volumes_of(kind: Kind, item: JsonObject, pods: Sequence[JsonObject]) -> tuple[str, ...]:
    """The claims that the pods of an object write to.

    Args:
        kind: its kind.
        item: the object.
        pods: the specs of pods within it.

    Returns:
        names; one that ends in ``-`` begins those that a StatefulSet makes, which end in a number.
    """
    if kind.name in _OUTLIVED:
        return ()
    named = [name for pod in pods for name in written_claims_of(pod)]
    if kind.name == "StatefulSet":
        of, made = text(item, "metadata", "name"), children(item, "spec", "volumeClaimTemplates")
        named += [f"{text(each, 'metadata', 'name')}-{of}-" for each in made]
    return tuple(dict.fromkeys(named))


class LocalVolumes:
    """Those of a cluster; filled by one thread and read by any."""

    def __init__(self) -> None:
        self._local: dict[str, VolumeSeen] = {}
        self._claims: dict[str, dict[str, str]] = {}
        """By namespace and claim."""

    def replace(self, items: Sequence[VolumeSeen]) -> None:
        """All volumes."""
        self._local = {each.name: each for each in items if each.local}
        self._index()

    def put(self, item: VolumeSeen) -> bool:
        """A volume that is new or has changed; whether that matters."""
        former = self._local.get(item.name)
        if former == (item if item.local else None):
            return False
        self._local.pop(item.name, None)
        if item.local:
            self._local[item.name] = item
        self._index()
        return True

    def remove(self, name: str) -> None:
        """A volume that is gone."""
        if self._local.pop(name, None) is not None:
            self._index()

    def losses(self, namespace: str, volumes: Sequence[str]) -> tuple[str, ...]:
        """What is local of the claims that an object names, as its losses say it."""
        claims = self._claims.get(namespace)
        return () if not claims else tuple(loss for named in volumes for loss in _losses(named, claims))

    def _index(self) -> None:
        claims: dict[str, dict[str, str]] = {}
        for each in self._local.values():
            if each.claim:
                claims.setdefault(each.namespace, {})[each.claim] = each.name
        self._claims = claims


def _losses(named: str, claims: dict[str, str]) -> Iterator[str]:
    """One for each, or for all that were made by one template."""
    found = [named] if named in claims else []
    if named.endswith("-"):
        found = sorted(each for each in claims if each.startswith(named) and each.removeprefix(named).isdecimal())
    if found:
        others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield f"claim {found[0]!r}{others} is on a local volume ({claims[found[0]]}), which goes with its node"
