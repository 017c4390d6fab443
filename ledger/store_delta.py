"""One Delta table by its address: opened, made, written, checkpointed. It knows nothing of epochs."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import polars as pl
from deltalake import ColumnProperties, CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties
from deltalake import write_deltalake as write_delta
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from ledger.store_disk import has_commit, has_table, is_local, log_state, settle
from ledger.store_errors import StoreError, explained
from ledger.store_migrate import SCHEMA, Migrations, schema_of
from ledger.store_parquet import (
    ROWS_A_GROUP,
    all_match,
    files_of,
    folder_of,
    pruned_by,
    refuse_outside,
    removals,
    stream_files,
    write_files,
)
from ledger.store_where import Where, expression, predicate
from ledger.tables import Table, conform, empty

LOG = logging.getLogger(__name__)

BYTES_A_FILE = 2**30
COMMITS_A_CHECKPOINT = 50
"""A table is opened by its last checkpoint and what came after."""
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
"""A checkpoint that fails must not make a commit that landed look failed; it is written apart."""

Rows = pl.DataFrame | pl.LazyFrame


class _Stream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A table at a version, to be read and never to be written through."""

    handle: DeltaTable
    version: int
    schema: int
    """The version of its schema."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are, and what they are made with."""

    root: str
    options: Mapping[str, str] = field(repr=False)
    history_days: int
    migrations: Migrations
    _last: dict[str, tuple[tuple[int, int], Opened]] = field(
        default_factory=dict[str, tuple[tuple[int, int], Opened]], init=False, repr=False, compare=False
    )
    """Of tables on a disk what was last looked at, and the state of the log by which that is known to be the newest:
    to replay a log takes longer than most of what is asked of a table."""

    def uri(self, table: Table) -> str:
        """The table's address."""
        return f"{self.root}/{table.name}"

    def look(self, table: Table, version: int | None = None) -> Opened | None:
        """As :meth:`open`, to be read: the newest version has the same handle until something is committed."""
        uri = self.uri(table)
        state = log_state(uri) if is_local(self.root) else None
        known = self._last.get(table.name)
        if known and known[0] == state:
            newest = known[1]
            if version == newest.version or (version is None and not has_commit(uri, newest.version + 1)):
                return newest
        handle = self.open(table, version)
        if handle is None:
            return None
        opened = Opened(handle, handle.version(), schema_of(handle))
        if state is not None and version is None:
            self._last[table.name] = state, opened
        return opened

    def adopt(self, table: Table, handle: DeltaTable) -> None:
        """Let those who look have the handle of a writer that has committed and never writes through it again."""
        state = log_state(self.uri(table)) if is_local(self.root) else None
        if state is None:
            return
        try:
            handle.update_incremental()
            self._last[table.name] = state, Opened(handle, handle.version(), schema_of(handle))
        except (DeltaError, OSError) as error:  # who looks next opens it, and tells what is wrong
            LOG.debug("%s", self.explained(f"read {table.name}", table, error))

    def open(self, table: Table, version: int | None = None) -> DeltaTable | None:
        """The table as of now, or of a version; None where there is none yet. The handle is the caller's own.

        Raises:
            NewerTable: it is of a newer wattledger, or a newer Delta.
            StoreError: it cannot be read.
        """
        uri = self.uri(table)
        try:
            if is_local(self.root) and not has_table(uri):
                return None
            handle = DeltaTable(uri, version=version, storage_options=dict(self.options))
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise self.explained(f"read {table.name}", table, error) from error
        self.migrations.refuse_newer(handle)
        return handle

    def open_or_create(self, table: Table) -> DeltaTable:
        """The table; made empty where there is none. Raises as :meth:`open` does."""
        if handle := self.open(table):
            return handle
        try:
            DeltaTable.create(
                self.uri(table),
                empty(table).schema,
                partition_by=list(table.partition),
                configuration={SCHEMA: str(self.migrations.version), **properties(table, self.history_days)},
                storage_options=dict(self.options),
                raise_if_key_not_exists=False,
            )
        except (DeltaError, OSError) as error:
            if handle := self.open(table):  # another was quicker
                return handle
            raise self.explained(f"create {table.name}", table, error) from error
        handle = self.open(table)
        if handle is None:
            raise StoreError(f"cannot create {table.name} at {self.uri(table)}: something takes it away")
        return handle

    def settle(self, table: Table, version: int) -> None:
        """Have a commit on the disk itself; a bucket has it already."""
        if not is_local(self.root):
            return
        try:
            settle(self.uri(table), version)
        except OSError as error:
            raise self.explained(f"sync {table.name}", table, error) from error

    def checkpoint(self, table: Table) -> None:
        """Write the table's state as one file, and drop log entries past their age; a failure is only logged."""
        try:
            handle = self.open(table)
            if handle is not None:
                handle.create_checkpoint()
                handle.cleanup_metadata()
        except (StoreError, DeltaError, OSError) as error:
            LOG.warning("%s", self.explained(f"checkpoint {table.name}", table, error))

    def explained(self, doing: str, table: Table, error: BaseException) -> StoreError:
        """The error in our words, without the options' secrets."""
        hidden = [value for name, value in self.options.items() if value and name.lower().endswith(_SECRET)]
        return explained(doing, self.uri(table), error, hidden)


_SECRET = ("key", "key_id", "token", "password")


def properties(table: Table, history_days: int) -> dict[str, str]:
    """Delta's own settings of a table."""
    return {
        "delta.dataSkippingStatsColumns": ",".join(pruned_by(table)),
        "delta.logRetentionDuration": f"interval {history_days} days",
        "delta.deletedFileRetentionDuration": f"interval {history_days} days",
    }


def rows_of(handle: DeltaTable) -> pl.LazyFrame:
    """The rows as they stand; the handle must not be moved on while the frame is in use."""
    return pl.scan_delta(handle)


def append(table: Table, handle: DeltaTable, rows: Rows, commit: CommitProperties) -> None:
    """Add rows."""
    if folder := folder_of(handle):
        _commit_files(handle, _written(table, folder, rows, {}), [], commit)
        return
    write_delta(
        handle,
        _ready(table, rows),
        mode="append",
        target_file_size=BYTES_A_FILE,
        writer_properties=_writer(table),
        commit_properties=commit,
        post_commithook_properties=NO_HOOKS,
    )


def overwrite(table: Table, handle: DeltaTable, rows: Rows, commit: CommitProperties, where: Where) -> None:
    """Put rows in place of those that match.

    Raises:
        ValueError: a row does not match itself.
    """
    if folder := folder_of(handle):
        files = files_of(table, handle, where)
        if all_match(table, folder, files, where):
            gone = removals(folder, files)
            _commit_files(handle, _written(table, folder, rows, where), gone, commit)
            return
    write_delta(
        handle,
        _ready(table, rows),
        mode="overwrite",
        predicate=predicate(table, where),
        target_file_size=BYTES_A_FILE,
        writer_properties=_writer(table),
        commit_properties=commit,
        post_commithook_properties=NO_HOOKS,
    )


def remake(table: Table, handle: DeltaTable, rows: Rows, commit: CommitProperties) -> None:
    """Put rows and the table's columns in place of all that is there."""
    write_delta(
        handle,
        _ready(table, rows),
        mode="overwrite",
        schema_mode="overwrite",
        target_file_size=BYTES_A_FILE,
        writer_properties=_writer(table),
        commit_properties=commit,
        post_commithook_properties=NO_HOOKS,
    )


def touch(handle: DeltaTable, commit: CommitProperties) -> None:
    """A commit that changes nothing but bears its application transaction."""
    handle.create_write_transaction(
        [],
        mode="append",
        schema=handle.schema(),
        partition_by=handle.metadata().partition_columns,
        commit_properties=commit,
        post_commithook_properties=NO_HOOKS,
    )


def _ready(table: Table, rows: Rows) -> pl.DataFrame | _Stream:
    if isinstance(rows, pl.DataFrame):
        return conform(table, rows.lazy()).collect()
    return conform(table, rows).collect_batches(lazy=True, maintain_order=True, engine="streaming")


def _written(table: Table, folder: Path, rows: Rows, where: Where) -> list[AddAction]:
    """What a commit is to add.

    Raises:
        StoreError: a row lies outside of what they are to replace.
    """
    if isinstance(rows, pl.LazyFrame):
        return stream_files(table, folder, conform(_with_codes(table, rows), rows), where)
    ready = conform(table, rows.lazy()).collect()
    refuse_outside(table, where, ready.select(expression(table, where).fill_null(value=False).all()).item())
    return write_files(table, folder, ready)


def _with_codes(table: Table, rows: pl.LazyFrame) -> Table:
    """The table as these rows have it: text that is an ``Enum`` stays one, and is written with its dictionary."""
    have = rows.collect_schema()
    codes = {name: have[name] for name in have if isinstance(have[name], pl.Enum) and name in table.schema}
    return replace(table, schema=pl.Schema({**table.schema, **codes}))


def _commit_files(
    handle: DeltaTable, added: Sequence[AddAction], gone: Sequence[RemoveAction], commit: CommitProperties
) -> None:
    rows = sum(json.loads(each.stats)["numRecords"] for each in added)
    told = {"num_added_rows": rows, "num_added_files": len(added), "num_removed_files": len(gone)}
    commit.custom_metadata = {**(commit.custom_metadata or {}), "operationMetrics": told}
    handle.create_write_transaction(
        [*added, *gone],
        mode="append",
        schema=handle.schema(),
        partition_by=handle.metadata().partition_columns,
        commit_properties=commit,
        post_commithook_properties=NO_HOOKS,
    )


def _writer(table: Table) -> WriterProperties:
    chunk = ColumnProperties(statistics_enabled="CHUNK")
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        max_row_group_size=ROWS_A_GROUP,
        default_column_properties=ColumnProperties(statistics_enabled="NONE"),
        column_properties=dict.fromkeys(pruned_by(table), chunk),
    )
