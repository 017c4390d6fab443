"""The API server alone, with controllers beside it."""

import signal
from functools import partial

import pytest

from collectors.errors import Unavailable
from collectors.kube_errors import Forbidden
from tests.cluster.api import ApiError
from tests.cluster.api_only import CRD_PATH, ApiServer, crds
from tests.cluster.errors import ClusterFailed
from tests.cluster.standing import standing
from tests.cluster.waiting import wait_until

LABELS = {"app": "web"}
DEPLOYMENT = {
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}


@pytest.fixture(scope="module")
def server():
    with standing(partial(ApiServer.up, with_controllers=True)) as stands:
        yield stands


def names_of(server, path):
    return [item["metadata"]["name"] for item in server.admin.get(path)["items"]]


def test_a_deployment_gets_its_pods_and_loses_them_again(server):
    namespace = server.make_namespace()
    folder = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    server.admin.post(folder, DEPLOYMENT)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_until(lambda: len(names_of(server, pods)) == 2, 30, "two pods")
    server.kubectl("scale", "deployment", "web", "-n", namespace, "--replicas=0")
    wait_until(lambda: not names_of(server, pods), 30, "no pods")


def test_every_crd_of_ours_is_served_and_may_go(server):
    server.install_crds()
    names = [item["metadata"]["name"] for item in crds()]
    assert sorted(names_of(server, CRD_PATH)) == sorted(names)
    server.remove_crd(names[0])
    assert names[0] not in names_of(server, CRD_PATH)
    server.install_crds(names[0])
    assert names[0] in names_of(server, CRD_PATH)


def test_a_crd_that_nobody_wrote_is_told(server):
    with pytest.raises(ClusterFailed, match=r"no file of .*crds has cats\.example\.com"):
        server.install_crds("cats.example.com")


def test_a_user_may_do_what_was_granted_last_and_nothing_else(server):
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}
    client = server.client("other")
    with pytest.raises(Forbidden):
        client.get("/api/v1/nodes")
    server.grant("other", [rule])
    assert client.get("/api/v1/nodes")["kind"] == "NodeList"
    server.grant("other", [rule | {"resources": ["namespaces"]}])
    with pytest.raises(Forbidden):
        client.get("/api/v1/nodes")


def test_what_was_written_outlives_the_api_server(server):
    namespace = server.make_namespace()
    server.stop("kube-apiserver", number=signal.SIGKILL)
    with pytest.raises(Unavailable):
        server.client(timeout_seconds=2).get(f"/api/v1/namespaces/{namespace}")
    server.start_api()
    assert server.admin.get(f"/api/v1/namespaces/{namespace}")["status"]["phase"] == "Active"


def test_a_refusal_is_told(server):
    with pytest.raises(ApiError, match="422"):
        server.admin.post("/api/v1/namespaces", {"metadata": {"name": "No Name"}})
