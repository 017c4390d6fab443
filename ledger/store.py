"""The ledger's store: Delta tables in a directory or a bucket, each change one atomic commit, each commit fenced.

The only place that opens and writes a table, with the modules named ``store_*`` beside it; it decides nothing of books.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ledger import tables as contract
from ledger.store_errors import Fenced, StoreError, explained
from ledger.store_where import Where, predicate
from ledger.tables import EPOCHS, SCHEMA_VERSION, Table, conform, empty

LOG = logging.getLogger(__name__)

APP = "wattledger"
"""The application transaction that carries the leadership epoch."""
COMMIT = "wattledger.commit"
"""Names a commit in its own metadata, so that one whose answer was lost is known again."""
SCHEMA = "wattledger.schema"
TRIES = 40
"""Commits that come between are rare; this many in a row are a fault."""

Rows = pl.DataFrame | pl.LazyFrame
Write = Callable[[DeltaTable, CommitProperties], None]


class Store:
    """Tables under one root.

    Args:
        root: A directory, or ``s3://bucket/prefix``.
        options: Of the object store (``AWS_ENDPOINT_URL`` ...); what is not given is read from the environment.
        epoch: The leadership epoch that writes bear; None: they bear none until :meth:`claim_epoch`.
        tables: The tables that are fenced together.
    """

    def __init__(
        self,
        root: str,
        *,
        options: Mapping[str, str] | None = None,
        epoch: int | None = None,
        tables: Sequence[Table] = contract.ALL,
    ) -> None:
        self.root = root.rstrip("/") or "/"
        self.epoch = epoch
        self._options = dict(options or {})
        self._tables = tuple(table for table in tables if table.name != EPOCHS.name)

    def uri(self, table: Table) -> str:
        """Where the table is; Spark, Trino and DuckDB read it there."""
        return f"{self.root}/{table.name}"

    def version(self, table: Table) -> int | None:
        """The table's last version; None: there is no table yet."""
        handle = self._open(table)
        return None if handle is None else handle.version()

    def scan(self, table: Table, version: int | None = None) -> pl.LazyFrame:
        """The table's rows as of now, or of a version; without a table an empty frame of its columns.

        Raises:
            StoreError: it cannot be opened, or that version is gone.
        """
        handle = self._open(table, version)
        return empty(table).lazy() if handle is None else conform(table, pl.scan_delta(handle))

    def replace(self, table: Table, rows: Rows, where: Where) -> int:
        """Put the rows in place of those that match, in one commit; returns its version.

        Raises:
            Fenced: a newer epoch is in force.
            StoreError: it could not be written; what stood before still stands.
        """
        matching = predicate(table, where)

        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            write_deltalake(
                handle,
                _stream(table, rows),
                mode="overwrite",
                predicate=matching,
                commit_properties=commit,
                writer_properties=_WRITER,
                post_commithook_properties=_NO_HOOKS,
            )

        return self._commit(table, write)

    def append(self, table: Table, rows: Rows) -> int:
        """Add rows in one commit; returns its version. Raises as :meth:`replace` does."""

        def write(handle: DeltaTable, commit: CommitProperties) -> None:
            write_deltalake(
                handle,
                _stream(table, rows),
                mode="append",
                commit_properties=commit,
                writer_properties=_WRITER,
                post_commithook_properties=_NO_HOOKS,
            )

        return self._commit(table, write)

    def claim_epoch(self) -> int:
        """Become the writer: the last epoch of all tables plus one, written into each; earlier writers are shut out.

        Raises:
            Fenced: another claimed a newer one meanwhile.
            StoreError: a table could not be written.
        """
        for _ in range(TRIES):
            handle = self._open_or_create(EPOCHS)
            claimed = max(self._epoch_of(table) for table in (EPOCHS, *self._tables)) + 1
            row = pl.DataFrame({"epoch": [claimed], "claimed_at": [datetime.now(UTC)]}, schema=EPOCHS.schema)
            try:
                write_deltalake(handle, row, mode="append", commit_properties=_bearing(claimed, uuid4().hex))
            except CommitFailedError:
                _pause(0)
                continue
            self.epoch = claimed
            for table in self._tables:
                self._commit(table, _stamp)
            return claimed
        raise StoreError(f"cannot claim the ledger at {self.root}: others claim it too; run one controller")

    def _open(self, table: Table, version: int | None = None) -> DeltaTable | None:
        try:
            return DeltaTable(self.uri(table), version=version, storage_options=self._options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise self._explained(f"read {table.name}", table, error) from error

    def _open_or_create(self, table: Table) -> DeltaTable:
        if handle := self._open(table):
            return handle
        try:
            return DeltaTable.create(
                self.uri(table),
                empty(table).schema,
                partition_by=list(table.partition),
                configuration={SCHEMA: str(SCHEMA_VERSION)},
                storage_options=self._options,
                raise_if_key_not_exists=False,
            )
        except (DeltaError, OSError) as error:
            if handle := self._open(table):  # another was quicker
                return handle
            raise self._explained(f"create {table.name}", table, error) from error

    def _epoch_of(self, table: Table) -> int:
        handle = self._open(table)
        return 0 if handle is None else handle.transaction_version(APP) or 0

    def _commit(self, table: Table, write: Write) -> int:
        mark = uuid4().hex
        for attempt in range(TRIES):
            handle = self._open_or_create(table)
            self._refuse_if_fenced(handle)
            before = handle.version()
            try:
                write(handle, _bearing(self.epoch, mark))
            except (DeltaError, OSError) as error:
                now = self._open_or_create(table)
                if (landed := _version_of(now, mark, now.version() - before)) is not None:
                    return landed
                if now.version() == before or not isinstance(error, CommitFailedError):
                    raise self._explained(f"write {table.name}", table, error) from error
                _pause(attempt)
            else:
                return before + 1
        raise StoreError(
            f"cannot write {table.name} at {self.uri(table)}: another writer was quicker {TRIES} times; run one"
        )

    def _refuse_if_fenced(self, handle: DeltaTable) -> None:
        if self.epoch is None:
            return
        newest = max(handle.transaction_version(APP) or 0, self._epoch_of(EPOCHS))
        if newest > self.epoch:
            raise Fenced(
                f"the ledger at {self.root} is kept by a newer leader (epoch {newest}, ours {self.epoch}): nothing was"
                " written; stop this process, it may come back as a stand-by"
            )

    def _explained(self, doing: str, table: Table, error: BaseException) -> StoreError:
        hidden = [value for name, value in self._options.items() if "key" in name.lower() or "token" in name.lower()]
        return explained(doing, self.uri(table), error, hidden)


_WRITER = WriterProperties(compression="ZSTD", compression_level=1)
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def _stream(table: Table, rows: Rows) -> pl.DataFrame:
    return conform(table, rows.lazy()).collect()


def _bearing(epoch: int | None, mark: str) -> CommitProperties:
    """A commit that fails when any other came between: no rebase, no second try."""
    epochs = [] if epoch is None else [Transaction(APP, epoch)]
    return CommitProperties(custom_metadata={COMMIT: mark}, max_commit_retries=0, app_transactions=epochs)


def _stamp(handle: DeltaTable, commit: CommitProperties) -> None:
    handle.create_write_transaction(
        [],
        mode="append",
        schema=handle.schema(),
        partition_by=handle.metadata().partition_columns,
        commit_properties=commit,
        post_commithook_properties=_NO_HOOKS,
    )


def _version_of(handle: DeltaTable, mark: str, newest: int) -> int | None:
    if newest <= 0:
        return None
    return next((int(entry["version"]) for entry in handle.history(newest) if entry.get(COMMIT) == mark), None)


def _pause(attempt: int) -> None:
    time.sleep(random.random() * min(0.01 * 2**attempt, 1))  # noqa: S311  (spreads writers, hides nothing)
