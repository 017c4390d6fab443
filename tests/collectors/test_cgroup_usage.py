import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cgroup_usage import HolderUsageCollector, _Counter
from collectors.holder import Holder
from collectors.host import HolderUsage
from collectors.process_holders import ProcessHolders
from tests.collectors.procfs import FakeHost

A, B = "a1" * 32, "b2" * 32
V2 = f"0::/system.slice/docker-{A}.scope\n"
V1 = f"4:cpu,cpuacct:/docker/{A}\n3:blkio:/docker/{A}\n0::/\n"
HOLDER, OTHER = Holder("container", A[:12]), Holder("user", "alice")
NOTHING_YET = HolderUsage(0, 0, 0)


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path)
    host.write("sys/dev/block/8:0/device/model", "disk")
    host.write("sys/dev/block/253:0/dm/name", "volume")
    return host


@pytest.fixture
def read(host):
    """Resolve the processes, then read what their holders used."""
    holders = ProcessHolders(host.proc, passwd=host.passwd)
    usage = HolderUsageCollector(holders.identity_of, proc=host.proc, sys=host.sys, ticks_per_second=100)

    def read(pids_by_holder):
        holders.holders_of([pid for pids in pids_by_holder.values() for pid in pids])
        return usage.read(pids_by_holder)

    return read


def cgroup_v2(host, usec, io="", path=f"system.slice/docker-{A}.scope", root="sys/fs/cgroup"):
    host.write(f"{root}/{path}/cpu.stat", f"usage_usec {usec}\nuser_usec 1\nsystem_usec 2\n")
    if io is not None:
        host.write(f"{root}/{path}/io.stat", io)


def process_counters(host, pid, ticks, io=None):
    host.process(pid, "0::/\n", ticks=ticks)
    if io is not None:
        host.write(f"proc/{pid}/io", f"rchar: 9\nread_bytes: {io[0]}\nwrite_bytes: {io[1]}\ncancelled_write_bytes: 0\n")


def test_version_2_counts_cpu_and_io_from_the_first_read_on(host, read):
    host.process(7, V2)
    cgroup_v2(host, 5_000_000, "8:0 rbytes=100 wbytes=10 rios=1 wios=1 dbytes=0 dios=0\n")
    assert read({HOLDER: [7]}) == {HOLDER: NOTHING_YET}
    cgroup_v2(host, 5_250_000, "8:0 rbytes=4196 wbytes=20 rios=2 wios=2 dbytes=0 dios=0\n")
    assert read({HOLDER: [7]}) == {HOLDER: HolderUsage(250_000_000, 4096, 10)}


def test_a_cgroup_without_io_yet_has_read_nothing(host, read):
    host.process(7, V2)
    cgroup_v2(host, 0, "8:0 \n")
    assert read({HOLDER: [7]})[HOLDER].io_read_bytes == 0


def test_bytes_that_pass_a_volume_and_its_disk_count_once(host, read):
    host.process(7, V2)
    cgroup_v2(host, 0, "")
    read({HOLDER: [7]})
    cgroup_v2(host, 0, "253:0 rbytes=4096 wbytes=512\n8:0 rbytes=4096 wbytes=512\n")
    assert read({HOLDER: [7]})[HOLDER] == HolderUsage(0, 4096, 512)


def test_a_disk_that_sysfs_does_not_show_counts(host, read):
    host.process(7, V2)
    cgroup_v2(host, 0, "")
    read({HOLDER: [7]})
    cgroup_v2(host, 0, "259:0 rbytes=4096 wbytes=512\n")
    assert read({HOLDER: [7]})[HOLDER].io_read_bytes == 4096


@pytest.mark.parametrize("cpu_mount", ["cpuacct", "cpu,cpuacct"])
@pytest.mark.parametrize("io_file", ["blkio.throttle.io_service_bytes", "blkio.throttle.io_service_bytes_recursive"])
def test_version_1_counts_cpu_and_io(host, read, cpu_mount, io_file):
    host.process(7, V1)
    for cpu_ns, read_bytes in ((1000, 50), (1500, 4146)):
        host.write(f"sys/fs/cgroup/{cpu_mount}/docker/{A}/cpuacct.usage", f"{cpu_ns}\n")
        lines = f"8:0 Read {read_bytes}\n8:0 Write 7\n8:0 Total {read_bytes + 7}\nTotal {read_bytes + 7}\n"
        host.write(f"sys/fs/cgroup/blkio/docker/{A}/{io_file}", lines)
        usage = read({HOLDER: [7]})
    assert usage == {HOLDER: HolderUsage(500, 4096, 0)}


def test_of_version_1_s_two_counts_the_one_with_the_children_is_taken(host, read):
    host.process(7, V1)
    folder = f"sys/fs/cgroup/blkio/docker/{A}"
    for total in (0, 100):
        host.write(f"{folder}/blkio.throttle.io_service_bytes", "8:0 Read 0\n")
        host.write(f"{folder}/blkio.throttle.io_service_bytes_recursive", f"8:0 Read {total}\n")
        usage = read({HOLDER: [7]})
    assert usage[HOLDER].io_read_bytes == 100


def test_on_a_hybrid_host_version_2_is_found_beside_version_1(host, read):
    host.process(7, f"0::/system.slice/docker-{A}.scope\n1:name=systemd:/system.slice/docker-{A}.scope\n")
    for usec in (1, 3):
        cgroup_v2(host, usec, root="sys/fs/cgroup/unified")
        usage = read({HOLDER: [7]})
    assert usage[HOLDER].cpu_ns == 2000


def test_the_processes_of_one_cgroup_count_it_once(host, read):
    pids = [host.process(pid, V2) for pid in (7, 8, 9)]
    for usec in (0, 100):
        cgroup_v2(host, usec)
        usage = read({HOLDER: pids})
    assert usage[HOLDER].cpu_ns == 100_000


def test_a_process_in_a_child_cgroup_counts_the_whole_container(host, read):
    host.process(7, f"0::/system.slice/docker-{A}.scope/init\n")
    for usec in (0, 100):
        cgroup_v2(host, usec)
        usage = read({HOLDER: [7]})
    assert usage[HOLDER].cpu_ns == 100_000


def test_a_holder_of_two_cgroups_has_the_sum(host, read):
    host.process(7, V2)
    host.process(8, f"0::/system.slice/docker-{B}.scope\n")
    for usec in (0, 100):
        cgroup_v2(host, usec)
        cgroup_v2(host, 2 * usec, path=f"system.slice/docker-{B}.scope")
        usage = read({HOLDER: [7, 8]})
    assert usage[HOLDER].cpu_ns == 300_000


def test_without_a_cgroup_of_its_own_the_processes_are_summed(host, read):
    for ticks, read_bytes in ((0, 0), (30, 4096)):
        process_counters(host, 7, (ticks, 20), (read_bytes, 5))
        process_counters(host, 8, (ticks, 20), (read_bytes, 5))
        usage = read({OTHER: [7, 8]})
    assert usage == {OTHER: HolderUsage(600_000_000, 8192, 0)}


def test_the_root_cgroup_is_nobody_s_own(host, read):
    host.write("sys/fs/cgroup/cpu.stat", "usage_usec 99000000\n")
    process_counters(host, 7, (0, 0))
    read({OTHER: [7]})
    host.write("sys/fs/cgroup/cpu.stat", "usage_usec 999000000\n")
    assert read({OTHER: [7]})[OTHER].cpu_ns == 0


def test_a_path_relative_to_another_namespace_is_not_looked_up(host, read):
    host.process(7, f"0::/../docker-{A}.scope\n")
    host.write("sys/fs/cgroup/cgroup.controllers", "")
    for usec in (0, 100):
        host.write(f"sys/fs/docker-{A}.scope/cpu.stat", f"usage_usec {usec}\n")
        usage = read({HOLDER: [7]})
    assert usage[HOLDER].cpu_ns == 0


def test_where_the_io_controller_is_off_the_processes_io_is_taken(host, read):
    host.process(7, V2)
    for total in (0, 100):
        cgroup_v2(host, total, io=None)
        host.write("proc/7/io", f"read_bytes: {total}\nwrite_bytes: 0\n")
        usage = read({HOLDER: [7]})
    assert usage == {HOLDER: HolderUsage(100_000, 100, 0)}


def test_io_that_may_not_be_read_is_absent_not_zero(host, read):
    process_counters(host, 7, (0, 0))
    assert read({OTHER: [7]}) == {OTHER: HolderUsage(0, None, None)}


def test_a_part_is_not_given_for_the_whole(host, read):
    process_counters(host, 7, (0, 0), (0, 0))
    process_counters(host, 8, (0, 0))
    assert read({OTHER: [7, 8]})[OTHER].io_read_bytes is None


@pytest.mark.parametrize("text", ["", "usage_usec\n", "usage_usec many\n", "user_usec 5\n"])
def test_a_counter_that_is_not_understood_is_absent(host, read, text):
    host.process(7, V2)
    (host.proc / "7/stat").write_text("7 (a) S 1 1 1 1 1 1 1 1 1 1 x x 1 1 1 1 1 1 500 1\n")
    cgroup_v2(host, 0)
    host.write(f"sys/fs/cgroup/system.slice/docker-{A}.scope/cpu.stat", text)
    assert read({HOLDER: [7]})[HOLDER] == HolderUsage(None, 0, 0)


def test_a_holder_whose_processes_are_all_gone_has_nothing_to_tell(host, read):
    host.process(7, V2)
    cgroup_v2(host, 0)
    read({HOLDER: [7]})
    host.end(7)
    assert read({HOLDER: [7]}) == {HOLDER: HolderUsage()}


def test_a_container_made_anew_goes_on_counting(host, read):
    host.process(7, V2)
    for usec in (1000, 5000):
        cgroup_v2(host, usec)
        read({HOLDER: [7]})
    cgroup_v2(host, 30)
    assert read({HOLDER: [7]})[HOLDER].cpu_ns == 4_030_000


def test_a_process_that_ends_takes_nothing_away(host, read):
    process_counters(host, 7, (0, 0))
    process_counters(host, 8, (0, 0))
    read({OTHER: [7, 8]})
    process_counters(host, 7, (10, 0))
    process_counters(host, 8, (10, 0))
    read({OTHER: [7, 8]})
    host.end(8)
    assert read({OTHER: [7, 8]})[OTHER].cpu_ns == 200_000_000


def test_a_holder_that_was_not_asked_for_begins_anew(host, read):
    host.process(7, V2)
    for usec in (0, 1000):
        cgroup_v2(host, usec)
        read({HOLDER: [7]})
    read({})
    assert read({HOLDER: [7]}) == {HOLDER: NOTHING_YET}


def test_the_cpu_time_of_this_very_process_grows_as_it_works():
    holders, pid = ProcessHolders(), os.getpid()
    usage = HolderUsageCollector(holders.identity_of)
    holders.holders_of([pid])
    usage.read({OTHER: [pid]})
    before = os.times()
    while sum(os.times()[:2]) - sum(before[:2]) < 0.1:
        pass
    assert usage.read({OTHER: [pid]})[OTHER].cpu_ns >= 80_000_000


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000) | st.none()), max_size=20))
def test_the_sum_of_a_holder_never_falls(steps):
    counter, last = _Counter(), 0
    for step in steps:
        total = counter.advance({(key, 0): value for key, value in step.items()})
        assert total is None or total >= last
        last = last if total is None else total


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1))
def test_what_a_counter_counted_while_it_could_not_be_read_is_not_lost(steps):
    counter, value = _Counter(), 7
    counter.advance({("a", 0): value})
    for grown, readable in steps:
        value += grown
        counter.advance({("a", 0): value if readable else None})
    assert counter.advance({("a", 0): value}) == value - 7
