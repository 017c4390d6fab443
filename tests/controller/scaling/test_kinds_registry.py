"""What belongs to another is not scaled by itself, and a cluster of many objects stays small in memory."""

import gc
import json
import tracemalloc

import pytest

from controller.scaling.kinds.reading import UNREAD
from controller.scaling.model import Ref
from controller.scaling.registry import KINDS, described_elsewhere, kind_of, managed_by, with_template
from tests.controller.scaling.kind_objects import OBJECTS, an, pod_spec


def owned(kind, api_version, owner):
    made = an(kind)
    made["metadata"]["ownerReferences"] = [{"apiVersion": api_version, "kind": owner, "name": "parent", "uid": "u-1"}]
    return kind_of(kind).seen(made)


@pytest.mark.parametrize(
    ("kind", "api_version", "owner"),
    [
        ("HorizontalPodAutoscaler", "keda.sh/v1alpha1", "ScaledObject"),
        ("Job", "batch/v1", "CronJob"),
        ("Job", "keda.sh/v1alpha1", "ScaledJob"),
        ("Job", "jobset.x-k8s.io/v1alpha2", "JobSet"),
        ("StatefulSet", "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
        ("StatefulSet", "v1", "Pod"),
        ("StatefulSet", "kubeflow.org/v1beta1", "Notebook"),
        ("RayCluster", "ray.io/v1", "RayService"),
        ("RayCluster", "ray.io/v1", "RayJob"),
        ("Deployment", "serving.kserve.io/v1beta1", "InferenceService"),
        ("Deployment", "serving.knative.dev/v1", "Revision"),
        ("ScaledObject", "serving.kserve.io/v1beta1", "InferenceService"),
    ],
)
def test_what_another_kind_made_is_left_to_it(kind, api_version, owner):
    assert managed_by(owned(kind, api_version, owner)) == f"{owner} team-a/parent"


def test_the_workers_of_a_group_are_left_to_their_leader_worker_set_whoever_owns_them():
    made = an("StatefulSet")
    made["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/name": "llama"}
    assert managed_by(kind_of("StatefulSet").seen(made)) == "LeaderWorkerSet team-a/llama"
    made["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/name": ""}
    assert managed_by(kind_of("StatefulSet").seen(made)) is None
    whole = an("LeaderWorkerSet")
    whole["metadata"]["labels"] = {"leaderworkerset.sigs.k8s.io/name": "llama"}
    assert managed_by(kind_of("LeaderWorkerSet").seen(whole)) is None


def test_an_owner_of_the_same_name_in_another_group_is_another_kind():
    assert managed_by(owned("Job", "example.com/v1", "CronJob")) is None
    assert managed_by(kind_of("Job").seen(OBJECTS["Job"])) is None


def test_every_kind_that_is_made_by_another_names_a_kind_of_the_registry():
    """What a kind makes and what may be scaled meet in ``managed_by``."""
    for maker in KINDS:
        for made in maker.pods_owner_kinds:
            if kind_of(made) is not None:
                assert managed_by(owned(made, f"{maker.group}/v1", maker.name)) is not None


def test_a_deployment_whose_template_a_rollout_runs_is_the_rollouts():
    deployment = kind_of("Deployment").seen(
        an("Deployment", template={"spec": pod_spec(2, volumes=[{"name": "v", "emptyDir": {}}])})
    )
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    rollout = kind_of("Rollout").seen(an("Rollout", template=None, workloadRef=reference))
    described = described_elsewhere([deployment, rollout])
    assert described == {Ref("Deployment", "team-a", "llama")}
    assert "Rollout" in managed_by(deployment, described)
    assert managed_by(rollout, described) is None
    assert rollout.gpus_per_pod == 0
    whole = with_template(rollout, deployment)
    assert (whole.gpus_per_pod, whole.losses) == (2, deployment.losses)
    assert with_template(deployment, None) == deployment


def test_a_rollout_whose_template_cannot_be_read_says_that_its_losses_are_not_known():
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone"}
    rollout = kind_of("Rollout").seen(an("Rollout", template=None, workloadRef=reference))
    assert with_template(rollout, None).losses == ("the volumes of Deployment 'gone', which cannot be read",)


@pytest.mark.parametrize("kind", ["Job", "PyTorchJob", "RayCluster", "RayService"])
def test_what_waits_in_a_queue_of_kueue_is_suspended_and_resumed_by_it(kind):
    made = an(kind)
    made["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus"}
    assert "queue 'gpus'" in managed_by(kind_of(kind).seen(made))


def test_a_deployment_in_a_queue_of_kueue_may_be_scaled():
    made = an("Deployment")
    made["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "gpus"}
    assert managed_by(kind_of("Deployment").seen(made)) is None


def test_each_kind_stands_once_and_by_its_own_name():
    assert len({kind.name for kind in KINDS}) == len(KINDS) == len({(kind.group, kind.plural) for kind in KINDS})
    assert all(kind_of(kind.name) is kind for kind in KINDS)
    assert kind_of("DaemonSet") is None


def without(dropped, value):
    if isinstance(value, dict):
        inner = {key: without(dropped, each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if not (key in dropped and isinstance(each, dict | list))}
    return [without(dropped, each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_a_client_may_drop_while_reading_is_never_read(kind):
    rich = json.loads(
        json.dumps(OBJECTS[kind.name]).replace('"image"', '"env": [{"name": "A"}], "args": ["x"], "image"')
    )
    assert kind.seen(without(UNREAD, rich)) == kind.seen(rich)


def test_ten_thousand_deployments_take_less_than_3_kib_each():
    text = json.dumps(OBJECTS["Deployment"])

    def one(number):
        made = json.loads(text)
        labels = {
            "app.kubernetes.io/name": f"app-{number}",
            "app.kubernetes.io/part-of": "shop",
            "team": f"team-{number % 50}",
        }
        made["metadata"].update(
            name=f"app-{number}", namespace=f"team-{number % 500}", uid=f"0b8e6c3e-2a0c-4d1e-9c0a-{number:012d}",
            resourceVersion=str(10_000_000 + number), labels=labels,
        )  # fmt: skip
        made["spec"]["replicas"] = number % 7
        return kind_of("Deployment").seen(made)

    one(0)
    gc.collect()
    tracemalloc.start()
    kept = [one(number) for number in range(2_000)]
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(kept) == 2_000
    print(f"{used / len(kept):.0f} bytes each")
    assert used / len(kept) < 3 * 1024
