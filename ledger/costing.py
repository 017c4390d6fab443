"""What booked node-hours cost before a bill comes: list price and grams, each hour at the price that it had first.

Owns that an hour keeps its price: once priced, it is priced anew only when the node turned out to be another type, or
when the cloud told another price for that hour. So another list or contract prices what comes, and not what has been.
"""

from dataclasses import dataclass, replace

import polars as pl

from ledger.carbon import Carbon, with_carbon
from ledger.list_cost import PRICED_COLUMNS, list_cost
from ledger.list_costing import Costs, devices
from ledger.node_split import NodeSplit
from ledger.price_table import LedgerPrices, price_node_hours
from ledger.store import Store
from ledger.tables import COST, ON_DEMAND_PRICES, PRICES, SPOT_PRICES, TIME

_NODE_HOUR = ("hour_utc", "node", "instance_id")
_MODEL = (*_NODE_HOUR, "gpu_model")
_SAME_PLACE = ("provider", "region", "zone", "instance_type", "capacity_type")
_COUNT = r"n/(\d+)$"
"""The number of GPUs that a price of the ledger's own is for stands at the end of its id."""


@dataclass(frozen=True, slots=True)
class CostRules:
    """What is known apart from the tables."""

    prices: LedgerPrices
    carbon: Carbon
    split: NodeSplit = NodeSplit.EQUAL


@dataclass(frozen=True, slots=True)
class Costing:
    """Costs node-hours by list, and weighs their carbon."""

    store: Store
    rules: CostRules

    def cost(self, usage: pl.DataFrame, node_hours: pl.DataFrame, notes: pl.DataFrame) -> Costs:
        """The cost of booked node-hours, as :class:`ledger.keeper.Keeper` wants it.

        Args:
            usage: all their USAGE rows, in the order of the books.
            node_hours: their NODE_HOURS rows.
            notes: PRICES rows of the agents' own price notes.

        Raises:
            Misconfigured: the own node's price is configured for fewer GPUs than it has.
            StoreError: a table cannot be read.
        """
        listed = self.listed(usage, node_hours, notes, in_order=True)
        cost = with_carbon(listed.cost.lazy(), usage.lazy(), self.rules.carbon).collect()
        return replace(listed, cost=cost.drop("gpu_ns"))

    def listed(
        self,
        usage: pl.DataFrame,
        node_hours: pl.DataFrame,
        notes: pl.DataFrame,
        repriced: pl.DataFrame | None = None,
        *,
        in_order: bool = False,
    ) -> Costs:
        """List cost alone, with ``gpu_ns`` beside; ``repriced`` are node-hours whose price is looked up anew,
        ``in_order`` says that the usage stands in the order of the books. Raises as :meth:`cost` does.
        """
        asked = devices(usage).collect()
        kept = self._kept(asked, repriced)
        found = price_node_hours(
            asked.join(kept, on=_MODEL, how="anti").lazy(),
            self.rules.prices,
            self.store.scan(SPOT_PRICES),
            self.store.scan(ON_DEMAND_PRICES),
        )
        priced = pl.concat([kept, found.hours.select(PRICED_COLUMNS)])
        cost = list_cost(usage, node_hours, priced, notes, self.rules.split, in_order=in_order)
        return Costs(cost, found.prices)

    def _kept(self, asked: pl.DataFrame, repriced: pl.DataFrame | None) -> pl.DataFrame:
        """Those that were priced while they were known as what they are now, with that price."""
        hours = asked["hour_utc"].unique()
        days = hours.dt.date().unique()
        nano = self.store.scan(PRICES).select("price_id", "nano_usd_per_node_hour").drop_nulls()
        was = (
            self.store.scan(COST)
            .filter(pl.col("day").is_in(days.implode()), pl.col("hour_utc").is_in(hours.implode()))
            .filter(pl.col("list_nano_usd").is_not_null(), pl.col("gpu_uuid") != "")
            .select(*_MODEL, *_SAME_PLACE, "price_id")
            .unique()
            .join(nano, on="price_id")
        )
        counted = pl.col("price_id").str.extract(_COUNT).cast(pl.Int32)
        kept = asked.lazy().join(was, on=[*_MODEL, *_SAME_PLACE]).filter(counted == pl.col("gpu_count"))
        if repriced is not None:
            kept = kept.join(repriced.lazy(), on=_NODE_HOUR, how="anti")
        # two prices of one model in one hour would be a fault: it is priced anew
        return kept.unique(_MODEL, keep="none").select(PRICED_COLUMNS).cast({"hour_utc": TIME}).collect()
