"""Which seat a controller takes: a Lease of its cluster, or a lock file beside the ledger."""

import socket
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from cli.config import Config
from cli.kube_node import endpoint_of
from cli.kube_settings import runs_in_kubernetes
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import own_namespace
from collectors.kube_lease import KubeLease
from controller.lease import LeaseSeat, LockFile, Seat
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
    settings = config.controller.lease
    wanted = settings.mode
    if wanted == "auto":
        wanted = "on" if runs_in_kubernetes(config.kubernetes, environ) else "off"
    if wanted == "on":
        # a renewal that takes longer than this is tried again before the deadline
        seconds = max(0.5, settings.renew_deadline_seconds - settings.retry_seconds) / 2
        api = KubeApi(endpoint_of(config.kubernetes, environ), timeout_seconds=seconds)
        lease = KubeLease(api, settings.namespace or own_namespace(), settings.name)
        return LeaseSeat(lease, f"{socket.gethostname()}_{uuid4()}", settings.duration_seconds)
    return LockFile((Path(root) if is_local(root) else folder) / LOCK)
