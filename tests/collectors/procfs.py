"""A host to read: the parts of /proc, /sys and /etc that the collectors look at, in a folder of the test's own."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from collectors.clock import NS_PER_SECOND


class StillClock:
    """A clock that stands until it is moved."""

    boot_id = "boot"

    def __init__(self, seconds=1000):
        self.now_ns = seconds * NS_PER_SECOND

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event, duration_ns):
        self.now_ns += duration_ns
        return event.is_set()

    def pass_seconds(self, seconds):
        self.now_ns += round(seconds * NS_PER_SECOND)


@dataclass
class FakeHost:
    root: Path

    def __post_init__(self):
        self._graves = count()
        self.proc.mkdir(parents=True)
        (self.root / "graves").mkdir()

    @property
    def proc(self):
        return self.root / "proc"

    @property
    def sys(self):
        return self.root / "sys"

    @property
    def passwd(self):
        return self.root / "etc/passwd"

    def write(self, path, text):
        """A file at ``path`` under the root, with its folders."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def process(
        self, pid, cgroup="0::/\n", *, comm="python3", uid=1000, start=500, state="S", ticks=(0, 0), exe=None, args=()
    ):
        """A process as procfs shows it. A PID that is there already is used again: its former folder goes away."""
        if (self.proc / str(pid)).exists():
            self.end(pid)
        fields = [state, "1", *["0"] * 9, *map(str, ticks), *["0"] * 6, str(start), *["0"] * 30]
        self.write(f"proc/{pid}/stat", f"{pid} ({comm}) {' '.join(fields)}\n")
        self.write(f"proc/{pid}/cgroup", cgroup)
        self.write(f"proc/{pid}/status", f"Name:\t{comm}\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n")
        self.write(f"proc/{pid}/cmdline", "".join(f"{arg}\0" for arg in args))
        if exe:
            (self.proc / f"{pid}/exe").symlink_to(exe)
        return pid

    def end(self, pid):
        # Moved, not removed, so that the file system cannot give its inode to the next process.
        (self.proc / str(pid)).rename(self.root / f"graves/{next(self._graves)}")
