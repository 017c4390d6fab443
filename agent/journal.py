"""The journal: closed hours as one file each, kept for the controller to fetch.

Owns the folder ``journal`` of the data directory. A file is written whole and never changed; an hour that is closed
again replaces its file with a higher revision.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.log_file import write_atomically
from ledger.hours import HourBook, encode, from_json, hour_name, hour_start

_log = logging.getLogger(__name__)


class Journal:
    """Closed hours on disk."""

    def __init__(self, folder: Path, node: str, source: str) -> None:
        self._folder = folder
        self._facts = {"node": node, "source": source, "closed": True}
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, book: HourBook, change: int) -> None:
        """Close an hour: one more revision than ``book`` bears.

        Raises:
            OSError: the disk is full or fails; nothing is changed.
        """
        book.revision += 1
        try:
            write_atomically(self._path(book.hour_s), encode(book, change=change, **self._facts))
        except OSError:
            book.revision -= 1
            raise

    def read(self, hour_s: int) -> HourBook | None:
        """A closed hour; ``None`` when it is not there or not readable (that is logged)."""
        data = self._load(self._path(hour_s))
        return None if data is None else from_json(data)

    def documents(self, *, since_hour_s: int | None = None, since_change: int | None = None) -> Iterator[bytes]:
        """The hours from ``since_hour_s`` on, or those closed after change number ``since_change``; oldest first."""
        for path in sorted(self._folder.glob("*Z.json")):
            if since_hour_s is not None and _hour_of(path) < since_hour_s:
                continue
            data = self._load(path)
            if data is None or (since_change is not None and data.get("change", 0) <= since_change):
                continue
            yield json.dumps(data, separators=(",", ":")).encode()

    def last_hour(self) -> int | None:
        """The newest closed hour."""
        hours = [_hour_of(path) for path in self._folder.glob("*Z.json")]
        return max(hours, default=None)

    def count(self) -> int:
        """How many hours are kept."""
        return sum(1 for _ in self._folder.glob("*Z.json"))

    def prune(self, oldest_hour_s: int) -> int:
        """Remove hours before ``oldest_hour_s``; returns how many."""
        old = [path for path in self._folder.glob("*Z.json") if _hour_of(path) < oldest_hour_s]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _path(self, hour_s: int) -> Path:
        return self._folder / f"{hour_name(hour_s).replace(':', '')}.json"

    def _load(self, path: Path) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            from_json(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("journal file %s is left out: %s", path, error)
            return None
        return data


def _hour_of(path: Path) -> int:
    """The hour of ``2026-11-22T060000Z.json``."""
    name = path.stem
    return hour_start(f"{name[:13]}:{name[13:15]}:{name[15:17]}Z")
