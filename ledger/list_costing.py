"""What booked node-hours cost by list: the price table asked for their GPUs, its answer put on their rows.

Owns the step from booked rows to cost rows; must never look at a bill.
"""

from dataclasses import dataclass

import polars as pl

from ledger.list_cost import PRICED_COLUMNS, list_cost
from ledger.node_split import NodeSplit
from ledger.price_table import LedgerPrices, price_node_hours
from ledger.store import Store
from ledger.tables import ON_DEMAND_PRICES, PLACE, PRICES, SPOT_PRICES

_NO_RUN = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Costs:
    """Cost rows, and the prices that they rest on."""

    cost: pl.DataFrame
    """COST rows."""
    prices: pl.DataFrame
    """PRICES rows of the ledger's own table."""


@dataclass(frozen=True, slots=True)
class ListCosting:
    """Costs by list price."""

    store: Store
    """Where the cloud's prices stand."""
    known: LedgerPrices
    split: NodeSplit = NodeSplit.EQUAL

    def cost(self, usage: pl.DataFrame, node_hours: pl.DataFrame, notes: pl.DataFrame) -> Costs:
        """The cost of booked node-hours.

        Args:
            usage: all their USAGE rows, in the order of the books.
            node_hours: their NODE_HOURS rows.
            notes: PRICES rows of the agents' own price notes.

        Raises:
            Misconfigured: the own node's price is configured for fewer GPUs than it has.
            StoreError: the cloud's prices cannot be read.
        """
        priced = price_node_hours(
            devices(usage), self.known, self.store.scan(SPOT_PRICES), self.store.scan(ON_DEMAND_PRICES)
        )
        asked = priced.hours.select(PRICED_COLUMNS)
        return Costs(list_cost(usage, node_hours, asked, notes, self.split, in_order=True), priced.prices)


def devices(usage: pl.DataFrame) -> pl.LazyFrame:
    """How many GPUs of each model each node-hour has: what is to be priced.

    Args:
        usage: rows in the order of the books, so that those of a device follow each other.
    """
    each = pl.struct("gpu_uuid", "hour_utc", "node", "instance_id").rle_id()
    firsts = usage.lazy().select("hour_utc", *PLACE, "gpu_model", each.alias("_device"))
    firsts = firsts.filter(pl.col("_device") != pl.col("_device").shift(1, fill_value=_NO_RUN))
    run = pl.struct("hour_utc", "node", "instance_id", "gpu_model").rle_id().alias("_run")
    named = ("hour_utc", *PLACE, "gpu_model")
    runs = firsts.with_columns(run).group_by("_run").agg(pl.col(named).first(), pl.len().cast(pl.Int32).alias("n"))
    return runs.group_by(named).agg(gpu_count=pl.col("n").sum())


def new_prices(told: pl.DataFrame, store: Store) -> pl.DataFrame:
    """Those that the table of prices does not have yet, each once."""
    known = store.scan(PRICES).select("price_id").collect()
    return told.unique("price_id", keep="first", maintain_order=True).join(known, on="price_id", how="anti")
