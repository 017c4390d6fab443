"""How an import runs: the ledger opened for this process alone, progress shown, and what came of it told."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.config import Config
from cli.controller_books import refuse_other_kind
from cli.controller_seat import build_seat
from cli.figures import ABSENT, dollars
from collectors.errors import Misconfigured, Unavailable
from collectors.kube_owners import Dimension
from collectors.price_list import load
from collectors.prometheus_api import PrometheusApi
from ledger.carbon import Carbon
from ledger.costing import Costing, CostRules
from ledger.keeper import Keeper
from ledger.ledger_settings import ledger_root, storage_options
from ledger.node_split import NodeSplit
from ledger.price_table import LedgerPrices
from ledger.prometheus_import import SETTLED, FleetHour, Import, Imported, fleet_hour, whole_hours
from ledger.prometheus_nodes import HOUR_SECONDS
from ledger.prometheus_pods import pod_facts
from ledger.prometheus_sums import EstimateSums, estimate_sums
from ledger.store import Store
from ledger.store_disk import is_local
from ledger.store_errors import StoreError

ESTIMATES = """\
These are estimates, worked out from samples of dcgm-exporter and not measured by an agent: activity is a duty cycle,
an upper bound of work; time without samples is missing or unobserved, never idle. Dollars are list prices and not your
bill. docs/guides/import.md says how each figure is made."""

_MOST_REFUSED = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be imported."""

    since: datetime
    until: datetime
    dimensions: Sequence[Dimension]
    again: bool = False


def run_import(config: Config, wanted: Wanted, now: datetime) -> None:
    """Import, and say what came of it.

    Raises:
        Misconfigured: a person must change something; the message says what.
        Unavailable: Prometheus or the ledger does not answer, and what came before is booked; or Prometheus refused
            some hours, and all others are booked.
    """
    api = PrometheusApi(config.prometheus)
    hours = whole_hours(wanted.since, min(wanted.until, now - SETTLED))
    if not hours:
        raise Misconfigured(
            f"no whole hour lies between {wanted.since:%Y-%m-%d %H:%M} and {wanted.until:%Y-%m-%d %H:%M} UTC: give an "
            "earlier --since, or a later --until"
        )
    cluster = config.agent.cluster_name

    def make(hour_s: int) -> FleetHour:
        return fleet_hour(api, hour_s, pod_facts(api, hour_s + HOUR_SECONDS, wanted.dimensions), cluster)

    try:
        with _ledger(config) as (store, keeper), _bar(len(hours)) as step:
            done = Import(store, keeper, make, cluster).run(hours, now, again=wanted.again, step=step)
            sums = estimate_sums(store, hours, cluster)
    except StoreError as error:
        raise Unavailable(str(error)) from error
    click.echo("\n".join(told(done, sums, hours)))
    if done.left:
        hour, why = min(done.left.items())
        raise Unavailable(
            f"{len(done.left)} of {len(hours)} hours are not imported, the next run asks for them again; of the first, "
            f"{hour:%Y-%m-%d %H:%M} UTC: {why}"
        )


@contextmanager
def _ledger(config: Config) -> Generator[tuple[Store, Keeper]]:
    """The ledger, kept by this process and no other for as long as this lasts."""
    folder = config.agent.data_dir.absolute()
    root = ledger_root(config.ledger, str(folder))
    store = Store(
        root, options={} if is_local(root) else storage_options(os.environ), history_days=config.ledger.history_days
    )
    refuse_other_kind(store, root, simulated=False)
    seat = build_seat(config, root, folder, os.environ)
    try:
        if seat.try_once() != "ours":
            raise Misconfigured(
                f"a controller keeps the ledger at {root}: stop it while the import runs, or import into another "
                "--data-dir"
            )
        store.claim_epoch()
        rules = CostRules(
            LedgerPrices(config.prices, load(), config.prices.live),
            Carbon.read(config.carbon),
            NodeSplit(config.prices.node_split),
        )
        yield store, Keeper(store, Costing(store, rules), cluster=config.agent.cluster_name)
    finally:
        seat.give_up()


@contextmanager
def _bar(hours: int) -> Generator[Callable[[], None]]:
    columns = (TextColumn("hours"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("hours", total=hours)
        yield partial(progress.advance, task)


def told(done: Imported, sums: EstimateSums, hours: Sequence[datetime]) -> list[str]:
    """What came of it, for a person."""
    first, last = hours[0].astimezone(UTC), hours[-1].astimezone(UTC)
    span = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:59} UTC"
    lines = [f"{done.made} hours imported, {done.known} known before, {done.empty} without a sample ({span})"]
    if done.measured:
        lines.append(f"{done.measured} node-hours left alone: an agent measured them")
    lines += _refused(done)
    if not sums.hours and (done.refused or done.left):
        return lines
    if not sums.hours:
        return [*lines, "No series of dcgm-exporter in these hours: is it scraped, and is this the right Prometheus?"]
    lines += [
        "",
        f"{'hours':12} {sums.hours:,}",
        f"{'nodes':12} {sums.nodes:,}",
        f"{'GPUs':12} {sums.gpus:,}",
        f"{'GPU-hours':12} {sums.gpu_hours:,.1f}" + _of_which(sums.unobserved_gpu_hours, "unobserved"),
        f"{'by list':12} {ABSENT if sums.list_usd is None else dollars(sums.list_usd)}"
        + _of_which(sums.unpriced_gpu_hours, "without a price"),
        f"{'energy':12} {ABSENT if sums.kwh is None else f'{sums.kwh:,.1f} kWh'}",
        "",
        ESTIMATES,
    ]
    return lines


def _refused(done: Imported) -> list[str]:
    lines = [why for _, why in sorted(done.refused.items())]
    more = len(lines) - _MOST_REFUSED
    return [*lines[:_MOST_REFUSED], f"and {more} more nodes for the same reason"] if more > 0 else lines


def _of_which(gpu_hours: float, what: str) -> str:
    return f", {gpu_hours:,.1f} GPU-hours {what}" if gpu_hours else ""
