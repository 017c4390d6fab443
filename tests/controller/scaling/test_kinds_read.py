"""What is read of each kind: GPUs, what a down would lose, how far it is ready; and what is refused, by name."""

from datetime import UTC, datetime

import pytest

from collectors.kube_errors import Malformed
from controller.scaling.kinds.notebook import losses_now
from controller.scaling.kinds.pod_template import gpus_of, losses_of
from controller.scaling.model import Owner, Readiness, Ref
from controller.scaling.registry import KINDS, kind_of
from tests.controller.scaling.kind_objects import OBJECTS, an, annotated, pod_spec, template

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def read(made):
    return kind_of(made["kind"]).seen(made)


def with_status(kind, **status):
    made = an(kind)
    made["status"] = {**made["status"], **status}
    return made


def holding(condition):
    return [{"type": condition, "status": "True"}]


def container(name="main", **devices):
    return {"name": name, "resources": {"limits": {key.replace("_", "/"): value for key, value in devices.items()}}}


def test_identity_labels_and_only_the_annotations_that_are_needed_are_kept():
    made = annotated(an("Deployment"), **{"downscaler/exclude": "true", "wattledger.io/x": "y"})
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r", "uid": "u", "controller": True}
    ]
    seen = read(made)
    assert seen.ref == Ref("Deployment", "team-a", "llama")
    assert (seen.uid, seen.version, seen.generation) == ("0b8e6c3e-2a0c-4d1e-9c0a-0d5a6f5b7a11", "4711", 3)
    assert seen.created == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert dict(seen.labels) == {"app": "llama"}
    assert dict(seen.annotations) == {"downscaler/exclude": "true", "wattledger.io/x": "y"}
    assert seen.owners == (Owner("argoproj.io", "Rollout", "r", "u"),)
    assert not seen.deleting


def test_what_is_being_deleted_says_so():
    made = an("Deployment")
    made["metadata"]["deletionTimestamp"] = "2026-11-20T12:00:00Z"
    assert read(made).deleting


GPUS = {
    "Deployment": 2,
    "StatefulSet": 2,
    "CronJob": 2,
    "Job": 2 * 2,
    "HorizontalPodAutoscaler": 0,
    "ScaledObject": 0,
    "ScaledJob": 2,
    "Rollout": 2,
    "LeaderWorkerSet": 1 + 3 * 8,
    "Notebook": 1,
    "RayCluster": 3 * 4,
    "RayService": 1 + 2 * 2 * 4,
    "PyTorchJob": 4 * 8,
    "InferenceService": 2 * 4,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_gpus_are_counted_in_every_kind(kind):
    assert kind.seen(OBJECTS[kind.name]).gpus_per_pod == GPUS[kind.name]


def test_gpus_slices_and_shares_count_and_other_devices_do_not():
    devices = {"nvidia.com_gpu": "1", "nvidia.com_mig-1g.10gb": 2, "nvidia.com_gpu.shared": 1, "amd.com_gpu": 4}
    assert gpus_of({"containers": [container(**devices), container("b", **{"nvidia.com_gpu": 1})]}) == 5


def test_an_init_container_needs_its_gpus_before_the_others_and_one_that_stays_beside_them():
    one, three = container(**{"nvidia.com_gpu": 1}), container(**{"nvidia.com_gpu": 3})
    assert gpus_of({"initContainers": [three], "containers": [one]}) == 3
    assert gpus_of({"initContainers": [{**three, "restartPolicy": "Always"}], "containers": [one]}) == 4
    assert gpus_of({"initContainers": [{**one, "restartPolicy": "Always"}, three], "containers": [one]}) == 4


def test_requests_count_where_no_limit_is_stated_and_once_where_both_are():
    both = {"resources": {"requests": {"nvidia.com/gpu": 2}, "limits": {"nvidia.com/gpu": 2}}}
    assert gpus_of({"containers": [both, {"resources": {"requests": {"nvidia.com/gpu": 1}}}]}) == 3


@pytest.mark.parametrize("nonsense", ["one", "1.5", -1, True, None, "٣", "9" * 40])
def test_a_request_that_is_no_whole_number_names_the_object(nonsense):
    with pytest.raises(Malformed, match=r"Deployment team-a/llama: nvidia.com/gpu is .*no whole number"):
        read(an("Deployment", template=template(nonsense)))


def losses(volume, **mount):
    mounted = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}
    return losses_of({"containers": [mounted], "volumes": [{"name": "v", **volume}]})


def test_volumes_that_do_not_outlive_a_pod_are_named():
    assert losses({"emptyDir": {}}) == ("emptyDir volume 'v' loses what is on it",)
    assert "deleted with its pod" in losses({"ephemeral": {"volumeClaimTemplate": {}}})[0]
    assert "stays on its node" in losses({"hostPath": {"path": "/data"}})[0]
    assert "goes with its pod" in losses({"csi": {"driver": "x"}})[0]


def test_volumes_that_hold_no_state_of_the_pod_are_not():
    assert losses({"emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}}) == ()
    assert losses({"hostPath": {"path": "/usr/lib"}}, readOnly=True) == ()
    assert losses({"hostPath": {"path": "/dev/fuse", "type": "CharDevice"}}) == ()
    assert losses({"csi": {"driver": "secrets", "readOnly": True}}) == ()
    assert losses({"persistentVolumeClaim": {"claimName": "c"}}) == ()
    assert losses({"configMap": {"name": "c"}}) == ()


def test_a_stateful_set_whose_claims_go_when_it_is_scaled_says_which():
    claims = [{"metadata": {"name": "data"}}]
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    made = an("StatefulSet", volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=policy)
    assert read(made).losses == ("persistentVolumeClaimRetentionPolicy.whenScaled is Delete: the claims 'data' go",)
    kept = an("StatefulSet", volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy={"whenScaled": "Retain"})
    assert read(kept).losses == ()


@pytest.mark.parametrize("kind", ["Job", "PyTorchJob"])
def test_training_without_a_declared_checkpoint_would_lose_its_work(kind):
    assert "no wattledger.io/checkpoint annotation" in read(an(kind)).losses[0]
    assert read(annotated(an(kind), **{"wattledger.io/checkpoint": "true"})).losses == ()
    assert read(annotated(an(kind), **{"wattledger.io/checkpoint": "no"})).losses


def test_a_checkpoint_may_be_declared_on_the_pods_template():
    declared = template()
    declared["metadata"]["annotations"] = {"wattledger.io/checkpoint": "true"}
    assert read(an("Job", template=declared)).losses == ()
    assert read(an("PyTorchJob", pytorchReplicaSpecs={"Master": {"template": declared}})).losses == ()


@pytest.mark.parametrize("kind", ["CronJob", "ScaledJob"])
def test_what_only_begins_no_new_runs_loses_nothing(kind):
    spare = template(volumes=[{"name": "v", "emptyDir": {}}])
    spec = (
        {"jobTemplate": {"spec": {"template": spare}}} if kind == "CronJob" else {"jobTargetRef": {"template": spare}}
    )
    assert read(an(kind, **spec)).losses == ()


def test_the_head_of_ray_is_a_loss_and_so_are_its_workers_volumes():
    spare = template(volumes=[{"name": "spill", "emptyDir": {}}])
    workers = [{"groupName": name, "replicas": 1, "template": spare} for name in ("a", "b")]
    found = read(an("RayCluster", workerGroupSpecs=workers)).losses
    assert found == (
        "the Ray head: jobs, actors and objects in memory end with it",
        "emptyDir volume 'spill' loses what is on it",
    )
    assert read(OBJECTS["RayService"]).losses == found[:1]


def test_a_kernel_may_be_running_unless_it_was_last_active_long_ago():
    active = "notebooks.kubeflow.org/last-activity"
    silent = read(an("Notebook"))
    assert losses_now(silent, NOON) == ("a kernel that may be running (nothing says when it was last active)",)
    recent = read(annotated(an("Notebook"), **{active: "2026-11-20T11:30:00Z"}))
    assert losses_now(recent, NOON) == ("a kernel that may be running (last active 2026-11-20T11:30:00Z)",)
    assert losses_now(read(annotated(an("Notebook"), **{active: "2026-11-20T11:00:00Z"})), NOON) == ()
    for nonsense in ("yesterday", "2026-11-20T10:00:00", "2026-11-21T11:00:00Z"):
        assert losses_now(read(annotated(an("Notebook"), **{active: nonsense})), NOON), nonsense


def test_an_idle_kernel_takes_no_other_loss_away():
    old = {"notebooks.kubeflow.org/last-activity": "2026-11-20T01:00:00Z"}
    made = annotated(an("Notebook", template={"spec": pod_spec(1, volumes=[{"name": "v", "emptyDir": {}}])}), **old)
    assert losses_now(read(made), NOON) == ("emptyDir volume 'v' loses what is on it",)


def test_a_notebook_that_is_stopped_has_no_kernel():
    assert read(annotated(an("Notebook"), **{"kubeflow-resource-stopped": "x"})).losses == ()


READY = {
    "Deployment": Readiness(3, 3),
    "StatefulSet": Readiness(3, 3),
    "CronJob": Readiness(0, 0),
    "Job": Readiness(2, 2),
    "HorizontalPodAutoscaler": Readiness(0, 0),
    "ScaledObject": Readiness(0, 0),
    "ScaledJob": Readiness(0, 0),
    "Rollout": Readiness(3, 3),
    "LeaderWorkerSet": Readiness(12, 8),
    "Notebook": Readiness(1, 1),
    "RayCluster": Readiness(4, 4),
    "RayService": Readiness(5, 5),
    "PyTorchJob": Readiness(4, 4),
    "InferenceService": Readiness(2, 2),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_status_says_how_far_it_is_ready(kind):
    assert kind.seen(OBJECTS[kind.name]).readiness == READY[kind.name]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("Deployment", {"observedGeneration": 2}),
        ("Deployment", {"replicas": 4}),
        (
            "Deployment",
            {
                "readyReplicas": 0,
                "conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}],
            },
        ),
        ("StatefulSet", {"updateRevision": "b", "updatedReplicas": 2}),
        ("StatefulSet", {"observedGeneration": 2}),
        ("Rollout", {"observedGeneration": "2"}),
        ("Rollout", {"currentPodHash": "new"}),
        ("LeaderWorkerSet", {"conditions": holding("UpdateInProgress")}),
        ("RayService", {"conditions": holding("UpgradeInProgress")}),
        (
            "RayService",
            {"activeServiceStatus": {"rayClusterName": "a"}, "pendingServiceStatus": {"rayClusterName": "b"}},
        ),
        ("InferenceService", {"modelStatus": {"transitionStatus": "InProgress"}}),
    ],
)
def test_a_rollout_under_way_is_seen(kind, status):
    assert not read(an(kind)).readiness.rolling
    assert read(with_status(kind, **status)).readiness.rolling


def test_a_deployment_that_was_scaled_or_gave_up_is_in_no_rollout():
    for status, reason in (("True", "NewReplicaSetAvailable"), ("False", "ProgressDeadlineExceeded")):
        progress = [{"type": "Progressing", "status": status, "reason": reason}]
        assert not read(with_status("Deployment", readyReplicas=0, conditions=progress)).readiness.rolling


def test_a_stateful_set_that_keeps_a_part_at_the_older_revision_is_not_rolling_for_ever():
    made = with_status("StatefulSet", updateRevision="b", updatedReplicas=1)
    made["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert not read(made).readiness.rolling
    made["spec"]["updateStrategy"] = {"type": "OnDelete"}
    assert not read(made).readiness.rolling


@pytest.mark.parametrize("kind", ["Job", "PyTorchJob", "RayCluster", "RayService"])
def test_what_is_suspended_asks_for_no_pods(kind):
    spec = {"runPolicy": {"suspend": True}} if kind == "PyTorchJob" else {"suspend": True}
    assert read(an(kind, **spec)).readiness.wanted == 0


@pytest.mark.parametrize(
    ("kind", "condition"),
    [("Job", "Complete"), ("Job", "Failed"), ("PyTorchJob", "Succeeded"), ("PyTorchJob", "Failed")],
)
def test_what_has_ended_is_finished(kind, condition):
    seen = read(with_status(kind, conditions=holding(condition)))
    assert seen.finished
    assert seen.readiness.wanted == 0
    assert not read(an(kind)).finished


def test_autoscalers_say_what_they_scale():
    assert read(an("HorizontalPodAutoscaler")).scales == ("Deployment", "llama")
    assert read(an("ScaledObject")).scales == ("Deployment", "llama")
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "r"}
    assert read(an("ScaledObject", scaleTargetRef=rollout)).scales == ("Rollout", "r")
    assert read(an("ScaledObject")).bounds == (1, 8)
    assert read(an("ScaledObject", minReplicaCount=None, maxReplicaCount=None)).bounds == (0, 100)


def test_a_scaled_object_that_is_paused_where_it_is_scales_nothing():
    paused = {"autoscaling.keda.sh/paused": "true"}
    assert read(annotated(an("ScaledObject"), **paused)).scales is None
    counted = annotated(an("ScaledObject"), **paused, **{"autoscaling.keda.sh/paused-replicas": "0"})
    assert read(counted).scales == ("Deployment", "llama")
    assert read(annotated(an("ScaledObject"), **{"autoscaling.keda.sh/paused": "false"})).scales is not None


@pytest.mark.parametrize("said", ["yes", "", "1"])
def test_a_scaled_object_whose_pause_is_no_truth_value_is_paused_as_keda_takes_it(said):
    assert read(annotated(an("ScaledObject"), **{"autoscaling.keda.sh/paused": said})).scales is None


def test_a_scaled_object_that_may_not_scale_out_does_not_hold_what_it_scales():
    out = {"autoscaling.keda.sh/paused-scale-out": "true"}
    assert read(annotated(an("ScaledObject"), **out)).scales is None


NONSENSE = [
    ("Deployment", {"replicas": "three"}, r"spec.replicas is 'three', which is no count"),
    ("Rollout", {"replicas": -1}, r"spec.replicas is -1, which is no count"),
    ("Rollout", {"workloadRef": {"kind": "Deployment"}}, r"spec.workloadRef does not name a kind and an object"),
    ("LeaderWorkerSet", {"leaderWorkerTemplate": {"size": "4"}}, r"spec.leaderWorkerTemplate.size is '4'"),
    ("CronJob", {"suspend": "yes"}, r"spec.suspend is 'yes', which is neither true nor false"),
    ("Job", {"parallelism": True}, r"spec.parallelism is True, which is no count"),
    ("HorizontalPodAutoscaler", {"maxReplicas": None}, r"spec.maxReplicas is missing"),
    ("HorizontalPodAutoscaler", {"scaleTargetRef": {"kind": "Deployment"}}, r"spec.scaleTargetRef names .* ''"),
    ("ScaledObject", {"minReplicaCount": 1.5}, r"spec.minReplicaCount is 1.5, which is no count"),
    ("RayCluster", {"workerGroupSpecs": [{"replicas": "2"}]}, r"replicas is '2', which is no count"),
    ("PyTorchJob", {"runPolicy": {"suspend": 1}}, r"spec.runPolicy.suspend is 1, which is neither true nor false"),
    ("InferenceService", {"predictor": {"minReplicas": []}}, r"minReplicas is \[\], which is no count"),
]


@pytest.mark.parametrize(("kind", "spec", "said"), NONSENSE)
def test_a_field_that_cannot_be_what_it_should_be_is_named_with_its_object(kind, spec, said):
    with pytest.raises(Malformed, match=rf"{kind} team-a/llama: {said}"):
        read(an(kind, **spec))


def test_a_pause_that_is_no_count_is_named_and_not_guessed():
    with pytest.raises(Malformed, match=r"paused-replicas is 'two', which is no count"):
        read(annotated(an("ScaledObject"), **{"autoscaling.keda.sh/paused-replicas": "two"}))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("key", ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"])
def test_an_object_without_identity_is_named_in_every_kind(kind, key):
    made = an(kind.name)
    del made["metadata"][key]
    with pytest.raises(Malformed, match=rf"{kind.name} (team-a|\?)/(llama|\?): metadata.{key} is "):
        kind.seen(made)


def test_an_empty_object_is_malformed_and_never_an_error_of_ours():
    for kind in KINDS:
        for nonsense in ({}, {"metadata": []}, {"spec": "x", "status": 3}, {"metadata": {"name": 7}, "spec": []}):
            with pytest.raises(Malformed, match=rf"{kind.name} "):
                kind.seen(nonsense)
