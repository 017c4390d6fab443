"""Takes bills in: finds deliveries, reads them whole, books each in one commit, and keeps why one was refused.

Owns the order: charges first, then the register, so that after a death in between the delivery is read again and booked
the same. A delivery takes the place of the former one of its export and month. No line is booked twice: the same lines
under another name, or the same account's month in another dialect, are refused.
"""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from collectors.bill_dialect import Dialect
from collectors.bill_file import BillFile, open_bill
from collectors.bill_files import Deliveries, Delivery
from collectors.bill_refused import BillRefused
from collectors.bill_shelf import Shelf
from collectors.errors import Misconfigured, Unavailable
from ledger.bill_changes import changed_periods
from ledger.bill_register import (
    BOOKED,
    REPLACED,
    Register,
    bill_id,
    booked_rows,
    other_bills,
    refused_row,
)
from ledger.charge_lines import Reading
from ledger.charges import Staged, stage
from ledger.store import Store
from ledger.tables import BILLS, CHARGES

LOG = logging.getLogger(__name__)

COST_EXPLORER_FAMILY = "cost"
_FOLDER = "bill-"
_ALIKE = 10
"""One line of so many may stand in another bill."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place of bills, and how they are read."""

    deliveries: Deliveries
    reading: Reading
    complete: Mapping[str, str] = field(default_factory=dict[str, str])
    billing_account: str = ""

    @property
    def shelf(self) -> Shelf:
        """Where objects are fetched."""
        return self.deliveries.shelf

    @property
    def manner(self) -> str:
        """Changes when the same objects would be read differently."""
        text = repr((self.reading, sorted(self.complete.items()), self.billing_account))
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(slots=True)
class Taken:
    """What one look at the sources gave; one line for each thing that a person should see."""

    booked: list[str] = field(default_factory=list[str])
    """Ids of bills."""
    refused: list[str] = field(default_factory=list[str])
    waiting: list[str] = field(default_factory=list[str])
    """Deliveries that are not all there."""
    unavailable: list[str] = field(default_factory=list[str])
    """What could not be read now; it is tried again."""
    months: set[date] = field(default_factory=set[date])
    """Whose charges were written."""
    before: int | None = None
    """Version of the charges before."""


class BillIntake:
    """Books what the sources deliver.

    Args:
        store: the ledger.
        scratch: a directory of one's own for what is fetched and staged.
        clock: the time, with its zone.
        closed_after: from a month's end until its bill counts as closed.
    """

    def __init__(
        self, store: Store, scratch: Path, clock: Callable[[], datetime], closed_after: timedelta = timedelta(days=15)
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._clock = clock
        self._closed_after = closed_after
        self._half_booked: dict[str, date] | None = None

    def take(self, sources: Iterable[Source]) -> Taken:
        """Look at each source once, and book what is new.

        Raises:
            StoreError: the ledger cannot be written; what was booked before stands.
        """
        taken = Taken(before=self._store.version(CHARGES))
        self._clear()
        for source in sources:
            try:
                found = source.deliveries.find()
            except (Unavailable, Misconfigured) as error:
                taken.unavailable.append(str(error))
                continue
            taken.waiting += [each.why for each in found.waiting]
            if found.periods is not None:
                self._forget(self._register().removed(source.deliveries.source, found.periods))
            for delivery in found.deliveries:
                self._take(source, delivery, taken)
        self._close_months()
        return taken

    def take_frame(self, rows: pl.DataFrame, delivery: Delivery, dialect: Dialect, reading: Reading) -> Taken:
        """Book rows that no file brought, such as Cost Explorer's. Raises as :meth:`take` does."""
        taken = Taken(before=self._store.version(CHARGES))
        self._clear()
        register = self._register()
        if register.knows(delivery, ""):
            return taken
        with self._folder() as folder:
            path = folder / "rows.parquet"
            rows.write_parquet(path)
            files = [open_bill(path, delivery.export)]
            refused_id = f"{delivery.export}/refused/{delivery.digest}"
            self._book(delivery, files, (reading, dialect, ""), taken, refused_id)
        return taken

    def booked_otherwise(self, month: date, account: str) -> bool:
        """Whether an export has brought that account's month, so that Cost Explorer need not be asked."""
        others = other_bills(self._store.scan(CHARGES), [month], []).filter(pl.col("billing_account") == account)
        register = self._register()
        ids = others.select("bill_id").unique().collect()["bill_id"]
        return any(_family(register.dialect(each)) != COST_EXPLORER_FAMILY for each in ids)

    def changed(self, taken: Taken) -> pl.DataFrame:
        """Instance and period of every sum that this changed: what reconciliation makes again."""
        return changed_since(self._store, taken.before, sorted(taken.months))

    def _take(self, source: Source, delivery: Delivery, taken: Taken) -> None:
        refused_id = f"{delivery.export}/refused/{delivery.digest}-{source.manner}"
        if self._register().knows(delivery, refused_id):
            return
        try:
            with self._folder() as folder:
                fetched = [(source.shelf.fetch(stored, folder), stored.name) for stored in delivery.objects]
                files = [open_bill(path, name, source.complete) for path, name in fetched]
                how = (source.reading, None, source.billing_account)
                self._book(delivery, files, how, taken, refused_id)
        except BillRefused as refused:
            self._refuse(delivery, refused_id, str(refused), taken)
        except (Unavailable, Misconfigured) as error:
            taken.unavailable.append(str(error))
        except OSError as error:
            taken.unavailable.append(f"{delivery.export}: {error}; free room in {self._scratch}; it is read again")

    def _book(
        self,
        delivery: Delivery,
        files: Sequence[BillFile],
        how: tuple[Reading, Dialect | None, str],
        taken: Taken,
        refused_id: str,
    ) -> None:
        reading, dialect, account = how
        try:
            with self._folder() as folder:
                staged = stage(files, reading, folder, dialect)
                _refuse_other_account(delivery, staged, account)
                self._write(delivery, staged, taken)
        except BillRefused as refused:
            self._refuse(delivery, refused_id, str(refused), taken)

    def _write(self, delivery: Delivery, staged: Staged, taken: Taken) -> None:
        register = self._register()
        former = register.booked(delivery)
        ids = {month: bill_id(delivery, month) for month in staged.months}
        half = self._half(register, delivery)
        own = sorted({*former["bill_id"], *ids.values(), *half})
        replaced = self._replaced(register, delivery, staged, own)
        months = sorted({*staged.months, *former["month"], *half.values()})
        rows = staged.rows(ids, coded=True)
        self._refuse_lines_booked(register, delivery, rows, months, [*own, *replaced])
        self._store.replace(CHARGES, rows, {"month": months, "bill_id": sorted({*own, *replaced})})
        gone = pl.concat([former, register.refused(delivery), register.rows.filter(pl.col("bill_id").is_in(replaced))])
        kept = gone.filter(~pl.col("bill_id").is_in(list(ids.values()))).with_columns(state=pl.lit(REPLACED))
        fresh = pl.concat([kept, booked_rows(delivery, staged, self._clock(), self._closed_after)])
        self._store.replace(BILLS, fresh, {"bill_id": fresh["bill_id"].to_list()})
        taken.booked += ids.values()
        taken.months |= set(months)

    def _half(self, register: Register, delivery: Delivery) -> dict[str, date]:
        """Bills of that export, with their months, that an earlier process booked and could not enter any more."""
        if self._half_booked is None:
            there = self._store.scan(CHARGES).select("bill_id", "month").unique().collect()
            known = set(register.rows.filter(pl.col("state") == BOOKED)["bill_id"])
            self._half_booked = {each: month for each, month in there.iter_rows() if each not in known}
        own = [month for month in {*self._half_booked.values()} if delivery.month in {None, month}]
        begins = tuple(f"{delivery.export}/{month:%Y-%m}/" for month in own)
        return {each: month for each, month in self._half_booked.items() if begins and each.startswith(begins)}

    def _replaced(self, register: Register, delivery: Delivery, staged: Staged, own: Sequence[str]) -> list[str]:
        """Bills of Cost Explorer that these take the place of.

        Raises:
            BillRefused: the same account's month stands in another dialect.
        """
        accounts = {
            (month, account, provider)
            for month, sums in staged.months.items()
            for account, provider, _ in sums.accounts
        }
        others = other_bills(self._store.scan(CHARGES), sorted(staged.months), own)
        replaced: list[str] = []
        for month, account, provider, other in (
            others.select("month", "billing_account", "provider", "bill_id").unique().collect().iter_rows()
        ):
            family = _family(register.dialect(other))
            if (month, account, provider) not in accounts or family == _family(staged.dialect):
                continue
            if family != COST_EXPLORER_FAMILY:
                raise BillRefused(
                    f"{delivery.export}: {month:%Y-%m} of account {account} is booked from {register.export(other)}"
                    f" ({register.dialect(other)}) already; keep one of the two under bills.sources"
                )
            replaced.append(other)
        return sorted(set(replaced))

    def _refuse_lines_booked(
        self, register: Register, delivery: Delivery, rows: pl.LazyFrame, months: Sequence[date], own: Sequence[str]
    ) -> None:
        """Raises where more than a tenth of the lines of this or of another bill are in both: the same file under
        another name, a part or a later state of it, or one that begins where the other has not ended.

        Lines are compared whole. A few may be alike by chance, of what has no resource.
        """
        costs = (pl.col("billed_nano_usd") != 0) | (pl.col("effective_nano_usd") != 0)
        others = other_bills(self._store.scan(CHARGES), months, own).filter(costs).select("line_id", "bill_id")
        if others.head(1).collect().is_empty():
            return
        mine = rows.filter(costs, pl.col("category") != "rounding").select("line_id")
        lines = mine.select(pl.len()).collect().item()
        met = mine.join(others, on="line_id").group_by("bill_id").agg(met=pl.len())
        many = pl.col("met") * _ALIKE > pl.min_horizontal("theirs", pl.lit(lines))
        theirs = others.group_by("bill_id").agg(theirs=pl.len())
        same = met.join(theirs, on="bill_id").filter(many).sort("met", "bill_id", descending=True).collect()
        if same.height:
            bill, count, of = same.row(0)
            raise BillRefused(
                f"{delivery.export}: {count} of its {lines} lines are among the {of} that are booked from"
                f" {register.export(bill)} already; a later delivery of the same bill takes its place under the same"
                " name, a copy is to be removed"
            )

    def _refuse(self, delivery: Delivery, refused_id: str, reason: str, taken: Taken) -> None:
        if not reason.startswith(delivery.export):
            file, _, why = reason.partition(": ")
            reason = f"{delivery.export}: {why if delivery.export.endswith(file) else reason}"
        LOG.warning("%s", reason)
        self._store.replace(BILLS, refused_row(delivery, refused_id, reason, self._clock()), {"bill_id": [refused_id]})
        taken.refused.append(reason)

    def _forget(self, refused: pl.DataFrame) -> None:
        """What was refused and then removed is no more to be mended."""
        if refused.height:
            gone = refused.with_columns(state=pl.lit(REPLACED))
            self._store.replace(BILLS, gone, {"bill_id": gone["bill_id"].to_list()})

    def _close_months(self) -> None:
        closing = self._register().closing(self._clock(), self._closed_after)
        if closing.height:
            self._store.replace(BILLS, closing, {"bill_id": closing["bill_id"].to_list()})

    def _register(self) -> Register:
        return Register(self._store.scan(BILLS).collect())

    @contextmanager
    def _folder(self) -> Generator[Path]:
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=self._scratch) as folder:
            yield Path(folder)

    def _clear(self) -> None:
        """What a process that was killed left behind."""
        for left in self._scratch.glob(f"{_FOLDER}*"):
            shutil.rmtree(left, ignore_errors=True)


def changed_since(store: Store, version: int | None, months: Sequence[date]) -> pl.DataFrame:
    """Instance and period of every sum of these months that is another one than in a former version of the charges.

    Args:
        store: the ledger.
        version: of CHARGES; None: when there were none.
        months: first days of months; empty: all.
    """
    within = pl.lit(value=True) if not months else pl.col("month").is_in(pl.Series(months, dtype=pl.Date).implode())
    now = store.scan(CHARGES).filter(within)
    before = now.clear() if version is None else store.scan(CHARGES, version).filter(within)
    return changed_periods(before, now).collect(engine="streaming")


def _family(dialect: str) -> str:
    return dialect.partition("-")[0]


def _refuse_other_account(delivery: Delivery, staged: Staged, expected: str) -> None:
    others = sorted({account for sums in staged.months.values() for account, _, _ in sums.accounts} - {expected})
    if expected and others:
        raise BillRefused(
            f"{delivery.export}: is a bill of account {others[0]}, not of {expected}, which this source is for; move"
            " the file, or change bills.sources[].billing_account"
        )
