"""The cluster's processes and the cgroups they live in.

Every process that a cluster starts, and whatever those start in turn, lives under one cgroup: so all of them, and no
other, can be ended, even by someone who did not start them.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.waiting import wait_until

CGROUP_MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS_V2 = ("cpu", "cpuset", "memory", "pids")
_JOIN_AND_RUN = 'echo $$ >"$0" && exec "$@"'


def hierarchies() -> tuple[Path, ...]:
    """The roots of the cgroup hierarchies: one in version 2, one for each controller in version 1.

    Raises:
        ClusterUnavailable: cgroups are not mounted where every distribution has them, or not to be written to.
    """
    version_2 = (CGROUP_MOUNT / "cgroup.controllers").is_file()
    controllers = (p for p in sorted(CGROUP_MOUNT.glob("*/")) if p.name != "unified" and not p.is_symlink())
    roots = (CGROUP_MOUNT,) if version_2 else tuple(controllers)
    if not roots or not os.access(roots[0], os.W_OK):
        raise ClusterUnavailable(f"{CGROUP_MOUNT} has no cgroups to write to: run on the host or in a privileged one")
    return roots


def tracking_hierarchy() -> Path:
    """The hierarchy in which membership tells whose a process is."""
    single = CGROUP_MOUNT / "pids"
    return single if single in hierarchies() else CGROUP_MOUNT


def freeze(process: "subprocess.Popen[bytes]") -> None:
    """Stops a process; returns once none of its threads runs (a signal sent is not yet one obeyed)."""
    process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")
    wait_until(lambda: all(_state(task) in "Tt" for task in tasks.iterdir()), 30, "it to stand still", poll=0.01)


def _state(task: Path) -> str:
    try:
        said = (task / "stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
        return "T"
    # the name, in brackets, may hold anything; the state follows it
    return said.rpartition(")")[2].split()[0]


@dataclass(slots=True)
class Processes:
    """Starts processes in the cgroup ``name``, by a name each, with a log each."""

    name: str
    logs: Path
    _started: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def start(self, name: str, command: Sequence[str | Path]) -> int:
        """Runs a command; its pid. What it writes goes on in ``logs/NAME.log``."""
        home = tracking_hierarchy() / self.name / "programs"
        home.mkdir(parents=True, exist_ok=True)
        # sh and nice exec in turn, and so do nsenter and unshare: the pid is the program's own
        words = ["nice", "sh", "-c", _JOIN_AND_RUN, home / "cgroup.procs", *command]
        with self.log(name).open("ab") as log:
            self._started[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        pid = self.pid(name)
        # only now may we die: from here on it is found by its cgroup
        wait_until(lambda: not self.is_alive(name) or pid in _members(home), 30, f"{name} to begin", poll=0.002)
        return pid

    def pid(self, name: str) -> int:
        return self._started[name].pid

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def is_alive(self, name: str) -> bool:
        return name in self._started and self._started[name].poll() is None

    def send(self, name: str, number: signal.Signals) -> None:
        """A signal to one process; SIGCONT lets a frozen one go on."""
        self._started[name].send_signal(number)

    def freeze(self, name: str) -> None:
        """Stops one process; returns once none of its threads runs."""
        freeze(self._started[name])

    def stop(self, name: str, *, grace_seconds: float = 10) -> None:
        """Ends one process, by force where it does not go in time."""
        process = self._started.pop(name)
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def reap(self) -> None:
        """Takes note of the ends of all processes; call it once all were killed."""
        for process in self._started.values():
            process.wait(30)
        self._started.clear()

    def require_alive(self) -> None:
        """Raises:
        ClusterFailed: one has ended by itself.
        """
        for name in self._started:
            if not self.is_alive(name):
                raise ClusterFailed(f"{name} ended; the end of {self.log(name)}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 12) -> str:
        return "\n".join(self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def make_cgroup(path: str) -> None:
    """A cgroup in every hierarchy, able to hold and limit children."""
    for root in hierarchies():
        here = root
        for part in path.split("/"):
            _hand_down(here)
            here /= part
            here.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # in version 1 they start empty, and hold no process so
                if root.name == "cpuset":
                    (here / setting).write_text((here.parent / setting).read_text())
        _hand_down(here)


def _hand_down(cgroup: Path) -> None:
    control = cgroup / "cgroup.subtree_control"
    if control.is_file():
        control.write_text(" ".join(f"+{name}" for name in CONTROLLERS_V2))


def pids_under(path: str) -> list[int]:
    """All processes in a cgroup and those below it."""
    pids: list[int] = []
    for folder, _, _ in os.walk(tracking_hierarchy() / path):
        with contextlib.suppress(OSError):  # the cgroup went while we looked
            pids += _members(Path(folder))
    return pids


def _members(cgroup: Path) -> list[int]:
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]


def kill_under(path: str) -> None:
    """Ends every process in a cgroup and below it, those too that are born meanwhile.

    Raises:
        ClusterFailed: one cannot be killed.
    """

    def gone() -> bool:
        pids = pids_under(path)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(gone, 60, f"the processes under {path} to die")


def remove_cgroup(path: str) -> None:
    """Removes an empty cgroup, and those below it, from every hierarchy.

    Raises:
        ClusterFailed: the kernel keeps one busy.
    """

    # version 1 may have version 2 beside it, without controllers: runc makes cgroups there too
    roots = (*hierarchies(), CGROUP_MOUNT / "unified")

    def gone() -> bool:
        for root in roots:
            for folder, _, _ in os.walk(root / path, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        return not any((root / path).exists() for root in roots)

    wait_until(gone, 30, f"the cgroups {path} to be removable")
