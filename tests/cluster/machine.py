"""What a cluster takes of the machine, and gives back: a slot, a link, a cgroup, folders. Knows no Kubernetes.

Everything else of a cluster (namespaces, mounts, addresses, routes) lives as long as its processes do and is gone with
them, so that a cluster whose owner was killed can be removed by anybody.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.network import SLOTS, Network
from tests.cluster.processes import kill_under, remove_cgroup, tracking_hierarchy
from tests.cluster.waiting import wait_until

BASE = Path("/var/tmp")  # not TMPDIR: whoever cleans up must find it, and paths of sockets must be short
MADE = BASE / "wattledger-cluster.made"
"""Folders that some cluster had to make; the last one to go removes them."""
BUSYBOX = Path("/bin/busybox")
DYNAMIC_LOADER = b"/ld-linux"
TOOLS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    str(BUSYBOX): "busybox-static",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
}
"""Programs of the distribution, and Debian's package of each."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that a cluster must not outlive."""

    pid: int
    start_time: str

    @classmethod
    def of(cls, pid: int) -> "Owner":
        return cls(pid, _start_time(pid) or "")

    @classmethod
    def this_process(cls) -> "Owner":
        return cls.of(os.getpid())

    def is_alive(self) -> bool:
        return _start_time(self.pid) == self.start_time


def require_machine() -> None:
    """Raises:
    ClusterUnavailable: not root, or a program is missing.
    """
    if os.geteuid() != 0:
        raise ClusterUnavailable("a test cluster needs root (namespaces, cgroups): run the tests as root")
    if missing := _missing_packages():
        raise ClusterUnavailable(f"a test cluster needs programs: apt-get install {' '.join(missing)}")


def _missing_packages() -> list[str]:
    """Debian's packages of the programs that are not here."""
    missing = {package for program, package in TOOLS.items() if shutil.which(program) is None}
    if "busybox-static" not in missing and DYNAMIC_LOADER in BUSYBOX.read_bytes():
        missing.add("busybox-static")  # the package busybox puts another one there, which needs libraries
    return sorted(missing)


def folder_of(network: Network) -> Path:
    """Where a cluster keeps its state, logs and sockets."""
    return BASE / f"{network.name}-cluster"


def claim(folders: Iterable[Path], owner: Owner | None) -> Network:
    """Takes a free slot, for as long as ``owner`` lives or until :func:`wipe`. Removes what dead owners left behind.

    Args:
        folders: have to exist on the machine; those that do not are made, and removed again with the cluster.

    Raises:
        ClusterFailed: all slots are taken.
    """
    with _machine_lock():
        _wipe_those(lambda former: former is not None and not former.is_alive())
        for network in map(Network, range(SLOTS)):
            if not _is_taken(network):
                _make_missing(folders)
                (tracking_hierarchy() / network.name).mkdir()
                folder_of(network).mkdir(mode=0o755)
                record = None if owner is None else [owner.pid, owner.start_time]
                _owner_path(network).write_text(json.dumps(record), encoding="utf-8")
                return network
    raise ClusterFailed(f"all {SLOTS} slots for test clusters are taken: python3 -m tests.cluster down")


def standing() -> list[Network]:
    """Every cluster that there is anything of."""
    return [network for network in map(Network, range(SLOTS)) if _is_taken(network)]


def wipe_all(*, even_owned: bool) -> None:
    """Removes every cluster, but those of living owners only when told to."""
    with _machine_lock():
        _wipe_those(lambda owner: even_owned or owner is None or not owner.is_alive())


def wipe(network: Network) -> None:
    """Ends a cluster's processes and removes everything that it had. Does nothing where nothing is.

    Raises:
        ClusterFailed: something does not go; it is named.
    """
    with _machine_lock():  # while it goes, nobody may take it for one left behind
        _wipe(network)


def connect(network: Network, namespace_pid: int) -> None:
    """Links the cluster's network namespace with this machine: either sees the other's addresses, and no further."""
    inside = ("nsenter", f"--net=/proc/{namespace_pid}/ns/net")
    for command in (
        f"ip link add {network.name} type veth peer name host netns {namespace_pid}",
        f"ip addr add {network.host_address}/30 dev {network.name}",
        f"ip link set {network.name} up",
    ):
        subprocess.run(command.split(), check=True)
    for command in (
        "ip link set lo up",
        f"ip addr add {network.api_address}/30 dev host",
        "ip link set host up",
        # an address of a service needs some route before kube-proxy's rules turn it into a pod's
        f"ip route add {network.services} via {network.host_address}",
    ):
        subprocess.run([*inside, *command.split()], check=True)
    subprocess.run([*inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=True)
    subprocess.run(f"ip route add {network.everything} via {network.api_address}".split(), check=True)


@contextlib.contextmanager
def _machine_lock() -> Generator[None]:
    with (BASE / "wattledger-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _wipe_those(condemned: Callable[[Owner | None], bool]) -> None:
    for network in standing():
        if condemned(_owner(network)):
            _wipe(network)


def _wipe(network: Network) -> None:
    kill_under(network.name)
    wait_until(lambda: not _link_exists(network), 60, f"the link {network.name} to go with its namespace")
    remove_cgroup(network.name)
    folder = folder_of(network)
    if folder.exists():
        _refuse_mounts(folder)
        shutil.rmtree(folder)
    if not standing() and MADE.exists():
        for line in MADE.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(OSError):  # somebody else uses it by now
                Path(line).rmdir()
        MADE.unlink()


def _is_taken(network: Network) -> bool:
    return (tracking_hierarchy() / network.name).exists() or folder_of(network).exists()


def _owner_path(network: Network) -> Path:
    return folder_of(network) / "owner.json"


def _owner(network: Network) -> Owner | None:
    path = _owner_path(network)
    if not path.exists():
        return Owner(0, "")  # it is written under the lock: who did not come to it is dead
    record = json.loads(path.read_text(encoding="utf-8"))
    return None if record is None else Owner(*record)


def _make_missing(folders: Iterable[Path]) -> None:
    with MADE.open("a", encoding="utf-8") as made:
        for folder in folders:
            if not folder.exists():
                folder.mkdir(parents=True)
                made.write(f"{folder}\n")


def _link_exists(network: Network) -> bool:
    return Path("/sys/class/net", network.name).exists()


def _refuse_mounts(folder: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    below = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{folder}/")]
    if below:
        raise ClusterFailed(f"{folder} is not removed, since something is mounted in it: umount {' '.join(below)}")


def _start_time(pid: int) -> str | None:
    """Ticks since boot at which a process began, which with its pid names it for good; ``None`` for none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # dead, though nobody has taken note of it
