"""Nodes of one name in two clusters, without instance ids: one is booked, the other is refused and named."""

import pytest

from ledger.store import Store
from ledger.tables import LIFETIMES, NODE_HOURS, USAGE
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes
from tests.ledger.ledger_rig import MINUTE_NS, NOW, agent_hour, at, row
from tests.ledger.test_keeper import keeper


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def hour_of(cluster, device, hour=10, **how):
    facts = {"cluster": cluster, "instance_id": "", "provider": ""}
    return agent_hour(at(hour), row(device, "active", 60 * MINUTE_NS, 700), node="n1", facts=facts, **how)


def keep(store, *hours, since=NOW):
    return keeper(store).keep(hours, since=since, now=NOW)


def booked(store, *columns):
    return sorted(store.scan(USAGE).filter(account="active").select(columns).collect().rows())


def listed(store, cluster):
    place = {"cluster": cluster, "instance_id": ""}
    note_lifetimes(store, api_lifetimes([SeenNode("n1", at(9), place, 1)], at(11)))


def test_of_two_machines_of_one_name_the_second_is_refused_with_both_clusters_and_the_remedy(store):
    assert keep(store, hour_of("a", "GPU-a")).refused == {}
    refused = keep(store, hour_of("b", "GPU-b")).refused
    assert booked(store, "cluster", "gpu_uuid") == [("a", "GPU-a")]
    assert list(refused) == ["n1 2026-11-01T10:00:00Z"]
    assert refused["n1 2026-11-01T10:00:00Z"] == (
        "node n1 of cluster b is refused: the ledger has a node of that name in cluster a, and neither has an instance"
        " id, so they would be one; keep a ledger of its own for each cluster (ledger.root, --data-dir) or give the"
        " nodes distinct names; if they are one node, give it one agent.cluster_name"
    )


def test_the_first_stays_the_first_when_both_tell_of_a_new_hour_at_once(store):
    keep(store, hour_of("b", "GPU-b"))
    assert list(keep(store, hour_of("a", "GPU-a", 11), hour_of("b", "GPU-b", 11)).refused) == [
        "n1 2026-11-01T11:00:00Z"
    ]
    assert booked(store, "hour_utc", "cluster") == [(at(10), "b"), (at(11), "b")]


def test_a_machine_whose_cluster_was_renamed_within_the_hour_is_one_and_booked(store):
    keep(store, hour_of("old", "GPU-a", closed=False))
    assert keep(store, hour_of("new", "GPU-a", revision=2)).refused == {}
    assert store.scan(NODE_HOURS).collect()["state"].to_list() == ["final"]


def test_a_cluster_that_is_not_named_is_no_other_one(store):
    keep(store, hour_of("eu", "GPU-a", closed=False))
    assert keep(store, hour_of("", "GPU-b", revision=2)).refused == {}


def test_of_two_witnessed_clusters_the_booked_one_stays_and_the_other_is_told_once(store, caplog):
    listed(store, "b")
    keep(store, since=at(9))
    listed(store, "a")
    assert store.scan(LIFETIMES).collect().height == 2
    kept = keeper(store)
    for _ in range(2):
        kept.keep((), since=at(9), now=NOW)
    assert set(store.scan(NODE_HOURS).collect()["cluster"]) == {"b"}
    told = [message for message in caplog.messages if "is refused" in message]
    assert len(told) == 1
    assert "node n1 of cluster a is refused: the ledger has a node of that name in cluster b" in told[0]
