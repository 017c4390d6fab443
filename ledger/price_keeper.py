"""Keeps the tables of the cloud's prices: asks AWS for the types and regions that nodes are in, and stores what is new.

Owns what is asked and how far back. One region that does not answer leaves the others; what was known stays in force.
Must never ask for a machine that is simulated or in no cloud.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from collectors.aws_client import Client, client
from collectors.aws_prices import (
    SPOT_HISTORY_DAYS,
    instance_shapes,
    on_demand_prices,
    pricing_endpoint,
    spot_history,
)
from collectors.errors import SourceError
from ledger.price_live import merge_on_demand, merge_spot, shape_rows, spot_since
from ledger.price_live_settings import LivePriceSettings
from ledger.store import Store
from ledger.tables import INSTANCE_TYPES, NODE_HOURS, ON_DEMAND_PRICES, SPOT_PRICES

_log = logging.getLogger(__name__)

Connect = Callable[[str, str, str | None, int], Client]
"""Service, region, endpoint, attempts."""


@dataclass(frozen=True, slots=True)
class PriceReading:
    """What a reading came to."""

    regions: tuple[str, ...]
    """Asked for."""
    refused: tuple[str, ...] = ()
    """Prices that cannot be, by name; the former ones stay."""
    failed: tuple[str, ...] = ()
    """Questions that had no answer, with the remedy."""


def connect_aws(service: str, region: str, endpoint_url: str | None, attempts: int) -> Client:
    """A real client."""
    return client(service, region, endpoint_url=endpoint_url, attempts=attempts)


class PriceKeeper:
    """Reads when it is told to.

    Args:
        store: the ledger.
        settings: whether AWS is asked, and where.
        connect: makes a client.
    """

    def __init__(self, store: Store, settings: LivePriceSettings, connect: Connect = connect_aws) -> None:
        self._store = store
        self._settings = settings
        self._connect = connect
        self.refused: tuple[str, ...] | None = None
        """Prices that the last reading found and that cannot be, by name; ``None``: nothing was read yet."""

    def run(self, now: datetime) -> PriceReading:
        """Read what is asked for, and store it. Doing it again changes nothing but how far the prices reach.

        Raises:
            StoreError: a table could not be read or written.
        """
        if self._settings.aws == "off":
            return PriceReading(())
        regions: list[str] = []
        refused: list[str] = []
        failed: list[str] = []
        for region, types, spot_types in self._wanted(now):
            regions.append(region)
            steps: tuple[tuple[Callable[[str, Sequence[str], datetime], Sequence[str]], Sequence[str]], ...] = (
                (self._read_shapes, types),
                (self._read_on_demand, types),
                (self._read_spot, spot_types),
            )
            for step, wanted in steps:
                try:
                    refused += step(region, wanted, now) if wanted else ()
                except SourceError as error:
                    _log.warning("%s", error)
                    failed.append(str(error))
        for said in refused:
            _log.warning("%s", said)
        self.refused = tuple(refused)
        return PriceReading(tuple(regions), self.refused, tuple(failed))

    def _wanted(self, now: datetime) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
        """Each region with the types seen there in the last 90 days, and those of them that ran on spot."""
        seen = (
            self._store.scan(NODE_HOURS)
            .filter(
                pl.col("day") >= (now - timedelta(days=SPOT_HISTORY_DAYS)).date(),
                pl.col("provider") == "aws",
                pl.col("region") != "",
                pl.col("instance_type") != "",
                pl.col("source") != "simulated",
            )
            .group_by("region", "instance_type")
            .agg((pl.col("capacity_type") == "spot").any())
            .sort("region", "instance_type")
            .collect()
        )
        for (region,), rows in seen.group_by("region", maintain_order=True):
            types = rows.get_column("instance_type").to_list()
            yield str(region), types, rows.filter("capacity_type").get_column("instance_type").to_list()

    def _read_shapes(self, region: str, types: Sequence[str], now: datetime) -> Sequence[str]:
        with self._asking("ec2", region) as ec2:
            found = instance_shapes(ec2, region, types)
        if found:
            where = {"provider": ["aws"], "instance_type": [shape.instance_type for shape in found]}
            self._store.replace(INSTANCE_TYPES, shape_rows(found, now), where)
        return ()

    def _read_on_demand(self, region: str, types: Sequence[str], now: datetime) -> Sequence[str]:
        endpoint = pricing_endpoint(region)
        with self._asking("pricing", endpoint) as pricing:
            read = on_demand_prices(pricing, endpoint, region, types)
        where = _series(region, types)
        self._store.rewrite(ON_DEMAND_PRICES, where, lambda known: merge_on_demand(known.collect(), read.prices, now))
        return read.refused

    def _read_spot(self, region: str, types: Sequence[str], now: datetime) -> Sequence[str]:
        since = spot_since(self._store.scan(SPOT_PRICES).collect(), region, types, now)
        with self._asking("ec2", region) as ec2:
            read = spot_history(ec2, region, types, since)
        where = _series(region, types)
        self._store.rewrite(SPOT_PRICES, where, lambda known: merge_spot(known.collect(), read.changes, now))
        return read.refused

    @contextmanager
    def _asking(self, service: str, region: str) -> Generator[Client]:
        url = self._settings.pricing_url if service == "pricing" else self._settings.ec2_url
        made = self._connect(service, region, url or None, self._settings.attempts)
        try:
            yield made
        finally:
            made.close()


def _series(region: str, types: Sequence[str]) -> dict[str, Sequence[str]]:
    return {"provider": ["aws"], "region": [region], "instance_type": list(types)}
