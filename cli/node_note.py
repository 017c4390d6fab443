"""What the journal says of the node: what the cloud and the cluster call it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli.config import Config
from collectors.cloud_metadata import CloudIdentity
from ledger.hours import NodeNote

if TYPE_CHECKING:
    from cli.kube_node import KubeNode


def node_note(config: Config, name: str, identity: CloudIdentity | None, kube: "KubeNode | None") -> NodeNote:
    """As far as it is known: what the machine's own metadata server said, else the labels of the cluster's node.

    The kind of capacity goes by the labels first: only they tell what is reserved.
    """
    labelled = None if kube is None else kube.node
    told = [each for each in (identity, labelled) if each is not None]
    kinds = [each.capacity_type for each in reversed(told)]
    return NodeNote(
        node=name,
        cluster=config.agent.cluster_name,
        provider=_first(each.provider for each in told),
        region=_first(each.region for each in told),
        zone=_first(each.zone for each in told),
        instance_id=_first(each.instance_id for each in told),
        instance_type=_first(each.instance_type for each in told),
        capacity_type=_first(kinds),
    )


def _first(said: Iterable[str | None]) -> str:
    return next((each for each in said if each), "")
