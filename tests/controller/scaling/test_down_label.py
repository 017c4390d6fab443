"""``kubectl rollout undo`` takes a Deployment's annotations back in time; what was put down comes back all the same."""

from datetime import timedelta
from functools import partial

import pytest

from collectors.kube_errors import Conflict
from controller.scaling.act import Actor, Wrote
from controller.scaling.down_label import believed
from controller.scaling.engine import Engine, Policy
from controller.scaling.kinds.commands import DOWN
from controller.scaling.model import ZERO, NamespaceSeen, Ref, Size
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.writer import object_path
from tests.cluster.api_only import ApiServer
from tests.cluster.standing import standing
from tests.controller.scaling.engine_rig import AFTER, INSIDE, REGISTRY, Notes, make_engine, nightly, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.test_every_step import become_ready, essence
from tests.controller.scaling.toy_server import ToyServer
from tests.integration.agent_process import eventually

DAY = timedelta(days=1)
SECONDS = 60


@pytest.fixture
def server():
    return ToyServer(REGISTRY, follow=become_ready)


@pytest.fixture
def ref(server):
    return server.add("Deployment", OBJECTS["Deployment"])


def annotations(server, ref):
    return dict(server.objects[ref]["metadata"].get("annotations", {}))


def replicas(server, ref):
    return server.objects[ref]["spec"]["replicas"]


def undo(server, ref, revision):
    """The annotations of a revision in place of all, and its template."""
    now = dict.fromkeys(annotations(server, ref)) | revision
    template = {"metadata": {"labels": {"revision": str(len(server.log))}}}
    server.edit(ref, {"metadata": {"annotations": now}, "spec": {"template": template}})


def test_the_label_comes_and_goes_with_the_record(server, ref):
    was = essence(server.objects[ref])
    engine = make_engine(server)
    settle(engine, INSIDE)
    assert server.objects[ref]["metadata"]["labels"][DOWN] == "3-0-1795201260000"
    settle(engine, AFTER)
    assert essence(server.objects[ref]) == was


@pytest.mark.parametrize("new_process", [False, True])
def test_undone_to_a_revision_that_was_never_down_it_comes_back(server, ref, new_process):
    before, engine = annotations(server, ref), make_engine(server)
    settle(engine, INSIDE)
    undo(server, ref, before)
    engine = make_engine(server) if new_process else engine
    tick = settle(engine, INSIDE)
    assert tick.reports[0].step.why == "it is down"
    settle(engine, AFTER)
    assert replicas(server, ref) == 3
    assert DOWN not in server.objects[ref]["metadata"]["labels"]
    assert {RECORD, COMMAND}.isdisjoint(annotations(server, ref))


@pytest.mark.parametrize("restoring", [False, True])
def test_undone_to_a_revision_of_a_former_night_it_comes_back_as_it_was_this_night(server, ref, restoring):
    engine = make_engine(server)
    settle(engine, INSIDE)
    former = annotations(server, ref)
    if restoring:
        engine.tick(AFTER)
        former = annotations(server, ref)
        assert "restoring" in former[RECORD]
    settle(engine, AFTER)
    server.edit(ref, {"spec": {"replicas": 5}})
    settle(engine, INSIDE + DAY)
    undo(server, ref, former)
    settle(engine, INSIDE + DAY + timedelta(minutes=5))
    assert replicas(server, ref) == 0
    settle(engine, AFTER + DAY)
    assert replicas(server, ref) == 5


def _wish_of(sizes, *asked):
    return nightly(sizes[0])(*asked)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("first", "second"), [(ZERO, Size(2)), (Size(2), ZERO)])
def test_undone_after_its_size_changed_in_the_same_night_it_comes_back(server, ref, first, second, cut):
    sizes = [first]
    engine = make_engine(server, wish=partial(_wish_of, sizes))
    settle(engine, INSIDE)
    former, last = annotations(server, ref), server.writes + 2
    sizes[0] = second
    server.before = lambda number: Wrote("refused", why="a webhook") if cut and number == last else None
    engine.tick(INSIDE + timedelta(minutes=1))
    assert replicas(server, ref) == (first if cut else second).of(3)
    undo(server, ref, former)
    server.before = lambda _number: None
    settle(engine, INSIDE + timedelta(minutes=5))
    settle(engine, INSIDE + timedelta(hours=1))
    assert replicas(server, ref) == (0 if second is ZERO else 2)
    settle(engine, AFTER)
    assert replicas(server, ref) == 3
    assert RECORD not in annotations(server, ref)


def test_a_former_nights_record_on_what_its_owner_put_to_nothing_is_not_believed(server, ref):
    engine = make_engine(server)
    settle(engine, INSIDE)
    former = annotations(server, ref)
    settle(engine, AFTER)
    server.edit(ref, {"spec": {"replicas": 0}})
    undo(server, ref, former)
    settle(engine, AFTER)
    assert replicas(server, ref) == 0


def test_what_is_put_back_with_its_record_taken_away_is_rid_of_the_label(server, ref):
    engine = make_engine(server)
    settle(engine, INSIDE)
    server.edit(ref, {"metadata": {"annotations": {RECORD: None, COMMAND: None}}, "spec": {"replicas": 4}})
    settle(engine, AFTER)
    assert replicas(server, ref) == 4
    assert DOWN not in server.objects[ref]["metadata"]["labels"]


@pytest.mark.parametrize("label", ["", "3-0", "three-0-1", "3-0-1-2", "9" * 60, f"3-0-{'9' * 15}"])
def test_a_label_that_says_nothing_leaves_the_record_its_word(server, ref, label):
    engine = make_engine(server)
    settle(engine, INSIDE)
    server.edit(ref, {"metadata": {"labels": {DOWN: label}}})
    settle(engine, AFTER)
    assert replicas(server, ref) == 3


class RealView:
    """One Deployment of a real API server, and writes to it."""

    def __init__(self, server, ref):
        self._api, self._kind, self._ref = server.client(), REGISTRY[ref.kind], ref
        self._path = object_path(self._kind, "v1", ref)

    def item(self):
        return self._api.get(self._path)

    def ready(self):
        return True

    def objects(self, kind):
        return [self.get(self._ref)] if kind == self._kind.name else []

    def get(self, _ref):
        return believed(self._kind.seen(self.item()))

    def namespace(self, name):
        return NamespaceSeen(name)

    def pods_of(self, _ref):
        return ()

    def scalers_of(self, _kind, _subject):
        return []

    def write(self, _kind, _ref, patch, version):
        body = {**patch.body, "metadata": {**patch.body.get("metadata", {}), "resourceVersion": version}}
        try:
            answer = self._api.patch(self._path, body, subresource="scale" if patch.place == "scale" else "")
        except Conflict as error:
            return Wrote("conflict", why=str(error))
        return Wrote("done", answer["metadata"]["resourceVersion"])


@pytest.fixture
def real():
    with standing(partial(ApiServer.up, with_controllers=True)) as server:
        yield server


def test_after_a_real_rollout_undo_a_real_deployment_comes_back(real):
    space, labels = real.make_namespace(), {"app": "llama"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "example/main:1"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    made = f"/apis/apps/v1/namespaces/{space}/deployments"
    real.admin.post(made, {"metadata": {"name": "llama"}, "spec": spec})
    view = RealView(real, Ref("Deployment", space, "llama"))
    wishes = Policy(nightly(), lambda _: timedelta(0), lambda *_: {}, lambda _: 9, lambda _: "")
    engine = Engine(view, REGISTRY, wishes, Actor(view, Notes()))

    def of_revision(number):
        found = view.item()["metadata"].get("annotations", {})
        return found.get("deployment.kubernetes.io/revision") == str(number)

    def stands(now, wanted):
        engine.tick(now)
        return view.item()["spec"]["replicas"] == wanted

    eventually("its first revision", lambda: of_revision(1), SECONDS)
    real.kubectl("-n", space, "set", "image", "deployment/llama", "main=example/main:2")
    eventually("its second revision", lambda: of_revision(2), SECONDS)
    eventually("it is down", lambda: stands(INSIDE, 0), SECONDS)
    real.kubectl("-n", space, "rollout", "undo", "deployment/llama")
    eventually("the first revision again", lambda: of_revision(3), SECONDS)
    assert RECORD not in view.item()["metadata"]["annotations"]
    eventually("it is back", lambda: stands(AFTER, 3), SECONDS)
