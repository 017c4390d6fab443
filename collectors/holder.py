"""Who holds a device: the identity that time, joules and dollars are booked to."""

from typing import Literal, NamedTuple

HolderKind = Literal["pod", "container", "systemd", "slurm", "user", "system", "none"]


class Holder(NamedTuple):
    """A holder by kind and a name that is stable over restarts of its processes.

    A tuple, because holders are keys at every sweep and a tuple is hashed without running any Python.

    ``name`` is ``namespace/pod/container`` for a pod, the container id (or its name) for a container, the unit for
    systemd, ``job`` or ``job.step`` for Slurm, the user name for a user, the daemon's name for ``system``.
    """

    kind: HolderKind
    name: str


NOBODY = Holder("none", "")
"""The holder of accounts that nobody holds: unallocated, unattributed, unobserved."""
