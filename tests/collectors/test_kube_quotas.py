import json

import pytest

from collectors.errors import Unavailable
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_errors import Forbidden, Malformed
from collectors.kube_quotas import GpuQuota, read_quotas
from tests.collectors.kube_server import KubeServer

QUOTAS = "/api/v1/resourcequotas"
GROUP = "/apis/kueue.x-k8s.io"


@pytest.fixture
def kube():
    server = KubeServer()
    server.objects[QUOTAS] = {}
    yield server
    server.close()


def read(server):
    return read_quotas(KubeApi(KubeEndpoint(server.url)))


def resource_quota(namespace, hard, used=None, name="gpus", **spec):
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}"},
        "spec": {"hard": hard, **spec},
        "status": {"hard": hard} | ({} if used is None else {"used": used}),
    }


def with_kueue(server, *versions, usage="flavorsUsage"):
    group = {"metadata": {"name": "kueue.x-k8s.io"}, "versions": [{"version": version} for version in versions]}
    server.set(group, path="/apis")
    path = f"{GROUP}/{versions[0]}"
    server.set(
        {"metadata": {"name": "a", "namespace": "nlp"}, "spec": {"clusterQueue": "research"}},
        {"metadata": {"name": "b", "namespace": "vision"}, "spec": {"clusterQueue": "research"}},
        {"metadata": {"name": "c", "namespace": "web"}, "spec": {"clusterQueue": "other"}},
        path=f"{path}/localqueues",
    )

    def flavor(name, nominal):
        resources = [{"name": "cpu", "nominalQuota": "500m"}, {"name": "nvidia.com/gpu", "nominalQuota": nominal}]
        return {"name": name, "resources": resources}

    def used(name, total):
        return {"name": name, "resources": [{"name": "nvidia.com/gpu", "total": total, "borrowed": "0"}]}

    server.set(
        {
            "metadata": {"name": "research"},
            "spec": {
                "cohortName": "all",
                "resourceGroups": [{"flavors": [flavor("h100", "16"), flavor("t4", 8)]}],
            },
            "status": {usage: [used("h100", "12"), used("t4", 3)]},
        },
        path=f"{path}/clusterqueues",
    )


def test_a_resource_quota_of_gpus_is_read_with_what_is_used_of_it(kube):
    hard = {"requests.nvidia.com/gpu": "8", "requests.nvidia.com/mig-1g.10gb": "14", "cpu": "100", "pods": "50"}
    kube.set(resource_quota("nlp", hard, {"requests.nvidia.com/gpu": "5"}), path=QUOTAS)
    found = read(kube)
    assert found.quotas == (
        GpuQuota("ResourceQuota", "gpus", ("nlp",), "nvidia.com/gpu", 8, 5),
        GpuQuota("ResourceQuota", "gpus", ("nlp",), "nvidia.com/mig-1g.10gb", 14, None),
    )
    assert (found.kueue, found.missing) == (False, ())


def test_a_quota_for_some_pods_only_says_so(kube):
    hard = {"requests.nvidia.com/gpu": "8"}
    kube.set(resource_quota("nlp", hard, scopes=["NotTerminating"]), path=QUOTAS)
    kube.set(resource_quota("vision", hard, scopeSelector={"matchExpressions": []}), path=QUOTAS)
    assert [quota.scoped for quota in read(kube).quotas] == [True, True]


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_a_cluster_queue_is_the_sum_of_its_flavors_for_the_namespaces_that_lead_to_it(kube, version):
    with_kueue(kube, version)
    found = read(kube)
    assert found.kueue
    assert found.quotas == (
        GpuQuota("ClusterQueue", "research", ("nlp", "vision"), "nvidia.com/gpu", 24, 15, cohort="all"),
    )


def test_an_unknown_version_of_kueue_is_no_kueue(kube):
    with_kueue(kube, "v1")
    assert read(kube).kueue is False


def test_a_right_that_is_missing_for_kueue_leaves_the_other_quotas_and_is_said(kube):
    kube.set(resource_quota("nlp", {"requests.nvidia.com/gpu": "8"}), path=QUOTAS)
    with_kueue(kube, "v1beta2")
    kube.forbid(after=2)
    found = read(kube)
    assert [quota.kind for quota in found.quotas] == ["ResourceQuota"]
    (said,) = found.missing
    assert "the verbs get, list and watch on localqueues of kueue.x-k8s.io in its ClusterRole" in said


def test_a_right_that_is_missing_for_resource_quotas_is_an_error(kube):
    kube.forbid()
    with pytest.raises(Forbidden, match="on resourcequotas in its ClusterRole"):
        read(kube)


def test_a_server_that_fails_is_unavailable_and_not_without_kueue(kube):
    kube.fail(None, (500, {}, json.dumps({"kind": "Status", "message": "etcd is away"})))
    with pytest.raises(Unavailable, match="etcd is away"):
        read(kube)


@pytest.mark.parametrize(("said", "amount"), [("8", 8), (8, 8), ("2k", 2000), ("1Ki", 1024), ("4000m", 4), ("0", 0)])
def test_quantities_of_whole_gpus_are_read(kube, said, amount):
    kube.set(resource_quota("nlp", {"requests.nvidia.com/gpu": said}), path=QUOTAS)
    assert [quota.granted for quota in read(kube).quotas] == [amount]


@pytest.mark.parametrize("said", ["many", "", "1.5", "500m", "-1", "1Zi", True, "NaN", "Infinity"])
def test_a_quantity_that_cannot_be_is_refused_with_its_object(kube, said):
    kube.set(resource_quota("nlp", {"requests.nvidia.com/gpu": said}), path=QUOTAS)
    with pytest.raises(Malformed, match=r"ResourceQuota nlp/gpus, requests\.nvidia\.com/gpu: found"):
        read(kube)
