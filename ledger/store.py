"""The ledger's store: Delta tables in a directory or a bucket, each change one atomic commit, each commit fenced.

Only this module and the modules ``store_*`` beside it open or write a table. They decide nothing about books.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from ledger import tables as contract
from ledger.store_delta import COMMITS_A_CHECKPOINT, Place, Rows, append, overwrite, rows_of, touch
from ledger.store_disk import is_local
from ledger.store_errors import Fenced, StoreError
from ledger.store_migrate import MIGRATIONS, SCHEMA, Migrations, schema_of
from ledger.store_where import Where, expression, predicate
from ledger.tables import EPOCHS, Table, empty

APP = "wattledger"
"""The application transaction that carries the leadership epoch."""
COMMIT = "wattledger.commit"
"""Names a commit in its own metadata, so that one whose answer was lost is known again."""
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
        handle = self.place.open(table)
        return None if handle is None else handle.version()

    def scan(self, table: Table, version: int | None = None) -> pl.LazyFrame:
        """The table's rows as of now, or of a version; without a table an empty frame of its columns.

        What is written afterwards does not change the frame.

        Raises:
            StoreError: it cannot be opened, or that version is gone.
        """
        handle = self.place.open(table, version)
        if handle is None:
            return empty(table).lazy()
        return self.place.migrations.upgrade(table, rows_of(handle), schema_of(handle))

    def replace(self, table: Table, rows: Rows, where: Where) -> int:
        """Put the rows in place of those that match, in one commit; returns its version.

        Rows that were read from this same table belong into :meth:`rewrite`, which cannot lose what came between.

        Raises:
            Fenced: a newer epoch is in force.
            StoreError: it could not be written; what stood before still stands.
        """
        matching = predicate(table, where)
        return self.commit(table, lambda handle, commit: overwrite(table, handle, rows, commit, predicate=matching))

    def append(self, table: Table, rows: Rows) -> int:
        """Add rows in one commit; returns its version. Raises as :meth:`replace` does."""
        return self.commit(table, lambda handle, commit: append(table, handle, rows, commit))

    def rewrite(self, table: Table, where: Where, change: Change) -> int:
        """Replace the rows that match by what ``change`` makes of them; nothing that is written meanwhile is lost.

        ``change`` is called again when another write came between. Raises as :meth:`replace` does.
        """
        matching, within = predicate(table, where), expression(table, where)

        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            rows = change(self.scan(table, handle.version()).filter(within))
            overwrite(table, handle, rows, commit, predicate=matching)

        return self.commit(table, write)

    def claim_epoch(self) -> int:
        """Become the writer: the last epoch of all tables plus one, written into each; earlier writers are shut out.

        Raises:
            Fenced: another claimed a newer one meanwhile.
            NewerTable: a table is of a newer wattledger, whose leadership is left alone.
            StoreError: a table could not be written.
        """
        self._refuse_unconditional_put()
        for attempt in range(TRIES):
            handle = self.place.open_or_create(EPOCHS)
            claimed = max(self._epoch_of(table) for table in (EPOCHS, *self._tables)) + 1
            row = pl.DataFrame({"epoch": [claimed], "claimed_at": [datetime.now(UTC)]}, schema=EPOCHS.schema)
            mark = uuid4().hex
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
        mark = uuid4().hex
        for attempt in range(TRIES):
            handle = self._open_to_write(table, migrate=migrate)
            before = handle.version()
            landed: int | None = before + 1
            try:
                write(handle, _bearing(self.epoch, mark))
            except (DeltaError, OSError) as error:
                landed = self._landed(table, before, mark, error)
            if landed is not None:
                return self._finish(table, landed)
            _pause(attempt)
        raise StoreError(
            f"cannot write {table.name} at {self.place.uri(table)}: another writer was quicker {TRIES} times; run one"
        )

    def _open_to_write(self, table: Table, *, migrate: bool) -> DeltaTable:
        handle = self.place.open_or_create(table)
        if migrate and schema_of(handle) < self.place.migrations.version:
            self._migrate(table)
            return self._open_to_write(table, migrate=True)
        self._refuse_if_fenced(handle)
        return handle

    def _migrate(self, table: Table) -> None:
        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            step = Transaction(SCHEMA, self.place.migrations.version)
            commit.app_transactions = [*(commit.app_transactions or []), step]
            rows = self.scan(table, handle.version())
            overwrite(table, handle, rows, commit, predicate=None, new_schema=True)

        self.commit(table, write, migrate=False)

    def _finish(self, table: Table, version: int) -> int:
        self.place.settle(table, version)
        if version % COMMITS_A_CHECKPOINT == 0:
            self.place.checkpoint(table)
        return version

    def _landed(self, table: Table, before: int, mark: str, error: Exception) -> int | None:
        """The version of a commit that failed or whose answer was lost; None: another came between, try again.

        Raises:
            StoreError: it failed for another reason.
        """
        now = self.place.open_or_create(table)
        since = now.history(now.version() - before) if now.version() > before else []
        for entry in since:
            if entry.get(COMMIT) == mark:
                return int(entry["version"])
        if not since or not isinstance(error, CommitFailedError):
            raise self.place.explained(f"write {table.name}", table, error) from error
        return None

    def _epoch_of(self, table: Table) -> int:
        handle = self.place.open(table)
        return 0 if handle is None else handle.transaction_version(APP) or 0

    def _refuse_if_fenced(self, handle: DeltaTable) -> None:
        if self.epoch is None:
            return
        newest = max(handle.transaction_version(APP) or 0, self._epoch_of(EPOCHS))
        if newest > self.epoch:
            raise Fenced(
                f"the ledger at {self.place.root} is kept by a newer leader (epoch {newest}, ours {self.epoch}):"
                " nothing was written; stop this process, it may come back as a stand-by"
            )

    def _refuse_unconditional_put(self) -> None:
        """Refuse a bucket where the later of two commits of one version would silently take the former's place."""
        if is_local(self.place.root):
            return
        first, second = (self.place.open_or_create(EPOCHS) for _ in range(2))
        try:
            touch(first, _bearing(None, uuid4().hex))
            touch(second, _bearing(None, uuid4().hex))
        except CommitFailedError:
            return
        except (DeltaError, OSError) as error:
            raise self.place.explained("write epochs", EPOCHS, error) from error
        raise StoreError(
            f"the store at {self.place.root} overwrites what must be written once (If-None-Match is ignored): two"
            " writers would lose each other's hours; use a store with conditional writes: Amazon S3, a current MinIO"
        )


def _bearing(epoch: int | None, mark: str) -> CommitProperties:
    """A commit that fails when any other came between: no rebase, no second try."""
    epochs = [] if epoch is None else [Transaction(APP, epoch)]
    return CommitProperties(custom_metadata={COMMIT: mark}, max_commit_retries=0, app_transactions=epochs)


def _pause(attempt: int) -> None:
    time.sleep(random.random() * min(0.01 * 2**attempt, 1))  # noqa: S311  (spreads writers, hides nothing)
