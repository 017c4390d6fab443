"""The parts of a controller that keep the books: store, keepers, agents."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from cli.config import Config
from cli.controller_run import ControllerOptions
from cli.kube_node import endpoint_of
from cli.kube_settings import runs_in_kubernetes
from collectors.cost_explorer import RequestBudget
from collectors.errors import Misconfigured
from collectors.journal_pull import AgentAddress, JournalPull
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import own_namespace
from collectors.price_list import load
from controller.agents import KnownAgents, PodAgents, PodSearch
from controller.bills import Bills
from controller.bookkeeper import Bookkeeper
from controller.gather import Gather
from controller.marks import LedgerMarks
from controller.present import Present
from controller.scaling.activity import ActivityBook
from controller.scaling.policies import most_minutes_of
from controller.settings import AgentsSettings
from ledger.agent_hours import MEASURED, SIMULATED
from ledger.bill_intake import BillIntake
from ledger.bill_sources import sources_of
from ledger.carbon import Carbon
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing, CostRules
from ledger.keeper import Keeper
from ledger.ledger_settings import ledger_root, storage_options
from ledger.node_split import NodeSplit
from ledger.price_keeper import PriceKeeper
from ledger.price_table import LedgerPrices
from ledger.store import Store
from ledger.store_disk import is_local
from ledger.tables import NODE_HOURS

_log = logging.getLogger(__name__)
_REQUESTS = "cost-explorer.json"
_SCRATCH = "scratch"
"""What is left in it is removed, so it bears no name that somebody would deliver bills under."""


@dataclass(frozen=True, slots=True)
class Books:
    """What keeps the books of one ledger."""

    root: str
    store: Store
    """For those who write: bears the epoch once this controller leads."""
    reader: Store
    """For those who only read."""
    bookkeeper: Bookkeeper
    gather: Gather
    activity: ActivityBook | None
    """What agents tell of GPUs at work, where schedules need it."""
    simulated: bool
    cost_explorer: RequestBudget | None
    """What may be asked of it, and was; ``None``: it is not asked."""
    bills: Bills | None
    """Takes bills in; ``None``: there are none of simulated hours."""
    prices: PriceKeeper | None
    """Reads the cloud's prices; ``None``: nobody does."""

    def check_kind(self) -> None:
        """Raise what speaks against this ledger, as :func:`refuse_other_kind` does."""
        refuse_other_kind(self.reader, self.root, simulated=self.simulated)


def build_books(options: ControllerOptions, folder: Path, present: Present) -> Books:
    """Build it; nothing is read or written yet.

    Raises:
        Misconfigured: a setting cannot be followed.
    """
    config = options.config
    root = ledger_root(config.ledger, str(folder))
    store, reader = (_store(config, root, os.environ) for _ in range(2))
    rules = CostRules(
        LedgerPrices(config.prices, load(), config.prices.live, options.own_node or ""),
        Carbon.read(config.carbon),
        NodeSplit(config.prices.node_split),
    )
    keeper = Keeper(store, Costing(store, rules), cluster=config.agent.cluster_name, simulated=options.simulated)
    bookkeeper = Bookkeeper(store, keeper, CostKeeper(store, rules))
    agents = config.controller.agents
    pull = journal_pull(agents, agents.timeout_seconds)
    known = KnownAgents(tuple(AgentAddress(url) for url in agents.urls), _found(config, os.environ))
    activity = ActivityBook(most_minutes_of(config.schedule)) if config.schedule.enabled else None
    marks = LedgerMarks(store)
    gather = Gather(known, pull, bookkeeper, marks, present, simulated=options.simulated, hearer=activity)
    return Books(
        root=root,
        store=store,
        reader=reader,
        bookkeeper=bookkeeper,
        gather=gather,
        activity=activity,
        simulated=options.simulated,
        cost_explorer=_requests(options, folder, present),
        bills=_bills(options, bookkeeper, folder, present),
        prices=_prices(options, store),
    )


def journal_pull(agents: AgentsSettings, seconds: float) -> JournalPull:
    """A client of the agents, with a time limit for each."""
    return JournalPull(token_file=agents.token_file, ca_file=agents.ca_file, seconds=seconds, at_once=agents.at_once)


def _requests(options: ControllerOptions, folder: Path, present: Present) -> RequestBudget | None:
    explorer = options.config.bills.cost_explorer
    if options.simulated or not explorer.enabled:
        return None
    return RequestBudget(folder / _REQUESTS, explorer.max_requests_per_day, explorer.usd_per_request, present.now)


def _bills(options: ControllerOptions, bookkeeper: Bookkeeper, folder: Path, present: Present) -> Bills | None:
    settings, store = options.config.bills, bookkeeper.store
    if options.simulated:
        if settings.sources or settings.cost_explorer.enabled:
            _log.warning("no bill is read: the hours are simulated, and nobody bills them")
        return None
    intake = BillIntake(store, folder / _SCRATCH, present.now, timedelta(days=settings.closed_after_days))
    return Bills(store, intake, sources_of(settings), load(), bookkeeper, present.now)


def _prices(options: ControllerOptions, store: Store) -> PriceKeeper | None:
    live = options.config.prices.live
    return None if options.simulated or live.aws == "off" else PriceKeeper(store, live)


def _store(config: Config, root: str, environ: Mapping[str, str]) -> Store:
    options = {} if is_local(root) else storage_options(environ)
    return Store(root, options=options, history_days=config.ledger.history_days)


def refuse_other_kind(store: Store, root: str, *, simulated: bool) -> None:
    """Measured and simulated figures never share a ledger.

    Raises:
        Misconfigured: it holds the other kind.
        StoreError: it cannot be read.
    """
    wanted = SIMULATED if simulated else MEASURED
    kinds = store.scan(NODE_HOURS).select(pl.col("source").unique()).collect()["source"].to_list()
    others = sorted({str(kind) for kind in kinds if (kind == SIMULATED) != simulated})
    if others:
        raise Misconfigured(
            f"the ledger at {root} holds {' and '.join(others)} figures and {wanted} ones were about to be written "
            "into it; give each kind a ledger of its own with --data-dir or ledger.root"
        )


def _found(config: Config, environ: Mapping[str, str]) -> Callable[[], Sequence[AgentAddress]] | None:
    agents = config.controller.agents
    wanted = agents.discovery
    if wanted == "auto":
        wanted = "on" if not agents.urls and runs_in_kubernetes(config.kubernetes, environ) else "off"
    if wanted == "off":
        return None
    search = PodSearch(agents.namespace or own_namespace(), agents.selector, agents.scheme, agents.port)
    return PodAgents(KubeApi(endpoint_of(config.kubernetes, environ)), search).addresses


def kube_api(config: Config, environ: Mapping[str, str]) -> KubeApi | None:
    """The API server of the cluster, where this process runs in one.

    Raises:
        Misconfigured: it should be asked, and none is known.
    """
    if not runs_in_kubernetes(config.kubernetes, environ):
        return None
    return KubeApi(endpoint_of(config.kubernetes, environ))
