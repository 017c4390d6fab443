import logging
from itertools import pairwise

import psutil
import pytest

from collectors.clock import SystemClock
from collectors.errors import Unavailable
from collectors.host import HostCollector
from tests.collectors.procfs import FakeHost, StillClock

MEMINFO = """\
MemTotal:       1000 kB
MemFree:         100 kB
MemAvailable:    400 kB
Buffers:          10 kB
Cached:          200 kB
Shmem:             5 kB
Active:          100 kB
Inactive:        100 kB
SReclaimable:     20 kB
Slab:             30 kB
"""
NET_DEV = "Inter-| Receive | Transmit\n face |bytes packets errs drop ...|bytes packets errs drop ...\n"
DISKSTATS = """\
   8       0 sda 10 0 80 1 20 0 160 1 0 1 2 0 0 0 0 0 0
   8       1 sda1 10 0 80 1 20 0 160 1 0 1 2 0 0 0 0 0 0
 259       0 nvme0n1 1 0 8 1 1 0 8 1 0 1 2 0 0 0 0 0 0
 253       0 dm-0 10 0 80 1 20 0 160 1 0 1 2 0 0 0 0 0 0
   7       0 loop0 5 0 50 1 0 0 0 0 0 1 1 0 0 0 0 0 0
   1       0 ram0 5 0 50 1 0 0 0 0 0 1 1 0 0 0 0 0 0
"""


CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")


def cpu_stat(**ticks):
    return f"cpu  {' '.join(str(ticks.get(field, 0)) for field in CPU_FIELDS)}\ncpu0 1 2 3 4\nbtime 1\n"


def net_dev(**interfaces):
    lines = (
        f"{name:>6}:{received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n" for name, (received, sent) in interfaces.items()
    )
    return NET_DEV + "".join(lines)


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path)
    host.write("proc/stat", cpu_stat())
    host.write("proc/meminfo", MEMINFO)
    host.write("proc/loadavg", "1.50 0.75 0.25 2/300 4711\n")
    host.write("proc/diskstats", DISKSTATS)
    host.write("proc/1/net/dev", net_dev(lo=(7, 7), eth0=(1000, 100), veth1=(500, 50)))
    for path in ("block/sda", "block/nvme0n1", "class/net/eth0"):
        host.write(f"sys/{path}/device/vendor", "")
    return host


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def collector(host, clock):
    return HostCollector(clock, proc=host.proc, sys=host.sys)


def test_the_first_reading_has_no_ratios(collector, clock):
    reading = collector.read()
    assert (reading.cpu_busy_ratio, reading.cpu_iowait_ratio, reading.read_ns) == (None, None, clock.now_ns)


def test_ratios_are_of_the_time_between_two_reads(host, collector):
    collector.read()
    host.write("proc/stat", cpu_stat(user=20, system=10, idle=50, iowait=15, steal=5))
    reading = collector.read()
    assert reading.cpu_busy_ratio == pytest.approx(0.35)
    assert reading.cpu_iowait_ratio == pytest.approx(0.15)


def test_guest_time_is_part_of_user_time_already(host, collector):
    collector.read()
    host.write("proc/stat", cpu_stat(user=50, guest=50, idle=50))
    assert collector.read().cpu_busy_ratio == pytest.approx(0.5)


def test_an_iowait_that_steps_back_is_no_negative_time(host, collector):
    host.write("proc/stat", cpu_stat(iowait=10))
    collector.read()
    host.write("proc/stat", cpu_stat(iowait=9, idle=100))
    reading = collector.read()
    assert (reading.cpu_busy_ratio, reading.cpu_iowait_ratio) == (0, 0)


def test_no_time_passed_is_no_ratio(collector):
    collector.read()
    assert collector.read().cpu_busy_ratio is None


def test_memory_is_split_into_available_and_used(collector):
    reading = collector.read()
    assert reading.memory_total_bytes == 1000 * 1024
    assert reading.memory_available_bytes == 400 * 1024
    assert reading.memory_used_bytes == 600 * 1024


def test_load_is_the_kernel_s(collector):
    reading = collector.read()
    assert (reading.load1, reading.load5, reading.load15) == (1.5, 0.75, 0.25)


def test_disks_are_counted_whole_and_once(collector):
    reading = collector.read()
    assert (reading.disk_read_bytes, reading.disk_written_bytes) == (88 * 512, 168 * 512)


def test_without_one_physical_disk_disk_bytes_are_absent(host, collector):
    host.write("proc/diskstats", "   7       0 loop0 5 0 50 1 0 0 0 0 0 1 1 0 0 0 0 0 0\n")
    assert collector.read().disk_read_bytes is None


def test_the_network_is_the_node_s_physical_interfaces(collector):
    reading = collector.read()
    assert (reading.network_received_bytes, reading.network_sent_bytes) == (1000, 100)


def test_without_a_physical_interface_all_but_loopback_count(host, collector):
    host.write("proc/1/net/dev", net_dev(lo=(7, 7), veth1=(500, 50), veth2=(1, 2)))
    reading = collector.read()
    assert (reading.network_received_bytes, reading.network_sent_bytes) == (501, 52)


def test_with_loopback_alone_the_network_is_absent(host, collector):
    host.write("proc/1/net/dev", net_dev(lo=(7, 7)))
    assert collector.read().network_received_bytes is None


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("meminfo", "memory_used_bytes"),
        ("loadavg", "load1"),
        ("diskstats", "disk_read_bytes"),
        ("1/net/dev", "network_sent_bytes"),
    ],
)
@pytest.mark.parametrize("text", [None, "", "no number here at all, and none here\n" * 4])
def test_what_cannot_be_read_is_absent_and_its_siblings_are_not(host, collector, file, field, text):
    (host.proc / file).unlink()
    if text is not None:
        host.write(f"proc/{file}", text)
    collector.read()
    host.write("proc/stat", cpu_stat(user=1))
    reading = collector.read()
    assert getattr(reading, field) is None
    assert reading.cpu_busy_ratio == 1


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu  1 2 3\n", "cpu  a b c d e f g h i j\n"])
def test_a_cpu_line_that_is_not_understood_leaves_ratios_absent(host, collector, text):
    host.write("proc/stat", text)
    collector.read()
    reading = collector.read()
    assert (reading.cpu_busy_ratio, reading.load1) == (None, 1.5)


def test_a_failure_is_told_once_until_it_is_over(host, collector, caplog):
    def break_and_read():
        (host.proc / "loadavg").unlink()
        collector.read()
        collector.read()

    with caplog.at_level(logging.WARNING):
        break_and_read()
        host.write("proc/loadavg", "1 1 1 1/1 1\n")
        collector.read()
        break_and_read()
    lines = [line for line in caplog.messages if line.startswith(f"host load cannot be read under {host.proc}")]
    assert len(lines) == 2
    assert "stays absent" in lines[0]


def test_no_procfs_at_all_names_the_path_and_the_remedy(tmp_path):
    with pytest.raises(Unavailable, match=f"no procfs at {tmp_path}/none: mount the host's /proc there"):
        HostCollector(StillClock(), proc=tmp_path / "none", sys=tmp_path).read()


def test_psutil_is_left_as_it_was(collector):
    collector.read()
    assert psutil.PROCFS_PATH == "/proc"


def test_this_very_machine_can_be_read():
    collector = HostCollector(SystemClock())
    readings = [collector.read() for _ in range(2)]
    for reading in readings:
        assert reading.memory_total_bytes >= reading.memory_available_bytes > 0
        assert reading.cpu_count >= 1
        assert reading.load1 >= 0
    for before, after in pairwise(readings):
        assert (after.network_received_bytes or 0) >= (before.network_received_bytes or 0)
