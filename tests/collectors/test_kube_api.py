import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time

import pytest

from collectors import kube_api, kube_transport
from collectors.errors import Misconfigured, Unavailable, Unsupported
from collectors.kube_api import KubeApi, Resource
from collectors.kube_endpoint import KubeEndpoint, in_cluster
from collectors.kube_errors import Busy, Expired, Malformed, Refused
from collectors.kube_transport import Stopped
from tests.collectors.kube_server import PODS, KubeServer, pod

RESOURCE = Resource(PODS, "spec.nodeName=node-a", frozenset({"managedFields", "env"}))


@pytest.fixture
def kube(monkeypatch):
    monkeypatch.setattr(kube_transport, "TICK_SECONDS", 0.02)
    server = KubeServer()
    yield server
    server.close()


@pytest.fixture
def api(kube):
    return KubeApi(KubeEndpoint(kube.url), timeout_seconds=5)


def keep(found):
    return found


def name(found):
    return found["metadata"]["name"]


def watch(api, version, count, *, keep=name, stop=None):
    """The first ``count`` events of a watch."""
    with contextlib.closing(api.watch(RESOURCE, keep, str(version), seconds=5, stop=stop)) as events:
        return [event for _, event in zip(range(count), events, strict=False)]


def test_a_list_is_put_together_from_its_pages(kube):
    kube.set(*(pod(f"p{i}") for i in range(7)))
    listing = KubeApi(KubeEndpoint(kube.url), page_objects=3).list(RESOURCE, name)
    assert listing.items == tuple(f"p{i}" for i in range(7))
    assert listing.resource_version == "107"
    assert [query["limit"] for query in kube.requests()] == ["3"] * 3


def test_only_this_nodes_objects_are_asked_for(kube, api):
    kube.set(pod("mine"), pod("other", node="node-b"))
    assert api.list(RESOURCE, name).items == ("mine",)


def test_a_list_may_come_from_what_the_server_has_in_memory(kube, api):
    api.list(RESOURCE, keep, "0")
    assert kube.requests()[0]["resourceVersion"] == "0"
    assert kube.requests()[0]["resourceVersionMatch"] == "NotOlderThan"


def test_a_page_that_expired_in_the_middle_of_a_list_is_told(kube):
    kube.set(*(pod(f"p{i}") for i in range(4)))

    def forget(found):
        kube.forget()
        return found

    with pytest.raises(
        Expired, match=r"list /api/v1/pods with HTTP 410 \(The provided continue parameter is too old\)"
    ):
        KubeApi(KubeEndpoint(kube.url), page_objects=2).list(RESOURCE, forget)


def test_a_version_that_the_server_has_not_reached_is_expired_too(api):
    with pytest.raises(Expired, match="Too large resource version"):
        api.list(RESOURCE, keep, "999")


def test_pages_without_end_are_refused(kube, api, monkeypatch):
    monkeypatch.setattr(kube_api, "_MOST_PAGES", 3)
    page = json.dumps({"kind": "PodList", "metadata": {"resourceVersion": "1", "continue": "again"}, "items": []})
    kube.fail(*[(200, {}, page)] * 3)
    with pytest.raises(Malformed, match="pages without end"):
        api.list(RESOURCE, keep)


def test_what_is_dropped_is_dropped_but_never_a_label_of_its_name(kube, api):
    fields = {"managedFields": [{"manager": "kubectl"}], "labels": {"env": "prod"}}
    kube.set(pod("p", metadata=fields, spec={"containers": [{"name": "main", "env": [{"name": "SECRET"}]}]}))
    (found,) = api.list(RESOURCE, keep).items
    assert "managedFields" not in found["metadata"]
    assert found["metadata"]["labels"] == {"env": "prod"}
    assert found["spec"]["containers"] == [{"name": "main"}]


def test_one_object_is_read(kube, api):
    kube.set({"metadata": {"name": "node-a"}}, path="/api/v1/nodes")
    assert api.get("/api/v1/nodes/node-a")["metadata"] == {"name": "node-a", "resourceVersion": "101"}


def test_an_object_that_is_not_there_is_unsupported(kube, api):
    with pytest.raises(Unsupported, match=r"get /api/v1/nodes/node-b with HTTP 404 \(node-b not found\)"):
        api.get("/api/v1/nodes/node-b")


def test_changes_come_in_order_with_their_versions(kube, api):
    kube.set(pod("p"))
    kube.set(pod("p"))
    kube.delete("uid-p")
    kube.bookmark()
    events = watch(api, 100, 4)
    assert [event.kind for event in events] == ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    assert [event.resource_version for event in events] == ["101", "102", "103", "104"]
    assert [event.item for event in events] == ["p", "p", "p", None]
    assert kube.requests()[0]["allowWatchBookmarks"] == "true"
    assert kube.requests()[0]["timeoutSeconds"] == "5"


def test_a_watch_that_the_server_ends_ends(kube, api):
    kube.set(pod("p"))
    kube.set(pod("q"), kind="END")
    with pytest.raises(Malformed, match="event of type 'END'"):
        watch(api, 100, 9)
    kube.events[-1] = (102, "/elsewhere", "END", {})
    assert [event.item for event in watch(api, 100, 9)] == ["p"]


def test_a_watch_from_a_version_that_is_gone_is_expired(kube, api):
    kube.forget()
    with pytest.raises(Expired, match="watch /api/v1/pods with HTTP 410"):
        watch(api, 100, 1)


def test_a_watch_that_falls_behind_is_expired(kube, api):
    kube.set(pod("p"))
    with contextlib.closing(api.watch(RESOURCE, name, "100", seconds=5)) as events:
        stream = iter(events)
        assert next(stream).item == "p"
        kube.forget()
        with pytest.raises(Expired, match="ended the watch on /api/v1/pods: too old resource version"):
            next(stream)


def test_a_watch_that_is_cut_off_is_unavailable(kube, api):
    kube.set(pod("p"))
    kube.cut()
    with pytest.raises(Unavailable, match=r"broke off /api/v1/pods \(IncompleteRead\)"):
        watch(api, 100, 2)


def test_an_error_event_of_another_kind_is_unavailable(kube, api):
    status = {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd: leader changed"}
    kube.fail(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
    with pytest.raises(Unavailable, match=r"HTTP 500 \(etcd: leader changed\)"):
        watch(api, 100, 1)


@pytest.mark.parametrize(
    "said",
    [
        b"<html>\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        b'{"type": "ADDED", "object": {}}\n',
        b'{"type": 3}\n',
    ],
)
def test_garbage_in_a_watch_is_refused(kube, api, said):
    kube.fail(said)
    with pytest.raises(Malformed, match=r"sent on watch /api/v1/pods"):
        watch(api, 100, 1)


def test_an_event_without_end_is_refused_before_it_fills_the_memory(kube, api):
    kube.fail(b'{"type": "ADDED", ' + b" " * (kube_api.MOST_EVENT_BYTES + 70_000))
    with pytest.raises(Malformed, match=f"sent an event of more than {kube_api.MOST_EVENT_BYTES} bytes"):
        watch(api, 100, 1)


def test_a_page_without_end_is_refused_before_it_fills_the_memory(kube, api, monkeypatch):
    monkeypatch.setattr(kube_api, "MOST_PAGE_BYTES", 200_000)
    kube.fail(b" " * 400_000)
    with pytest.raises(Malformed, match="with more than 200000 bytes"):
        api.list(RESOURCE, keep)


@pytest.mark.parametrize("said", ["<html>Sign in</html>", "[]", "{}", "", '{"items": [], "metadata": {}}'])
def test_an_answer_that_is_no_list_is_refused(kube, api, said):
    kube.fail((200, {}, said))
    with pytest.raises(Malformed, match="answered list /api/v1/pods"):
        api.list(RESOURCE, keep)


def test_a_list_cut_off_in_the_middle_is_refused(kube, api):
    kube.fail(b'{"kind": "PodList", "items": [{"metadata"')
    with pytest.raises(Unavailable, match="broke off /api/v1/pods"):
        api.list(RESOURCE, keep)


def test_a_redirect_is_not_followed(kube, api):
    kube.fail((302, {"Location": "http://127.0.0.1/"}, ""))
    with pytest.raises(Unavailable, match="HTTP 302"):
        api.list(RESOURCE, keep)
    assert len(kube.asked) == 1


def test_a_missing_right_is_named_with_its_remedy(kube, api):
    kube.fail((403, {}, json.dumps({"message": 'pods is forbidden: User "x" cannot list'})))
    with pytest.raises(
        Refused, match=r"cannot list\): give .* the verbs get, list and watch on pods in its ClusterRole"
    ):
        api.list(RESOURCE, keep)


def test_a_missing_right_to_a_resource_of_a_group_is_named_with_the_group(kube, api):
    kube.fail((403, {}, ""))
    with pytest.raises(Refused, match=r"list and watch on resourceslices of resource\.k8s\.io in its ClusterRole"):
        api.list(Resource("/apis/resource.k8s.io/v1/resourceslices"), keep)


@pytest.mark.parametrize(
    ("status", "header", "seconds"), [(429, "7", 7), (503, "", 0), (503, "soon", 0), (500, "2", 2), (429, "99999", 300)]
)
def test_a_server_that_is_busy_says_for_how_long(kube, api, status, header, seconds):
    kube.fail((status, {"Retry-After": header}, ""))
    with pytest.raises(Busy) as caught:
        api.list(RESOURCE, keep)
    assert caught.value.retry_after_seconds == seconds


def test_nobody_there_is_unavailable(closed_port):
    with pytest.raises(
        Unavailable, match=r"does not answer list /api/v1/pods \(ConnectionRefusedError.*network policy"
    ):
        KubeApi(KubeEndpoint(closed_port)).list(RESOURCE, keep)


def test_a_server_that_says_nothing_is_given_up_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        api = KubeApi(KubeEndpoint(f"http://127.0.0.1:{listening.getsockname()[1]}"), timeout_seconds=0.2)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"does not answer list .*TimeoutError: no whole answer in time"):
            api.list(RESOURCE, keep)
    assert time.monotonic() - began < 20


def trickle(listening, done):
    connection, _ = listening.accept()
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not done.wait(0.02):
            connection.sendall(b"1\r\n \r\n")


def test_a_server_that_trickles_is_given_up_at_the_deadline():
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening, done))
        thread.start()
        api = KubeApi(KubeEndpoint(f"http://127.0.0.1:{listening.getsockname()[1]}"), timeout_seconds=1)
        with pytest.raises(Unavailable, match=r"broke off /api/v1/pods \(TimeoutError: no whole answer in time\)"):
            api.list(RESOURCE, keep)
        done.set()
        thread.join()


def test_a_watch_in_which_nothing_happens_ends_when_the_agent_does(kube, api):
    stop = threading.Event()
    threading.Thread(target=lambda: (kube.wait_for_watch(), stop.set())).start()
    with pytest.raises(Stopped):
        watch(api, 100, 1, stop=stop)


def test_the_token_is_read_for_each_request(kube, tmp_path):
    token = tmp_path / "token"
    api = KubeApi(KubeEndpoint(kube.url, token_file=token))
    kube.tokens = {"old", "new"}
    for each in ("old", "new"):
        token.write_text(each + "\n")
        api.list(RESOURCE, keep)
    assert [shown for _, _, shown in kube.asked] == ["Bearer old", "Bearer new"]


class RenewingToken:
    """A token file that is renewed just after it was read."""

    def __init__(self, file, tokens):
        self.file, self.tokens = file, list(tokens)

    def open(self, mode):
        self.file.write_text(self.tokens.pop(0))
        return self.file.open(mode)


def test_a_token_that_expires_on_the_way_is_read_again_and_shown_once_more(kube, tmp_path):
    kube.tokens = {"new"}
    api = KubeApi(KubeEndpoint(kube.url, token_file=RenewingToken(tmp_path / "token", ["old", "new"])))
    assert api.list(RESOURCE, keep).items == ()
    assert [shown for _, _, shown in kube.asked] == ["Bearer old", "Bearer new"]


def test_a_token_that_is_not_accepted_is_not_shown_again_nor_told(kube, tmp_path):
    (tmp_path / "token").write_text("s3cret")
    kube.tokens = set()
    with pytest.raises(
        Refused, match=r"HTTP 401 \(Unauthorized\): it does not accept the token of the service account"
    ) as caught:
        KubeApi(KubeEndpoint(kube.url, token_file=tmp_path / "token")).list(RESOURCE, keep)
    assert "s3cret" not in str(caught.value)
    assert len(kube.asked) == 1


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xff", b"a\r\nHost: elsewhere"])
def test_a_file_that_holds_no_token_is_refused_without_a_request(kube, tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(Unavailable, match="token"):
        KubeApi(KubeEndpoint(kube.url, token_file=tmp_path / "token")).list(RESOURCE, keep)
    assert kube.asked == []


def test_a_missing_token_file_is_unavailable(kube, tmp_path):
    with pytest.raises(Unavailable, match=r"cannot read the API server's token from .*token \(FileNotFoundError\)"):
        KubeApi(KubeEndpoint(kube.url, token_file=tmp_path / "token")).list(RESOURCE, keep)


@pytest.fixture
def certificate(require_tool, tmp_path):
    def make(name):
        cert, key = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
        command = [
            require_tool("openssl"),
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
        subprocess.run([*command, "-keyout", str(key), "-out", str(cert), *subject], check=True, capture_output=True)
        return cert, key

    return make


@pytest.mark.tool("openssl")
def test_the_server_is_known_by_its_authority_and_a_new_one_is_loaded(certificate, tmp_path):
    kept, other = certificate("kept"), certificate("other")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(other[0].read_bytes())
    server = KubeServer(tls=kept)
    try:
        server.set(pod("p"))
        api = KubeApi(KubeEndpoint(server.url, ca_file=ca))
        with pytest.raises(Unavailable, match="SSLCertVerificationError"):
            api.list(RESOURCE, name)
        ca.write_bytes(kept[0].read_bytes() + b"\n")
        assert api.list(RESOURCE, name).items == ("p",)
        assert [event.item for event in watch(api, 100, 1)] == ["p"]
    finally:
        server.close()


@pytest.mark.tool("openssl")
def test_a_client_certificate_is_shown(certificate):
    cert, key = certificate("both")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
    server = KubeServer(tls=(cert, key), verify=context)
    try:
        with pytest.raises(Unavailable):
            KubeApi(KubeEndpoint(server.url, ca_file=cert)).list(RESOURCE, name)
        shown = KubeEndpoint(server.url, ca_file=cert, client_cert_file=cert, client_key_file=key)
        assert KubeApi(shown).list(RESOURCE, name).items == ()
    finally:
        server.close()


def test_a_file_without_a_certificate_is_named(tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")
    api = KubeApi(KubeEndpoint("https://127.0.0.1:1", ca_file=tmp_path / "ca.crt"))
    with pytest.raises(Unavailable, match=r"cannot use the API server's certificates in .*ca\.crt"):
        api.list(RESOURCE, keep)


def test_a_pod_finds_its_server_by_its_environment(tmp_path):
    (tmp_path / "token").write_text("t")
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert found == KubeEndpoint("https://10.96.0.1:6443", tmp_path / "token", tmp_path / "ca.crt")


def test_an_address_of_version_6_stands_in_brackets(tmp_path):
    (tmp_path / "token").write_text("t")
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1"}, tmp_path).base_url == "https://[fd00::1]:443"


def test_outside_a_pod_there_is_no_server_to_be_found(tmp_path):
    with pytest.raises(Misconfigured, match="KUBERNETES_SERVICE_HOST is not set"):
        in_cluster({}, tmp_path)


def test_a_pod_without_a_token_is_told_how_to_get_one(tmp_path):
    with pytest.raises(Misconfigured, match="automountServiceAccountToken: true"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, tmp_path)


@pytest.mark.parametrize(
    "url", ["", "10.0.0.1:443", "ftp://10.0.0.1", "https://", "https://user@host", "https://h?x=1"]
)
def test_an_address_that_is_none_is_misconfigured(url):
    with pytest.raises(Misconfigured, match="it has to be like https://"):
        KubeEndpoint(url)
