"""One batch of a bill's rows as charges: facts by kind, figures row by row. What cannot be read is refused here, with
the line.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import NoReturn

import polars as pl

from collectors.bill_csv import ROW
from collectors.bill_dialect import CATEGORIES, TIMES, Dialect, Header
from collectors.bill_file import BillFile
from collectors.bill_refused import BillRefused
from ledger import money
from ledger.bill_times import read_times
from ledger.charge_kinds import HASH, Kinds
from ledger.fx import Rates

BASES = ("list", "billed", "effective")
_YEARS = range(2000, 2101)
_LONGEST = timedelta(days=5 * 366)
"""Of one line: no commitment is sold for longer."""
_REQUIRED = (*TIMES, "billed", "effective")


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source's bills are read."""

    rates: Rates
    timestamps: str | None = None
    """How times are written, in the letters of ``strptime``; None: ISO 8601."""


@dataclass(slots=True)
class BatchReader:
    """Reads the batches of one file."""

    file: BillFile
    dialect: Dialect
    reading: Reading
    kinds: Kinds

    def charges(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Rows of CHARGES without bill and line id, with their digest, and for each of :data:`BASES` the exact amount
        in the bill's currency as ``atto_...`` and ``deep_...``. Facts are as :meth:`Kinds.of` gives them.

        Raises:
            BillRefused: a row cannot be read; which, and why.
        """
        named = batch.rename({name: self.dialect.rename(name) for name in batch.columns})
        header = Header(named.schema)
        self._check_kinds(named, header)
        facts = self._facts(named, header)
        figures = named.select(ROW, *self.dialect.figure_columns(header))
        times = pl.DataFrame([self._times(figures, name) for name in TIMES])
        amounts = self._amounts(figures)
        rows = pl.concat([facts, figures.select("quantity"), times, amounts], how="horizontal")
        self._check(rows, figures)
        return _identified(self._converted(rows))

    def _check_kinds(self, named: pl.DataFrame, header: Header) -> None:
        """A column that is not there says nothing of what a line costs, least of all 0."""
        missing = self.dialect.missing_by_kind(header)
        if not missing:
            return
        kind = header.text(self.dialect.column_of("category"))
        wrong = named.with_columns(__told=kind).filter(pl.col("__told").is_in(list(missing)))
        if wrong.height:
            told = str(wrong["__told"][0])
            lacks = " and ".join(missing[told])
            self._refuse(wrong, "category", f"{told!r} needs {lacks}, which the file lacks; export these columns too")

    def _facts(self, named: pl.DataFrame, header: Header) -> pl.DataFrame:
        rules = self.dialect.fact_columns(header)
        sources = sorted({name for rule in rules for name in rule.meta.root_names()})
        return self.kinds.of(named.select(sources), rules)

    def _times(self, figures: pl.DataFrame, name: str) -> pl.Series:
        try:
            return read_times(figures[name], self.reading.timestamps).alias(name)
        except BillRefused as error:
            text = str(error).split("'")[1] if str(error).startswith("'") else None
            at = figures.filter(pl.col(name).cast(pl.String) == text) if text is not None else figures
            self._refuse(at, name, str(error))

    def _amounts(self, figures: pl.DataFrame) -> pl.DataFrame:
        read = {name: self._money(figures, name) for name in BASES}
        for name, sign in (("effective_plus", 1), ("effective_less", -1)):
            if figures[name].null_count() < figures.height:
                read["effective"] = money.plus(read["effective"], self._money(figures, name), sign)
        columns = [read[base][part].alias(f"{part}_{base}") for base in BASES for part in ("nano", "atto", "deep")]
        return pl.DataFrame(columns)

    def _money(self, figures: pl.DataFrame, name: str) -> pl.DataFrame:
        frame = money.read(figures[name])
        if not frame["valid"].all():
            wrong = figures.filter(~frame["valid"])
            self._refuse(wrong, name, f"{wrong[name][0]!r} is no amount; allowed: {money.ALLOWED}")
        return frame

    def _check(self, rows: pl.DataFrame, figures: pl.DataFrame) -> None:
        """What must be there is there."""
        for name in _REQUIRED:
            column = f"nano_{name}" if name in BASES else name
            if rows[column].null_count():
                self._refuse(
                    figures.filter(rows[column].is_null()), name, "is empty; a line cannot be booked without it"
                )
        for name in ("currency", "category", "billing_account"):
            if (rows[name] == "").any():
                self._refuse(figures.filter(rows[name] == ""), name, "is empty; a line cannot be booked without it")
        known = rows["category"].is_in(CATEGORIES)
        if not known.all():
            wrong = rows.filter(~known)["category"][0]
            self._refuse(figures.filter(~known), "category", f"{wrong!r} is no kind of charge that is known")
        backwards = rows["period_end"] < rows["period_start"]
        if backwards.any():
            self._refuse(figures.filter(backwards), "period_end", "lies before the start of the line's period")
        for name in TIMES:
            year = rows[name].dt.year()
            strange = (year < _YEARS[0]) | (year > _YEARS[-1])
            if strange.any():
                why = f"lies in the year {year.filter(strange)[0]}; allowed: years from {_YEARS[0]} to {_YEARS[-1]}"
                self._refuse(figures.filter(strange), name, why)
        endless = rows["period_end"] - rows["period_start"] > _LONGEST  # each hour of it would be a row
        if endless.any():
            years = round(_LONGEST.days / 365.25)
            self._refuse(figures.filter(endless), "period_end", f"lies more than {years} years after the line's begin")

    def _refuse(self, rows: pl.DataFrame, name: str, why: str) -> NoReturn:
        where = f"line {self.file.line_of(rows[ROW][0])}" if rows.height else "a line"
        column = self.dialect.column_of(name)
        own = next((each for each in self.file.names if self.dialect.rename(each) == column), column)
        raise BillRefused(f"{self.file.name}: {where}: {own}: {why}; nothing of it was booked")

    def _converted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Amounts in nano-dollars, by the rate of the day on which each line begins."""
        dated = rows.with_columns(day=pl.col("period_start").dt.date())
        pairs = dated.select("currency", "day").unique()
        if pairs["currency"].unique().to_list() == ["USD"]:
            same = [pl.col(f"nano_{base}").alias(f"{base}_nano_usd") for base in BASES]
            return dated.with_columns(*same, fx=pl.lit("1"))
        rated = dated.join(self._rates(pairs), on=["currency", "day"], how="left", maintain_order="left")
        usd = {
            f"{base}_nano_usd": money.in_usd(pl.col(f"nano_{base}"), pl.col("__top"), pl.col("__bottom"))
            for base in BASES
        }
        return rated.with_columns(**usd)

    def _rates(self, pairs: pl.DataFrame) -> pl.DataFrame:
        rates: list[tuple[str, date, str, int, int]] = []
        for currency, day in pairs.iter_rows():
            try:
                rate: Decimal = self.reading.rates.usd_per_unit(currency, day)
            except BillRefused as error:
                raise BillRefused(f"{self.file.name}: {error}; nothing of it was booked") from error
            rates.append((currency, day, format(rate, "f"), *rate.as_integer_ratio()))
        return pl.DataFrame(rates, schema=_RATES, orient="row")


_RATES = {"currency": pl.String, "day": pl.Date, "fx": pl.String, "__top": pl.Int128, "__bottom": pl.Int128}


_FACTORS = [int.from_bytes(blake2b(bytes([n]), digest_size=8).digest(), "little") | 1 for n in range(7)]
_ABSENT = 0x5E3779B97F4A7C15


def _identified(rows: pl.DataFrame) -> pl.DataFrame:
    """The digest of the facts and the figures, each times an odd number of its own, summed with wrapping."""
    digits = pl.col("quantity").str.replace(".", "", literal=True).cast(pl.Int64, strict=False)
    figures = [pl.col(name).dt.epoch("us") for name in TIMES]
    figures += [pl.col(f"atto_{base}").cast(pl.Int64, wrap_numerical=True) for base in BASES]
    mixed = pl.col(HASH)
    for factor, figure in zip(_FACTORS, (*figures, digits), strict=True):
        mixed += figure.fill_null(_ABSENT).cast(pl.UInt64, wrap_numerical=True) * pl.lit(factor, dtype=pl.UInt64)
    return rows.with_columns(mixed.alias(HASH))
