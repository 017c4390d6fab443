"""Why pods are not made, of real controllers whose pods a real quota refuses."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from collectors.kube_api import Listing
from collectors.kube_errors import Forbidden
from controller.scaling.coming_back import late
from controller.scaling.record import Record
from controller.scaling.registry import KINDS
from controller.scaling.unmade_pods import AGAIN, MOST_AT_ONCE, UnmadePods
from tests.cluster.api_only import CONTROLLERS, ApiServer
from tests.cluster.standing import standing
from tests.controller.scaling.kind_objects import OBJECTS, merged, template
from tests.integration.agent_process import eventually

REGISTRY = {kind.name: kind for kind in KINDS}
NOW = datetime(2026, 11, 23, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECONDS = 60
PLAIN = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.example/main:1"}]}


class WithQuotas(ApiServer):
    """An API server whose quotas are counted."""

    controllers = (*CONTROLLERS, "resourcequota-controller", "serviceaccount-controller")


@pytest.fixture(scope="module")
def server():
    with standing(partial(WithQuotas.up, with_controllers=True)) as server:
        yield server


@pytest.fixture(scope="module")
def space(server):
    """A namespace whose quota lets no pod in, with one workload of each kind."""
    name = server.make_namespace()
    quotas = f"/api/v1/namespaces/{name}/resourcequotas"
    server.admin.post(quotas, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})

    def counted():
        return server.admin.get(f"{quotas}/none").get("status", {}).get("hard")

    eventually("the quota is counted", counted, SECONDS)
    for kind, group, spec in (
        ("Deployment", "apps", {"selector": {"matchLabels": {"app": "x"}}, "template": template(0)}),
        ("StatefulSet", "apps", {"selector": {"matchLabels": {"app": "x"}}, "template": template(0)}),
        ("Job", "batch", {"template": {"spec": PLAIN}}),
    ):
        path = f"/apis/{group}/v1/namespaces/{name}/{kind.lower()}s"
        server.admin.post(path, {"metadata": {"name": "llama"}, "spec": spec})
    return name


def seen_of(server, space, kind):
    group = "batch" if kind == "Job" else "apps"
    return REGISTRY[kind].seen(server.client().get(f"/apis/{group}/v1/namespaces/{space}/{kind.lower()}s/llama"))


def reason_of(seen, unmade):
    began = datetime.now(UTC) - MINUTE
    record = Record(seen.ref.kind, {"replicas": 1}, {"replicas": 0}, 1, "nights", began, None, restoring=began)
    return late(seen.ref, record, (), datetime.now(UTC), MINUTE, unmade=unmade).reason


def test_a_deployment_whose_pods_a_quota_refuses_says_so_in_its_status(server, space):
    seen = eventually("it says so", lambda: found if (found := seen_of(server, space, "Deployment")).unmade else None)
    assert "exceeded quota: none" in seen.unmade
    assert reason_of(seen, seen.unmade) == "quota"


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
def test_of_what_says_nothing_in_its_status_the_events_are_read(server, space, kind):
    seen = seen_of(server, space, kind)
    assert not seen.unmade
    began = datetime.now(UTC) - MINUTE

    def told():
        unmade = UnmadePods(server.client())
        assert not unmade.why(seen, began)  # nobody waits for it
        unmade.ask(datetime.now(UTC))
        return unmade.why(seen, began)

    said = eventually("its Events say so", told, SECONDS, every=0.5)
    assert "exceeded quota: none" in said
    assert reason_of(seen, said) == "quota"


@pytest.mark.parametrize("kind", ["Deployment", "Rollout", "RayCluster"])
def test_the_condition_is_read_of_all_kinds_that_have_it(kind):
    def seen(status):
        said = {"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": "exceeded quota: q"}
        return REGISTRY[kind].seen(merged(OBJECTS[kind], {"status": {"conditions": [said]}}))

    assert seen("True").unmade == "FailedCreate: exceeded quota: q"
    assert not seen("False").unmade


class Api:
    """Remembers what it is asked, and answers with Events."""

    def __init__(self, *events):
        self.events = events
        self.asked = []
        self.error = None

    def list(self, resource, keep):
        self.asked.append(resource)
        if self.error is not None:
            raise self.error
        return Listing(tuple(map(keep, self.events)), "1")


def event(minutes=0, reason="FailedCreate", said="exceeded quota: q"):
    return {"reason": reason, "message": said, "lastTimestamp": (NOW + minutes * MINUTE).isoformat()}


def job(uid="u"):
    return REGISTRY["Job"].seen(merged(OBJECTS["Job"], {"metadata": {"uid": uid}}))


def asked_once(api, since=NOW):
    unmade = UnmadePods(api)
    unmade.why(job(), since)
    unmade.ask(NOW)
    return unmade.why(job(), since)


def test_the_newest_event_by_which_a_pod_was_refused_counts():
    api = Api(event(1, said="first"), event(3, said="last"), event(2, said="second"), event(9, "BackOff", "other"))
    assert asked_once(api) == "FailedCreate: last"
    (asked,) = api.asked
    assert (asked.path, asked.field_selector) == (
        "/api/v1/namespaces/team-a/events",
        "involvedObject.uid=u,type=Warning",
    )


def test_what_was_told_before_it_came_back_is_of_the_past():
    assert asked_once(Api(event(-2))) == ""
    assert asked_once(Api(event(-2)), since=NOW - 2 * MINUTE)
    assert asked_once(Api({"reason": "FailedCreate", "message": "x", "lastTimestamp": None})) == "FailedCreate: x"


def test_events_of_one_object_are_read_again_only_after_minutes_and_only_while_it_is_late():
    api = Api(event())
    unmade = UnmadePods(api)
    for seconds in (0, 1, 299):
        unmade.why(job(), NOW)
        unmade.ask(NOW + timedelta(seconds=seconds))
    assert len(api.asked) == 1
    unmade.ask(NOW + AGAIN)
    assert len(api.asked) == 1
    unmade.why(job(), NOW)
    unmade.ask(NOW + AGAIN)
    assert len(api.asked) == 2


def test_only_so_many_are_read_at_once_and_the_others_follow():
    api = Api(event())
    unmade = UnmadePods(api)
    jobs = [job(f"u{number}") for number in range(MOST_AT_ONCE + 3)]
    for expected in (MOST_AT_ONCE, MOST_AT_ONCE + 3, MOST_AT_ONCE + 3):
        for each in jobs:
            unmade.why(each, NOW)
        unmade.ask(NOW)
        assert len(api.asked) == expected
    assert all(unmade.why(each, NOW) for each in jobs)


def test_a_right_that_is_missing_is_told_once_and_leaves_the_reason_unknown(caplog):
    api = Api(event())
    api.error = Forbidden("list events is forbidden")
    assert asked_once(api) == ""
    unmade = UnmadePods(api)
    for minutes in (0, 5, 10):
        unmade.why(job(), NOW)
        unmade.ask(NOW + minutes * MINUTE)
    told = [each.message for each in caplog.records]
    assert len(told) == 2  # one of each asker
    assert "right: list events" in told[0]
