"""Laws of time: each device and hour once, whole, under a node-hour. From ``usage`` and ``node_hours`` alone."""

from collections.abc import Sequence

import polars as pl

from ledger.tables import Table

NODE_HOUR = ("hour_utc", "node", "instance_id")
_NODE_DAY = ("day", "node", "instance_id")


def is_misplaced() -> pl.Expr:
    """Whether a row stands at no start of an hour, or in another day's partition."""
    hour = pl.col("hour_utc")
    wrong = (hour != hour.dt.truncate("1h")) | (hour.dt.date() != pl.col("day"))
    return wrong.fill_null(value=True)


def misplaced(table: Table, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows that stand at no start of an hour, or in another day's partition."""
    hour = pl.col("hour_utc")
    said = hour.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    return rows.filter(is_misplaced()).select(
        hour,
        _node(table),
        subject=pl.lit(f"row of {table.name}"),
        expected=pl.format(
            "hour {} in day {}", hour.dt.truncate("1h").dt.strftime("%Y-%m-%dT%H:%M:%S"), hour.dt.date()
        ),
        found=pl.format("{} in day {}", said, "day"),
    )


def twice(table: Table, rows: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
    """Keys that stand more than once."""
    named = [pl.format(f"{name} {{}}", pl.col(name).cast(pl.String).fill_null("")) for name in key if name != "node"]
    hour = pl.col("hour_utc") if "hour_utc" in key else pl.lit(None, pl.Datetime("us", "UTC")).alias("hour_utc")
    return (
        rows.group_by(key)
        .agg(found=pl.len())
        .filter(pl.col("found") > 1)
        .select(
            hour,
            _node(table),
            subject=pl.concat_str(pl.lit(f"row of {table.name}: "), pl.concat_str(named, separator=", ")),
            expected=pl.lit("one row"),
            found=pl.format("{} rows", "found"),
        )
    )


def without_register(usage: pl.LazyFrame, node_hours: pl.LazyFrame, *, by_day: bool) -> pl.LazyFrame:
    """Usage of node-hours that are not registered; by day where hours became days."""
    key = _NODE_DAY if by_day else NODE_HOUR
    return (
        usage.group_by(key)
        .agg(pl.len().alias("rows"), *(_first(name) for name in ("hour_utc",) if name not in key))
        .join(node_hours.select(key).unique(), on=key, how="anti")
        .select(
            "hour_utc",
            "node",
            subject=_instance(),
            expected=pl.lit("a row of node_hours"),
            found=pl.format("none, and {} rows of usage", "rows"),
        )
    )


def device_counts(usage: pl.LazyFrame, node_hours: pl.LazyFrame) -> pl.LazyFrame:
    """Node-hours that have not as many devices as they are registered with."""
    devices = usage.group_by(NODE_HOUR).agg(found=pl.col("gpu_uuid").n_unique())
    return (
        node_hours.filter(pl.col("existed_ns") > 0)
        .select(*NODE_HOUR, expected=pl.col("gpu_count").fill_null(0))
        .join(devices, on=NODE_HOUR, how="left")
        .with_columns(pl.col("found").fill_null(0))
        .filter(pl.col("found").cast(pl.Int64) != pl.col("expected").cast(pl.Int64))
        .select(
            "hour_utc",
            "node",
            subject=_instance(),
            expected=pl.format("{} devices", "expected"),
            found=pl.format("{} devices", "found"),
        )
    )


def device_times(usage: pl.LazyFrame, node_hours: pl.LazyFrame) -> pl.LazyFrame:
    """Devices whose accounts do not add up to the time that their node existed."""
    return (
        usage.group_by(*NODE_HOUR, "gpu_uuid")
        .agg(found=pl.col("gpu_ns").cast(pl.Int128).sum())
        .join(node_hours.select(*NODE_HOUR, expected="existed_ns"), on=NODE_HOUR)
        .filter(pl.col("found").ne_missing(pl.col("expected").cast(pl.Int128)))
        .select(
            "hour_utc",
            "node",
            subject=pl.format("device {}", "gpu_uuid"),
            expected=pl.format("{} ns", "expected"),
            found=pl.format("{} ns", "found"),
        )
    )


def day_times(usage: pl.LazyFrame, node_hours: pl.LazyFrame) -> pl.LazyFrame:
    """Nodes of a day that was rolled, whose devices' time does not add up to what their hours registered."""
    control = node_hours.group_by(_NODE_DAY).agg(
        expected=(pl.col("existed_ns").cast(pl.Int128) * pl.col("gpu_count").fill_null(0).cast(pl.Int128)).sum()
    )
    booked = usage.group_by(_NODE_DAY).agg(found=pl.col("gpu_ns").cast(pl.Int128).sum())
    return (
        control.join(booked, on=_NODE_DAY, how="left")
        .with_columns(pl.col("found").fill_null(0))
        .filter(pl.col("found") != pl.col("expected"))
        .select(
            pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("hour_utc"),
            "node",
            subject=pl.lit("all its devices, the whole day"),
            expected=pl.format("{} ns", "expected"),
            found=pl.format("{} ns", "found"),
        )
    )


def below_zero(table: Table, rows: pl.LazyFrame, amounts: Sequence[str]) -> pl.LazyFrame:
    """Amounts below zero, and, of amounts that every row has, none at all."""
    parts = [
        rows.filter(pl.col(name) < 0).select(
            "hour_utc",
            _node(table),
            subject=pl.lit(f"{name} of {table.name}"),
            expected=pl.lit("0 or more"),
            found=pl.col(name).cast(pl.String),
        )
        for name in amounts
    ]
    return pl.concat(parts)


def _node(table: Table) -> pl.Expr:
    return pl.col("node") if "node" in table.schema else pl.lit("").alias("node")


def _first(name: str) -> pl.Expr:
    return pl.col(name).first()


def _instance() -> pl.Expr:
    return (
        pl.when(pl.col("instance_id") == "")
        .then(pl.lit("node-hour"))
        .otherwise(pl.format("instance {}", "instance_id"))
    )
