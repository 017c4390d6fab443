"""Nodes of one name in two clusters, without an instance id: one key in the books, so only one of them can be booked.

Owns who is told to be a stranger, and the words. Where a cluster is not named nobody can tell, and nothing is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import polars as pl

from ledger.agent_hours import AgentHour
from ledger.store import Store
from ledger.tables import NODE_HOURS, TIME, USAGE

Place = tuple[datetime, str]
"""Hour and node."""
Stranger = tuple[datetime, str, str]
"""Hour, node and cluster."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What can be booked."""

    hours: Sequence[AgentHour]
    existed: pl.DataFrame
    refused: Mapping[str, str]
    """Node and hour of an agent to why it cannot be."""
    unheard: Mapping[str, str]
    """Node to why a witness of it is not believed."""


def told_apart(
    store: Store, hours: Sequence[AgentHour], existed: pl.DataFrame, registers: pl.DataFrame, own: str
) -> Apart:
    """Leave out what is of another cluster than the node of that name that was there first.

    Two agents are of two machines where they share no device; else one was given another cluster's name. A witness that
    names another cluster than the agent may mean the same node: the agent's hour is booked, the witness is not heard.

    Args:
        store: the ledger.
        hours: of agents.
        existed: rows of :data:`ledger.lifetimes.EXISTED`.
        registers: NODE_HOURS rows of the same hours.
        own: the cluster of nodes that name none.

    Raises:
        StoreError: a table cannot be read.
    """
    bare = registers.filter(pl.col("instance_id") == "", pl.col("cluster") != "").select(*_PLACE, "cluster", "revision")
    journals = bare.filter(pl.col("revision").is_not_null()) if hours else bare.clear()
    refused = _refused(store, hours, _by_place(journals), own)
    kept = [each for each in hours if (each.began, each.node, _cluster(each, own)) not in refused]
    heard, unheard = _heard(existed, bare, {(each.began, each.node): _cluster(each, own) for each in kept})
    named = {f"{node} {hour:%Y-%m-%dT%H:%M:%SZ}": why for (hour, node, _), why in refused.items()}
    return Apart(kept, heard, named, unheard)


def refusal(node: str, cluster: str, first: str) -> str:
    """Why the node-hour of the cluster that came second is not booked, and what to do."""
    return (
        f"node {node} of cluster {cluster} is refused: the ledger has a node of that name in cluster {first}, and"
        " neither has an instance id, so they would be one; keep a ledger of its own for each cluster (ledger.root,"
        " --data-dir) or give the nodes distinct names; if they are one node, give it one agent.cluster_name"
    )


def clusters_of(store: Store, places: Iterable[Place]) -> Mapping[Place, str]:
    """Whose node without an instance id the ledger has in these hours; those whose cluster is not named are left out.

    Raises:
        StoreError: the table cannot be read.
    """
    wanted = pl.DataFrame(sorted(set(places)), {"hour_utc": TIME, "node": pl.String}, orient="row")
    found = (
        store.scan(NODE_HOURS)
        .filter(pl.col("day").is_in(wanted["hour_utc"].dt.date().unique().implode()))
        .filter(pl.col("instance_id") == "", pl.col("cluster") != "")
        .select("hour_utc", "node", "cluster")
        .join(wanted.lazy(), on=["hour_utc", "node"], how="semi")
        .collect()
    )
    return {(hour, node): cluster for hour, node, cluster in found.iter_rows()}


def strangers(hours: Iterable[AgentHour], known: Mapping[Place, str], own: str) -> Mapping[Place, str]:
    """Hour and node to the refusal, of those that are of another cluster than the node that the ledger knows.

    Args:
        hours: of agents.
        known: of :func:`clusters_of`.
        own: the cluster of those that name none.
    """
    found: dict[Place, str] = {}
    for each in hours:
        cluster = _cluster(each, own)
        first = known.get((each.began, each.node), "")
        if cluster and first and cluster != first and not each.instance_id:
            found[each.began, each.node] = refusal(each.node, cluster, first)
    return found


_PLACE = ("hour_utc", "node")
_HOUR = timedelta(hours=1)


def _refused(store: Store, hours: Sequence[AgentHour], booked: Mapping[Place, str], own: str) -> dict[Stranger, str]:
    told: dict[Place, dict[str, set[str]]] = {}
    for each in hours:
        if not each.instance_id and (cluster := _cluster(each, own)):
            place = each.began, each.node
            known = told.setdefault(place, {booked[place]: set()} if place in booked else {})
            known.setdefault(cluster, set()).update(each.book.devices)
    doubtful = {place: clusters for place, clusters in told.items() if len(clusters) > 1}
    if not doubtful:
        return {}
    before = clusters_of(store, [(hour - _HOUR, node) for hour, node in doubtful])
    devices = _devices(store, doubtful)
    refused: dict[Stranger, str] = {}
    for each in hours:
        place = each.began, each.node
        clusters, cluster = doubtful.get(place, {}), _cluster(each, own)
        former = before.get((each.began - _HOUR, each.node), "")
        first = booked.get(place) or (former if former in clusters else next(iter(clusters), cluster))
        there = clusters.get(first, set[str]()) | (devices.get(place, set[str]()) if place in booked else set[str]())
        if not clusters or each.instance_id or cluster in {"", first}:
            continue
        if there and there.isdisjoint(each.book.devices):
            refused[each.began, each.node, cluster] = refusal(each.node, cluster, first)
    return refused


def _heard(
    existed: pl.DataFrame, booked: pl.DataFrame, agents: Mapping[Place, str]
) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """Of nodes without an id one cluster's rows each hour: the agent's, or what is booked, or the first by name."""
    bare = existed.filter(pl.col("instance_id") == "", pl.col("cluster") != "").select(*_PLACE, "cluster")
    # a journal that is booked says whose node it is, also where the one witness that speaks is another cluster's
    journals = booked.filter(pl.col("revision").is_not_null()).select(*_PLACE, "cluster")
    known = pl.concat([bare, journals.join(bare, on=_PLACE, how="semi")])
    several = known.unique().group_by(_PLACE).agg(pl.col("cluster").sort()).filter(pl.col("cluster").list.len() > 1)
    if several.is_empty():
        return existed, {}
    first = {**_by_place(booked.join(several, on=_PLACE, how="semi")), **agents}
    others: list[Stranger] = []
    unheard: dict[str, str] = {}
    rows = cast("list[tuple[datetime, str, list[str]]]", several.sort(_PLACE).rows())
    for hour, node, clusters in rows:
        own = first.get((hour, node), "")
        chosen = own if own in clusters else clusters[0]
        strange = [cluster for cluster in clusters if cluster != chosen]
        others += [(hour, node, cluster) for cluster in strange]
        unheard[node] = refusal(node, strange[0], chosen)
    left_out = pl.DataFrame(others, bare.schema, orient="row").with_columns(instance_id=pl.lit(""))
    keys = [*_PLACE, "cluster", "instance_id"]
    return existed.join(left_out, on=keys, how="anti", maintain_order="left"), unheard


def _devices(store: Store, places: Iterable[Place]) -> Mapping[Place, set[str]]:
    """Devices with a name that are booked of nodes without an instance id."""
    wanted = pl.DataFrame(sorted(places), {"hour_utc": TIME, "node": pl.String}, orient="row")
    named = ~pl.col("gpu_uuid").str.starts_with(pl.col("node") + "/gpu-")
    rows = (
        store.scan(USAGE)
        .filter(pl.col("day").is_in(wanted["hour_utc"].dt.date().unique().implode()), pl.col("instance_id") == "")
        .join(wanted.lazy(), on=list(_PLACE), how="semi")
        .filter(named)
        .select(*_PLACE, "gpu_uuid")
        .unique()
        .collect()
    )
    found: dict[Place, set[str]] = {}
    for hour, node, uuid in rows.iter_rows():
        found.setdefault((hour, node), set()).add(uuid)
    return found


def _by_place(rows: pl.DataFrame) -> dict[Place, str]:
    return {(hour, node): cluster for hour, node, cluster in rows.select(*_PLACE, "cluster").iter_rows()}


def _cluster(hour: AgentHour, own: str) -> str:
    return hour.facts.cluster or own
