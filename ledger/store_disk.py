"""What a ledger on a disk needs beyond Delta: to be told apart from no ledger, and to outlast a power cut."""

import json
import os
import stat
from pathlib import Path
from urllib.parse import unquote


def is_local(root: str) -> bool:
    """Whether the root is a directory rather than an address."""
    return "://" not in root


def has_table(uri: str) -> bool:
    """Whether a table was begun there.

    Raises:
        OSError: it cannot be told: no permission, or something else is in its place.
    """
    try:
        return stat.S_ISDIR(Path(uri, "_delta_log").stat().st_mode)
    except FileNotFoundError:
        return False


def log_state(uri: str) -> tuple[int, int] | None:
    """What changes with every commit, and with whatever else is done to the log; None: it cannot be told.

    A clock's tick may hold two changes: whoever compares looks for the next commit too, by :func:`has_commit`.
    """
    try:
        about = Path(uri, "_delta_log").stat()
    except OSError:
        return None
    return about.st_ino, about.st_ctime_ns


def has_commit(uri: str, version: int) -> bool:
    """Whether that version was committed, and its log entry is there still."""
    return _log(uri, version).exists()


def settle(uri: str, version: int) -> None:
    """Have the commit and the files that it added on the disk itself, so that a later commit never outlives it.

    Raises:
        OSError: the disk failed.
    """
    log = _log(uri, version)
    files = [Path(uri, name) for name in _added(log)]
    folders = {path.parent for path in (log, *files)}
    for path in (*files, log, *sorted(folders)):
        _fsync(path)


def _log(uri: str, version: int) -> Path:
    return Path(uri, "_delta_log", f"{version:020}.json")


def _added(log: Path) -> list[str]:
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [unquote(entry["add"]["path"]) for entry in entries if "add" in entry]


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
