"""Grams: operational and embodied carbon of each row of cost, in whole micrograms that add up.

Owns the arithmetic, after the Software Carbon Intensity specification 1.1: ``E x I`` with location-based ``I`` and PUE,
and ``M = TE x TiR/EL x RR/ToR``. Must never give 0 for what is not known: no energy or no intensity is no figure.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Self

import polars as pl
from polars.datatypes import DataTypeClass

from collectors.carbon_intensity import HourIntensity, RegionIntensity, SeriesFile, load
from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model
from ledger.apportion_frame import half_even
from ledger.carbon_settings import CarbonSettings, Embodied, Place
from ledger.tables import TIME, Columns

_log = logging.getLogger(__name__)

MJ_PER_KWH = 3_600_000_000
NS_PER_YEAR = 365 * 24 * 3600 * 1_000_000_000
"""Of 8,760 hours."""
_MICRO = 1_000_000
_MILLI = 1000
_CENTI = 100

ROW = ("hour_utc", "node", "instance_id", "gpu_uuid", "mig", "holder_kind", "holder", "account", "method")
"""What a figure of carbon stands for; prices and charges do not split it."""
DEVICE_HOUR = ("hour_utc", "node", "instance_id", "gpu_uuid")
_PLACE = ("provider", "region", "zone", "cluster", "node")
_KIND = ("hour_utc", *_PLACE, "gpu_model")
"""What decides intensity and embodied share."""


@dataclass(slots=True)
class Carbon:
    """What is known of intensities."""

    settings: CarbonSettings
    table: Sequence[RegionIntensity]
    series: list[Sequence[HourIntensity]] = field(default_factory=list[Sequence[HourIntensity]])
    """One for each line of ``settings.series``."""
    files: Sequence[SeriesFile] = ()
    """Where they are read from."""

    @classmethod
    def read(cls, settings: CarbonSettings, root: Path = Path()) -> Self:
        """The bundled table and the configured series, whose paths are taken from ``root``.

        Raises:
            Misconfigured: a file is not there or is malformed; the message names line and column.
        """
        files = [SeriesFile(root / line.file) for line in settings.series]
        return cls(settings, load(), [file.read() for file in files], files)

    def refresh(self) -> None:
        """Read the series again whose files changed; of one that cannot be read the former figures stand, with a
        warning.
        """
        for place, file in enumerate(self.files):
            try:
                self.series[place] = file.read_if_changed() or self.series[place]
            except Misconfigured as error:
                _log.warning("%s; what it said before still counts", error)

    def days(self) -> dict[str, str]:
        """A digest of what the series say of each day, by its ISO date."""
        said: defaultdict[str, list[str]] = defaultdict(list)
        for place, hours in enumerate(self.series):
            for hour in sorted(hours, key=lambda hour: hour.hour_utc):
                said[hour.hour_utc.date().isoformat()].append(f"{place} {hour.hour_utc:%H} {hour.mg_per_kwh}")
        return {day: sha256("\n".join(lines).encode()).hexdigest()[:16] for day, lines in said.items()}


def with_carbon(cost: pl.LazyFrame, usage: pl.LazyFrame, carbon: Carbon) -> pl.LazyFrame:
    """The rows of ``cost`` with ``carbon_ug``, ``embodied_ug`` and ``intensity``, in micrograms of CO2 equivalent; the
    rows of usage are read at once.

    A device's hour is rounded once, half to even, and split over its rows, by energy and by time; the parts add up and
    none is a microgram off. Where a usage row bears several charges the figures stand on the first, so that sums over
    any rows of cost hold.

    Args:
        cost: rows of the table ``cost``; what the three columns held before is replaced.
        usage: rows of the table ``usage`` of at least the same hours.
        carbon: intensities and settings.
    """
    rows, figures = cost.collect(), _figures(usage, carbon)
    if rows.select(ROW).equals(figures.select(ROW)):
        return rows.with_columns(figures.select(list(_FILLED))).lazy()
    order = ("charge", "billing_account", "stack_layer", "price_id")
    firsts = (
        rows.lazy()
        .select(
            pl.int_range(pl.len()).alias("_index"), *ROW, pl.col("list_nano_usd").is_null().alias("_unpriced"), *order
        )
        .sort(*ROW, "_unpriced", *order)
        .filter(is_first(ROW))
        .select("_index", *ROW)
        .collect()
    )
    filled = firsts.join(figures, on=ROW, how="inner")
    taken = pl.repeat(None, rows.height, dtype=pl.Int64, eager=True)
    taken.scatter(filled["_index"], pl.int_range(filled.height, eager=True))
    return rows.lazy().with_columns(filled[name].gather(taken).alias(name) for name in _FILLED)


_FILLED: Columns = {"carbon_ug": pl.Int64, "embodied_ug": pl.Int64, "intensity": pl.String}


def _figures(usage: pl.LazyFrame, carbon: Carbon) -> pl.DataFrame:
    """One row for each :data:`ROW`, with the three columns, in the order of :data:`ROW`."""
    rows = in_order(usage.select(*dict.fromkeys((*ROW, *_KIND)), "energy_mj", "gpu_ns").collect())
    begins = rows.select(is_first(DEVICE_HOUR)).to_series()
    hour = begins.cum_sum().cast(pl.Int64) - 1
    kinds_of = rows.filter(begins).select(_KIND)
    kind = kinds_of.select(pl.struct(_KIND).rle_id()).to_series()
    known = _known(kinds_of, carbon).select(pl.all().gather(kind))
    carbon_ug = parts(rows["energy_mj"], hour, known, ("_factor", "_divisor"))
    embodied_ug = parts(rows["gpu_ns"], hour, known, ("_ug", "_life_ns"))
    said = known["_said"].gather(hour)
    return rows.select(
        *ROW,
        carbon_ug.alias("carbon_ug"),
        embodied_ug.alias("embodied_ug"),
        pl.when(carbon_ug.is_not_null()).then(said).alias("intensity"),
    )


def _known(kinds_of: pl.DataFrame, carbon: Carbon) -> pl.DataFrame:
    """Of each run of :data:`_KIND`: ``_said``, micrograms for energy and for time, each as a fraction."""
    kinds = kinds_of.filter(is_first(_KIND)).lazy().with_row_index("_kind")
    kinds = _with_embodied(_with_intensity(kinds, carbon), carbon.settings.embodied)
    # (mJ / mJ per kWh) x mg per kWh x 1000 ug per mg, with PUE and ratio in thousandths
    factor = pl.col("_mg") * pl.col("_pue") * (_MILLI + _thousandths(carbon.settings.host_ratio))
    divisor = pl.lit(MJ_PER_KWH * _MILLI, pl.Int128)
    figures = kinds.with_columns(factor.alias("_factor"), divisor.alias("_divisor")).sort("_kind")
    return figures.select("_said", "_factor", "_divisor", "_ug", "_life_ns").collect()


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sorted by :data:`ROW`; rows that differ in their energy's method or their price only are one."""
    if _is_in_order(rows):
        return rows
    rows = rows.sort(ROW)
    mj, ns = pl.col("energy_mj").cast(pl.Int128), pl.col("gpu_ns").cast(pl.Int128)
    summed = pl.when(mj.count() > 0).then(mj.sum()).alias("energy_mj"), ns.sum().alias("gpu_ns")
    others = [name for name in rows.columns if name not in {"energy_mj", "gpu_ns"}]
    same = rows.group_by(is_first(ROW).cum_sum().alias("_row"), maintain_order=True)
    return same.agg(pl.col(others).first(), *summed).drop("_row")


def _is_in_order(rows: pl.DataFrame) -> bool:
    """Whether each row comes after the one before it by :data:`ROW`; a check costs a small part of a sort."""
    if rows.select(pl.any_horizontal(pl.col(ROW).null_count() > 0)).item():
        return False
    after = pl.lit(value=False)
    for name in reversed(ROW):
        before = pl.col(name).shift(1)
        after = (pl.col(name) > before) | ((pl.col(name) == before) & after)
    return bool(rows.select(after.slice(1).all()).item())


def is_first(columns: Sequence[str]) -> pl.Expr:
    """Whether a row is the first with its values, in rows that are sorted by them."""
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in columns) | (
        pl.int_range(pl.len()) == 0
    )


def parts(amount: pl.Series, hour: pl.Series, known: pl.DataFrame, fraction: tuple[str, str]) -> pl.Series:
    """Each row's part of its device's hour, which is rounded once: what the sum up to it comes to, less that before it.

    A null amount has no part. The rows stand in their order, so the same rows always get the same parts.

    Args:
        amount: of each row.
        hour: the number of each row's device-hour, from 0 on without a gap; rising.
        known: a row for each device-hour.
        fraction: the columns of ``known`` that tell what one unit of the amount comes to.
    """
    if known[fraction[0]].null_count() == known.height:
        return pl.repeat(None, len(amount), dtype=pl.Int64, eager=True)
    own, wide = pl.col("own"), pl.Int128
    rows = pl.DataFrame({"hour": hour, "own": amount.fill_null(0).cast(wide)})
    hours = (
        rows.group_by("hour", maintain_order=True)
        .agg(own.sum().alias("total"))
        .with_columns(top=known[fraction[0]], bottom=known[fraction[1]])
        .select(
            total=pl.max_horizontal("total", pl.lit(1, wide)),
            before=pl.col("total").cum_sum() - pl.col("total"),
            whole=half_even(pl.col("total") * pl.col("top"), pl.col("bottom")),
        )
        .select(pl.all().gather(hour))
    )
    upto = (own.cum_sum() - hours["before"]) * hours["whole"] // hours["total"]
    begins = pl.col("hour").ne_missing(pl.col("hour").shift(1))
    share = pl.col("upto") - pl.when(begins).then(pl.lit(0, wide)).otherwise(pl.col("upto").shift(1))
    parts = rows.with_columns(upto=upto).select(share.cast(pl.Int64)).to_series()
    return parts.to_frame("part").select(pl.when(amount.is_not_null()).then("part")).to_series()


def _with_intensity(rows: pl.LazyFrame, carbon: Carbon) -> pl.LazyFrame:
    """With ``_mg`` (milligrams for a kilowatt-hour), ``_pue`` (thousandths) and ``_said``."""
    settings, own = carbon.settings, carbon.settings.intensity_g_per_kwh
    series = _first_that_fits(settings.series, range(len(settings.series)), pl.Int32)
    here = _first_that_fits(own, [_thousandths(line.g_per_kwh) for line in own], pl.Int64)
    whose = _first_that_fits(own, [line.source for line in own], pl.String)
    pue = _first_that_fits(settings.pues, [_thousandths(line.pue) for line in settings.pues], pl.Int64)
    placed = (
        rows.with_columns(series.alias("_series"), here.alias("_here"), whose.alias("_whose"), pue.alias("_pue"))
        .with_columns(pl.col("_pue").fill_null(_thousandths(settings.pue)))
        .join(_hours(carbon), on=["hour_utc", "_series"], how="left")
        .join(_regions(carbon), on=["provider", "region"], how="left")
        .with_columns(pl.coalesce("_hour_mg", "_here", "_region_mg").alias("_mg"))
    )
    scope = "gpu" if settings.host_ratio is None else f"node, host {settings.host_ratio:f} of GPU"
    said = pl.concat_str(
        pl.coalesce("_hour_source", "_whose", "_region_source"),
        pl.lit(", "),
        _decimal("_mg"),
        pl.lit(" gCO2e/kWh, PUE "),
        _decimal("_pue"),
        pl.lit(f", scope {scope}"),
    )
    return placed.with_columns(said.alias("_said"), pl.col("_mg", "_pue").cast(pl.Int128))


def _hours(carbon: Carbon) -> pl.LazyFrame:
    rows = [
        (hour.hour_utc, place, hour.mg_per_kwh, f"series {line.file.name}")
        for place, (line, hours) in enumerate(zip(carbon.settings.series, carbon.series, strict=True))
        for hour in hours
    ]
    schema: Columns = {"hour_utc": TIME, "_series": pl.Int32, "_hour_mg": pl.Int64, "_hour_source": pl.String}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def _regions(carbon: Carbon) -> pl.LazyFrame:
    rows = [
        (row.provider, row.region, row.mg_per_kwh, _source(row))
        for row in carbon.table
        if row.provider or row.country == carbon.settings.country
    ]
    schema: Columns = {"provider": pl.String, "region": pl.String, "_region_mg": pl.Int64, "_region_source": pl.String}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def _source(row: RegionIntensity) -> str:
    whole_country = row.source == "country-mix"
    where = row.country if whole_country else f"{row.provider} {row.region}"
    return f"{row.source} {where} {row.year or f'as of {row.as_of.isoformat()}'}"


def _with_embodied(rows: pl.LazyFrame, lines: Sequence[Embodied]) -> pl.LazyFrame:
    """With ``_ug`` over ``_life_ns``: micrograms of one GPU, and the nanoseconds that they are spread over."""
    figures = [
        (line.model, int(line.kg * _MILLI) * _MICRO * _CENTI, int(line.years * _CENTI) * NS_PER_YEAR * line.gpus)
        for line in lines
    ]
    schema: Columns = {"_model": pl.String, "_ug": pl.Int128, "_life_ns": pl.Int128}
    table = pl.LazyFrame(figures, schema=schema, orient="row")
    names = frozenset(line.model for line in lines)

    def line_of(models: pl.Series) -> pl.Series:
        found = {str(name): _line(str(name), names) for name in models.unique()}
        return models.replace_strict(list(found), list(found.values()), return_dtype=pl.String)

    model = pl.col("gpu_model").fill_null("").map_batches(line_of, return_dtype=pl.String)
    return rows.with_columns(model.alias("_model")).join(table, on="_model", how="left")


def _line(model: str, lines: frozenset[str]) -> str | None:
    return next((name for name in (model, canonical_model(model), "*") if name in lines), None)


def _first_that_fits(lines: Sequence[Place], values: Sequence[int | str], dtype: DataTypeClass) -> pl.Expr:
    chosen = [pl.when(_fits(line)).then(pl.lit(value, dtype)) for line, value in zip(lines, values, strict=True)]
    return pl.coalesce(*chosen, pl.lit(None, dtype))


def _fits(place: Place) -> pl.Expr:
    named = [(name, str(getattr(place, name))) for name in _PLACE]
    return pl.all_horizontal(pl.lit(value=True), *(_like(name, said) for name, said in named if said != "*"))


def _like(column: str, said: str) -> pl.Expr:
    if "*" not in said:
        return pl.col(column) == said
    return pl.col(column).str.contains(f"^{'.*'.join(map(re.escape, said.split('*')))}$")


def _thousandths(figure: Decimal | None) -> int:
    return int((figure or Decimal(0)) * _MILLI)


def _decimal(name: str) -> pl.Expr:
    """Thousandths as a decimal without trailing zeros."""
    text = pl.concat_str(pl.col(name) // _MILLI, pl.lit("."), (pl.col(name) % _MILLI).cast(pl.String).str.zfill(3))
    return text.str.strip_chars_end("0").str.strip_chars_end(".")
