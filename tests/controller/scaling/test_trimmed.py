from types import SimpleNamespace

import pytest

from collectors.kube_pod_facts import Kept, pod_facts
from controller.scaling.model import Ref
from controller.scaling.trimmed import Unreadable, counts, kept, node_seen, pod_seen


def pod(status, spec=None, **meta):
    metadata = {"name": "web-abc-x", "namespace": "ml", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata | meta, "spec": spec or {}, "status": status}


def condition(kind, status, **more):
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "waiting"),
    [
        (
            {
                "phase": "Pending",
                "conditions": [
                    condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes: no nvidia.com/gpu")
                ],
            },
            "Unschedulable: 0/3 nodes: no nvidia.com/gpu",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}],
            },
            "ErrImagePull: not found",
        ),
        (
            {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "CrashLoopBackOff",
        ),
        ({"phase": "Pending"}, ""),
        ({"phase": "Running", "conditions": [condition("Ready", "True")]}, ""),
    ],
)
def test_why_a_pod_does_not_run_is_kept(status, waiting):
    assert pod_seen(pod(status)).waiting == waiting


def test_a_pod_that_has_ended_is_not_ready_and_not_kept():
    ended = pod_seen(pod({"phase": "Succeeded", "conditions": [condition("Ready", "True")]}))
    assert (ended.ready, counts(ended)) == (False, False)


def test_a_pods_workload_is_told_by_its_owner():
    owner = {"kind": "ReplicaSet", "name": "web-abc", "controller": True}
    seen = pod_seen(pod({}, ownerReferences=[owner], labels={"pod-template-hash": "abc"}))
    assert seen.workload == ("Deployment", "ml", "web")


@pytest.mark.parametrize(
    ("owner", "labels", "maker"),
    [
        (("RayCluster", "api-x7k2p"), {"ray.io/cluster": "api-x7k2p"}, ("RayCluster", "ml", "api-x7k2p")),
        (
            ("RayCluster", "api-x7k2p"),
            {"ray.io/cluster": "api-x7k2p", "ray.io/serve": "true"},
            ("RayCluster", "ml", "api-x7k2p"),
        ),
        (("Job", "train-29112026"), {}, ("Job", "ml", "train-29112026")),
        (("Job", "js-0"), {"jobset.sigs.k8s.io/jobset-name": "js"}, None),
        (("ReplicaSet", "web-abc"), {}, None),
    ],
)
def test_a_job_or_ray_cluster_that_made_a_pod_is_kept(owner, labels, maker):
    references = [{"kind": owner[0], "name": owner[1], "controller": True}]
    assert pod_seen(pod({}, ownerReferences=references, labels=labels)).maker == maker


def test_the_books_call_the_pods_of_a_ray_service_as_scaling_does():
    labels = {"ray.io/cluster": "api-raycluster-x7k2p", "ray.io/serve": "true"}
    owner = {"kind": "RayCluster", "name": "api-raycluster-x7k2p", "controller": True}
    item = pod({}, ownerReferences=[owner], labels=labels)
    booked = pod_facts(item, Kept()).workload
    assert (booked.kind, booked.name) == ("RayService", "api")
    assert pod_seen(item).workload == ("RayService", "ml", "api")


def test_a_pod_whose_requests_cannot_be_read_counts_as_without_gpus():
    odd = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "many"}}}]}
    assert pod_seen(pod({}, odd)).gpus == 0


def test_whatever_befalls_the_reading_of_one_object_is_told_of_it_alone():
    def fails(_item):
        raise OverflowError("too far away")

    read = kept(SimpleNamespace(name="Deployment", seen=fails))
    assert read(pod({})) == Unreadable(Ref("Deployment", "ml", "web-abc-x"), "OverflowError: too far away")


def test_a_node_is_told_by_its_labels_and_what_it_has_to_give():
    labels = {"node.kubernetes.io/instance-type": "p5.48xlarge", "karpenter.sh/capacity-type": "spot"}
    status = {"allocatable": {"cpu": "8", "nvidia.com/gpu": "7", "nvidia.com/mig-1g.10gb": "2", "memory": "1Gi"}}
    node = node_seen({"metadata": {"name": "n", "labels": labels}, "status": status})
    assert (node.instance_type, node.capacity_type, node.gpus) == ("p5.48xlarge", "spot", 9)


def test_a_ready_pod_without_gpus_is_kept_only_where_it_announces_an_engine():
    ready = {"phase": "Running", "conditions": [condition("Ready", "True")]}
    assert not counts(pod_seen(pod(ready)))
    assert not counts(pod_seen(pod(ready, annotations={"prometheus.io/scrape": "true"})))
    engine = pod_seen(pod(ready, annotations={"wattledger.io/engine": "vllm"}))
    assert (engine.announces, counts(engine)) == (True, True)
