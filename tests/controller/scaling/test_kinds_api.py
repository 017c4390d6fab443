"""On a real API server: what a kind writes is accepted, and both ways back give the very object."""

import shlex

import pytest

from controller.scaling.model import ZERO, Size
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.registry import kind_of
from tests.controller.scaling.kind_objects import BY_REPLICAS, OBJECTS, an, annotated

PAUSED = {"autoscaling.keda.sh/paused-replicas": "2"}
CASES = {
    **{kind: OBJECTS[kind] for kind in OBJECTS},
    "Deployment of no stated size": an("Deployment", replicas=None),
    "Rollout of no stated size": an("Rollout", replicas=None),
    "LeaderWorkerSet of no stated size": an("LeaderWorkerSet", replicas=None),
    "CronJob that says nothing of suspend": an("CronJob", suspend=None),
    "HorizontalPodAutoscaler without a lower bound": an("HorizontalPodAutoscaler", minReplicas=None),
    "ScaledObject that its user had paused at two": annotated(an("ScaledObject"), **PAUSED),
    "RayCluster that says it is not suspended": an("RayCluster", suspend=False),
    "PyTorchJob without a run policy": an("PyTorchJob", runPolicy=None),
    "PyTorchJob with an empty run policy": an("PyTorchJob", runPolicy={}),
    "PyTorchJob that says it is not suspended": an("PyTorchJob", runPolicy={"suspend": False}),
    "InferenceService that says it is not stopped": annotated(
        an("InferenceService"), **{"serving.kserve.io/stop": "false"}
    ),
}


@pytest.fixture(scope="module")
def server(api_server):
    api_server.install_crds()
    return api_server


class Bench:
    """One object on the server, written as the scaler writes it."""

    def __init__(self, server, namespace, made):
        self.kind = kind_of(made["kind"])
        self.server = server
        self.namespace = namespace
        metadata = {key: made["metadata"][key] for key in ("name", "labels", "annotations")}
        self.server.admin.post(self.folder(), {**made, "metadata": metadata, "status": {}})

    def folder(self, version=""):
        root = f"/apis/{self.kind.group}/{version or self.kind.versions[0]}"
        return f"{root}/namespaces/{self.namespace}/{self.kind.plural}"

    def item(self, version=""):
        return self.server.admin.get(f"{self.folder(version)}/llama")

    def seen(self):
        return self.kind.seen(self.item())

    def standing(self):
        found = self.item()
        return found["spec"], found["metadata"].get("annotations"), found["metadata"]["labels"]

    def write(self, levers, annotations):
        path = f"{self.folder()}/llama"
        whole = self.kind.patch(levers)
        said = {"metadata": {"annotations": annotations}}
        if not self.kind.scale_subresource:
            said["metadata"]["annotations"] |= whole.get("metadata", {}).get("annotations", {})
            self.server.patch(path, {**whole, **said})
        elif None in levers.values():
            self.server.patch(path, {**whole, **said})
        else:
            self.server.patch(path, said)
            self.server.client().patch(path, whole, subresource="scale")

    def down(self):
        seen = self.seen()
        size = Size(1) if self.kind.sizes == "above_zero" else ZERO
        levers = self.kind.down(seen, size)
        assert levers is not None
        self.write(levers, {RECORD: "{}", COMMAND: self.kind.command(seen, seen.levers)})
        after = self.seen()
        assert after.levers == levers
        assert after.annotations[COMMAND]
        return seen


@pytest.fixture(params=CASES, ids=str)
def bench(request, server, namespace):
    return Bench(server, namespace, CASES[request.param])


def test_down_and_back_leaves_the_object_as_it_was(bench):
    before = bench.standing()
    seen = bench.down()
    assert bench.standing() != before
    bench.write(seen.levers, {RECORD: None, COMMAND: None})
    assert bench.standing() == before


def test_the_command_that_the_object_carries_brings_it_back_by_kubectl_alone(bench):
    before = bench.standing()
    bench.down()
    for command in bench.seen().annotations[COMMAND].split(" && "):
        program, *arguments = shlex.split(command)
        assert program == "kubectl"
        bench.server.kubectl(*arguments)
    assert bench.standing() == before


def test_every_version_that_a_kind_understands_reads_the_same(server, namespace):
    made = Bench(server, namespace, OBJECTS["Notebook"])
    first, *others = (made.kind.seen(made.item(version)) for version in made.kind.versions)
    assert others == [first]


@pytest.mark.parametrize("name", BY_REPLICAS)
def test_what_is_said_to_have_a_scale_subresource_has_one(name, server, namespace):
    bench = Bench(server, namespace, OBJECTS[name])
    assert server.admin.get(f"{bench.folder()}/llama/scale")["spec"]["replicas"] == 3


def test_a_count_of_none_cannot_go_through_scale(server, namespace):
    """Why levers that are to go away are written onto the object itself."""
    bench = Bench(server, namespace, an("Rollout", replicas=None))
    bench.write({"replicas": 2}, {})
    server.client().patch(f"{bench.folder()}/llama", bench.kind.patch({"replicas": None}), subresource="scale")
    assert bench.item()["spec"]["replicas"] == 0
