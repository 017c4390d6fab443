"""The tables of the ledger: columns, types, partitions and what may stand once. The contract of everything that books.

Owns names and types. Amounts are 64-bit integers (nanoseconds, millijoules, nano-dollars, micrograms); their sums and
products are taken in Int128, since 64 bits wrap within days on a large fleet. A null is an absence, never a zero.
"""

from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataTypeClass

from ledger.audit_columns import AUDIT_COLUMNS

Columns = dict[str, pl.DataType | DataTypeClass]

SCHEMA_VERSION = 1
"""Of all tables together; a table written by a newer one is refused, one of an older is migrated."""

TIME = pl.Datetime("us", "UTC")
NANO_PER_USD = 1_000_000_000

HOUR: Columns = {"day": pl.Date, "hour_utc": TIME}
"""``day`` is the UTC day of ``hour_utc``, the start of the hour; tables by hour are partitioned by it."""

PLACE: Columns = {
    "cluster": pl.String,
    "node": pl.String,
    "provider": pl.String,
    "region": pl.String,
    "zone": pl.String,
    "instance_id": pl.String,
    "instance_type": pl.String,
    "capacity_type": pl.String,
}
"""Where a row is from. Text that is not known is empty, so that it can be grouped and joined by."""

DEVICE: Columns = {"gpu_uuid": pl.String, "gpu_model": pl.String, "mig": pl.String}
"""``mig`` is the MIG instance's UUID, empty for the device itself.
A device that never answered is ``NODE/gpu-INDEX``."""

HOLDER: Columns = {
    "holder_kind": pl.String,
    "holder": pl.String,
    "namespace": pl.String,
    "pod": pl.String,
    "container": pl.String,
    "workload_kind": pl.String,
    "workload": pl.String,
    "team": pl.String,
    "environment": pl.String,
    "run": pl.String,
    "dimensions": pl.String,
}
"""Who holds, and the facts of it in force in that hour; ``dimensions`` is a flat JSON object of the installation's own
dimensions. All empty where nobody holds."""


@dataclass(frozen=True, slots=True)
class Table:
    """One Delta table."""

    name: str
    schema: pl.Schema
    key: tuple[str, ...]
    """What stands once."""
    partition: tuple[str, ...] = ("day",)


def _schema(*parts: Columns) -> pl.Schema:
    return pl.Schema({name: dtype for part in parts for name, dtype in part.items()})


USAGE = Table(
    "usage",
    _schema(
        HOUR,
        PLACE,
        DEVICE,
        HOLDER,
        {
            "account": pl.String,
            "method": pl.String,
            "energy_method": pl.String,
            "price_id": pl.String,
            "gpu_ns": pl.Int64,
            "energy_mj": pl.Int64,  # null: no energy of this device is known in the hour
            "memory_mib_s": pl.Int64,  # the holder's own device memory times time; null: not known
            "requested_ns": pl.Int64,  # what the holder asked for of the time it held; null: not known
            "source": pl.String,  # measured, simulated or prometheus
        },
    ),
    key=(
        "hour_utc",
        "node",
        "instance_id",
        "gpu_uuid",
        "mig",
        "holder_kind",
        "holder",
        "account",
        "method",
        "energy_method",
        "price_id",
    ),
)
"""Whole-GPU time and energy. For each device and hour ``gpu_ns`` adds up to the node hour's ``existed_ns``."""

NODE_HOURS = Table(
    "node_hours",
    _schema(
        HOUR,
        PLACE,
        {
            "gpu_count": pl.Int32,
            "existed_ns": pl.Int64,  # the control figure of each of the node's devices
            "evidence": pl.String,  # what existed_ns rests on: event, api, host, journal or bill
            "vcpus": pl.Int32,  # of the machine; null: not known
            "memory_mib": pl.Int64,
            "state": pl.String,  # final or provisional
            "revision": pl.Int32,  # of the journal's hour that is booked; null: none came
            "digest": pl.String,  # of all that was booked; the same again changes nothing
            "source": pl.String,
            "booked_at": TIME,
        },
    ),
    key=("hour_utc", "node", "instance_id"),
)
"""One row for each hour in which a node existed: the control figures, written last, so that a booking that was cut off
is done again. A name that two instances bore within one hour has two rows."""

PROFILE = Table(
    "profile",
    _schema(
        HOUR,
        PLACE,
        DEVICE,
        HOLDER,
        {
            "measure": pl.String,
            "weighted": pl.Decimal(38, 0),  # sum of amount x ns; the mean is weighted / ns
            "ns": pl.Int64,
            "peak": pl.Int64,
            "total": pl.Int64,  # of a measure that is a total, with weighted, ns and peak null
        },
    ),
    key=("hour_utc", "node", "instance_id", "gpu_uuid", "mig", "holder_kind", "holder", "measure"),
)

WORK = Table(
    "work",
    _schema(
        HOUR,
        PLACE,
        HOLDER,
        {
            "model": pl.String,
            "tenant": pl.String,
            "kind": pl.String,  # a kind of work, or a latency
            "amount": pl.Int64,  # of work; of a latency the number of observations
            "sum_ns": pl.Int64,  # of a latency; null for work
            "buckets": pl.String,  # of a latency: JSON pairs of upper bound in ns and observations in that bucket alone
        },
    ),
    key=("hour_utc", "node", "instance_id", "holder_kind", "holder", "model", "tenant", "kind"),
)

PRICES = Table(
    "prices",
    _schema(
        {
            "price_id": pl.String,
            "nano_usd_per_gpu_hour": pl.Int64,
            "nano_usd_per_node_hour": pl.Int64,  # null where the price is of one GPU
            "provider": pl.String,
            "region": pl.String,
            "zone": pl.String,
            "instance_type": pl.String,
            "capacity_type": pl.String,
            "source": pl.String,
            "as_of": pl.Date,
            "estimate": pl.Boolean,
            "note": pl.String,
        }
    ),
    key=("price_id",),
    partition=(),
)
"""Every price that was used."""

CHARGES = Table(
    "charges",
    _schema(
        {
            "month": pl.Date,  # first day of the billing period
            "bill_id": pl.String,  # the delivery that the line stands in; a later one of the same export replaces it
            "line_id": pl.String,  # of the line's content, with its place among equals
            "billing_account": pl.String,
            "sub_account": pl.String,
            "period_start": TIME,
            "period_end": TIME,  # exclusive
            "provider": pl.String,
            "region": pl.String,
            "zone": pl.String,
            "service": pl.String,
            "service_category": pl.String,
            "sku": pl.String,
            "resource_id": pl.String,  # as in the bill
            "instance_id": pl.String,  # as nodes have it; empty where the line is of no instance
            "instance_type": pl.String,
            # usage, purchase, tax, credit, refund, adjustment, support, unused_commitment or rounding
            "category": pl.String,
            "correction": pl.Boolean,
            "pricing": pl.String,  # on_demand, spot, commitment, other
            "commitment_id": pl.String,
            "stack_layer": pl.String,
            "description": pl.String,
            "quantity": pl.String,  # decimal, as in the bill
            "unit": pl.String,
            "list_nano_usd": pl.Int64,  # null: the bill does not say
            "billed_nano_usd": pl.Int64,
            "effective_nano_usd": pl.Int64,
            "currency": pl.String,  # of the bill
            "fx": pl.String,  # dollars for one unit of it, decimal; 1 for USD
            "tags": pl.String,  # flat JSON object
        }
    ),
    key=("bill_id", "line_id"),
    partition=("month",),
)
"""Bill lines, GPU or not, over the period that the bill gives."""

BILLS = Table(
    "bills",
    _schema(
        {
            "month": pl.Date,
            "bill_id": pl.String,
            "export": pl.String,  # what delivers it again: source and prefix or billing account
            "dialect": pl.String,
            "objects": pl.String,  # JSON: name to [size, etag or sha256]
            "lines": pl.Int64,
            "billed_nano_usd": pl.Int64,
            "effective_nano_usd": pl.Int64,
            "state": pl.String,  # booked, replaced or refused
            "reason": pl.String,  # why it was refused: what, where, what to do
            "complete": pl.Boolean,  # the provider calls the month closed
            "read_at": TIME,
        }
    ),
    key=("bill_id",),
    partition=(),
)

COST = Table(
    "cost",
    _schema(
        HOUR,
        PLACE,
        DEVICE,
        HOLDER,
        {
            "account": pl.String,
            "method": pl.String,
            "price_id": pl.String,
            "billing_account": pl.String,
            "charge": pl.String,  # category of the bill's lines summed here; "list" while no bill has come
            "stack_layer": pl.String,
            "list_nano_usd": pl.Int64,  # once a usage row: null on further charges of the same row
            "effective_nano_usd": pl.Int64,  # null: no bill yet
            "carbon_ug": pl.Int64,  # operational, location-based; null: no energy or no intensity is known
            "embodied_ug": pl.Int64,
            "intensity": pl.String,  # what the carbon figure rests on: source, year, gCO2/kWh
        },
    ),
    key=(
        "hour_utc",
        "node",
        "instance_id",
        "gpu_uuid",
        "mig",
        "holder_kind",
        "holder",
        "account",
        "method",
        "price_id",
        "billing_account",
        "charge",
        "stack_layer",
    ),
)
"""Dollars and grams by usage row and charge. What belongs to no node (tax, support, storage, unused commitment, the
rounding line) stands with an empty node under account ``shared``; the node's other parts under ``host``."""

LIFETIMES = Table(
    "lifetimes",
    _schema(
        PLACE,
        {
            "gpu_count": pl.Int32,
            "gpu_model": pl.String,
            "began": TIME,
            "ended": TIME,  # null: it still was there at ``seen``
            "seen": TIME,
            "evidence": pl.String,
        },
    ),
    key=("cluster", "node", "instance_id", "began", "evidence"),
    partition=(),
)
"""When each node existed, one row for each witness."""

_CLOUD_PRICE: Columns = {
    "provider": pl.String,
    "region": pl.String,
    "zone": pl.String,  # empty where the price is of the whole region
    "instance_type": pl.String,
    "since": TIME,  # in force from then until the next row of the same offer
    "nano_usd_per_hour": pl.Int64,  # of the whole instance
    "source": pl.String,
    "read_through": TIME,  # the cloud was last asked then, and named no later change
}

_CLOUD_PRICE_KEY = ("provider", "region", "zone", "instance_type", "since")

SPOT_PRICES = Table("spot_prices", _schema(_CLOUD_PRICE), key=_CLOUD_PRICE_KEY, partition=())
"""Changes of spot prices as the cloud published them; kept, since the cloud forgets them after 90 days."""

ON_DEMAND_PRICES = Table("on_demand_prices", _schema(_CLOUD_PRICE), key=_CLOUD_PRICE_KEY, partition=())
"""Changes of the cloud's list price."""

INSTANCE_TYPES = Table(
    "instance_types",
    _schema(
        {
            "provider": pl.String,
            "instance_type": pl.String,
            "vcpus": pl.Int32,
            "memory_mib": pl.Int64,
            "gpu_count": pl.Int32,  # 0: none; of a fraction of a GPU: 1, see gpu_partition
            "gpu_model": pl.String,  # as the provider calls it
            "gpu_memory_mib": pl.Int64,  # of all GPUs together
            "gpu_partition": pl.String,  # decimal part of a GPU that each is; "1" for whole ones
            "read_at": TIME,
        }
    ),
    key=("provider", "instance_type"),
    partition=(),
)
"""What an instance is made of; ``node_split`` and lost GPUs are told by it."""

AUDIT = Table("audit", _schema(AUDIT_COLUMNS), key=("id", "phase", "at_utc"))
"""Every action on the cluster, and every one that was refused; appended, never rewritten."""

EPOCHS = Table("epochs", _schema({"epoch": pl.Int64, "claimed_at": TIME}), key=("epoch",), partition=())
"""Each leadership that was claimed; every commit of every table bears the epoch under which it was made."""

PROGRESS = Table("progress", _schema({"what": pl.String, "state": pl.String, "at": TIME}), key=("what",), partition=())
"""How far the ledger's own keepers have come, each in its own JSON: what cost was last made from, what of which agent's
journal is booked. Written after what it speaks of; without it things are done again, which changes nothing."""

ALL = (
    USAGE,
    NODE_HOURS,
    PROFILE,
    WORK,
    PRICES,
    CHARGES,
    BILLS,
    COST,
    LIFETIMES,
    SPOT_PRICES,
    ON_DEMAND_PRICES,
    INSTANCE_TYPES,
    AUDIT,
    PROGRESS,
    EPOCHS,
)


def empty(table: Table) -> pl.DataFrame:
    """A frame of the table's columns without rows."""
    return pl.DataFrame(schema=table.schema)


def conform(table: Table, frame: pl.LazyFrame) -> pl.LazyFrame:
    """The frame with the table's columns in their order and types; a column that it lacks is null.

    Raises:
        polars.exceptions.InvalidOperationError: on collection, where a value does not fit its type.
    """
    have = frame.collect_schema().names()
    columns = [
        (pl.col(name) if name in have else pl.lit(None)).cast(dtype, strict=True).alias(name)
        for name, dtype in table.schema.items()
    ]
    return frame.select(columns)
