"""A real Kubernetes on this machine, for as long as a test session needs it."""

import contextlib
import functools
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cluster import build, image, machine
from tests.cluster.api import Api, ApiError
from tests.cluster.control_plane import ControlPlane, Place
from tests.cluster.errors import ClusterFailed
from tests.cluster.network import MAX_NODES, Network
from tests.cluster.node import PRIVATE_FOLDERS, Node, is_sleeping
from tests.cluster.processes import Processes
from tests.cluster.waiting import wait_until

PODS = "/api/v1/namespaces/default/pods"
NOT_FOUND = 404
AGENT_NAMESPACE = "wattledger"
AGENT_ACCOUNT = "agent"
AGENT_RULES: list[dict[str, list[str]]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
    {"apiGroups": ["resource.k8s.io"], "resources": ["resourceslices"], "verbs": ["get", "list", "watch"]},
]
"""All that the agent may do at the API server."""


class Cluster:
    """A cluster that stands. Make it with :meth:`up`."""

    def __init__(self, network: Network, programs: Path) -> None:
        self.network = network
        self.folder = machine.folder_of(network)
        self._place = Place(programs, self.folder, network)
        self._processes = Processes(network.name, self.folder / "log")
        self._control: ControlPlane | None = None
        self._nodes: dict[str, Node] = {}

    @classmethod
    def up(cls, nodes: Sequence[str] = ("node-a", "node-b"), *, stays: bool = False) -> Self:
        """Brings a cluster up; returns once its nodes are ready and pods can be made.

        Args:
            nodes: names; each gets its own kubelet, containerd and plugins, which offer nothing yet.
            stays: whether it outlives this process. Else whoever brings up the next one removes it, should it be left.

        Raises:
            ClusterUnavailable: the machine lacks something.
            ClusterFailed: something did not start; nothing of the cluster is left but what the message quotes.
        """
        if not 0 < len(nodes) <= MAX_NODES:
            raise ValueError(f"{len(nodes)} nodes: 1 to {MAX_NODES} are possible")
        machine.require_machine()
        programs = build.require_built()
        network = machine.claim(PRIVATE_FOLDERS, None if stays else machine.Owner.this_process())
        cluster = cls(network, programs)
        try:
            cluster._start(tuple(nodes))
        except BaseException:
            cluster.down()
            raise
        return cluster

    def down(self) -> None:
        """Ends and removes all that this cluster started and made, and nothing else."""
        machine.wipe(self.network)
        self._processes.reap()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def api_url(self) -> str:
        return self._place.api_url

    @property
    def ca(self) -> Path:
        """The certificate that the API server's is proven by."""
        return self._place.ca

    @property
    def admin(self) -> Api:
        """The API server as one who may do everything."""
        assert self._control is not None
        return self._control.admin

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    @property
    def enter_network(self) -> tuple[str, ...]:
        """The command that runs another one in the cluster's network namespace."""
        return ("nsenter", f"--net=/proc/{self._processes.pid('network')}/ns/net")

    @functools.cached_property
    def token(self) -> str:
        """A token of the service account that may do what an agent needs, and no more; good for an hour."""
        return self.new_token()

    def new_token(self, *, seconds: int = 3600) -> str:
        """A fresh token of the agent's account; the API server gives none for less than ten minutes."""
        path = f"/api/v1/namespaces/{AGENT_NAMESPACE}/serviceaccounts/{AGENT_ACCOUNT}/token"
        return str(self.admin.post(path, {"spec": {"expirationSeconds": seconds}})["status"]["token"])

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What ``kubectl`` prints, as administrator.

        Raises:
            ClusterFailed: it failed; the message is its own.
        """
        program = str(self._place.programs / "kubectl")
        command = [program, f"--kubeconfig={self._place.kubeconfig('admin')}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterFailed(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def offer(
        self, node: str, devices: Mapping[str, Sequence[str]], *, unhealthy: Sequence[str] = (), seconds: float = 30
    ) -> None:
        """Has a node's plugin offer these devices (resource name to ids); waits until pods can be given them."""
        self._nodes[node].write_devices(devices, unhealthy=unhealthy)
        amounts = {name: str(len(set(ids) - set(unhealthy))) for name, ids in devices.items()}
        self.wait_for_allocatable(node, amounts, seconds=seconds)

    def wait_for_allocatable(self, node: str, amounts: Mapping[str, str], *, seconds: float = 30) -> None:
        wait_until(
            lambda: amounts.items() <= self._nodes[node].allocatable(self.admin).items(),
            seconds,
            f"{node} to have {dict(amounts)} to give (see {self._processes.log(f'{node}.deviceplugin')})",
        )

    def wait_for_nodes(self, *, seconds: float = 60) -> None:
        """Returns once every node is ready."""

        def ready() -> bool:
            self._processes.require_alive()
            return all(node.is_ready(self.admin) for node in self._nodes.values())

        wait_until(ready, seconds, f"the nodes to be ready (see {self._processes.logs})", poll=0.2)

    def run_pod(self, manifest: Mapping[str, Any], *, seconds: float = 150) -> dict[str, Any]:
        """Makes a pod in the default namespace; returns it as the API server has it, once all its containers run.

        Raises:
            ClusterFailed: it does not run in time; the message has its status.
        """
        name = manifest["metadata"]["name"]
        self.admin.post(PODS, manifest)
        found: dict[str, Any] = {}

        def runs() -> bool:
            found.update(self.admin.get(f"{PODS}/{name}"))
            statuses = found["status"].get("containerStatuses", [])
            return bool(statuses) and all("running" in status["state"] for status in statuses)

        try:
            wait_until(runs, seconds, f"pod {name} to run")
        except ClusterFailed as error:
            raise ClusterFailed(f"{error}; its status: {found['status']}") from None
        return found

    def remove_pod(self, name: str, *, seconds: float = 30) -> None:
        """Deletes a pod of the default namespace and waits until it is gone; does nothing where it is gone already."""

        def gone() -> bool:
            try:
                self.admin.get(f"{PODS}/{name}")
            except ApiError as error:
                return error.code == NOT_FOUND
            return False

        with contextlib.suppress(ApiError):
            self.admin.delete(f"{PODS}/{name}")
        wait_until(gone, seconds, f"pod {name} to go")

    def _start(self, names: tuple[str, ...]) -> None:
        self._processes.logs.mkdir()
        namespace = self._processes.start("network", ["unshare", "--net", "sleep", "infinity"])
        wait_until(lambda: is_sleeping(namespace), 60, "the network namespace")
        machine.connect(self.network, namespace)
        self._control = ControlPlane(self._place, self._processes, self.enter_network, names)
        self._control.prepare()
        self._control.start_store_and_api()
        archive = self.folder / "image.tar"
        image.write_busybox(archive, machine.BUSYBOX)
        for number, name in enumerate(names):
            node = self._nodes[name] = Node(name, number, self._place, self._processes, self.enter_network)
            node.start_runtime()
        for node in self._nodes.values():
            node.import_image(archive)
        self._control.wait_for_api()
        self._control.start_controllers()
        for node in self._nodes.values():
            node.write_devices({})
            node.write_claimable({})
            node.start_kubelet()
            node.start_device_plugin()
        self._make_agent_account()
        self.wait_for_nodes()
        for node in self._nodes.values():
            node.start_dra_driver()  # its socket's folder is the kubelet's
        wait_until(self._pods_can_be_made, 30, "the namespace's default service account")

    def _pods_can_be_made(self) -> bool:
        try:
            return bool(self.admin.get("/api/v1/namespaces/default/serviceaccounts/default"))
        except ApiError:
            return False

    def _make_agent_account(self) -> None:
        named = {"metadata": {"name": AGENT_ACCOUNT}}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": AGENT_ACCOUNT}
        subject = {"kind": "ServiceAccount", "name": AGENT_ACCOUNT, "namespace": AGENT_NAMESPACE}
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        objects: list[tuple[str, dict[str, Any]]] = [
            ("/api/v1/namespaces", {"metadata": {"name": AGENT_NAMESPACE}}),
            (f"/api/v1/namespaces/{AGENT_NAMESPACE}/serviceaccounts", named),
            (f"{rbac}/clusterroles", named | {"rules": AGENT_RULES}),
            (f"{rbac}/clusterrolebindings", named | {"roleRef": role, "subjects": [subject]}),
        ]
        for path, body in objects:
            self.admin.post(path, body)
