"""The proxy does what it is told, in front of a real API server."""

import contextlib
import threading
import time

import pytest

from collectors.errors import Unavailable
from collectors.kube_api import Resource
from collectors.kube_errors import Busy, Conflict
from tests.api_proxy import BUSY, CONFLICT, CUT_AFTER, CUT_BEFORE, CUT_WITHIN, DOWN, ERROR, ERROR_AFTER, LATE, Fault
from tests.cluster.waiting import wait_until


@pytest.fixture
def api(api_server, proxy):
    return api_server.client(url=proxy.url)


@pytest.fixture
def made(api_server, namespace):
    """The path of a ConfigMap whose ``data.at`` is ``before``."""
    folder = f"/api/v1/namespaces/{namespace}/configmaps"
    api_server.admin.post(folder, {"metadata": {"name": "c"}, "data": {"at": "before"}})
    return f"{folder}/c"


def write(api, path):
    return api.patch(path, {"data": {"at": "after"}})


def test_what_is_not_told_to_fail_passes(api, proxy, made):
    assert write(api, made)["data"] == {"at": "after"}
    assert [str(request) for request in proxy.requests] == [f"1 PATCH {made}: 200"]
    assert proxy.requests[0].query == {"fieldManager": "wattledger"}


@pytest.mark.parametrize(
    ("fault", "error", "stands"),
    [
        (CUT_BEFORE, Unavailable, "before"),
        (CUT_AFTER, Unavailable, "after"),
        (CUT_WITHIN, Unavailable, "after"),
        (CONFLICT, Conflict, "before"),
        (BUSY, Busy, "before"),
        (ERROR, Unavailable, "before"),
        (ERROR_AFTER, Unavailable, "after"),
        (DOWN, Busy, "before"),
    ],
)
def test_a_fault_is_heard_and_the_server_did_or_did_not_write(api, api_server, proxy, made, fault, error, stands):
    proxy.fail_next(fault)
    with pytest.raises(error):
        write(api, made)
    assert api_server.admin.get(made)["data"] == {"at": stands}
    assert write(api, made)["data"] == {"at": "after"}


def test_a_late_write_happens_when_its_client_has_given_it_up(api, api_server, proxy, made):
    heard = threading.Event()
    proxy.before = lambda _request: heard.wait(20)
    proxy.fail_next(LATE)
    with pytest.raises(Unavailable):
        write(api, made)
    assert api_server.admin.get(made)["data"] == {"at": "before"}
    heard.set()
    wait_until(lambda: api_server.admin.get(made)["data"] == {"at": "after"}, 20, "the late write")


@pytest.mark.parametrize("fault", [CUT_AFTER, CUT_WITHIN, ERROR_AFTER])
def test_a_watch_that_the_server_takes_up_fails_as_it_is_told(api, proxy, made, fault):
    proxy.fail_next(fault, watch=True)
    configmaps = Resource(made.rpartition("/")[0])
    with (
        pytest.raises(Unavailable),
        contextlib.closing(api.watch(configmaps, dict, "0", seconds=20)) as watch,
    ):
        list(watch)


def test_one_request_of_many_is_told_to_fail_by_its_number(api, proxy, made):
    proxy.fail(3, ERROR)
    api.get(made)
    write(api, made)
    with pytest.raises(Unavailable, match="HTTP 500"):
        api.get(made)
    assert [request.status for request in proxy.requests] == [200, 200, 500]
    proxy.forget()
    api.get(made)
    assert [request.number for request in proxy.requests] == [1]


def test_only_what_it_concerns_fails(api, proxy, made):
    proxy.fail_where(lambda request: request.write, BUSY, times=-1)
    api.get(made)
    for _ in range(2):
        with pytest.raises(Busy):
            write(api, made)
    proxy.heal()
    write(api, made)


def test_an_answer_may_be_late(api, proxy, made):
    proxy.fail_next(Fault(delay_seconds=0.3))
    began = time.monotonic()
    write(api, made)
    assert time.monotonic() - began >= 0.3


def test_a_test_may_act_between_the_servers_answer_and_its_hearing(api, api_server, proxy, made):
    stood = []
    proxy.before = lambda _request: stood.append(api_server.admin.get(made)["data"]["at"])
    proxy.after = proxy.before
    write(api, made)
    assert stood == ["before", "after"]


def test_a_watch_is_numbered_apart_and_streams_until_it_is_cut(api, api_server, proxy, namespace):
    resource = Resource(f"/api/v1/namespaces/{namespace}/configmaps")
    version = api.list(resource, lambda item: item).resource_version
    seen, ended = [], threading.Event()

    def follow():
        with contextlib.closing(api.watch(resource, lambda item: item, version, seconds=60)) as events:
            try:
                for event in events:
                    seen.append(event.kind)
                    proxy.cut_watches()
            except Unavailable:
                ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    proxy.wait_for(lambda: len(proxy.watches) == 1)
    api_server.admin.post(resource.path, {"metadata": {"name": "c"}})
    assert ended.wait(10)
    thread.join()
    assert seen == ["ADDED"]
    assert [request.number for request in (*proxy.requests, *proxy.watches)] == [1, 1]


def test_a_patch_upon_a_version_that_has_passed_is_a_conflict(api, made):
    version = api.get(made)["metadata"]["resourceVersion"]
    write(api, made)
    with pytest.raises(Conflict, match="modified"):
        api.patch(made, {"metadata": {"resourceVersion": version}, "data": {"at": "later"}})


def test_a_scale_is_written_upon_the_version_of_its_object(api, api_server, namespace):
    folder = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
    made = api_server.admin.post(folder, {"metadata": {"name": "web"}, "spec": spec})["metadata"]
    path, version = f"{folder}/web", {"resourceVersion": made["resourceVersion"]}
    api.patch(path, {"metadata": {"annotations": {"a": "b"}}})
    with pytest.raises(Conflict):
        api.patch(path, {"metadata": version, "spec": {"replicas": 0}}, subresource="scale")
    version = {"resourceVersion": api.get(path)["metadata"]["resourceVersion"]}
    scale = api.patch(path, {"metadata": version, "spec": {"replicas": 0}}, subresource="scale")
    assert scale["spec"] == {}  # as the API leaves a zero out
    assert scale["metadata"]["resourceVersion"] == api.get(path)["metadata"]["resourceVersion"]
