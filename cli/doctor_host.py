"""Checks of the host as seen from here: its processes, cgroups, holders, clock, power."""

import ctypes
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cli.doctor_finding import Finding, Machine
from collectors.clock import NS_PER_SECOND
from collectors.dcgm_page import DcgmPage
from collectors.errors import SourceError
from collectors.host import HostCollector
from collectors.price_list import load
from collectors.process_holders import SYSTEM_PROCESSES, ProcessHolders
from collectors.readings import DeviceSweep

HOST_PID_NAMESPACE = "pid:[4026531836]"
"""The first PID namespace has a number fixed in the kernel (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""
HOST_CGROUP_NAMESPACE = "cgroup:[4026531835]"
_OTHER_NAMESPACE = (
    "run in the host's PID namespace (hostPID: true, --pid=host), or mount the host's /proc and set host.proc"
)
_SET_CLOCK = "run chrony or systemd-timesyncd on the host"
_CLOCK_UNSYNCHRONIZED = 5  # TIME_ERROR of adjtimex(2)
_TIMEX_BYTES = 512  # above sizeof(struct timex), 208 on 64 bits


def check_processes(machine: Machine) -> Iterator[Finding]:
    """Whether the host's processes can be seen, and whose they are."""
    proc = machine.config.host.proc
    namespace = _link(proc / "1/ns/pid") or _link(proc / "self/ns/pid")
    if namespace == HOST_PID_NAMESPACE:
        yield Finding("processes", "ok", f"{proc} shows the host's processes")
    elif namespace is None:
        yield Finding("processes", "warn", f"{proc} does not tell its PID namespace", _OTHER_NAMESPACE)
    else:
        what = f"{proc} shows a container's processes, not the host's: GPU processes cannot be told apart"
        yield Finding("processes", "warn", what, _OTHER_NAMESPACE)
    yield from _holders(machine)


def _holders(machine: Machine) -> Iterator[Finding]:
    sweeps = [sweep for sweep in machine.sweeps.values() if isinstance(sweep, DeviceSweep)]
    readings = [reading for sweep in sweeps for reading in (sweep.device, *sweep.instances)]
    pids = {process.pid for reading in readings for process in reading.processes}
    if not pids:
        yield Finding("holders", "ok", "no process is on a GPU now, so there is nobody to tell")
        return
    settings = machine.config.holders
    known = SYSTEM_PROCESSES | frozenset(settings.system_processes)
    resolver = ProcessHolders(machine.config.host.proc, passwd=settings.passwd, system_processes=known)
    found = resolver.holders_of(pids)
    what = f"{len(found)} of {len(pids)} GPU processes have a holder"
    if len(found) == len(pids):
        names = sorted({f"{holder.kind} {holder.name}" for holder in found.values()})
        yield Finding("holders", "ok", f"{what}: {', '.join(names)}")
    else:
        yield Finding("holders", "warn" if found else "fail", what, _OTHER_NAMESPACE)


def check_cgroups(machine: Machine) -> Iterator[Finding]:
    """Which cgroups there are, and whether they are the host's."""
    proc, sys = machine.config.host.proc, machine.config.host.sys
    if not (sys / "fs/cgroup").is_dir():
        what = f"{sys}/fs/cgroup is not there: CPU and I/O of holders stay absent"
        yield Finding("cgroups", "warn", what, "mount the host's /sys and set host.sys")
        return
    version = "v2" if (sys / "fs/cgroup/cgroup.controllers").exists() else "v1 or hybrid"
    private = _link(proc / "self/ns/cgroup") not in {HOST_CGROUP_NAMESPACE, None}
    if private:
        what = f"cgroups {version}, in a private namespace: containers are told by their ids, CPU and I/O may be absent"
        yield Finding("cgroups", "warn", what, "share the host's namespace (--cgroupns=host) for all of it")
    else:
        yield Finding("cgroups", "ok", f"cgroups {version}, the host's")


def check_clock(machine: Machine) -> Iterator[Finding]:
    """The wall clock names the hours of the books."""
    today = datetime.fromtimestamp(machine.clock.wall_ns() / NS_PER_SECOND, UTC).date()
    if today < max(row.as_of for row in load()):
        yield Finding("clock", "fail", "the wall clock lies in the past: hours would bear wrong names", _SET_CLOCK)
        return
    synchronized = _synchronized()
    if synchronized is None:
        yield Finding("clock", "ok", "the wall clock is plausible; the kernel does not tell whether it is synchronized")
    elif synchronized:
        yield Finding("clock", "ok", "the wall clock is synchronized")
    else:
        yield Finding("clock", "warn", "the wall clock is not synchronized: hours may bear wrong names", _SET_CLOCK)


def check_power(machine: Machine) -> Iterator[Finding]:
    """The host's own power, beside that of the GPUs."""
    collector = HostCollector(machine.clock, proc=machine.config.host.proc, sys=machine.config.host.sys)
    try:
        reading = collector.read()
    except SourceError as error:
        yield Finding("host", "fail", str(error), "mount the host's /proc and set host.proc")
        return
    if reading.host_energy_mj is None:
        what = "no RAPL energy can be read: the power of CPUs and memory stays absent"
        remedy = "run as root where the CPU has RAPL; virtual machines mostly hide it"
        yield Finding("host", "warn", what, remedy)
    else:
        yield Finding("host", "ok", "RAPL tells the power of CPUs and memory")


def check_dcgm(machine: Machine) -> Iterator[Finding]:
    """The dcgm-exporter's page, where one is configured."""
    url = machine.config.dcgm.url
    if url is None:
        return
    try:
        readings = DcgmPage(url, machine.clock).read()
    except SourceError as error:
        yield Finding("dcgm", "warn", str(error), "mend the page, or set dcgm.url to null to do without")
        return
    yield Finding("dcgm", "ok", f"{url} tells of {len(readings)} devices and instances")


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def _synchronized() -> bool | None:
    """What the kernel says of its clock; asking with no mode bits set changes nothing (adjtimex(2))."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _CLOCK_UNSYNCHRONIZED
