"""Two hours of a fleet that runs only dcgm-exporter and kube-state-metrics, as samples at every 30 s.

Hour 0: ``GPU-A`` is held by a Deployment's pod at 50 %, all hour. ``GPU-B`` is held by a Job's pod for its first 20
minutes at 100 %, then by nobody. ``GPU-M`` is cut into 3g and 2g, each held. Hour 1: the exporter of node-1 is away
from minute 30 on, and its driver was loaded anew, so that the counter fell. node-3 offers two GPUs from minute 10 of
hour 0 until minute 40 of hour 1, and has no exporter; node-4 has no GPU. The exporter of node-2 and kube-state-metrics
are started anew at the half of hour 0, as pods of another address.
"""

from collections.abc import Iterator
from dataclasses import dataclass

BEGIN = 1_793_491_200
"""2026-11-01T00:00:00Z."""
STEP = 30
HOURS = 2
RESTART = 1800
EXPORTER = {"job": "dcgm", "instance": "10.0.0.1:9400"}


@dataclass(frozen=True)
class Sample:
    """One sample of one series."""

    name: str
    labels: dict[str, str]
    second: int
    value: float


def device(uuid: str, node: str, pod: str = "", namespace: str = "ml", **more: str) -> dict[str, str]:
    held = {"namespace": namespace, "pod": pod, "container": "main"} if pod else {}
    return {"UUID": uuid, "Hostname": node, "modelName": "NVIDIA H100 80GB HBM3", **EXPORTER, **held, **more}


def samples() -> Iterator[Sample]:
    """In order of time."""
    for second in range(0, HOURS * 3600 + 1, STEP):
        yield from _state(second)
        if second <= 5400:
            yield from _node_1(second)
        yield from _node_2(second)


def _node_1(second: int) -> Iterator[Sample]:
    a = device("GPU-A", "node-1", "web-5d4f8-x1")
    b = device("GPU-B", "node-1", "train-7-abc" if second <= 1200 else "")
    # 400 W on A for all of hour 0; the counter begins anew in hour 1
    counter = 400_000 * second if second < 3700 else 400_000 * (second - 3700)
    for labels, busy, watts in ((a, 50, 400), (b, 100 if second <= 1200 else 0, 300)):
        yield Sample("DCGM_FI_DEV_GPU_UTIL", labels, second, busy)
        yield Sample("DCGM_FI_DEV_FB_USED", labels, second, 1000)
        yield Sample("DCGM_FI_DEV_POWER_USAGE", labels, second, watts)
    yield Sample("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", a, second, counter)


def _node_2(second: int) -> Iterator[Sample]:
    for instance, profile, pod, busy in (("1", "3g.40gb", "big-0", 0.5), ("2", "2g.20gb", "small-0", 0.25)):
        labels = device("GPU-M", "node-2", pod, GPU_I_ID=instance, GPU_I_PROFILE=profile)
        labels["instance"] = "10.0.0.2:9400" if second < RESTART else "10.0.0.3:9400"
        yield Sample("DCGM_FI_DEV_FB_USED", labels, second, 1000)
        yield Sample("DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, second, busy)


def _state(second: int) -> Iterator[Sample]:
    ksm = {"job": "kube-state-metrics", "instance": "10.0.0.9:8080" if second < RESTART else "10.0.0.8:8080"}
    owner = {"owner_is_controller": "true", "namespace": "ml", **ksm}
    pod = {"pod": "web-5d4f8-x1", "owner_kind": "ReplicaSet", "owner_name": "web-5d4f8"}
    yield Sample("kube_pod_owner", owner | pod, second, 1)
    deployment = {"replicaset": "web-5d4f8", "owner_kind": "Deployment", "owner_name": "web"}
    yield Sample("kube_replicaset_owner", owner | deployment, second, 1)
    if second <= 1200:
        job = {"pod": "train-7-abc", "owner_kind": "Job", "owner_name": "train-7"}
        yield Sample("kube_pod_owner", owner | job, second, 1)
    yield Sample("kube_pod_labels", {"namespace": "ml", "pod": "web-5d4f8-x1", "label_team": "red", **ksm}, second, 1)
    node = {"node": "node-1", **ksm}
    yield Sample("kube_node_info", node | {"provider_id": "aws:///us-east-1a/i-0123456789abcdef0"}, second, 1)
    labels = {
        "label_node_kubernetes_io_instance_type": "p5.48xlarge",
        "label_topology_kubernetes_io_region": "us-east-1",
        "label_topology_kubernetes_io_zone": "us-east-1a",
        "label_karpenter_sh_capacity_type": "spot",
    }
    yield Sample("kube_node_labels", node | labels, second, 1)
    yield Sample("kube_node_created", node, second, BEGIN - 86_400)
    yield from _without_exporter(second, ksm)


def _without_exporter(second: int, ksm: dict[str, str]) -> Iterator[Sample]:
    if 600 <= second <= 3600 + 2400:
        node = {"node": "node-3", **ksm}
        yield Sample("kube_node_info", node | {"provider_id": "aws:///us-east-1a/i-03030303030303030"}, second, 1)
        yield Sample("kube_node_created", node, second, BEGIN + 590)
        yield Sample("kube_node_labels", node | {"label_nvidia_com_gpu_count": "2"}, second, 1)
        yield Sample("kube_node_status_capacity", node | {"resource": "nvidia_com_gpu", "unit": "integer"}, second, 8)
    node = {"node": "node-4", **ksm}
    yield Sample("kube_node_info", node, second, 1)
    yield Sample("kube_node_status_capacity", node | {"resource": "cpu", "unit": "core"}, second, 64)


def openmetrics() -> str:
    """For ``promtool tsdb create-blocks-from openmetrics``."""
    families: dict[str, list[str]] = {}
    for sample in samples():
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
        line = f"{sample.name}{{{labels}}} {sample.value} {BEGIN + sample.second}"
        families.setdefault(sample.name, []).append(line)
    lines = [line for name, lines in families.items() for line in (f"# TYPE {name} unknown", *lines)]
    return "\n".join([*lines, "# EOF", ""])
