"""Who holds a device: the identity that time, joules and dollars are booked to."""

from dataclasses import dataclass
from typing import Literal

HolderKind = Literal["pod", "container", "systemd", "slurm", "user", "system", "none"]


@dataclass(frozen=True, slots=True)
class Holder:
    """A holder by kind and a name that is stable over restarts of its processes.

    ``name`` is ``namespace/pod/container`` for a pod, the container id (or its name) for a container, the unit for
    systemd, ``job`` or ``job.step`` for Slurm, the user name for a user, the daemon's name for ``system``.
    """

    kind: HolderKind
    name: str


NOBODY = Holder("none", "")
"""The holder of accounts that nobody holds: unallocated, unattributed, unobserved."""
