"""A delivery's files as rows of CHARGES: staged on disk, whole or not at all, with the bill's rounding line.

What is staged is booked by :mod:`ledger.bill_intake`. A file that cannot be read to its end refuses the delivery.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import polars as pl

from collectors.bill_dialect import Dialect, Header
from collectors.bill_dialects import dialect_of
from collectors.bill_file import BillFile
from collectors.bill_refused import BillRefused
from collectors.errors import Unavailable
from ledger import money
from ledger.charge_kinds import FACT_COLUMNS, HASH, KIND, Kinds
from ledger.charge_lines import BASES, BatchReader, Reading
from ledger.side_by_side import side_by_side
from ledger.stack_layers import DATA_GOVERNANCE
from ledger.tables import CHARGES

MOST_WORKERS = 4
"""Batches that are worked on at once, where there are about as many cores; each holds memory."""
MOST_HASHES = 1 << 21
"""Lines that are searched at once for those of one content; more of them are searched in more passes."""
_LARGEST = (1 << 63) - 1
_NO_KINDS = pl.Schema({KIND: pl.UInt64(), **{name: CHARGES.schema[name] for name in FACT_COLUMNS}})
_FIGURES = [name for name in CHARGES.schema if name not in {"bill_id", "line_id", *FACT_COLUMNS}]


@dataclass(slots=True)
class BillSums:
    """What a month's lines come to."""

    lines: int = 0
    exact: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(BASES, Fraction(0)))
    """In dollars, to the last digit."""
    booked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BASES, 0))
    """Nano-dollars of the lines as they are rounded."""
    accounts: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    """Billing account, provider, currency."""

    def total(self, base: str) -> int:
        """Nano-dollars of the month, rounded once."""
        return money.nano(self.exact[base])


@dataclass(frozen=True, slots=True)
class Staged:
    """A delivery that was read whole."""

    dialect: str
    parts: tuple["Part", ...]
    kinds: pl.DataFrame
    months: Mapping[date, BillSums]

    def rows(self, bill_ids: Mapping[date, str], *, coded: bool = False) -> pl.LazyFrame:
        """CHARGES rows, the rounding lines among them; lines of one content are numbered in the file's order.

        Args:
            bill_ids: of each month.
            coded: facts are ``Enum`` where all of them are known: each text is looked up and written once.
        """
        rounding = pl.DataFrame(
            [_rounding_line(month, bill_ids[month], sums) for month, sums in self.months.items()], schema=CHARGES.schema
        )
        codes = self._codes(rounding) if coded else {}
        lines = pl.concat(self._lines(codes))
        twice = self._twice()
        place = pl.lit("")
        if twice.height:
            lines = lines.join(twice.lazy(), on="__n", how="left", maintain_order="left")
            place = pl.when(pl.col("place").is_null()).then(pl.lit("")).otherwise(pl.format("-{}", "place"))
        booked = lines.select(
            *_FIGURES,
            *FACT_COLUMNS,
            # not replace_strict, which would hold all rows at once
            bill_id=pl.coalesce(pl.when(month=month).then(pl.lit(bill)) for month, bill in bill_ids.items()),
            line_id=pl.col(HASH).cast(pl.String) + place,
        )
        return pl.concat([booked.select(list(CHARGES.schema)), rounding.with_columns(_coded(codes)).lazy()])

    def _twice(self) -> pl.DataFrame:
        """Lines whose content came before: ``__n``, and which of its equals it is, from 2."""
        passes = -(-sum(part.lines for part in self.parts) // MOST_HASHES)
        placed = pl.concat(lines.select("__n", HASH) for _, lines in self._stretches())
        return pl.concat(
            _came_before(placed.filter(pl.col(HASH) % passes == which).collect(engine="streaming"))
            for which in range(passes)
        )

    def _codes(self, rounding: pl.DataFrame) -> dict[str, pl.Enum]:
        if any(part.whole for part in self.parts):
            return {}
        texts = [name for name in FACT_COLUMNS if CHARGES.schema[name] == pl.String]
        return {name: pl.Enum(pl.concat([self.kinds[name], rounding[name]]).unique()) for name in texts}

    def _lines(self, codes: Mapping[str, pl.Enum]) -> Iterator[pl.LazyFrame]:
        """Parts with all their facts, in order, with each line's place among all."""
        facts = self.kinds.lazy().select(KIND, *FACT_COLUMNS).with_columns(_coded(codes))
        for whole, stretch in self._stretches():
            lines = stretch if whole else stretch.join(facts, on=KIND, how="left", maintain_order="left")
            yield lines.select("__n", HASH, *_FIGURES, *FACT_COLUMNS)

    def _stretches(self) -> Iterator[tuple[bool, pl.LazyFrame]]:
        """Parts of one form that follow each other, whole or not, with each line's place among all (``__n``)."""
        first = 0
        for whole, stretch in groupby(self.parts, lambda part: part.whole):
            parts = list(stretch)
            paths = [part.path for part in parts]
            yield whole, pl.scan_ipc(paths, row_index_name="__n", row_index_offset=first, glob=False)
            first += sum(part.lines for part in parts)


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a delivery's rows, put down in a file."""

    path: Path
    lines: int
    whole: bool
    """Each row has all its facts; else they are found by kind."""


def stage(files: Sequence[BillFile], reading: Reading, folder: Path, dialect: Dialect | None = None) -> Staged:
    """Read a delivery's files to their end and put their rows down in a folder of one's own.

    Args:
        files: all of one dialect.
        reading: how they are read.
        folder: where rows are put; empty, and removed by the caller.
        dialect: of the files; None: told by their columns.

    Raises:
        BillRefused: with the file, the line and the reason; the folder is worth nothing then.
        Unavailable: there is no room in the folder.
    """
    sums: dict[date, BillSums] = defaultdict(BillSums)
    parts: list[Part] = []
    kinds = Kinds()
    first = dialect or dialect_of(files[0].names, files[0].name)
    for file in files:
        used = dialect or dialect_of(file.names, file.name)
        if used != first:
            raise BillRefused(f"{file.name}: is {used.name}, but {files[0].name} is {first.name}; deliver one form")
        for rows in _charges(file, BatchReader(file, used, reading, kinds)):
            _add(sums, rows)
            parts.append(_put_down(rows, folder / f"{len(parts):06d}.arrow"))
    if not parts:
        raise BillRefused(f"{files[0].name}: no lines; there is nothing to book")
    for month, each in sums.items():
        if max(abs(each.total(base)) for base in BASES) > _LARGEST:
            raise BillRefused(
                f"{files[0].name}: {month:%Y-%m} comes to more than the ledger holds (9.2 billion dollars)"
            )
    facts = kinds.known if kinds.known is not None else pl.DataFrame(schema=_NO_KINDS)
    return Staged(first.name, tuple(parts), facts, dict(sums))


def _came_before(lines: pl.DataFrame) -> pl.DataFrame:
    # sorted: takes a third of the time that is_duplicated takes, and less memory
    ordered = lines[HASH].sort()
    equal = ordered.filter(ordered == ordered.shift(1)).unique()
    return (
        lines.filter(pl.col(HASH).is_in(equal.implode()))
        .with_columns(place=pl.col("__n").rank("ordinal").over(HASH))
        .filter(pl.col("place") > 1)
        .select("__n", "place")
    )


def _coded(codes: Mapping[str, pl.Enum]) -> list[pl.Expr]:
    return [pl.col(name).cast(code) for name, code in codes.items()]


def _put_down(rows: pl.DataFrame, path: Path) -> Part:
    whole = KIND not in rows.columns
    kept = rows.select(*_FIGURES, HASH, *(FACT_COLUMNS if whole else (KIND,)))
    try:
        kept.write_ipc(path, compression="lz4")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Unavailable(f"a bill cannot be staged in {path.parent} ({error}); free room there") from error
    return Part(path, rows.height, whole)


def _charges(file: BillFile, reader: BatchReader) -> Iterator[pl.DataFrame]:
    columns = _columns(file, reader.dialect)

    def work(read: Callable[[], pl.DataFrame]) -> pl.DataFrame | None:
        batch = read()
        return _with_month(reader.charges(batch)) if batch.height else None

    # asked here: it starts threads, which no fork would have; one more than cores, since each waits now and then
    workers = min(MOST_WORKERS, pl.thread_pool_size() + 1)
    for rows in side_by_side(work, file.batches(columns), workers):
        if rows is not None:
            yield rows


def _columns(file: BillFile, dialect: Dialect) -> set[str]:
    """The file's columns that facts and figures are made of."""
    header = Header({dialect.rename(name): pl.String() for name in file.names})
    rules = [*dialect.fact_columns(header), *dialect.figure_columns(header)]
    used = {name for rule in rules for name in rule.meta.root_names()}
    return {name for name in file.names if dialect.rename(name) in used}


def _with_month(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(month=pl.col("billing_start").dt.date().dt.month_start())


def _add(sums: dict[date, BillSums], rows: pl.DataFrame) -> None:
    groups = rows.group_by("month", "fx").agg(
        lines=pl.len(),
        accounts=pl.struct("billing_account", "provider", "currency").unique(),
        **{f"atto_{base}": pl.col(f"atto_{base}").sum() for base in BASES},
        **{f"deep_{base}": pl.col(f"deep_{base}").drop_nulls() for base in BASES},
        **{f"{base}_nano_usd": pl.col(f"{base}_nano_usd").cast(pl.Int128).sum() for base in BASES},
    )
    for group in groups.iter_rows(named=True):
        month = sums[group["month"]]
        month.lines += group["lines"]
        month.accounts |= {tuple(account.values()) for account in group["accounts"]}
        for base in BASES:
            deep = sum((Fraction(text) for text in group[f"deep_{base}"]), Fraction(0))
            exact = Fraction(group[f"atto_{base}"], money.ATTO_PER_UNIT) + deep
            month.exact[base] += exact * Fraction(group["fx"])
            month.booked[base] += group[f"{base}_nano_usd"]


def _rounding_line(month: date, bill_id: str, sums: BillSums) -> dict[str, object]:
    """What the lines' own rounding left out or added, so that they add up to the total that is rounded once.
    It stands in the first hour of its month.
    """
    account, provider, currency = min(sums.accounts)
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    empty = {name: "" for name, dtype in CHARGES.schema.items() if dtype == pl.String}
    return {
        **empty,
        "month": month,
        "bill_id": bill_id,
        "line_id": "rounding",
        "billing_account": account,
        "provider": provider,
        "period_start": start,
        # one hour: it differs in every delivery, and what it touches is made again
        "period_end": start + timedelta(hours=1),
        "service": "rounding",
        "category": "rounding",
        "correction": False,
        "pricing": "other",
        "stack_layer": DATA_GOVERNANCE,
        "description": "what lies below a nano-dollar in all lines of this bill",
        "currency": currency,
        "fx": "1",
        "tags": "{}",
        **{f"{base}_nano_usd": sums.total(base) - sums.booked[base] for base in BASES},
    }
