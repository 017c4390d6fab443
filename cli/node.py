"""The wiring of a node: the only place that builds its objects and starts its threads."""

import logging
import os
import platform
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import TYPE_CHECKING

import click

from agent.app import AgentApp
from agent.budget import CpuBudget, no_pages
from agent.daemon import HolderSource, HostReader, NodeAgent, Parts, UsageReader
from agent.holdings import ProcessHoldings
from agent.hour_notes import HourNotes
from agent.installation import Installation
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from agent.opening import open_books
from agent.poller import Poller
from agent.sampler import Sampler
from agent.store import StateStore
from cli.books_child import NodeBooks
from cli.config import Config
from cli.kube_settings import runs_in_kubernetes
from cli.node_note import node_note
from cli.node_options import NodeOptions, Simulation, data_dir
from cli.node_prices import NodePrices
from cli.process_memory import collect_rarely
from cli.serving_node import serving_node
from collectors.cgroup_usage import HolderUsageCollector
from collectors.clock import NS_PER_SECOND, Clock, SystemClock
from collectors.cloud_identity import identify
from collectors.cloud_metadata import CloudIdentity
from collectors.dcgm_page import DcgmPage, merge
from collectors.errors import Misconfigured, SourceError, Unavailable
from collectors.gpu_source import GpuSource
from collectors.host import HostCollector
from collectors.nvml import NvmlSource
from collectors.process_holders import SYSTEM_PROCESSES, ProcessHolders
from collectors.readings import DeviceSweep
from exporters.http_server import RunningServer, serve
from exporters.journal_push import JournalPush

if TYPE_CHECKING:
    from cli.kube_node import KubeNode

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Sources:
    """What is read: the machine, or a simulation of one."""

    clock: Clock
    gpu: GpuSource
    holders: HolderSource
    interval_ns: Callable[[int], int]
    host: HostReader | None = None
    usage: UsageReader | None = None
    dcgm: DcgmPage | None = None
    kube: "KubeNode | None" = None
    identity: CloudIdentity | None = None
    processes: ProcessHolders | None = None
    """Tells who listens on a port; ``None`` in a simulation."""


@dataclass(slots=True)
class Node:
    """A node that runs: the agent's thread and the server."""

    agent: NodeAgent
    app: AgentApp
    server: RunningServer
    stop: threading.Event
    thread: threading.Thread

    def end(self, before_closing: Callable[[], None] = lambda: None) -> None:
        """Stop sweeping, save, let others read the last of it, stop serving."""
        self.stop.set()
        self.thread.join()
        before_closing()
        self.server.close()


def run_node(options: NodeOptions) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status.

    Raises:
        Misconfigured: a setting cannot be followed; the message is for the user.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # before anybody can see the page and end this
        signal.signal(number, _setter(ended))
    node = start_node(options)
    books = NodeBooks.beside(node.app, node.server, options) if options.books else None
    collect_rarely()
    while not ended.wait(3600):
        pass
    node.end(lambda: _hand_over(node, options, books))
    return 0


def _hand_over(node: Node, options: NodeOptions, books: NodeBooks | None) -> None:
    """Let those who keep books have what was read last."""
    settings = options.config.agent
    if settings.push_url is not None:
        to = JournalPush(
            settings.push_url, settings.push_token_file, settings.push_ca_file, settings.push_timeout_seconds
        )
        to.push(node.app.open_hours())
    if books is not None:
        books.end()


def start_node(options: NodeOptions) -> Node:
    """Build and start everything; see :func:`run_node`."""
    config = options.config
    source = None if options.simulation else NvmlSource(SystemClock())
    simulation = options.simulation
    if source is not None and options.simulate_without_driver:
        reason = _missing_driver(source)
        if reason is not None:
            click.echo(f"{reason}\nSimulating a machine instead; nothing shown is measured.")
            source, simulation = None, Simulation()
    folder = data_dir(config, simulated=simulation is not None)
    name = _node_name(config)
    source_name = "simulated" if simulation else "nvml"
    store = StateStore(folder, name, source_name, series_cap=config.agent.series_cap)
    sources = _measured(config, source) if source is not None else _simulated(config, simulation or Simulation(), store)
    return _start(config, store, sources, name)


def _start(config: Config, store: StateStore, sources: _Sources, name: str) -> Node:
    settings = config.agent
    sampler = Sampler(sources.gpu, sources.clock, settings.call_timeout_seconds)
    prices = NodePrices(
        config.prices,
        lambda: sorted(sampler.facts.values(), key=lambda facts: (facts.pci_bus_id or "", facts.uuid)),
        sources.identity,
    )
    accountant = open_books(store, sources.clock, settings, prices.noted)
    simulated = sources.gpu.name == "simulated"
    where = _installation(config, sources.kube, name)
    serving = serving_node(config, sources.clock, accountant, where, sources.processes)
    agent = NodeAgent(
        Parts(
            settings=settings,
            clock=sources.clock,
            sampler=sampler,
            holders=sources.holders,
            store=store,
            accountant=accountant,
            budget=CpuBudget(
                None if simulated else settings.cpu_budget_ratio,
                settings.cpu_budget_page_ratio,
                no_pages if serving is None else serving.pages,
            ),
            interval_ns=sources.interval_ns,
            host=sources.host,
            usage=sources.usage,
            fill=None if sources.dcgm is None else _filler(sources.dcgm),
            serving=None if serving is None else serving.serving,
            notes=HourNotes(where.facts, lambda: node_note(config, name, sources.identity, sources.kube)),
        )
    )
    app = AgentApp(agent, NodeFamilies(agent, prices, where, config.metrics), NodeStates(agent, prices, where), name)
    server = serve(config.server, app)
    what = "SIMULATED, nothing is measured" if simulated else "measuring"
    _log.info("wattledger %s on %s: %s, books in %s", _version(), platform.node(), what, store.folder)
    click.echo(f"Page: {server.url}/   metrics: {server.url}/metrics")
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,), name="sweep")
    if sources.kube is not None:
        sources.kube.start(agent, prices.identify, stop)
    thread.start()
    if serving is not None:
        serving.start(stop, sources.clock)
        if sources.kube is not None:
            from cli.kube_serving import PodPages  # noqa: PLC0415  (a bare host has no use for it)

            pages = PodPages(sources.kube.pods, serving.poller, config.serving, serving.held)
            sources.kube.read_pages(agent, pages, stop)
    if sources.identity is not None:
        from cli.spot_watch import watch_notices  # noqa: PLC0415  (a host in no cloud has no use for it)

        watch_notices(agent, sources.identity.provider, stop)
    if sources.dcgm is not None:
        Poller("dcgm", sources.dcgm.read, config.dcgm.interval_seconds, sources.clock, agent.collectors).start(stop)
    return Node(agent, app, server, stop, thread)


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: event.set()


def _filler(page: DcgmPage) -> Callable[[DeviceSweep], DeviceSweep]:
    return lambda sweep: merge(sweep, page.current())


def _missing_driver(source: NvmlSource) -> str | None:
    try:
        source.discover()
    except Unavailable as error:
        return str(error)
    return None


def _measured(config: Config, source: NvmlSource) -> _Sources:
    clock = SystemClock()
    proc, sys = config.host.proc, config.host.sys
    resolver = ProcessHolders(
        proc,
        system_processes=SYSTEM_PROCESSES | frozenset(config.holders.system_processes),
        passwd=config.holders.passwd,
    )
    kube = _kube(config, clock, resolver)
    return _Sources(
        clock=clock,
        gpu=source,
        holders=ProcessHoldings(resolver) if kube is None else kube.holdings,
        kube=kube,
        interval_ns=lambda wished: wished,
        host=HostCollector(clock, proc=proc, sys=sys),
        usage=HolderUsageCollector(resolver.identity_of, proc=proc, sys=sys),
        dcgm=_dcgm(config, clock),
        identity=_identity(config),
        processes=resolver,
    )


def _simulated(config: Config, simulation: Simulation, store: StateStore) -> _Sources:
    from collectors.scenario import load_scenario  # noqa: PLC0415  (costs memory that a measured node has no use for)
    from collectors.simulated import SimulatedSource  # noqa: PLC0415
    from collectors.simulated_clock import SimulatedClock, start_for  # noqa: PLC0415
    from collectors.simulated_host import SimulatedHolderUsage, SimulatedHost  # noqa: PLC0415

    real = SystemClock()
    saved = store.books.monotonic_ns if store.books is not None else None
    clock = SimulatedClock(real, start_for(simulation.speed, real.wall_ns(), saved), simulation.speed)
    wished = int(config.agent.interval_seconds * NS_PER_SECOND)
    scenario = load_scenario(simulation.scenario, seed=simulation.seed)
    source = SimulatedSource(scenario, clock, lambda: clock.sweep_interval_ns(wished))
    return _Sources(
        clock=clock,
        gpu=source,
        holders=ProcessHoldings(source),
        interval_ns=clock.sweep_interval_ns,
        host=SimulatedHost(scenario, source, lambda: clock.sweep_interval_ns(wished)),
        usage=SimulatedHolderUsage(source),
    )


def _kube(config: Config, clock: Clock, processes: ProcessHolders) -> "KubeNode | None":
    if not runs_in_kubernetes(config.kubernetes, os.environ):
        return None
    from cli.kube_node import kube_node  # noqa: PLC0415  (costs memory that a bare host has no use for)

    return kube_node(config.kubernetes, os.environ, clock, processes, _node_name(config))


def _installation(config: Config, kube: "KubeNode | None", name: str) -> Installation:
    if kube is None:
        return Installation(name, _version())
    known = ("team", "environment")
    extra = tuple(each.name for each in config.kubernetes.dimensions if each.name not in known)
    return Installation(
        name, _version(), kubernetes=True, facts=kube.facts, unknown_ids=kube.unknown_ids, dimensions=extra
    )


def _node_name(config: Config) -> str:
    return config.agent.node_name or config.kubernetes.node or socket.gethostname()


def _dcgm(config: Config, clock: Clock) -> DcgmPage | None:
    if config.dcgm.url is None:
        return None
    return DcgmPage(config.dcgm.url, clock, stale_after_seconds=config.dcgm.stale_after_seconds)


def _identity(config: Config) -> CloudIdentity | None:
    if config.prices.cloud_identity == "off":
        return None
    try:
        return identify(config.host.sys)
    except SourceError as error:
        _log.warning("cloud identity: %s", error)
        return None


def _version() -> str:
    try:
        return version("wattledger")
    except PackageNotFoundError as error:
        raise Misconfigured("wattledger is not installed: run it from its wheel or `make install`") from error
