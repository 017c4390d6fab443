"""The cluster, which goes once the tests of this folder are done, and the pods of one test in it."""

import pytest

from tests.cluster.claims import CLAIMS, CLASSES, claim, device_class
from tests.cluster.cluster import Cluster
from tests.cluster.standing import standing


@pytest.fixture(scope="package")
def cluster():
    """Two nodes, ``node-a`` and ``node-b``, whose device plugins offer nothing yet."""
    with standing(Cluster.up) as stands:
        yield stands


@pytest.fixture
def run_pod(cluster):
    """``run_pod(manifest)``: the pod as the API server has it once it runs. Gone again after the test."""
    names = []

    def run(manifest):
        names.append(manifest["metadata"]["name"])
        return cluster.run_pod(manifest)

    yield run
    for name in names:
        cluster.remove_pod(name)


@pytest.fixture
def make_claims(cluster):
    """``make_claims({"mine": "gpu", "other": "mig"})``: claims by name, for devices of those types; gone afterwards."""
    made = []

    def make(collection, body):
        cluster.admin.post(collection, body)
        made.append(f"{collection}/{body['metadata']['name']}")

    def claims(kinds):
        for kind in sorted(set(kinds.values())):
            make(CLASSES, device_class(kind))
        for name, kind in kinds.items():
            make(CLAIMS, claim(name, kind))

    yield claims
    for path in made:
        cluster.admin.delete(path)
