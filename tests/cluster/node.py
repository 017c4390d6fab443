"""One node: containerd and a real kubelet in a mount namespace of their own, and the plugins that offer its devices."""

import json
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import node_settings
from tests.cluster.api import Api, ApiError
from tests.cluster.control_plane import Place
from tests.cluster.processes import Processes, make_cgroup, pids_under
from tests.cluster.waiting import wait_until

KUBELET_ROOT = Path("/var/lib/kubelet")
"""Where the kubelet's own code looks for device plugins, whatever its settings say."""
PRIVATE_FOLDERS = (
    KUBELET_ROOT,
    Path("/var/lib/cni"),
    Path("/var/log/containers"),
    Path("/run/containerd"),
    Path("/run/netns"),
)
"""Fixed paths of kubelet, containerd and CNI. They have to exist; each node sees folders of its own there."""
KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What the kubelet would set for the whole machine. It is shown a file with the value instead, and sets nothing."""
DRA_DRIVER = "gpu.nvidia.com"


class Node:
    """A node, by its place from 0. Paths are the host's: what the node itself sees elsewhere lies under ``folder``."""

    def __init__(self, name: str, number: int, place: Place, processes: Processes, enter: tuple[str, ...]) -> None:
        self.name = name
        self.folder = place.folder / name
        self.address = place.network.node_address(number)
        self._number = number
        self._place = place
        self._processes = processes
        self._enter_network = enter

    @property
    def kubelet_root(self) -> Path:
        """``/var/lib/kubelet`` of this node."""
        return self._private(KUBELET_ROOT)

    @property
    def pod_resources_socket(self) -> Path:
        return self.kubelet_root / "pod-resources" / "kubelet.sock"

    @property
    def cgroup(self) -> str:
        """Path of the node's cgroup in every hierarchy; its pods are under ``kubepods`` in it."""
        return f"{self._place.network.name}/{self.name}"

    @property
    def enter(self) -> tuple[str, ...]:
        """The command that runs another one on this node: in its network and with its view of the files."""
        return (*self._enter_network, f"--mount=/proc/{self._processes.pid(self._part('files'))}/ns/mnt")

    def start_runtime(self) -> None:
        """Starts the node's own view of the files, and containerd in it."""
        for folder in map(self._private, PRIVATE_FOLDERS):
            folder.mkdir(parents=True)
        (self.folder / "cni").mkdir()
        make_cgroup(self.cgroup)
        bridge = f"pods{self._number}"
        self._in_network(f"ip link add {bridge} type bridge")
        self._in_network(f"ip addr add {self.address}/24 dev {bridge}")
        self._in_network(f"ip link set {bridge} up")
        self._start_view_of_files()
        pods = self._place.network.pods(self._number)
        self._write("cni/10-bridge.conflist", node_settings.pod_network(bridge, pods, self.folder))
        settings = self.folder / "containerd.toml"
        settings.write_text(node_settings.runtime(self.folder), encoding="ascii")
        self._start("containerd", "containerd", "--config", settings)

    def import_image(self, archive: Path) -> None:
        """Gives the node an OCI archive's image, under the name in it."""
        wait_until((self.folder / "containerd.sock").exists, 30, f"containerd of {self.name}")
        command = ("ctr", "--address", f"{self.folder}/containerd.sock", "--namespace", "k8s.io", "images", "import")
        subprocess.run([*self.enter, *command, archive], check=True, capture_output=True)

    def start_kubelet(self) -> None:
        """Starts the kubelet; after a stop it finds its pods again, since containerd went on."""
        (self.folder / "resolv.conf").touch()
        ca = self._place.ca
        settings = node_settings.kubelet(self.folder, self.address, 10260 + self._number, self.cgroup, ca)
        self._start(
            "kubelet",
            self._place.programs / "kubelet",
            f"--config={self._write('kubelet.json', settings)}",
            f"--kubeconfig={self._place.kubeconfig(f'kubelet-{self.name}')}",
            f"--root-dir={KUBELET_ROOT}",
            f"--node-ip={self.address}",
            f"--hostname-override={self.name}",
        )

    def stop_kubelet(self) -> None:
        """Pods go on; PodResources is away until :meth:`start_kubelet`."""
        self._processes.stop(self._part("kubelet"))

    def freeze_kubelet(self) -> None:
        """Its sockets still take connections, and nothing answers, until :meth:`thaw_kubelet`."""
        self._processes.freeze(self._part("kubelet"))

    def thaw_kubelet(self) -> None:
        self._processes.send(self._part("kubelet"), signal.SIGCONT)

    def start_device_plugin(self) -> None:
        """Starts the plugin that offers what :meth:`write_devices` says."""
        program = self._place.programs / "deviceplugin"
        self._start("deviceplugin", program, "-devices", self.folder / "devices.json")

    def stop_device_plugin(self) -> None:
        """The kubelet takes its devices for unhealthy from now on; pods keep theirs."""
        self._processes.stop(self._part("deviceplugin"))

    def write_devices(self, devices: Mapping[str, Iterable[str]], *, unhealthy: Iterable[str] = ()) -> None:
        """Says what the device plugin offers: resource name to device ids."""
        bad = frozenset(unhealthy)
        self._write(
            "devices.json",
            {name: {i: "Unhealthy" if i in bad else "Healthy" for i in ids} for name, ids in devices.items()},
        )

    def start_dra_driver(self) -> None:
        """Starts the driver for dynamic resource allocation that offers what :meth:`write_claimable` says."""
        self._start(
            "dradriver",
            self._place.programs / "dradriver",
            *("-driver", DRA_DRIVER, "-node", self.name, "-devices", self.folder / "claimable.json"),
            *("-kubeconfig", self._place.kubeconfig("admin")),
        )

    def write_claimable(self, devices: Mapping[str, Mapping[str, str | int | bool]]) -> None:
        """Says what the DRA driver publishes: device name to its attributes."""
        self._write("claimable.json", devices)

    def pids_of(self, pod_uid: str, container_id: str) -> list[int]:
        """Processes of one container, as this machine numbers them; ``container_id`` is 64 hex digits."""
        # a guaranteed pod's cgroup stands in kubepods itself, any other's in the folder of its class
        for folder in ("", "burstable/", "besteffort/"):
            pids = pids_under(f"{self.cgroup}/kubepods/{folder}pod{pod_uid}/{container_id}")
            if pids:
                return pids
        return []

    def is_ready(self, api: Api) -> bool:
        """What the API server knows; it takes some 20 s to notice that a kubelet went."""
        try:
            conditions = api.get(f"/api/v1/nodes/{self.name}")["status"].get("conditions", [])
        except ApiError:
            return False
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def allocatable(self, api: Api) -> dict[str, str]:
        """Resource name to the amount that pods may be given."""
        return dict(api.get(f"/api/v1/nodes/{self.name}")["status"].get("allocatable", {}))

    def _start_view_of_files(self) -> None:
        binds = [(self._private(folder), folder) for folder in PRIVATE_FOLDERS]
        for setting, value in KERNEL_SETTINGS.items():
            shown = self.folder / "kernel" / setting
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_text(f"{value}\n", encoding="ascii")
            binds.append((shown, Path("/proc/sys") / setting))
        # shared below, so that the kubelet's mounts for a pod reach the pod
        script = "\n".join(
            ["set -e", "mount --make-rshared /", *(f"mount --bind {own} {fixed}" for own, fixed in binds)]
        )
        command = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f"{script}\nexec sleep infinity")
        pid = self._processes.start(self._part("files"), [*self._enter_network, *command])
        wait_until(lambda: is_sleeping(pid), 60, f"the mounts of {self.name}")

    def _start(self, program: str, *command: str | Path) -> None:
        self._processes.start(self._part(program), [*self.enter, *command])

    def _in_network(self, command: str) -> None:
        subprocess.run([*self._enter_network, *command.split()], check=True)

    def _part(self, program: str) -> str:
        return f"{self.name}.{program}"

    def _private(self, fixed: Path) -> Path:
        # a short name: sockets lie in it, whose paths have 107 bytes
        return self.folder / fixed.relative_to("/").as_posix().replace("/", "-")

    def _write(self, name: str, value: Any) -> Path:
        """Whoever reads the file sees the old text or the new one, never a part."""
        path = self.folder / name
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(value), encoding="utf-8")
        return fresh.replace(path)


def is_sleeping(pid: int) -> bool:
    """Whether a process has come to the ``sleep`` that its script ends in."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == "sleep"
    except OSError:
        return False
