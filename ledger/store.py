"""The ledger's store: Delta tables in a directory or a bucket, each change one atomic commit, each commit fenced.

Only this module and the modules ``store_*`` beside it open or write a table. They decide nothing about books.
"""

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from polars.exceptions import PolarsError

from ledger import tables as contract
from ledger.store_delta import COMMITS_A_CHECKPOINT, Place, Rows, append, overwrite, remake, rows_of, touch
from ledger.store_disk import is_local
from ledger.store_errors import Fenced, StoreError
from ledger.store_migrate import MIGRATIONS, SCHEMA, Migrations, schema_of
from ledger.store_where import Where, expression, predicate, with_days
from ledger.tables import EPOCHS, Table, empty

APP = "wattledger"
"""The application transaction that carries the leadership epoch."""
COMMIT = "wattledger.commit"
"""The application transaction that names a commit, so that one whose answer was lost is known again."""
ROLLED = "wattledger.rolled"
"""The application transaction of a table whose hours became days: the ordinal of the first day that has its hours."""
HISTORY_DAYS = 35
TRIES = 40
"""Commits that come between are rare; this many in a row are a fault."""

Write = Callable[[DeltaTable, CommitProperties], None]
Change = Callable[[pl.LazyFrame], Rows]


class Store:
    """Tables under one root.

    Args:
        root: A directory, or ``s3://bucket/prefix``.
        options: Of the object store (``AWS_ENDPOINT_URL`` ...); what is not given is read from the environment.
        epoch: The leadership epoch that writes bear; None: they bear none until :meth:`claim_epoch`.
        tables: The tables that are fenced together.
        history_days: How long a former version can be read; kept in a table when it is made.
        migrations: From older schemas to the present one.
    """

    def __init__(
        self,
        root: str,
        *,
        options: Mapping[str, str] | None = None,
        epoch: int | None = None,
        tables: Sequence[Table] = contract.ALL,
        history_days: int = HISTORY_DAYS,
        migrations: Migrations = MIGRATIONS,
    ) -> None:
        self.epoch = epoch
        defaults = {} if is_local(root) else {"aws_conditional_put": "etag"}
        self.place = Place(root.rstrip("/") or "/", {**defaults, **(options or {})}, history_days, migrations)
        self._tables = tuple(table for table in tables if table.name != EPOCHS.name)

    def version(self, table: Table) -> int | None:
        """The table's last version; None: there is no table yet."""
        opened = self.place.look(table)
        return None if opened is None else opened.version

    def scan(self, table: Table, version: int | None = None) -> pl.LazyFrame:
        """The table's rows as of now, or of a version; without a table an empty frame of its columns.

        What is written afterwards does not change the frame.

        Raises:
            StoreError: it cannot be opened, or that version is gone.
        """
        opened = self.place.look(table, version)
        if opened is None:
            return empty(table).lazy()
        return self.place.migrations.upgrade(table, rows_of(opened.handle), opened.schema)

    def replace(self, table: Table, rows: Rows, where: Where) -> int:
        """Put the rows in place of those that match, in one commit; returns its version.

        Rows that were read from this same table belong into :meth:`rewrite`, which cannot lose what came between.
        A lazy frame is never held whole where the table is in a directory. In a bucket, or where a file holds other
        rows too, deltalake takes rows in faster than it writes them, about 400 bytes each: write millions in parts
        there, and what vouches for them last.

        Raises:
            Fenced: a newer epoch is in force.
            StoreError: it could not be written, or is of a day that was rolled; what stood before still stands.
        """
        predicate(table, where)  # what is wrong with it is told before anything is opened

        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            _refuse_rolled(table, handle, where)
            overwrite(table, handle, rows, commit, where)

        return self.commit(table, write)

    def append(self, table: Table, rows: Rows) -> int:
        """Add rows in one commit; returns its version. Raises as :meth:`replace` does."""
        return self.commit(table, lambda handle, commit: append(table, handle, rows, commit))

    def rewrite(self, table: Table, where: Where, change: Change, *, rolled: date | None = None) -> int:
        """Replace the rows that match by what ``change`` makes of them; nothing that is written meanwhile is lost.

        ``change`` is called again when another write came between. Raises as :meth:`replace` does.

        Args:
            table: The table.
            where: What is handed to ``change``, and replaced.
            change: A pure function of those rows.
            rolled: With this commit the days before that one have no hours any more.
        """
        within = expression(table, where)

        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            rows = change(self.scan(table, handle.version()).filter(within))
            if rolled is not None:
                _also(commit, ROLLED, max(rolled.toordinal(), handle.transaction_version(ROLLED) or 0))
            overwrite(table, handle, rows, commit, where)

        return self.commit(table, write)

    def rolled_before(self, table: Table) -> date | None:
        """Days before it have one row a day in place of their hours; None: all have their hours."""
        opened = self.place.look(table)
        return None if opened is None else _rolled_before(opened.handle)

    def claim_epoch(self) -> int:
        """Become the writer: the last epoch of all tables plus one, written into each; earlier writers are shut out.

        Raises:
            Fenced: another claimed a newer one meanwhile.
            NewerTable: a table is of a newer wattledger, whose leadership is left alone.
            StoreError: a table could not be written.
        """
        for attempt in range(TRIES):
            handle = self.place.open_or_create(EPOCHS)
            claimed = max(self._epoch_of(table) for table in (EPOCHS, *self._tables)) + 1
            row = pl.DataFrame({"epoch": [claimed], "claimed_at": [datetime.now(UTC)]}, schema=EPOCHS.schema)
            mark = _mark()
            try:
                append(EPOCHS, handle, row, _bearing(claimed, mark))
            except (DeltaError, OSError) as error:
                if self._landed(EPOCHS, handle.version(), mark, error) is None:
                    _pause(attempt)
                    continue
            self.epoch = claimed
            for table in self._tables:
                self.commit(table, touch)
            return claimed
        raise StoreError(f"cannot claim the ledger at {self.place.root}: others claim it too; run one controller")

    def commit(self, table: Table, write: Write, *, migrate: bool = True) -> int:
        """One commit upon the table's last version; returns the version that it made.

        ``write`` is called again upon the newer version when another commit came between. Raises as :meth:`replace`.
        """
        mark = _mark()
        for attempt in range(TRIES):
            handle = self.open_to_write(table, migrate=migrate)
            before = handle.version()
            landed: int | None = before + 1
            try:
                write(handle, _bearing(self.epoch, mark))
            except (DeltaError, OSError, PolarsError) as error:
                landed = self._landed(table, before, mark, error)
            if landed is not None:
                self.place.adopt(table, handle)
                return self._finish(table, landed)
            _pause(attempt)
        raise StoreError(
            f"cannot write {table.name} at {self.place.uri(table)}: another writer was quicker {TRIES} times; run one"
        )

    def open_to_write(self, table: Table, *, migrate: bool = True) -> DeltaTable:
        """The table as of now, made or migrated where need be, and not fenced. Raises as :meth:`replace` does."""
        handle = self.place.open_or_create(table)
        if migrate and schema_of(handle) < self.place.migrations.version:
            self._migrate(table)
            return self.open_to_write(table, migrate=True)
        self._refuse_if_fenced(handle)
        return handle

    def _migrate(self, table: Table) -> None:
        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            _also(commit, SCHEMA, self.place.migrations.version)
            rows = self.scan(table, handle.version())
            remake(table, handle, rows, commit)

        self.commit(table, write, migrate=False)

    def _finish(self, table: Table, version: int) -> int:
        self.place.settle(table, version)
        if version % COMMITS_A_CHECKPOINT == 0:
            self.place.checkpoint(table)
        return version

    def _landed(self, table: Table, before: int, mark: int, error: Exception) -> int | None:
        """The version of a commit that failed or whose answer was lost; None: another came between, try again.

        Raises:
            StoreError: it failed for another reason.
        """
        now = self.place.open_or_create(table).version()
        for version in range(before + 1, now + 1):
            commit = self.place.open(table, version)
            if commit is not None and commit.transaction_version(COMMIT) == mark:
                return version
        if now == before or not isinstance(error, CommitFailedError):
            raise self.place.explained(f"write {table.name}", table, error) from error
        return None

    def _epoch_of(self, table: Table) -> int:
        opened = self.place.look(table)
        return 0 if opened is None else opened.handle.transaction_version(APP) or 0

    def _refuse_if_fenced(self, handle: DeltaTable) -> None:
        if self.epoch is None:
            return
        newest = max(handle.transaction_version(APP) or 0, self._epoch_of(EPOCHS))
        if newest > self.epoch:
            raise Fenced(
                f"the ledger at {self.place.root} is kept by a newer leader (epoch {newest}, ours {self.epoch}):"
                " nothing was written; stop this process, it may come back as a stand-by"
            )


def _bearing(epoch: int | None, mark: int) -> CommitProperties:
    """A commit that fails when any other came between: no rebase, no second try."""
    epochs = [] if epoch is None else [Transaction(APP, epoch)]
    return CommitProperties(max_commit_retries=0, app_transactions=[*epochs, Transaction(COMMIT, mark)])


def _mark() -> int:
    return secrets.randbits(62)


def _also(commit: CommitProperties, name: str, version: int) -> None:
    commit.app_transactions = [*(commit.app_transactions or []), Transaction(name, version)]


def _rolled_before(handle: DeltaTable) -> date | None:
    ordinal = handle.transaction_version(ROLLED)
    return None if ordinal is None else date.fromordinal(ordinal)


def _refuse_rolled(table: Table, handle: DeltaTable, where: Where) -> None:
    before = _rolled_before(handle)
    days = [day for day in with_days(table, where).get("day", ()) if isinstance(day, date)]
    if before is not None and days and min(days) < before:
        raise StoreError(
            f"{table.name} of {min(days)} was rolled into days (all before {before} are): its hours cannot be replaced;"
            " what differs belongs on the day itself (late_correction), or read a version from before"
        )


def _pause(attempt: int) -> None:
    time.sleep(random.random() * min(0.01 * 2**attempt, 1))  # noqa: S311  (spreads writers, hides nothing)
