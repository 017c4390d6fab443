from types import SimpleNamespace

from agent.settings import AgentSettings
from cli.config import Config
from cli.node_note import node_note
from collectors.cloud_metadata import CloudIdentity
from collectors.kube_node import NodeFacts
from ledger.hours import NodeNote

CONFIG = Config(agent=AgentSettings(cluster_name="eu-1"))
IDENTITY = CloudIdentity("aws", "i-1", "p5.48xlarge", "us-east-1", "us-east-1a", "on_demand", "42")
LABELLED = NodeFacts("n", "aws", "aws:///us-east-1b/i-2", "i-2", "p5.48xlarge", "us-east-1", "us-east-1b", "reserved")


def test_on_a_bare_host_only_the_names_are_known():
    assert node_note(CONFIG, "n", None, None) == NodeNote("n", "eu-1")


def test_the_labels_of_the_clusters_node_tell_where_no_metadata_server_does():
    found = node_note(CONFIG, "n", None, SimpleNamespace(node=LABELLED))
    assert found == NodeNote(
        "n", "eu-1", "aws", "us-east-1", "us-east-1b", "i-2", "p5.48xlarge", capacity_type="reserved"
    )


def test_the_machines_own_word_counts_and_of_what_is_reserved_the_labels():
    found = node_note(CONFIG, "n", IDENTITY, SimpleNamespace(node=LABELLED))
    assert (found.instance_id, found.zone, found.capacity_type) == ("i-1", "us-east-1a", "reserved")


def test_before_the_api_server_told_of_the_node_the_machine_does():
    found = node_note(CONFIG, "n", IDENTITY, SimpleNamespace(node=None))
    assert (found.instance_id, found.capacity_type) == ("i-1", "on_demand")
