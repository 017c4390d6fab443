"""GPUs of resource claims: as many as requests name, as often as pods ask, and never none for want of knowledge."""

import copy

import pytest

from controller.scaling.claims import CLAIM, CLAIM_TEMPLATE, ClaimSeen, claim_seen, claimed_by, claimed_by_pod
from controller.scaling.cluster_view import ClusterView
from controller.scaling.kinds.pod_template import container_gpus, gpus_of
from controller.scaling.model import Claimed, Ref
from controller.scaling.trimmed import counts, kept, pod_seen
from tests.controller.scaling.engine_rig import REGISTRY
from tests.controller.scaling.kind_objects import OBJECTS, merged
from tests.controller.scaling.scaling_rig import HandClock

TWO = {"name": "gpus", "resourceClaimTemplateName": "two"}
LLAMA = Ref("Deployment", "team-a", "llama")
GPU = {"deviceClassName": "gpu.nvidia.com"}


def template(*requests):
    meta = {"name": "two", "namespace": "team-a"}
    return {"metadata": meta, "spec": {"spec": {"devices": {"requests": list(requests)}}}}


def by_claims(value):
    """The object, with pods that ask by a claim named ``8`` for the eight GPUs that they asked for themselves."""
    if isinstance(value, list):
        return [by_claims(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: by_claims(each) for key, each in value.items() if key != "resources"}
    gpus = gpus_of(value) + container_gpus(value.get("model", {}))
    return made | {"resourceClaims": [{"name": "x", "resourceClaimTemplateName": str(gpus)}]} if gpus else made


@pytest.mark.parametrize("name", OBJECTS)
def test_pods_of_every_kind_ask_by_claims_as_often_as_they_would_themselves(name):
    kind, item = REGISTRY[name], copy.deepcopy(OBJECTS[name])
    gpus = kind.seen(item).gpus_per_pod
    claims = claimed_by(kind, by_claims(item))
    assert sum(each.times * int(each.name) for each in claims) == gpus
    assert {each.kind for each in claims} == ({CLAIM_TEMPLATE} if gpus else set())
    assert kind.seen(by_claims(item)).gpus_per_pod == 0
    assert claimed_by(kind, item) == ()


@pytest.mark.parametrize(
    ("request_", "gpus"),
    [
        ({"exactly": GPU}, 1),
        ({"exactly": {**GPU, "allocationMode": "ExactCount", "count": 4}}, 4),
        ({**GPU, "count": 4}, 4),  # v1beta1
        ({"exactly": {**GPU, "allocationMode": "All"}}, 1),
        ({"exactly": {**GPU, "adminAccess": True, "allocationMode": "All"}}, 0),
        ({"firstAvailable": [{**GPU, "count": 2}, {"deviceClassName": "mig.nvidia.com", "count": 7}]}, 2),
        ({"firstAvailable": [{**GPU, "count": 8}, {"deviceClassName": "tpu.google.com", "count": 4}]}, 8),
        ({"firstAvailable": [{"deviceClassName": "tpu.google.com"}, {"deviceClassName": "fast-nic"}]}, 0),
        ({"exactly": {"deviceClassName": "h100-80g", "count": 8}}, 8),
        ({"exactly": {"deviceClassName": "unicorn"}}, 1),
        ({"exactly": {"deviceClassName": "compute-domain-daemon.nvidia.com"}}, 0),
        ({"exactly": {"deviceClassName": "fast-nic"}}, 0),
        ({"exactly": {"deviceClassName": "rdma.example.com"}}, 0),
        ({}, 1),
    ],
)
def test_a_request_is_for_the_least_number_of_gpus_that_it_can_be(request_, gpus):
    found = claim_seen(CLAIM_TEMPLATE)(template(request_))
    assert found == ClaimSeen(Ref(CLAIM_TEMPLATE, "team-a", "two"), gpus)
    claim = template(request_) | {"spec": template(request_)["spec"]["spec"]}
    assert claim_seen(CLAIM)(claim).gpus == gpus


def test_a_pod_names_claims_and_templates_of_claims():
    shared = {"name": "shared", "resourceClaimName": "one"}
    odd = {"name": "odd"}
    assert claimed_by_pod({"resourceClaims": [TWO, shared, odd, {**TWO, "name": "more"}]}) == (
        Claimed(CLAIM, "one"),
        Claimed(CLAIM_TEMPLATE, "two", 2),
    )
    assert claimed_by_pod({}) == ()


@pytest.fixture
def view():
    """With a Deployment of pods that ask for a GPU themselves, and by a claim of which nothing is known yet."""
    made = ClusterView(HandClock())
    spec = {"spec": {"template": {"spec": {"resourceClaims": [TWO]}}}}
    made.put_object(kept(REGISTRY["Deployment"])(merged(OBJECTS["Deployment"], spec)))
    return made


def test_a_view_gives_the_gpus_of_claims_among_the_others_whenever_the_claims_become_known(view):
    def gpus():
        (listed,) = view.objects("Deployment")
        assert view.get(LLAMA) == listed
        return listed.gpus_per_pod

    assert gpus() == 2 + 1
    view.changed.clear()
    view.put_claim(claim_seen(CLAIM_TEMPLATE)(template({**GPU, "count": 4})))
    assert (gpus(), view.changed.is_set()) == (2 + 4, True)
    view.replace_claims(CLAIM, ())
    assert gpus() == 2 + 4
    view.replace_claims(CLAIM_TEMPLATE, [ClaimSeen(Ref(CLAIM_TEMPLATE, "team-b", "two"), 8)])
    assert gpus() == 2 + 1
    view.put_claim(ClaimSeen(Ref(CLAIM_TEMPLATE, "team-a", "two"), 0))
    assert gpus() == 2
    view.detach(CLAIM_TEMPLATE)
    assert gpus() == 2 + 1


def test_a_pod_that_asks_by_a_claim_is_kept_and_holds_what_the_claim_is_for(view):
    owner = {"kind": "ReplicaSet", "name": "llama-abc", "controller": True}
    meta = {"name": "llama-abc-x", "namespace": "team-a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    pod = pod_seen(
        {
            "metadata": {**meta, "ownerReferences": [owner], "labels": {"pod-template-hash": "abc"}},
            "spec": {"nodeName": "node-a", "resourceClaims": [TWO]},
            "status": ready,
        }
    )
    assert counts(pod)
    view.put_pod(pod)
    view.put_claim(ClaimSeen(Ref(CLAIM_TEMPLATE, "team-a", "two"), 4))
    assert [each.gpus for each in view.pods_of(LLAMA)] == [4]
    assert [each.gpus for each in view.pods_on("node-a")] == [4]


def test_claims_are_asked_for_once_somebody_asks_by_one():
    calls = []
    view = ClusterView(HandClock())
    view.on_claims = lambda: calls.append(view.claims_asked)
    view.put_object(kept(REGISTRY["Deployment"])(OBJECTS["Deployment"]))
    assert (view.claims_asked, calls) == (False, [])
    for _ in range(2):
        spec = {"spec": {"template": {"spec": {"resourceClaims": [TWO]}}}}
        view.put_object(kept(REGISTRY["Deployment"])(merged(OBJECTS["Deployment"], spec)))
    assert calls == [True]
