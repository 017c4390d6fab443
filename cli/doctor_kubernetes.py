"""Checks of a node in Kubernetes: whether kubelet and API server tell whose devices these are.

It asks as the agent does, with the agent's own readers, so that what is good here is good there.
"""

import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from agent.kube_holdings import KubeHoldings, pod_holder
from cli.doctor_finding import Finding, Machine
from cli.doctor_serving import check_pod_pages
from cli.kube_node import endpoint_of
from cli.kube_serving import KEPT_ANNOTATIONS
from cli.kube_settings import runs_in_kubernetes
from collectors.device_ids import Accepted, DeviceMaps, allocations
from collectors.errors import Misconfigured, SourceError, Unsupported
from collectors.holder import Holder
from collectors.kube_api import KubeApi, Resource
from collectors.kube_dra import DeviceKey, ResourceSlices, uuids
from collectors.kube_errors import Forbidden, Unauthorized
from collectors.kube_node import NodeFacts, read_node
from collectors.kube_pod_facts import DROPPED, Kept, pod_facts
from collectors.kube_pods import PodCache
from collectors.pod_resources import PodResources
from collectors.pod_resources_messages import DeviceIds, PodDevices
from collectors.process_holders import SYSTEM_PROCESSES, ProcessHolders
from collectors.readings import DeviceSweep, GpuReading

_API_SECONDS = 5.0
_WATCH_SECONDS = 1
_MOST_IDS = 5
_WITHOUT_KUBELET = "until it answers, what no process explains is unattributed"
_GET_NODES = '{apiGroups: [""], resources: [nodes], verbs: [get]}'
_READ_PODS = '{apiGroups: [""], resources: [pods], verbs: [list, watch]}'
_LIST_SLICES = "{apiGroups: [resource.k8s.io], resources: [resourceslices], verbs: [list]}"


@dataclass(slots=True)
class _Cluster:
    """What was found out so far."""

    machine: Machine
    node: str
    pods: PodCache | None = None
    """``None``: the API server did not list them."""
    claims: Mapping[DeviceKey, str | None] = field(default_factory=dict[DeviceKey, str | None])
    given: tuple[PodDevices, ...] | None = None
    """``None``: the kubelet did not answer."""
    offered: tuple[DeviceIds, ...] = ()
    working: frozenset[Holder] = frozenset()
    """Those whose processes are on a GPU."""


def check_kubernetes(machine: Machine) -> Iterator[Finding]:
    """Kubelet, API server, device ids, the pods behind GPU processes, their pages; nothing outside Kubernetes."""
    settings = machine.config.kubernetes
    if not runs_in_kubernetes(settings, machine.environ):
        return
    cluster = _Cluster(machine, settings.node or machine.config.agent.node_name or socket.gethostname())
    yield from _api(cluster)
    yield from _kubelet(cluster)
    if cluster.given is not None:
        yield from _ids(cluster, cluster.given)
    if cluster.pods is not None:
        yield from _processes(cluster, cluster.pods)
        yield from check_pod_pages(machine, cluster.pods, {*cluster.working, *_given(cluster)})


def _api(cluster: _Cluster) -> Iterator[Finding]:
    machine = cluster.machine
    try:
        endpoint = endpoint_of(machine.config.kubernetes, machine.environ)
    except Misconfigured as error:
        remedy = "run in a pod with a service account, or set kubernetes.api_url, token_file and ca_file"
        yield Finding("api", "fail", str(error), remedy)
        return
    api = KubeApi(endpoint, timeout_seconds=_API_SECONDS)
    try:
        found = _node(api, cluster.node)
    except Unauthorized as error:
        yield Finding("api", "fail", str(error), "give a token that is valid: see the service account, or token_file")
        return
    except Forbidden as error:
        yield _reached(endpoint.base_url)
        yield Finding("node", "fail", str(error), _rule(_GET_NODES))
    except SourceError as error:
        remedy = "see address, CA and network policy between the agent's pod and the API server"
        yield Finding("api", "fail", str(error), remedy)
        return
    else:
        yield _reached(endpoint.base_url)
        yield _known(cluster.node, found)
    yield _pods(cluster, api)
    yield _slices(cluster, api)


def _reached(api_url: str) -> Finding:
    return Finding("api", "ok", f"{api_url} answers and accepts the token")


def _node(api: KubeApi, name: str) -> NodeFacts | None:
    try:
        return read_node(api, name)
    except Unsupported:
        return None


def _known(name: str, node: NodeFacts | None) -> Finding:
    if node is None:
        remedy = (
            "set kubernetes.node to the node's name; in a pod by the environment: "
            "WATTLEDGER_KUBERNETES__NODE from fieldRef spec.nodeName"
        )
        return Finding("node", "fail", f"the cluster has no node {name!r}: no pod would be found on it", remedy)
    told = [node.instance_type, node.zone or node.region, node.capacity_type]
    facts = ", ".join(each for each in told if each) or "its labels tell neither instance type nor place"
    return Finding("node", "ok", f"the cluster has node {name}: {facts}")


def _pods(cluster: _Cluster, api: KubeApi) -> Finding:
    resource = Resource("/api/v1/pods", f"spec.nodeName={cluster.node}", DROPPED)
    keep = partial(pod_facts, kept=Kept(annotations=KEPT_ANNOTATIONS))
    try:
        listing = api.list(resource, keep, "0")
        api.watch(resource, keep, listing.resource_version, seconds=_WATCH_SECONDS).close()
    except Forbidden as error:
        return Finding("pods", "fail", str(error), _rule(_READ_PODS))
    except SourceError as error:
        return Finding("pods", "fail", str(error), "see the API server's log for this request")
    cluster.pods = PodCache(api, cluster.node, cluster.machine.clock)
    cluster.pods.replace(listing.items)
    return Finding("pods", "ok", f"{len(listing.items)} pods of this node can be listed and watched")


def _slices(cluster: _Cluster, api: KubeApi) -> Finding:
    try:
        devices = ResourceSlices(api, cluster.node, cluster.machine.clock).read_if_due() or {}
    except Unsupported:
        return Finding("claims", "ok", "the cluster has no dynamic resource allocation")
    except Forbidden as error:
        return Finding("claims", "warn", str(error), _rule(_LIST_SLICES))
    except SourceError as error:
        return Finding("claims", "warn", str(error), "until it answers, devices given by claims are unattributed")
    cluster.claims = uuids(devices)
    named = sum(uuid is not None for uuid in cluster.claims.values())
    return Finding("claims", "ok", f"ResourceSlices of this node tell of {len(devices)} devices, {named} with a UUID")


def _kubelet(cluster: _Cluster) -> Iterator[Finding]:
    path = cluster.machine.config.kubernetes.kubelet_socket
    kubelet = PodResources(cluster.machine.clock, socket_path=path)
    if not path.exists():
        what = f"kubelet socket {path} is not there"
        remedy = f"mount the node's {path.parent} (the directory: the socket is made anew by each start of the kubelet)"
        yield Finding("kubelet", "fail", what, f"{remedy}; {_WITHOUT_KUBELET}")
        return
    try:
        given = cluster.given = kubelet.read_if_due() or ()
    except Unsupported as error:
        yield Finding("kubelet", "fail", str(error), "this kubelet lacks PodResources v1: Kubernetes 1.20 or newer")
        return
    except SourceError as error:
        remedy = f"see `journalctl -u kubelet` and kubernetes.kubelet_socket; {_WITHOUT_KUBELET}"
        yield Finding("kubelet", "fail", str(error), remedy)
        return
    try:
        cluster.offered = kubelet.read_allocatable()
    except SourceError as error:
        remedy = "Kubernetes 1.23 and newer have it; without it, replicas that nobody holds are not known"
        yield Finding("kubelet", "warn", str(error), remedy)
    accepted = _accepted(cluster)
    holding = [pod for pod in given if any(_gpus(container.devices, accepted) for container in pod.containers)]
    ids = sum(_gpus(container.devices, accepted) for pod in given for container in pod.containers)
    claimed = sum(bool(container.claims) for pod in given for container in pod.containers)
    told = f"{len(given)} pods, {len(holding)} with {ids} GPU devices of {_gpus(cluster.offered, accepted)} offered"
    yield Finding("kubelet", "ok", f"{path} answers: {told}, {claimed} containers with claims")


def _gpus(devices: Collection[DeviceIds], accepted: Accepted) -> int:
    return sum(len(each.ids) for each in devices if accepted.resource(each.resource_name))


def _given(cluster: _Cluster) -> Iterator[Holder]:
    """Those to whom the kubelet gave a GPU, by whatever id."""
    accepted = _accepted(cluster)
    for pod in cluster.given or ():
        for container in pod.containers:
            claimed = any(device.driver in accepted.drivers for claim in container.claims for device in claim.devices)
            if claimed or _gpus(container.devices, accepted):
                yield pod_holder(pod.namespace, pod.pod, container.name)


def _ids(cluster: _Cluster, given: tuple[PodDevices, ...]) -> Iterator[Finding]:
    unknown = allocations(given, cluster.claims, _maps(cluster.machine), _accepted(cluster)).unknown
    for words in unknown[:_MOST_IDS]:
        yield Finding("ids", "warn", words, _remedy_of_id(words))
    if len(unknown) > _MOST_IDS:
        yield Finding("ids", "warn", f"and {len(unknown) - _MOST_IDS} more ids that are not understood", "as above")
    if not unknown:
        yield Finding("ids", "ok", "every id of a GPU that the kubelet names is understood")


def _remedy_of_id(words: str) -> str:
    if "not among those configured" in words:
        return "if these are GPUs, add the resource's name to kubernetes.resources"
    if "ResourceSlices" in words:
        return "see the claims line above, and that the DRA driver publishes the attribute uuid"
    if "the same id is given" in words:
        return "restart the device plugin, then the younger of the pods"
    return "nothing is booked by this id: use a device plugin whose ids hold UUIDs (deviceIDStrategy: uuid)"


def _processes(cluster: _Cluster, pods: PodCache) -> Iterator[Finding]:
    machine = cluster.machine
    pids = {process.pid for reading in _readings(machine) for process in reading.processes}
    if not pids:
        yield Finding("processes", "ok", "no process is on a GPU now, so there is none to find the pod of")
        return
    known = SYSTEM_PROCESSES | frozenset(machine.config.holders.system_processes)
    resolver = ProcessHolders(machine.config.host.proc, passwd=machine.config.holders.passwd, system_processes=known)
    kubelet = _Told(cluster.given, cluster.offered)
    holdings = KubeHoldings(machine.clock, kubelet, pods, resolver, maps=partial(_maps, machine))
    found = holdings.holdings(pids).by_pid
    cluster.working = frozenset(found.values())
    inside = sum(holder.kind == "pod" for holder in found.values())
    lost = sorted(pids - found.keys())
    if not lost:
        told = f"{inside} of {len(pids)} GPU processes are of pods of this node, {len(found) - inside} of none"
        yield Finding("processes", "ok", told)
        return
    unread = [pid for pid in lost if resolver.identity_of(pid) is None]
    strange = [pid for pid in lost if pid not in unread]
    if unread:
        what = f"{len(unread)} of {len(pids)} GPU processes cannot be read under {machine.config.host.proc}"
        yield Finding("processes", "fail", what, "set hostPID: true, or mount the host's /proc and set host.proc")
    if strange:
        what = f"{len(strange)} of {len(pids)} GPU processes are of pods that the API server does not name on this node"
        yield Finding("processes", "fail", f"{what} (PID {strange[0]})", "see that kubernetes.node is this node's name")


@dataclass(frozen=True, slots=True)
class _Told:
    """A kubelet that has answered."""

    given: tuple[PodDevices, ...] | None
    offered: tuple[DeviceIds, ...]

    def read_if_due(self, *, hurry: bool = False) -> tuple[PodDevices, ...] | None:  # noqa: ARG002  (the protocol's)
        return self.given

    def read_allocatable(self) -> tuple[DeviceIds, ...]:
        return self.offered


def _accepted(cluster: _Cluster) -> Accepted:
    settings = cluster.machine.config.kubernetes
    return Accepted(settings.resources, settings.drivers)


def _readings(machine: Machine) -> Iterator[GpuReading]:
    for sweep in machine.sweeps.values():
        if isinstance(sweep, DeviceSweep):
            yield from (sweep.device, *sweep.instances)


def _maps(machine: Machine) -> DeviceMaps:
    """The devices as they were just read, for ids without a UUID."""
    instances = {
        (reading.device.uuid, reading.mig.gpu_instance_id, reading.mig.compute_instance_id): reading.mig.uuid
        for reading in _readings(machine)
        if reading.mig is not None
    }
    return DeviceMaps({device.index: device.uuid for device in machine.devices}, instances)


def _rule(rule: str) -> str:
    return f"add to the rules of the agent's ClusterRole: {rule}"
