"""The state directory: what is shown is already saved, and what was saved comes back.

Flow: each sweep's entry is appended to ``state.log`` and only then applied to the books that the exposition shows; at
times the whole books replace ``state.json`` and the log starts anew. Opening reads ``state.json`` and replays the
log. A record that was not saved (full disk) waits, merged with those after it, and is not shown meanwhile.
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.books import Books, step_hour
from agent.entry import Entry
from agent.journal import Journal
from agent.log_file import LogFile, decode_line, encode_large_line, encode_line, write_atomically
from agent.state_format import VERSION, Interner, decode_books, decode_entry, encode_books, encode_entry
from collectors.errors import Misconfigured
from ledger.hours import CellKey, HourBook, RowKey, from_json, to_json

_log = logging.getLogger(__name__)

COMPACT_BYTES = 8 << 20
_OTHER_KIND = (
    "{folder}: holds {found} figures and {wanted} ones were about to be written into it; "
    "give {wanted} figures a directory of their own with --data-dir"
)


class StateStore:
    """Books on disk. One process at a time holds a directory."""

    def __init__(self, folder: Path, node: str, source: str, *, series_cap: int = 1_000_000) -> None:
        """Open the directory, making it where it is not there.

        Args:
            folder: the data directory.
            node: the node's name.
            source: what the figures come from; measured and simulated ones never share a directory.
            series_cap: most meters of holders that are shown by themselves.

        Raises:
            Misconfigured: not writable, held by another agent, of another kind, or written by a newer version.
        """
        kind = "simulated" if source == "simulated" else "measured"
        self.folder = folder
        self.save_failures = 0
        self._lock = _claim(folder, kind)
        try:
            self.journal = Journal(folder / "journal", node, source)
            self._file = LogFile(folder / "state.log")
        except OSError as error:
            os.close(self._lock)
            raise Misconfigured(f"{folder}: {error.strerror}; the agent must be able to write there") from error
        self._series_cap = series_cap
        self._pending: list[Entry] = []
        self._failed = False
        self.books: Books | None = None
        self.books = self._load()

    def begin(self, books: Books) -> None:
        """Start from these books (nothing was there, or another boot began) and save them whole.

        Raises:
            OSError: the disk is full or fails.
        """
        books.series_cap = self._series_cap
        self.books = books
        self.compact()

    def begin_boot(self, boot_id: str, segments: list[tuple[int, int]], former: Entry) -> None:
        """The machine was booted anew: book what the former boot left open, start counters at 0, save whole.

        Raises:
            OSError: the disk is full or fails.
        """
        books = self._opened()
        for record in self._reopened(former):
            _open(books, from_json(record["open"]))
        books.apply(former)
        books.begin_boot(boot_id, segments)
        self.compact()

    @property
    def waiting(self) -> bool:
        """Whether entries wait for the disk: what the books show is behind what was read."""
        return bool(self._pending)

    def save(self, entries: Sequence[Entry]) -> bool:
        """Save entries and apply them; false where the disk refused: they then wait for the next call."""
        for entry in entries:
            if self._pending and self._pending[-1].hours_only == entry.hours_only:
                self._pending[-1].merge(entry)
            else:
                self._pending.append(entry)
        while self._pending:
            if not self._save(self._pending[0]):
                return False
            del self._pending[0]
        self._failed = False
        return True

    def _save(self, entry: Entry) -> bool:
        record = encode_entry(entry, self._interner)
        try:
            self._append(self._reopened(entry))
            self._append([{"e": record}])
        except OSError as error:
            self._interner.forget(len(record.get("k", ())))
            self._refused(error)
            return False
        self._opened().apply(entry)
        return True

    def retire(self, keys: Sequence[CellKey]) -> None:
        """Move the meters of finished holders to one that stands for them all; when the disk refuses, later."""
        if not keys or self._pending:
            return
        try:
            self._append([{"retire": keys}])
        except OSError as error:
            self._refused(error)
            return
        self._opened().retire(keys)

    def retire_workers(self, holders: Sequence[tuple[str, str]], pages: Sequence[str]) -> None:
        """Move the work of finished holders likewise and give up their pages; when the disk refuses, later."""
        if not (holders or pages) or self._pending:
            return
        try:
            self._append([{"retire_workers": holders, "pages": pages}])
        except OSError as error:
            self._refused(error)
            return
        books = self._opened()
        books.work.retire(holders)
        books.work.give_up(pages)

    def close_hours_but(self, hour_s: int) -> list[int]:
        """Move each open hour other than ``hour_s`` into the journal; returns those that were moved."""
        books = self._opened()
        if self._pending:
            return []
        due = sorted(books.hours.keys() - {hour_s})
        for place, hour in enumerate(due):
            try:
                self.journal.write(books.hours[hour], books.change + 1)
                self._append([{"close": hour}])
            except OSError as error:
                self._refused(error)
                return due[:place]
            books.close(hour)
        if due:
            self._compact_if_possible()
        return due

    def sync(self) -> None:
        """Force the log to the disk, and start it anew where it has grown long."""
        self._file.sync()
        if self._file.length > COMPACT_BYTES:
            self._compact_if_possible()

    def compact(self) -> None:
        """Write the books whole and start the log anew.

        Raises:
            OSError: the disk is full or fails; the old files still hold everything.
        """
        write_atomically(self.folder / "state.json", encode_large_line(encode_books(self._opened())))
        self._file.clear()
        self._interner = Interner()

    def close(self) -> None:
        """Save whole if possible and let go of the directory."""
        if self.books is not None:
            self._compact_if_possible()
        self._file.close()
        os.close(self._lock)

    def _opened(self) -> Books:
        if self.books is None:
            raise RuntimeError("StateStore.begin was not called")
        return self.books

    def _reopened(self, entry: Entry) -> list[dict[str, Any]]:
        """Hours that the entry touches and that stand closed in the journal are opened again, by the log first."""
        books = self._opened()
        touched = {row.hour_s for row in entry.rows} | {control.hour_s for control in entry.controls}
        touched |= {step_hour(step) for step in entry.steps}
        touched |= {row.hour_s for row in entry.work} | {row.hour_s for row in entry.latency}
        records: list[dict[str, Any]] = []
        for hour_s in sorted(touched - books.hours.keys()):
            book = self.journal.read(hour_s)
            if book is not None:
                records.append({"open": to_json(book)})
        return records

    def _append(self, records: list[dict[str, Any]]) -> None:
        if not records:
            return
        books = self._opened()
        lines = [encode_line({"n": books.sequence + 1 + place, **record}) for place, record in enumerate(records)]
        self._file.append(b"".join(lines))
        books.sequence += len(records)
        for record in records:
            if "open" in record:
                _open(books, from_json(record["open"]))

    def _compact_if_possible(self) -> None:
        try:
            self.compact()
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> None:
        self.save_failures += 1
        if not self._failed:
            _log.error(
                "%s: %s; counters stand still until there is room, nothing already booked is lost",
                self.folder,
                error.strerror,
            )
        self._failed = True

    def _load(self) -> Books | None:
        books = self._load_snapshot()
        if books is not None:
            books.series_cap = self._series_cap
        keys: list[RowKey] = []
        for record in self._file.records():
            entry = decode_entry(record["e"], keys) if "e" in record else None
            if books is None or record["n"] <= books.sequence:
                continue
            _replay(books, record, entry)
            books.sequence = record["n"]
        if self._file.dropped_bytes:
            _log.warning("%s: a torn tail of %d bytes was dropped", self._file.path, self._file.dropped_bytes)
        self._interner = Interner(keys)
        return books

    def _load_snapshot(self) -> Books | None:
        path = self.folder / "state.json"
        try:
            data = decode_line(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            return self._set_aside(path, str(error))
        version = data.get("version")
        if isinstance(version, int) and version > VERSION:
            raise Misconfigured(
                f"{path}: written by a newer version (format {version}, this one reads up to {VERSION}); "
                "install that version again, or move the directory away to begin at zero"
            )
        try:
            return decode_books(data)
        except (ValueError, KeyError, TypeError) as error:
            return self._set_aside(path, repr(error))

    @staticmethod
    def _set_aside(path: Path, reason: str) -> Books | None:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        _log.error("%s: not readable (%s); kept as %s, counters begin at 0", path, reason, aside.name)
        return None


def _open(books: Books, book: HourBook) -> None:
    books.hours[book.hour_s] = book


def _replay(books: Books, record: Mapping[str, Any], entry: Entry | None) -> None:
    if entry is not None:
        books.apply(entry)
    elif "open" in record:
        _open(books, from_json(record["open"]))
    elif "retire" in record:
        books.retire(CellKey(*key) for key in record["retire"])
    elif "retire_workers" in record:
        books.work.retire((kind, name) for kind, name in record["retire_workers"])
        books.work.give_up(record["pages"])
    else:
        books.close(record["close"])


def _claim(folder: Path, kind: str) -> int:
    """Hold the directory for this process and see that it is of this kind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Misconfigured(f"{folder}: {error.strerror}; name a writable directory with --data-dir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Misconfigured(f"{folder}: another agent is at work there; stop it or name another --data-dir") from error
    mark = folder / "kind"
    try:
        if not mark.exists():
            write_atomically(mark, f"{kind}\n".encode())
        found = mark.read_text(encoding="utf-8").strip()
    except OSError as error:
        os.close(lock)
        raise Misconfigured(f"{folder}: {error.strerror}; name a writable directory with --data-dir") from error
    if found != kind:
        os.close(lock)
        raise Misconfigured(_OTHER_KIND.format(folder=folder, found=found, wanted=kind))
    return lock
