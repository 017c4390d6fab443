import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.kube_owners import (
    DEFAULT_DIMENSIONS,
    Dimension,
    Owner,
    Workload,
    dimensions_of,
    label_keys,
    run_of,
    workload_of,
)

TEXT = st.text(max_size=30)


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (("ReplicaSet", "llm-5d9f"), {"pod-template-hash": "5d9f"}, ("Deployment", "llm")),
        (("ReplicaSet", "a-b-5d9f"), {"pod-template-hash": "5d9f"}, ("Deployment", "a-b")),
        (("ReplicaSet", "llm-5d9f"), {"rollouts-pod-template-hash": "5d9f"}, ("Rollout", "llm")),
        (("ReplicaSet", "llm-5d9f"), {}, ("ReplicaSet", "llm-5d9f")),
        (("ReplicaSet", "llm-5d9f"), {"pod-template-hash": "7777"}, ("ReplicaSet", "llm-5d9f")),
        (("ReplicaSet", "-5d9f"), {"pod-template-hash": "5d9f"}, ("ReplicaSet", "-5d9f")),
        (("StatefulSet", "db"), {}, ("StatefulSet", "db")),
        (("DaemonSet", "agent"), {}, ("DaemonSet", "agent")),
        (("Job", "train"), {}, ("Job", "train")),
        (("Workflow", "flow-x7"), {}, ("Workflow", "flow-x7")),
    ],
)
def test_an_owner_leads_to_the_workload(owner, labels, workload):
    assert workload_of("p", Owner(*owner), labels) == Workload(*workload)


@pytest.mark.parametrize(
    ("job", "workload"),
    [
        ("backup-29384760", ("CronJob", "backup")),
        ("nightly-eval-29384760", ("CronJob", "nightly-eval")),
        ("backup-20260131", ("Job", "backup-20260131")),
        ("train-25112026", ("Job", "train-25112026")),
        ("train-01012026", ("Job", "train-01012026")),
        ("train-1767225600", ("Job", "train-1767225600")),
        ("train-7", ("Job", "train-7")),
        ("-29384760", ("Job", "-29384760")),
        ("29384760", ("Job", "29384760")),
        ("train-٢٩٣٨٤٧٦٠", ("Job", "train-٢٩٣٨٤٧٦٠")),
    ],
)
def test_only_a_number_of_minutes_makes_a_job_a_cronjobs(job, workload):
    assert workload_of("p", Owner("Job", job), {}) == Workload(*workload)


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        ("StatefulSet", {"leaderworkerset.sigs.k8s.io/name": "llama"}, ("LeaderWorkerSet", "llama")),
        ("RayCluster", {"ray.io/cluster": "rc"}, ("RayCluster", "rc")),
        ("Job", {"jobset.sigs.k8s.io/jobset-name": "js"}, ("JobSet", "js")),
        ("StatefulSet", {"notebook-name": "ann"}, ("Notebook", "ann")),
        ("ReplicaSet", {"serving.kserve.io/inferenceservice": "bert"}, ("InferenceService", "bert")),
        ("PyTorchJob", {"training.kubeflow.org/job-name": "t"}, ("PyTorchJob", "t")),
        (
            "Job",
            {"training.kubeflow.org/job-name": "t", "training.kubeflow.org/operator-name": "mpi-operator"},
            ("MPIJob", "t"),
        ),
        (
            "Pod",
            {"training.kubeflow.org/job-name": "t", "training.kubeflow.org/operator-name": "pytorchjob-controller"},
            ("PyTorchJob", "t"),
        ),
        ("Job", {"training.kubeflow.org/job-name": "t"}, ("TrainingJob", "t")),
    ],
)
def test_an_operators_label_goes_before_the_owner(owner, labels, workload):
    assert workload_of("p", Owner(owner, "o-12345"), labels) == Workload(*workload)


@pytest.mark.parametrize(
    ("cluster", "labels", "workload"),
    [
        ("api-raycluster-x7k2p", {"ray.io/serve": "true"}, ("RayService", "api")),
        ("api-x7k2p", {"ray.io/serve": "false"}, ("RayService", "api")),
        ("api-x7k2p", {}, ("RayCluster", "api-x7k2p")),
        ("api-tests", {"ray.io/serve": "true"}, ("RayCluster", "api-tests")),
        ("x7k2p", {"ray.io/serve": "true"}, ("RayCluster", "x7k2p")),
        (
            "c-1",
            {"ray.io/originated-from-crd": "RayService", "ray.io/originated-from-cr-name": "api"},
            ("RayService", "api"),
        ),
        ("c-1", {"ray.io/originated-from-crd": "RayService"}, ("RayCluster", "c-1")),
        (
            "tune-x7k2p",
            {"ray.io/originated-from-crd": "RayJob", "ray.io/originated-from-cr-name": "tune"},
            ("RayCluster", "tune-x7k2p"),
        ),
    ],
)
def test_the_cluster_that_a_ray_service_made_is_the_services(cluster, labels, workload):
    found = workload_of("p", Owner("RayCluster", cluster), {"ray.io/cluster": cluster, **labels})
    assert found == Workload(*workload)


@pytest.mark.parametrize(
    ("owner", "labels", "run"),
    [
        (("Job", "train"), {}, "train"),
        (("Job", "nightly-29384760"), {}, "nightly-29384760"),
        (("PyTorchJob", "x"), {"training.kubeflow.org/job-name": "t"}, "t"),
        (("Job", "js-workers-0"), {"jobset.sigs.k8s.io/jobset-name": "js"}, "js"),
        (
            ("RayCluster", "tune-x7k2p"),
            {
                "ray.io/cluster": "tune-x7k2p",
                "ray.io/originated-from-crd": "RayJob",
                "ray.io/originated-from-cr-name": "tune",
            },
            "tune",
        ),
        (
            ("RayCluster", "api-x7k2p"),
            {"ray.io/originated-from-crd": "RayService", "ray.io/originated-from-cr-name": "api"},
            "",
        ),
        (("RayCluster", "tune-raycluster-x7k2p"), {"ray.io/cluster": "tune-raycluster-x7k2p"}, ""),
        (("ReplicaSet", "llm-5d9f"), {"pod-template-hash": "5d9f"}, ""),
    ],
)
def test_a_run_is_what_ends_with_its_job(owner, labels, run):
    assert run_of(workload_of("p", Owner(*owner), labels), Owner(*owner), labels) == run


def test_a_pod_that_nobody_owns_is_of_no_run():
    assert not run_of(workload_of("p", None, {}), None, {})


def test_an_empty_label_says_nothing():
    assert workload_of("p", Owner("StatefulSet", "db"), {"ray.io/cluster": ""}) == Workload("StatefulSet", "db")


def test_a_pod_that_nobody_owns_is_its_own_workload():
    assert workload_of("debug", None, {}) == Workload("Pod", "debug")


def test_a_static_pod_is_called_without_its_node():
    assert workload_of("etcd-node-a", Owner("Node", "node-a"), {}) == Workload("StaticPod", "etcd")


@given(TEXT, st.none() | st.builds(Owner, st.sampled_from(["Job", "ReplicaSet", "Node", "X"]), TEXT), TEXT)
def test_any_names_lead_to_some_workload(name, owner, value):
    found = workload_of(name, owner, {"pod-template-hash": value})
    assert found.kind
    assert found.name or not (name and owner and owner.name)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({}, {"team": "ml"}),
        ({"team": "search", "env": "prod"}, {"team": "search", "environment": "prod"}),
        ({"team": "old", "wattledger.io/team": "new"}, {"team": "new"}),
        ({"team": ""}, {"team": "ml"}),
    ],
)
def test_dimensions_come_from_labels_and_the_team_else_from_the_namespace(labels, found):
    assert dimensions_of(DEFAULT_DIMENSIONS, labels, "ml") == found


def test_dimensions_are_free_to_choose():
    dimensions = (Dimension("cost_center", ("cc",)), Dimension("tenant", ("t",), else_namespace=True))
    assert dimensions_of(dimensions, {"cc": "42"}, "ns") == {"cost_center": "42", "tenant": "ns"}
    assert label_keys(dimensions) == {"cc", "t"}
