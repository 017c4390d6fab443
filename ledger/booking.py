"""Booking: agents' hours and witnessed node-hours become usage, profile, work, prices and the register of node-hours.

Owns law 1 at its root: for each device and hour the rows add up to the time that its node existed. What no journal
covers is booked under account ``unobserved`` with method ``lifetime`` and no energy, on the device, or, for devices
that no journal names, under ``NODE/gpu-INDEX``. Where a journal saw more than the witnesses, it extends the existence
(evidence ``journal``). Pure functions: the same input gives the same frames, row for row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ledger.accounts import Account, EnergyMethod, Method
from ledger.agent_hours import AgentHour
from ledger.apportion_frame import apportion_over
from ledger.booking_frames import NOTES, ROWS, UNIT, JournalFrames, journal_frames
from ledger.booking_units import Scope, Unit, place_rows, plan
from ledger.tables import HOLDER, NODE_HOURS, PLACE, PRICES, PROFILE, USAGE, WORK, Table, conform

ORDER = (
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
    "energy_method",
)
"""How usage rows stand, so that what is made of them needs no sort."""

_HOLDER_OF_DEVICE = [UNIT, "gpu_uuid", "mig", "holder_kind", "holder"]
_KNOWN_REQUEST = (Method.EXCLUSIVE, Method.MIG_SLICES, Method.MIG_ACTIVITY)
"""Methods under which a holder has whole devices or MIG instances, so what it holds is what it asked for."""


@dataclass(frozen=True, slots=True)
class Booked:
    """Rows of each table, in its columns."""

    usage: pl.DataFrame
    profile: pl.DataFrame
    work: pl.DataFrame
    prices: pl.DataFrame
    node_hours: pl.DataFrame


def book(hours: Sequence[AgentHour], existed: pl.DataFrame, scope: Scope) -> Booked:
    """Book agents' hours and the node-hours that witnesses tell of.

    Args:
        hours: checked by :func:`ledger.agent_hours.read_hour`.
        existed: rows of :data:`ledger.lifetimes.EXISTED` of the same hours; ``gpu_count`` filled in by
            :func:`ledger.lifetimes.with_shapes` where only the instance type tells.
        scope: now, the cluster of nodes that name none, and whether the ledger is a simulated one.
    """
    return book_units(plan(hours, existed, scope), scope.now)


def book_units(units: Sequence[Unit], now: datetime, standing: pl.DataFrame | None = None) -> Booked:
    """Book planned node-hours.

    Args:
        units: node-hours, each once.
        now: when this is, for ``booked_at``.
        standing: the USAGE rows of those whose journal is booked already and did not come again; their journal's rows
            stay as they are, the rest is made anew. Their profile and work are not in the result, since nothing
            changes in them.
    """
    places = _places(units)
    journal = journal_frames([(number, unit.agent) for number, unit in enumerate(units) if unit.agent])
    rows, devices = _journal_rows(journal)
    if standing is not None:
        old_rows, old_devices = _standing(standing, places, [at for at, unit in enumerate(units) if not unit.agent])
        rows, devices = pl.concat([rows, old_rows]), pl.concat([devices, old_devices])
    measured = _control_figures(places, devices)
    rest = _unobserved(measured, devices, rows)
    usage = pl.concat([rows, rest.select(rows.columns)]).lazy().join(measured.lazy(), on=UNIT)
    return Booked(
        usage=conform(USAGE, usage).sort(ORDER).collect(),
        profile=_told(
            PROFILE, journal.profile.join(_models(devices), on=[UNIT, "gpu_uuid"], how="left"), journal, places
        ),
        work=_told(WORK, journal.work, journal, places),
        prices=_prices(journal, places),
        node_hours=_node_hours(units, measured, now),
    )


def _places(units: Sequence[Unit]) -> pl.DataFrame:
    columns = place_rows(units)
    return pl.DataFrame(
        {
            UNIT: range(len(units)),
            "hour_utc": [unit.hour for unit in units],
            **columns,
            "expected": [unit.gpu_count for unit in units],
            "expected_model": [unit.gpu_model for unit in units],
            "witnessed_ns": [unit.witnessed_ns for unit in units],
            "witness": [unit.evidence for unit in units],
            "source": [unit.source for unit in units],
        },
        schema={
            UNIT: pl.UInt32,
            "hour_utc": pl.Datetime("us", "UTC"),
            **PLACE,
            "expected": pl.Int32,
            "expected_model": pl.String,
            "witnessed_ns": pl.Int64,
            "witness": pl.String,
            "source": pl.String,
        },
    ).with_columns(day=pl.col("hour_utc").dt.date())


def _journal_rows(journal: JournalFrames) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Usage rows without their place, and the devices with the time that the journal accounts for."""
    no_share = (pl.col("energy_method") == EnergyMethod.NONE) & (pl.col("energy_mj") == 0)
    rows = (
        journal.rows.lazy()
        .join(journal.devices.lazy(), on=[UNIT, "gpu_uuid"], how="left")
        .with_columns(energy_mj=pl.when(pl.col("has_energy") & ~no_share).then("energy_mj"))
        .join(journal.memory.lazy(), on=_HOLDER_OF_DEVICE, how="left")
    )
    rows = apportion_over(
        rows,
        whole="memory_whole",
        weight="gpu_ns",
        by=_HOLDER_OF_DEVICE,
        order=("account", "method", "energy_method", "price_id"),
        into="memory_mib_s",
    )
    rows = _with_notes(rows, journal).with_columns(
        requested_ns=pl.when(pl.col("requested_devices").is_not_null() & pl.col("method").is_in(_KNOWN_REQUEST)).then(
            "gpu_ns"
        )
    )
    return rows.select(_ROW_COLUMNS).collect(), journal.devices.drop("has_energy")


_ROW_COLUMNS = [*ROWS, "gpu_model", *(name for name in HOLDER if name not in ROWS), "memory_mib_s", "requested_ns"]


def _with_notes(rows: pl.LazyFrame, journal: JournalFrames) -> pl.LazyFrame:
    texts = [name for name in NOTES if name in HOLDER and name not in ROWS]
    return rows.join(journal.notes.lazy(), on=[UNIT, "holder_kind", "holder"], how="left").with_columns(
        [pl.col(name).fill_null("") for name in texts]
    )


def _standing(
    standing: pl.DataFrame, places: pl.DataFrame, numbers: Iterable[int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The journal's part of rows that are booked, as :func:`_journal_rows` gives it for new ones."""
    key = ["hour_utc", "node", "instance_id"]
    of = places.filter(pl.col(UNIT).is_in(list(numbers))).select(UNIT, *key)
    old = standing.join(of, on=key)
    named = ~pl.col("gpu_uuid").str.starts_with(pl.col("node") + "/gpu-")
    own = pl.col("method") != Method.LIFETIME
    devices = (
        old.filter(named).group_by(UNIT, "gpu_uuid", "gpu_model").agg(accounted_ns=pl.col("gpu_ns").filter(own).sum())
    )
    return old.filter(own).select(_ROW_COLUMNS), devices


def _control_figures(places: pl.DataFrame, devices: pl.DataFrame) -> pl.DataFrame:
    """Each node-hour with ``existed_ns``, ``evidence``, ``gpu_count``; ``seen``: devices that a journal names."""
    seen = devices.group_by(UNIT).agg(seen=pl.len().cast(pl.Int32), journal_ns=pl.col("accounted_ns").max())
    journal_ns, witnessed_ns = pl.col("journal_ns").fill_null(0), pl.col("witnessed_ns")
    return places.join(seen, on=UNIT, how="left", maintain_order="left").with_columns(
        pl.col("seen").fill_null(0),
        existed_ns=pl.max_horizontal(journal_ns, witnessed_ns),
        evidence=pl.when(journal_ns > witnessed_ns).then(pl.lit("journal")).otherwise(pl.col("witness")),
        gpu_count=pl.max_horizontal("seen", "expected"),
    )


def _unobserved(units: pl.DataFrame, devices: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each device of a node-hour that existed for longer than the journal accounts for."""
    gaps = devices.join(units.select(UNIT, "existed_ns"), on=UNIT).select(
        UNIT, "gpu_uuid", "gpu_model", gpu_ns=pl.col("existed_ns") - pl.col("accounted_ns")
    )
    main = rows.filter(pl.col("price_id") != "").group_by(UNIT, "price_id").agg(pl.col("gpu_ns").sum())
    price = main.sort("gpu_ns", "price_id", descending=[True, False]).group_by(UNIT, maintain_order=True).first()
    model = devices.sort("gpu_uuid").group_by(UNIT, maintain_order=True).agg(sibling=pl.col("gpu_model").first())
    missing = (
        units.filter(pl.col("gpu_count") > pl.col("seen"))
        .join(model, on=UNIT, how="left")
        .with_columns(index=pl.int_ranges(pl.col("seen").cast(pl.Int64), pl.col("gpu_count").cast(pl.Int64)))
        .explode("index")
        .select(
            UNIT,
            gpu_uuid=pl.col("node") + "/gpu-" + pl.col("index").cast(pl.String),
            gpu_model=pl.when(pl.col("expected_model") != "")
            .then("expected_model")
            .otherwise(pl.col("sibling").fill_null("")),
            gpu_ns="existed_ns",
        )
    )
    nothing = {name: pl.lit("") for name in ("mig", *HOLDER)}
    unknown = {name: pl.lit(None, dtype=pl.Int64) for name in ("energy_mj", "memory_mib_s", "requested_ns")}
    return (
        pl.concat([gaps, missing])
        .filter(pl.col("gpu_ns") > 0)
        .join(price.select(UNIT, "price_id"), on=UNIT, how="left")
        .with_columns(
            pl.col("price_id").fill_null(""),
            account=pl.lit(str(Account.UNOBSERVED)),
            method=pl.lit(str(Method.LIFETIME)),
            energy_method=pl.lit(str(EnergyMethod.NONE)),
            **nothing,
            **unknown,
        )
    )


def _models(devices: pl.DataFrame) -> pl.DataFrame:
    return devices.select(UNIT, "gpu_uuid", "gpu_model")


def _told(table: Table, rows: pl.DataFrame, journal: JournalFrames, places: pl.DataFrame) -> pl.DataFrame:
    """Rows of profile or work with holder and place."""
    full = _with_notes(rows.lazy(), journal).join(places.lazy(), on=UNIT)
    if "gpu_model" in table.schema:
        full = full.with_columns(pl.col("gpu_model").fill_null(""))
    return conform(table, full).sort(table.key).collect()


def _prices(journal: JournalFrames, places: pl.DataFrame) -> pl.DataFrame:
    """Each price once, with the place of the first node that used it."""
    used = (
        journal.prices.join(places.drop("source", "capacity_type"), on=UNIT).sort(UNIT).unique("price_id", keep="first")
    )
    return conform(PRICES, used.lazy().with_columns(note=pl.lit(""))).sort("price_id").collect()


def _node_hours(units: Sequence[Unit], measured: pl.DataFrame, now: datetime) -> pl.DataFrame:
    told = pl.DataFrame(
        {
            UNIT: range(len(units)),
            "vcpus": [unit.vcpus for unit in units],
            "memory_mib": [unit.memory_mib for unit in units],
            "state": [unit.state for unit in units],
            "revision": [unit.revision for unit in units],
            "digest": [unit.digest for unit in units],
        },
        schema={
            UNIT: pl.UInt32,
            **{name: NODE_HOURS.schema[name] for name in ("vcpus", "memory_mib", "state", "revision", "digest")},
        },
    )
    known = pl.when((pl.col("gpu_count") > 0) | (pl.col("expected") == 0)).then("gpu_count")
    rows = measured.lazy().join(told.lazy(), on=UNIT).with_columns(gpu_count=known, booked_at=pl.lit(now))
    return conform(NODE_HOURS, rows).sort(NODE_HOURS.key).collect()
