"""The job that asks the Kubernetes API which GPU nodes there are: the witness of nodes that no agent speaks for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from collectors.device_ids import GPU_RESOURCES
from collectors.kube_api import KubeApi, Resource
from collectors.kube_json import JsonObject, text
from collectors.kube_node import NodeFacts, node_facts
from ledger.store import Store
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes


@dataclass(frozen=True, slots=True)
class NodeWitness:
    """Notes which GPU nodes there are now."""

    api: KubeApi
    store: Store
    cluster: str
    """The cluster's name in the books."""
    now: Callable[[], datetime]

    def run(self) -> None:
        """Ask, and note it.

        Raises:
            Unavailable: the API server does not answer or refuses; the message has the remedy.
            StoreError: it could not be written.
        """
        resource = Resource("/api/v1/nodes", dropped=frozenset({"managedFields", "images"}))
        found = self.api.list(resource, self._seen).items
        note_lifetimes(self.store, api_lifetimes([each for each in found if each is not None], self.now()))

    def _seen(self, item: JsonObject) -> SeenNode | None:
        facts = node_facts(item)
        created = _moment(text(item, "metadata", "creationTimestamp"))
        if created is None or not has_gpus(facts):
            return None
        place = {
            "cluster": self.cluster,
            "provider": facts.provider,
            "region": facts.region,
            "zone": facts.zone,
            "instance_id": facts.instance_id,
            "instance_type": facts.instance_type,
            "capacity_type": facts.capacity_type,
        }
        told = {name: value for name, value in place.items() if value}
        return SeenNode(facts.name, created, told, facts.gpu.count, facts.gpu.product or "")


def has_gpus(facts: NodeFacts) -> bool:
    """Whether the node has GPUs, by its labels or its extended resources."""
    if facts.gpu.count:
        return True
    return any(count and _is_gpu(name) for name, count in facts.extended.items())


def _is_gpu(resource: str) -> bool:
    patterns = ((each.rstrip("*"), each.endswith("*")) for each in GPU_RESOURCES)
    return any(resource.startswith(name) if wild else resource == name for name, wild in patterns)


def _moment(said: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment
