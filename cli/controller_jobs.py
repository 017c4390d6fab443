"""Which jobs a controller has, by its configuration, and how often each runs."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import cast

from cli.controller_books import Books, kube_api
from cli.controller_run import ControllerOptions
from collectors.aws_client import client
from collectors.cost_explorer import CostExplorer
from collectors.errors import Unavailable
from collectors.price_list import load
from collectors.prometheus_api import PrometheusApi
from controller.bills import BillsAway
from controller.instances import InstanceWitness
from controller.jobs import Job
from controller.nodes import NodeWitness
from controller.present import Present
from ledger.bill_cost_explorer import take_cost_explorer
from ledger.charge_lines import Reading
from ledger.house import keep_house
from ledger.prometheus_fallback import Fallback

_HOUR, _MINUTE = 3600.0, 60.0


def jobs_of(options: ControllerOptions, books: Books, present: Present, pace: Callable[[], float]) -> Iterator[Job]:
    """Those that keep the books, in the order in which they first run.

    Args:
        options: what was configured and typed.
        books: the parts that keep books.
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
        yield from _bills(options, books)
    yield from _prometheus(options, books, present, pace)
    yield Job("house", lambda: _keep_house(options, books, present), _every(config.controller.keep_house_hours, _HOUR))


def _every(count: float, seconds: float) -> Callable[[], float]:
    return lambda: count * seconds


def _keep_house(options: ControllerOptions, books: Books, present: Present) -> None:
    config = options.config
    keep_house(
        books.store,
        now=present.now(),
        roll_after_days=config.ledger.roll_after_days,
        closed_after_days=config.bills.closed_after_days,
    )


def _prices(options: ControllerOptions, books: Books, present: Present) -> Iterator[Job]:
    keeper = books.prices
    if keeper is None:
        return

    def read() -> None:
        reading = keeper.run(present.now())
        if reading.failed:
            raise Unavailable("; ".join(reading.failed))

    yield Job("prices", read, _every(options.config.prices.live.interval_hours, _HOUR))


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


def _bills(options: ControllerOptions, books: Books) -> Iterator[Job]:
    settings, bills = options.config.bills, books.bills
    if bills is None:
        return
    if bills.sources:
        yield Job("bills", bills.run, _every(settings.every_minutes, _MINUTE))
    explorer, budget = settings.cost_explorer, books.cost_explorer
    if budget is None:
        return

    def ask() -> None:
        made = client("ce", explorer.region, endpoint_url=explorer.endpoint_url or None)
        try:
            asked = take_cost_explorer(
                bills.intake,
                cast("CostExplorer", made),
                budget,
                account=explorer.billing_account,
                reading=Reading(settings.rate_table()),
                closed_after=timedelta(days=settings.closed_after_days),
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
