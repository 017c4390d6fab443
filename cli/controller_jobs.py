"""Which jobs a controller has, by its configuration, and how often each runs."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from cli.controller_books import Books, kube_api
from cli.controller_run import ControllerOptions
from collectors.aws_client import client
from collectors.bill_files import Deliveries
from collectors.bill_shelf import Bucket, Directory, Shelf
from collectors.cost_explorer import CostExplorer, RequestBudget
from collectors.errors import Unavailable
from collectors.price_list import load
from collectors.prometheus_api import PrometheusApi
from controller.bills import Bills, BillsAway
from controller.instances import InstanceWitness
from controller.jobs import Job
from controller.nodes import NodeWitness
from controller.present import Present
from ledger.bill_cost_explorer import take_cost_explorer
from ledger.bill_intake import BillIntake, Source
from ledger.bill_settings import BillSettings, BillSource
from ledger.charge_lines import Reading
from ledger.house import keep_house
from ledger.price_keeper import PriceKeeper
from ledger.prometheus_fallback import Fallback

_HOUR, _MINUTE = 3600.0, 60.0
_REQUESTS = "cost-explorer.json"


def jobs_of(
    options: ControllerOptions, books: Books, folder: Path, present: Present, pace: Callable[[], float]
) -> Iterator[Job]:
    """Those that keep the books, in the order in which they first run.

    Args:
        options: what was configured and typed.
        books: the parts that keep books.
        folder: the data directory, for what is put down for a while.
        present: the time of the books.
        pace: seconds between two rounds of what follows the agents.

    Raises:
        Misconfigured: a setting cannot be followed.
    """
    config = options.config
    api = None if options.simulated else kube_api(config, os.environ)
    if api is not None:
        witness = NodeWitness(api, books.store, config.agent.cluster_name, present.now)
        yield Job("nodes", witness.run, pace)
    yield Job("pull", books.gather.run, pace)
    yield Job("cost", lambda: books.bookkeeper.settle(present.now()), pace)
    if not options.simulated:
        yield from _prices(options, books, present)
        yield from _instances(options, books, present)
        yield from _bills(options, books, folder, present)
    yield from _prometheus(options, books, present, pace)
    yield Job("house", lambda: _keep_house(options, books, present), _every(config.controller.keep_house_hours, _HOUR))


def _every(count: float, seconds: float) -> Callable[[], float]:
    return lambda: count * seconds


def _keep_house(options: ControllerOptions, books: Books, present: Present) -> None:
    keep_house(books.store, now=present.now(), roll_after_days=options.config.ledger.roll_after_days)


def _prices(options: ControllerOptions, books: Books, present: Present) -> Iterator[Job]:
    live = options.config.prices.live
    if live.aws == "off":
        return
    keeper = PriceKeeper(books.store, live)

    def read() -> None:
        reading = keeper.run(present.now())
        if reading.failed:
            raise Unavailable("; ".join(reading.failed))

    yield Job("prices", read, _every(live.interval_hours, _HOUR))


def _instances(options: ControllerOptions, books: Books, present: Present) -> Iterator[Job]:
    live = options.config.prices.live
    if "off" in {live.aws, live.instances}:
        return
    witness = InstanceWitness(books.store, live, load(), present.now)
    yield Job("instances", witness.run, _every(live.instances_minutes, _MINUTE))


def _prometheus(options: ControllerOptions, books: Books, present: Present, pace: Callable[[], float]) -> Iterator[Job]:
    config = options.config
    if config.prometheus.url is None:
        return
    fallback = Fallback(
        books.store,
        books.bookkeeper,
        PrometheusApi(config.prometheus),
        journal_days=config.agent.journal_days,
        simulated=options.simulated,
    )

    def recover() -> None:
        if error := fallback.run(present.now()).error:
            raise Unavailable(error)

    yield Job("prometheus", recover, pace)


def _bills(options: ControllerOptions, books: Books, folder: Path, present: Present) -> Iterator[Job]:
    settings = options.config.bills
    closed_after = timedelta(days=settings.closed_after_days)
    intake = BillIntake(books.store, folder / "bills", present.now, closed_after)
    sources = [_source(each, settings) for each in settings.sources]
    bills = Bills(books.store, intake, sources, load(), books.bookkeeper, present.now)
    if sources:
        yield Job("bills", bills.run, _every(settings.every_minutes, _MINUTE))
    explorer = settings.cost_explorer
    if not explorer.enabled:
        return
    budget = RequestBudget(
        folder / _REQUESTS, explorer.max_requests_per_day, Decimal(explorer.usd_per_request), present.now
    )

    def ask() -> None:
        made = client("ce", explorer.region, endpoint_url=explorer.endpoint_url or None)
        try:
            asked = take_cost_explorer(
                intake,
                cast("CostExplorer", made),
                budget,
                account=explorer.billing_account,
                reading=Reading(settings.rate_table()),
                closed_after=closed_after,
            )
        finally:
            made.close()
        bills.settle()
        for taken in asked:
            bills.tell(taken)
        away = [why for taken in asked for why in taken.unavailable]
        if away:
            raise BillsAway("; ".join(away))

    yield Job("cost explorer", ask, _every(explorer.every_hours, _HOUR))


def _source(place: BillSource, settings: BillSettings) -> Source:
    reading = Reading(settings.rate_table(), place.timestamps or None)
    return Source(Deliveries(place.name, _shelf(place)), reading, place.complete, place.billing_account)


def _shelf(place: BillSource) -> Shelf:
    if not place.path.startswith("s3://"):
        return Directory(Path(place.path))
    parts = urlsplit(place.path)
    s3 = client("s3", place.region, endpoint_url=place.endpoint_url or None)
    return Bucket(s3, parts.netloc, parts.path.lstrip("/"), place.region)
