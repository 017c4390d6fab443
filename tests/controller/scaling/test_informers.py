"""The view follows a real API server, whatever happens to watches, rights and CRDs."""

import time
from dataclasses import replace

import pytest

from collectors.clock import SystemClock
from collectors.kube_api import KubeApi
from collectors.kube_errors import Expired
from controller.scaling import registry
from controller.scaling.claims import CLAIM_KINDS
from controller.scaling.cluster_view import NAMESPACES, NODES, PODS, ClusterView
from controller.scaling.informers import HABITS, PAGE_OBJECTS, Informers
from controller.scaling.model import Ref
from tests.api_proxy import BUSY, ERROR, Fault
from tests.controller.scaling.scaling_rig import (
    DEPLOYMENT,
    HPA,
    PlainKind,
    crd,
    deployment,
    folder,
    pod_template,
    until,
)

WIDGET = PlainKind("Widget", "informers.test", "widgets")
KINDS = (DEPLOYMENT, HPA, WIDGET)
FOLLOWED = ("Deployment", "HorizontalPodAutoscaler", NAMESPACES, NODES, PODS)
READS = {"verbs": ["get", "list", "watch"]}
GRANTED = [
    {"apiGroups": ["apps"], "resources": ["deployments"], **READS},
    {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], **READS},
]
HPAS = {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], **READS}


class Cluster:
    """A view with its informers, through the proxy."""

    def __init__(self, api_server, proxy, user="admin", habits=HABITS):
        self.proxy = proxy
        self.clock = SystemClock()
        self.view = ClusterView(self.clock)
        api = KubeApi(api_server.endpoint(user, url=proxy.url), page_objects=PAGE_OBJECTS)
        self.informers = Informers(api, KINDS, self.view, self.clock, habits)

    def __enter__(self):
        self.informers.start()
        return self

    def __exit__(self, *_error):
        self.informers.close()

    def follow(self):
        until(self.view.ready)
        return self.view

    def watch(self):
        """The view, once every kind is watched."""
        until(lambda: self.proxy.open_watches == len(FOLLOWED))
        return self.follow()

    def stale_seconds(self):
        return self.view.stale_seconds(self.clock.monotonic_ns())


@pytest.fixture
def cluster(api_server, proxy):
    with Cluster(api_server, proxy) as standing:
        yield standing


def replicas(view, namespace, name="web"):
    seen = view.get(Ref("Deployment", namespace, name))
    return None if seen is None else seen.levers["replicas"]


def scale(api_server, namespace, count):
    api_server.patch(f"{folder(namespace)}/web", {"spec": {"replicas": count}})


def test_what_is_there_is_listed_and_what_changes_is_seen(cluster, api_server, namespace):
    api_server.admin.post(folder(namespace), deployment())
    view = cluster.follow()
    until(lambda: replicas(view, namespace) == 3)
    assert all(view.synced(kind) for kind in FOLLOWED)
    assert (view.served("Deployment"), view.served("Widget"), view.synced("Widget")) == ("v1", "", False)
    scale(api_server, namespace, 1)
    until(lambda: replicas(view, namespace) == 1)
    api_server.admin.delete(f"{folder(namespace)}/web")
    until(lambda: replicas(view, namespace) is None)
    assert cluster.stale_seconds() == 0


def test_a_change_wakes_whoever_waits_for_one(cluster, api_server, namespace):
    view = cluster.follow()
    until(lambda: not view.wait_for_change(0.2))
    api_server.admin.post(folder(namespace), deployment())
    assert view.wait_for_change(20)


def test_a_namespace_is_seen_with_its_labels(cluster, api_server):
    view = cluster.follow()
    name = api_server.make_namespace({"team": "a"}, {"downscaler/uptime": "always", "other": "x"})
    until(lambda: view.namespace(name).labels.get("team") == "a")
    assert view.namespace(name).annotations == {"downscaler/uptime": "always"}
    assert view.namespace("nowhere").labels == {}


def test_pods_that_hold_gpus_are_found_by_workload_and_node(cluster, api_server, namespace):
    view = cluster.follow()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "u", "controller": True}
    labels = {"pod-template-hash": "abc"}
    pod = {"metadata": {"name": "web-abc-1", "labels": labels, "ownerReferences": [owner]}}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    api_server.admin.post(pods, pod | {"spec": pod_template(gpus=2)["spec"] | {"nodeName": namespace}})
    workload = Ref("Deployment", namespace, "web")
    until(lambda: view.pods_of(workload))
    (seen,) = view.pods_of(workload)
    assert (seen.gpus, seen.ready, seen.node) == (2, False, namespace)
    assert view.pods_on(namespace) == (seen,)
    ended = {"status": {"phase": "Succeeded"}}
    api_server.client().patch(f"{pods}/web-abc-1", ended, subresource="status")
    until(lambda: not view.pods_of(workload) and not view.pods_on(namespace))


def test_claims_are_followed_once_somebody_asks_by_one(cluster, api_server, proxy, namespace):
    view = cluster.watch()
    assert not any(view.synced(kind.name) for kind in CLAIM_KINDS)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "u", "controller": True}
    meta = {"name": "web-abc-1", "labels": {"pod-template-hash": "abc"}, "ownerReferences": [owner]}
    claims = {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "four"}]}
    api_server.admin.post(
        f"/api/v1/namespaces/{namespace}/pods", {"metadata": meta, "spec": pod_template()["spec"] | claims}
    )

    def gpus():
        return [pod.gpus for pod in view.pods_of(Ref("Deployment", namespace, "web"))]

    until(lambda: gpus() == [1] and all(view.synced(kind.name) for kind in CLAIM_KINDS))
    path = folder(namespace, "resourceclaimtemplates", "resource.k8s.io/v1")
    requests = [{"name": "all", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 4}}]
    four = {"metadata": {"name": "four"}, "spec": {"spec": {"devices": {"requests": requests}}}}
    api_server.admin.post(path, four)
    until(lambda: gpus() == [4])
    api_server.admin.delete(f"{path}/four")
    until(lambda: gpus() == [1])
    api_server.admin.delete(f"/api/v1/namespaces/{namespace}/pods/web-abc-1")  # others count their watches


def test_an_autoscaler_is_found_by_what_it_scales(cluster, api_server, namespace):
    view = cluster.follow()
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    autoscaler = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}}
    path = folder(namespace, HPA.plural, "autoscaling/v2")
    api_server.admin.post(path, autoscaler)
    web, other = Ref("Deployment", namespace, "web"), Ref("Deployment", namespace, "other")
    until(lambda: view.scalers_of(HPA.name, web))
    api_server.patch(f"{path}/h", {"spec": {"scaleTargetRef": {"name": "other"}}})
    until(lambda: view.scalers_of(HPA.name, other))
    assert view.scalers_of(HPA.name, web) == ()
    api_server.admin.delete(f"{path}/h")
    until(lambda: not view.scalers_of(HPA.name, other))


def test_an_object_that_cannot_be_read_does_not_take_the_others_with_it(cluster, api_server, namespace):
    api_server.admin.post(folder(namespace), deployment())
    api_server.admin.post(folder(namespace), deployment("odd", replicas=2000))
    view = cluster.follow()
    odd = Ref("Deployment", namespace, "odd")
    until(lambda: view.unreadable.get(odd) == "spec.replicas is 2000")
    assert (replicas(view, namespace), view.get(odd)) == (3, None)
    api_server.patch(f"{folder(namespace)}/odd", {"spec": {"replicas": 2}})
    until(lambda: view.get(odd) is not None)
    assert odd not in view.unreadable


def test_steady_state_makes_no_list_and_no_request(cluster, api_server, proxy, namespace):
    view = cluster.watch()
    proxy.forget()
    for count in range(3):
        api_server.admin.post(folder(namespace), deployment(f"web{count}"))
    until(lambda: replicas(view, namespace, "web2") == 3)
    assert proxy.requests == []
    assert proxy.watches == []


def test_the_watches_of_all_kinds_and_the_question_for_kinds_stay_under_one_request_a_minute():
    kinds, per_hour = 18 + len(CLAIM_KINDS), 3600 / HABITS.watch_seconds
    assert kinds * per_hour + 2 * 3600 / 600 < 60


def test_watches_that_are_cut_are_taken_up_without_a_list(cluster, api_server, proxy, namespace):
    api_server.admin.post(folder(namespace), deployment())
    view = cluster.watch()
    proxy.forget()
    proxy.cut_watches()
    scale(api_server, namespace, 9)
    until(lambda: replicas(view, namespace) == 9)
    until(lambda: cluster.stale_seconds() == 0)
    assert [request for request in proxy.requests if request.query.get("limit")] == []


def test_a_watch_that_falls_silent_is_left_for_another(api_server, proxy, namespace):
    api_server.admin.post(folder(namespace), deployment())
    with Cluster(api_server, proxy, habits=replace(HABITS, mute_seconds=1.5, silent_seconds=1.5)) as cluster:
        view = cluster.watch()
        proxy.freeze_watches()
        scale(api_server, namespace, 9)
        before = len(proxy.watches)
        proxy.wait_for(lambda: len(proxy.watches) > before)
        proxy.heal()
        until(lambda: replicas(view, namespace) == 9)


def test_a_server_that_fails_makes_the_view_stale_until_it_answers_again(cluster, proxy):
    view = cluster.watch()
    proxy.fail_where(lambda request: request.watch, ERROR, times=-1)
    proxy.cut_watches()
    until(lambda: all("HTTP 500" in view.failing.get(kind, "") for kind in FOLLOWED))
    until(lambda: cluster.stale_seconds() > 0.5)
    proxy.heal()
    until(lambda: cluster.stale_seconds() == 0)
    assert view.failing == {}


def test_a_version_that_is_too_old_is_listed_again(cluster, api_server, proxy, namespace):
    view = cluster.watch()
    proxy.forget()
    proxy.fail_where(lambda request: request.watch, Fault(status=410), times=len(FOLLOWED))
    proxy.cut_watches()
    api_server.admin.post(folder(namespace), deployment())
    until(lambda: replicas(view, namespace) == 3)
    assert {request.query["limit"] for request in proxy.requests} == {str(PAGE_OBJECTS)}
    assert {request.query.get("resourceVersion", "") for request in proxy.requests} == {""}
    assert Expired.__name__ not in str(view.failing)


def test_a_start_against_a_failing_server_is_not_ready_before_all_was_seen(api_server, proxy, namespace):
    api_server.admin.post(folder(namespace), deployment())
    proxy.fail_next(ERROR, times=3)
    proxy.fail_where(lambda request: "horizontalpod" in request.path, BUSY, times=1)
    with Cluster(api_server, proxy) as cluster:
        assert not cluster.view.ready()
        view = cluster.follow()
        assert replicas(view, namespace) == 3
        assert view.synced("HorizontalPodAutoscaler")


def test_a_right_that_is_missing_for_one_kind_leaves_the_others(api_server, proxy, namespace):
    api_server.admin.post(folder(namespace), deployment())
    api_server.grant("scaler", GRANTED)
    with Cluster(api_server, proxy, "scaler", replace(HABITS, refused_seconds=1)) as cluster:
        view = cluster.follow()
        assert replicas(view, namespace) == 3
        assert list(view.forbidden) == ["HorizontalPodAutoscaler"]
        assert "list and watch on horizontalpodautoscalers of autoscaling" in view.forbidden["HorizontalPodAutoscaler"]
        assert cluster.stale_seconds() == 0
        api_server.grant("scaler", [*GRANTED, HPAS])
        until(lambda: view.synced("HorizontalPodAutoscaler"))
        assert view.forbidden == {}


def test_a_missing_right_is_asked_for_seldom(api_server, proxy):
    api_server.grant("scaler", GRANTED)
    with Cluster(api_server, proxy, "scaler") as cluster:
        cluster.follow()
        proxy.forget()
        time.sleep(1.5)
        assert proxy.requests == []


def test_a_crd_that_goes_takes_its_objects_and_one_that_comes_back_brings_them(cluster, api_server, namespace):
    view = cluster.follow()
    made = crd(WIDGET)
    name, path = made["metadata"]["name"], folder(namespace, "widgets", "informers.test/v1")
    body = {"apiVersion": "informers.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"replicas": 1}}
    for _ in range(2):
        api_server.make_crd(made)
        api_server.admin.post(path, body)
        cluster.informers.look_again()
        until(lambda: [seen.ref.name for seen in view.objects("Widget")] == ["w"])
        assert view.served("Widget") == "v1"
        api_server.remove_crd(name)
        until(lambda: view.served("Widget") == "" and not view.objects("Widget"))
        assert cluster.stale_seconds() == 0


def test_a_close_ends_all_watches_at_once(api_server, proxy):
    with Cluster(api_server, proxy) as cluster:
        cluster.watch()
        began = time.monotonic()
    assert time.monotonic() - began < 20


def looks(proxy):
    """How often it was asked which groups there are."""
    return sum(request.path == "/apis" for request in proxy.requests)


def test_every_kind_of_the_registry_is_followed_once_its_crd_is_there(api_server, proxy):
    clock = SystemClock()
    view = ClusterView(clock)
    informers = Informers(api_server.client(url=proxy.url), registry.KINDS, view, clock)
    informers.start()
    try:
        until(view.ready)
        assert view.served("Deployment") == "v1"
        api_server.install_crds()  # which another test may have done before
        asked = looks(proxy)
        informers.look_again()
        until(lambda: looks(proxy) > asked and all(view.synced(kind.name) for kind in registry.KINDS))
        until(lambda: proxy.open_watches == len(registry.KINDS) + len((NAMESPACES, NODES, PODS)))
        proxy.forget()
        time.sleep(1)
        assert (proxy.requests, proxy.watches) == ([], [])
    finally:
        informers.close()
