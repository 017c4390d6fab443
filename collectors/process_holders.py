"""From a host PID to its holder, by ``/proc`` under an injected root: container, Slurm step, systemd unit or user.

Owns the cache that makes this cheap for every sweep. Must never guess: a process that is gone, or that cannot be
read, has no entry.
"""

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from collectors.cgroup_path import CgroupIdentity, ProcessCgroups, parse_cgroups
from collectors.holder import Holder
from collectors.small_files import read_text

log = logging.getLogger(__name__)

SYSTEM_PROCESSES = frozenset(
    {
        "nvidia-persistenced",  # keeps the driver loaded
        "nv-fabricmanager",  # programs NVSwitch
        "nvidia-imex",  # shares memory between nodes over NVLink
        "nvidia-powerd",  # balances power on boards that have it
        "nv-hostengine",  # DCGM
        "nvvs",  # the diagnostics that DCGM runs
        "dcgm-exporter",  # DCGM embedded in an exporter
        "nvidia-cuda-mps-control",  # starts the MPS servers
        "nvidia-cuda-mps-server",  # holds a context of its own; the clients that use it show as processes beside it
    }
)
"""The driver's and the cluster's own GPU daemons, by program name.

A display server is not among them: a unit or a person stands behind it, and is its holder.
"""

CONTAINER_ID_LENGTH = 12
"""Hex digits of a container id that a holder is named by, as ``docker ps`` shows them.

48 bits: among 100,000 containers of one node two names meet with a chance of 1 in 56,000. The identity has all 64.
"""

_COMM_LENGTH = 15
_START_TIME_FIELD = 19  # field 22 of proc_pid_stat(5), counted from 0 after the name


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What is known of one process, for as long as it lives."""

    holder: Holder
    cgroups: ProcessCgroups
    user_id: int
    start_time_ticks: int
    """Clock ticks since boot; with the PID it names the process for good."""

    @property
    def cgroup(self) -> CgroupIdentity | None:
        """Pod UID, full container id, Slurm job and so on, where the cgroup names them."""
        return self.cgroups.identity


@dataclass(slots=True)
class _Known:
    inode: tuple[int, int]
    cgroup_text: str
    identity: ProcessIdentity


class ProcessHolders:
    """Resolves PIDs to holders, remembering each process until it is gone.

    The kernel uses a PID again, so every call proves that a remembered process is still the same one: its directory in
    procfs is made for one process only, and keeps inode number and time. Where either differs all is read anew. The
    cgroup of one remembered process a call is compared, in turn, since a process may be moved to another.

    Args:
        proc_root: the host's procfs.
        passwd: the host's ``/etc/passwd``, for names of users; a user who is not in it is named ``uid N``.
        system_processes: names of programs whose processes are held by ``system``.
    """

    def __init__(
        self,
        proc_root: Path = Path("/proc"),
        *,
        passwd: Path = Path("/etc/passwd"),
        system_processes: frozenset[str] = SYSTEM_PROCESSES,
    ) -> None:
        self._proc = str(proc_root)
        self._users = _Users(passwd)
        self._system_processes = system_processes
        # The kernel cuts names, so that two may meet; the program then tells which it is.
        self._system_comms = {name[:_COMM_LENGTH]: name for name in sorted(system_processes)}
        self._known: dict[int, _Known] = {}
        self._turn = 0
        self._blind = False

    def holders_of(self, pids: Collection[int]) -> Mapping[int, Holder]:
        """The holder of each process that is there and understood; others have no key. Never raises.

        Call it once a sweep with the PIDs of all devices: who is not asked for is forgotten.
        """
        return {pid: identity.holder for pid, identity in self.identities_of(pids).items()}

    def identities_of(self, pids: Collection[int]) -> Mapping[int, ProcessIdentity]:
        """As :meth:`holders_of`, with all that is known of each process."""
        self._turn += 1
        resolved: dict[int, _Known] = {}
        for place, pid in enumerate(pids):
            known = self._resolve(pid, compare=place == self._turn % len(pids))
            if known is not None:
                resolved[pid] = known
        self._known = resolved
        self._tell_blindness(len(pids), len(resolved))
        return {pid: known.identity for pid, known in resolved.items()}

    def identity_of(self, pid: int) -> ProcessIdentity | None:
        """What the last sweep found out about one process; ``None`` for one that it was not asked for."""
        known = self._known.get(pid)
        return None if known is None else known.identity

    def _resolve(self, pid: int, *, compare: bool) -> _Known | None:
        folder = f"{self._proc}/{pid}"
        try:
            status = os.stat(folder)  # noqa: PTH116  (pathlib doubles the cost of the one call made every sweep)
            inode = status.st_ino, status.st_ctime_ns
            known = self._known.get(pid)
            if known is None or known.inode != inode:
                return self._read(folder, inode)
            moved = compare and read_text(f"{folder}/cgroup") != known.cgroup_text
            return self._read(folder, inode) if moved else known
        except (OSError, ValueError, LookupError):
            return None

    def _read(self, folder: str, inode: tuple[int, int]) -> _Known:
        stat = _read_stat(folder)
        cgroup_text = read_text(f"{folder}/cgroup")
        user_id = _real_user_id(read_text(f"{folder}/status"))
        daemon = self._system_name(folder, stat.comm)
        if stat.gone or _read_stat(folder).start_time_ticks != stat.start_time_ticks:
            raise ProcessLookupError(folder)
        cgroups = parse_cgroups(cgroup_text)
        holder = Holder("system", daemon) if daemon else self._holder(cgroups.identity, user_id)
        return _Known(inode, cgroup_text, ProcessIdentity(holder, cgroups, user_id, stat.start_time_ticks))

    def _holder(self, identity: CgroupIdentity | None, user_id: int) -> Holder:
        if identity is None:
            return Holder("user", self._users.name(user_id))
        owner = user_id if identity.user_id is None else identity.user_id
        return holder_of(identity) or Holder("user", self._users.name(owner))

    def _system_name(self, folder: str, comm: str) -> str | None:
        """The daemon's name. Any program may call itself anything, so what runs has to bear the name too."""
        if comm not in self._system_comms:
            return None
        programs = _program_names(folder)
        if not programs:
            return self._system_comms[comm]
        return next((program for program in programs if program in self._system_processes), None)

    def _tell_blindness(self, asked: int, resolved: int) -> None:
        if asked and not resolved and not self._blind:
            log.warning(
                "none of the %d GPU processes can be read under %s, so their time is unattributed: run in the "
                "host's PID namespace (hostPID: true, --pid=host) or mount the host's /proc and set its root",
                asked,
                self._proc,
            )
        self._blind = asked > 0 and not resolved


def holder_of(identity: CgroupIdentity) -> Holder | None:
    """The holder that a cgroup names by itself; ``None`` for a user, whose name is elsewhere."""
    if identity.container_id is not None and identity.kind in {"pod", "container"}:
        whole = identity.runtime == "lxc"
        return Holder("container", identity.container_id if whole else identity.container_id[:CONTAINER_ID_LENGTH])
    if identity.kind == "pod":
        return Holder("container", f"pod-{identity.pod_uid}")
    if identity.kind == "slurm":
        step = "" if identity.slurm_step is None else f".{identity.slurm_step}"
        return Holder("slurm", f"{identity.slurm_job}{step}")
    return None if identity.unit is None else Holder("systemd", identity.unit)


@dataclass(frozen=True, slots=True)
class _Stat:
    comm: str
    gone: bool
    start_time_ticks: int


def _read_stat(folder: str) -> _Stat:
    # The name stands in brackets and may hold brackets and blanks itself.
    text = read_text(f"{folder}/stat")
    opened, closed = text.index("("), text.rindex(")")
    fields = text[closed + 1 :].split()
    return _Stat(text[opened + 1 : closed], fields[0] in "ZXx", int(fields[_START_TIME_FIELD]))


def _real_user_id(status: str) -> int:
    _, _, after = status.partition("\nUid:")
    return int(after.split(maxsplit=1)[0])


def _program_names(folder: str) -> list[str]:
    """File names of the program and, for scripts, of what its first arguments name; empty where neither can be read."""
    paths: list[str] = []
    with contextlib.suppress(OSError):
        paths.append(os.readlink(f"{folder}/exe").removesuffix(" (deleted)"))  # noqa: PTH115  (a plain string is wanted)
    with contextlib.suppress(OSError):
        paths += read_text(f"{folder}/cmdline").split("\0")[:2]
    return [name for path in paths if (name := path.rpartition("/")[2])]


class _Users:
    """Names from a passwd file, read again when it changes."""

    def __init__(self, passwd: Path) -> None:
        self._passwd = passwd
        self._stamp: tuple[int, int] | None = None
        self._names: dict[int, str] = {}

    def name(self, user_id: int) -> str:
        try:
            status = self._passwd.stat()
            stamp = status.st_mtime_ns, status.st_size
            if stamp != self._stamp:
                self._names, self._stamp = self._parse(), stamp
        except OSError:
            self._names, self._stamp = {}, None
        return self._names.get(user_id, f"uid {user_id}")

    def _parse(self) -> dict[int, str]:
        names: dict[int, str] = {}
        for line in self._passwd.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, rest = line.partition(":")
            user_id = rest.partition(":")[2].partition(":")[0]
            if name and user_id.isdecimal():
                names.setdefault(int(user_id), name)
        return names
