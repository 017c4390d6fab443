"""Processes that hold GPUs, as the agent sees them under a procfs of the test's own."""

from collections.abc import Mapping
from pathlib import Path

_FIRST_UID = 2000


def container_name(number: int) -> str:
    """The twelve digits by which ``docker ps`` shows a container of the test."""
    return f"c{number:011x}"


def container(number: int) -> str:
    """The cgroup of that container."""
    return f"0::/system.slice/docker-{container_name(number)}{'0' * 52}.scope\n"


class FakeHost:
    """A procfs in which a test's processes are; what is not about a process is this machine's own."""

    def __init__(self, folder: Path) -> None:
        self._proc = folder / "proc"
        self._passwd = folder / "passwd"
        self._proc.mkdir(parents=True)
        self._passwd.write_text("root:x:0:0::/root:/bin/sh\n")
        self._users = 0
        for name in ("stat", "meminfo", "diskstats", "loadavg", "net", "cpuinfo"):
            (self._proc / name).symlink_to(Path("/proc") / name)

    @property
    def config(self) -> Mapping[str, Mapping[str, str]]:
        """The settings that have the agent look here."""
        return {"host": {"proc": str(self._proc)}, "holders": {"passwd": str(self._passwd)}}

    def user_process(self, pid: int, name: str) -> int:
        """A process of a user of that name; returns its PID."""
        uid = _FIRST_UID + self._users
        self._users += 1
        with self._passwd.open("a") as passwd:
            passwd.write(f"{name}:x:{uid}:{uid}::/:/bin/sh\n")
        return self.process(pid, f"0::/user.slice/user-{uid}.slice/session-1.scope\n", uid)

    def process(self, pid: int, cgroup: str, uid: int = 0) -> int:
        """A process in that cgroup; returns its PID."""
        fields = ["S", "1", *["0"] * 17, "500", *["0"] * 30]
        here = self._proc / str(pid)
        here.mkdir()
        (here / "stat").write_text(f"{pid} (python3) {' '.join(fields)}\n")
        (here / "cgroup").write_text(cgroup)
        (here / "status").write_text(f"Name:\tpython3\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (here / "cmdline").write_text("python3\0")
        return pid
