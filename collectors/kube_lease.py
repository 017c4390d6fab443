"""One Lease of ``coordination.k8s.io/v1``: read, and written only upon what was read.

By this house's own client and not by the ``kubernetes`` package: a renewal has to be done, or given up, within a whole
deadline, whoever trickles bytes, while that package's times are of single reads; and its elector writes times of its
own clock into a ConfigMap. Owns the object's shape; who may take it is decided elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from urllib.parse import quote

from collectors.errors import Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_errors import Conflict
from collectors.kube_json import JsonObject, child, number, text

_GROUP = "/apis/coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class LeaseState:
    """What a Lease says, as far as it matters."""

    holder: str
    """Empty: nobody."""
    duration_seconds: float
    transitions: int
    version: str
    """Of the object; every write of it makes another."""


class KubeLease:
    """A Lease by its name.

    Args:
        api: the API server; its time limit bounds a read and a write.
        namespace: of the Lease.
        name: of the Lease.
    """

    def __init__(self, api: KubeApi, namespace: str, name: str) -> None:
        self._api = api
        self._folder = f"{_GROUP}/namespaces/{quote(namespace, safe='')}/leases"
        self._path = f"{self._folder}/{quote(name, safe='')}"
        self._name = name

    def read(self) -> LeaseState | None:
        """As it stands; ``None``: there is none.

        Raises:
            Unavailable: it cannot be told.
        """
        try:
            return _state(self._api.get(self._path))
        except Unsupported:
            return None

    def write(self, holder: str, duration_seconds: float, former: LeaseState | None) -> bool:
        """Write it, if it still stands as in ``former``; whether it did. ``renewTime`` is for people to read.

        Raises:
            Unavailable: it cannot be told whether it was written.
            Unsupported: the server has no Leases, or the namespace is not there.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        transitions = 0 if former is None else former.transitions + (former.holder != holder and bool(holder))
        spec: dict[str, object] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, ceil(duration_seconds)),
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        metadata: dict[str, object] = {"name": self._name}
        if former is not None:
            metadata["resourceVersion"] = former.version
        item: Mapping[str, object] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        try:
            if former is None:
                self._api.write("create", self._folder, item)
            else:
                self._api.write("update", self._path, item)
        except Conflict:
            return False
        return True


def _state(item: JsonObject) -> LeaseState:
    spec = child(item, "spec")
    return LeaseState(
        holder=text(spec, "holderIdentity"),
        duration_seconds=float(number(spec, "leaseDurationSeconds") or 0),
        transitions=number(spec, "leaseTransitions") or 0,
        version=text(item, "metadata", "resourceVersion"),
    )
