"""The wiring of a node in Kubernetes: kubelet, API server, and what they tell of holders."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.daemon import NodeAgent
from agent.installation import HolderFacts
from agent.kube_holdings import KubeHoldings
from agent.poller import Poller
from agent.snapshot import CollectorRunner
from cli.kube_serving import KEPT_ANNOTATIONS, PodPages, work_group
from cli.kube_settings import KubernetesSettings
from collectors.clock import NS_PER_SECOND, Clock
from collectors.cloud_metadata import CloudIdentity
from collectors.device_ids import Accepted, DeviceMaps
from collectors.errors import SourceError, Unavailable, Unsupported
from collectors.holder import Holder
from collectors.kube_api import KubeApi
from collectors.kube_dra import DeviceKey, DraDevice, ResourceSlices, uuids
from collectors.kube_endpoint import KubeEndpoint, in_cluster
from collectors.kube_node import NodeFacts, read_node
from collectors.kube_owners import Dimension, dimensions_of, label_keys
from collectors.kube_pods import Kept, PodCache
from collectors.pod_resources import PodResources
from collectors.process_holders import ProcessHolders

_KUBELET_POLL_SECONDS = 1.0
_PODS_CHECK_SECONDS = 5.0
_SLICES_POLL_SECONDS = 5.0
_NODE_SECONDS = 300.0
_TARGETS_SECONDS = 5.0
_POD_PARTS = 3
_MOST_WORDS = 3
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class KubeNode:
    """A node's view of its cluster."""

    name: str
    api: KubeApi
    holdings: KubeHoldings
    pods: PodCache
    slices: ResourceSlices
    dimensions: tuple[Dimension, ...]
    node: NodeFacts | None = None
    """What the API server said of the node; ``None`` until it did."""
    _claims: Mapping[DeviceKey, str | None] = field(default_factory=dict[DeviceKey, str | None])
    _slices_error: SourceError | None = None
    _sought: frozenset[DeviceKey] = frozenset()
    """Claimed devices that the ResourceSlices did not tell when they were last listed."""

    def start(self, agent: NodeAgent, identify: Callable[[CloudIdentity | None], None], stop: threading.Event) -> None:
        """Follow the API server and ask the kubelet until ``stop`` is set; ``identify`` is told what the node is."""
        clock, runner = agent.parts.clock, agent.collectors
        self.holdings.maps = lambda: device_maps(agent)
        self.holdings.claims = lambda: self._claims
        self.pods.start(stop)
        Poller("kube_slices", self._read_slices, _SLICES_POLL_SECONDS, clock, runner).start(stop)
        Poller("kube_node", lambda: identify(self._identity()), _NODE_SECONDS, clock, runner).start(stop)
        Poller("kubelet", lambda: self._ask_kubelet(runner), _KUBELET_POLL_SECONDS, clock, runner).start(stop)
        Poller("kube_api", self._check_pods, _PODS_CHECK_SECONDS, clock, runner).start(stop)

    def facts(self, holder: Holder) -> HolderFacts | None:
        """Who a pod's container is; ``None`` for what is no pod or not known any more."""
        parts = holder.name.split("/")
        if holder.kind != "pod" or len(parts) != _POD_PARTS:
            return None
        pod = self.pods.by_name(parts[0], parts[1])
        if pod is None:
            return None
        return HolderFacts(
            workload=f"{pod.workload.kind}/{pod.workload.name}",
            pod_uid=pod.uid,
            dimensions=dimensions_of(self.dimensions, pod.labels, pod.namespace),
            work_group=work_group(pod),
            run=pod.run,
            requested_devices=self.holdings.given(holder),
        )

    def read_pages(self, agent: NodeAgent, pages: PodPages, stop: threading.Event) -> None:
        """Keep the serving pages to read in step with the node's pods until ``stop`` is set."""
        clock, runner = agent.parts.clock, agent.collectors
        Poller("serving_targets", pages.refresh, _TARGETS_SECONDS, clock, runner).start(stop)

    def unknown_ids(self) -> int | None:
        """How many device ids of the kubelet's answer nothing is booked for; ``None`` while no answer stands."""
        unknown = self.holdings.unknown_ids
        return None if unknown is None else len(unknown)

    def _ask_kubelet(self, runner: CollectorRunner) -> None:
        self.holdings.poll()
        unknown = self.holdings.unknown_ids or ()
        words = f"{len(unknown)} device ids are not understood: {_shortened(unknown)}" if unknown else ""
        if runner.remark("kubelet", words) and words:
            _log.warning("kubelet: %s", words)

    def _read_slices(self) -> None:
        untold = self.holdings.claimed() - self._claims.keys()
        try:
            devices = self.slices.read_if_due(hurry=not untold <= self._sought)
        except Unsupported:
            devices = dict[DeviceKey, DraDevice]()  # a cluster without dynamic resource allocation has no claims
        except SourceError as error:
            self._slices_error = error
            raise
        if devices is not None:
            self._claims, self._slices_error, self._sought = uuids(devices), None, untold
        if self._slices_error is not None:
            raise self._slices_error  # nobody asked again yet

    def _identity(self) -> CloudIdentity | None:
        self.node = read_node(self.api, self.name)
        return self.node.cloud_identity()

    def _check_pods(self) -> None:
        error = self.pods.health().error
        if error is not None:
            raise Unavailable(error)


def _shortened(unknown: Sequence[str]) -> str:
    more = [f"and {len(unknown) - _MOST_WORDS} more"] if len(unknown) > _MOST_WORDS else []
    return "; ".join([*unknown[:_MOST_WORDS], *more])


def device_maps(agent: NodeAgent) -> DeviceMaps:
    """The node's devices as the last sweep saw them."""
    facts = agent.parts.sampler.facts
    instances = {
        (uuid, part.mig.gpu_instance_id, part.mig.compute_instance_id): part.mig.uuid
        for uuid, view in agent.parts.accountant.views.items()
        for part in view.sweep.instances
        if part.mig is not None
    }
    return DeviceMaps({each.index: uuid for uuid, each in facts.items()}, instances)


def endpoint_of(settings: KubernetesSettings, environ: Mapping[str, str]) -> KubeEndpoint:
    """The API server that is configured, else that of the pod's own cluster.

    Raises:
        Misconfigured: there is none.
    """
    if settings.api_url:
        return KubeEndpoint(settings.api_url, settings.token_file, settings.ca_file)
    return in_cluster(environ)


def kube_node(
    settings: KubernetesSettings,
    environ: Mapping[str, str],
    clock: Clock,
    processes: ProcessHolders,
    node: str,
) -> KubeNode:
    """Build it; nothing is asked yet.

    Raises:
        Misconfigured: no API server is known.
    """
    dimensions = tuple(each.dimension() for each in settings.dimensions)
    api, name = KubeApi(endpoint_of(settings, environ)), settings.node or node
    pods = PodCache(api, name, clock, kept=Kept(labels=label_keys(dimensions), annotations=KEPT_ANNOTATIONS))
    kubelet = PodResources(
        clock,
        socket_path=settings.kubelet_socket,
        interval_ns=int(settings.kubelet_interval_seconds * NS_PER_SECOND),
    )
    holdings = KubeHoldings(
        clock,
        kubelet,
        pods,
        processes,
        maps=DeviceMaps,
        accepted=Accepted(settings.resources, settings.drivers),
        system_namespaces=frozenset(settings.system_namespaces),
    )
    return KubeNode(name, api, holdings, pods, ResourceSlices(api, name, clock), dimensions)
