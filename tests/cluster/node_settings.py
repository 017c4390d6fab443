"""What a node's containerd, CNI and kubelet are told."""

from pathlib import Path
from typing import Any

from tests.cluster import image

KUBELET_PORT = 10250


def runtime(folder: Path) -> str:
    """containerd's settings (version 1.6 and newer 1.x), all its state under the node's folder."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/containerd.sock.ttrpc"
[{cri}]
  sandbox_image = "{image.NAME}"
  disable_apparmor = true
  # without CAP_SYS_RESOURCE no score may be lowered, and runc ends with an EOF that says nothing
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [{cri}.containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def pod_network(bridge: str, pods: str, folder: Path) -> dict[str, Any]:
    """CNI's list of plugins: each pod on the node's bridge, no masquerading since nothing leads out."""
    addresses = {"type": "host-local", "dataDir": str(folder / "ipam"), "ranges": [[{"subnet": pods}]]}
    plugin = {"type": "bridge", "bridge": bridge, "isDefaultGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": bridge, "plugins": [plugin]}


def kubelet(folder: Path, address: str, health_port: int, cgroup: str, ca: Path) -> dict[str, Any]:
    """The kubelet's settings. It never evicts: the disk of a test machine may be as full as it likes."""
    runtime_socket = f"unix://{folder}/containerd.sock"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": KUBELET_PORT,
        "healthzPort": health_port,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(ca)}},
        "containerRuntimeEndpoint": runtime_socket,
        "imageServiceEndpoint": runtime_socket,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "0%"}
        | {f"{what}.{left}": "0%" for what in ("nodefs", "imagefs") for left in ("available", "inodesFree")},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "resolvConf": f"{folder}/resolv.conf",
        "podLogsDir": f"{folder}/pod-logs",
        "volumePluginDir": f"{folder}/volume-plugins",
        "nodeStatusUpdateFrequency": "2s",
        "maxPods": 110,
    }
