import logging
import os
import threading
import time

import pytest

from collectors.holder import Holder
from collectors.process_holders import SYSTEM_PROCESSES, ProcessHolders
from tests.collectors.procfs import FakeHost

A = "a1b2" * 16
DOCKER = f"0::/system.slice/docker-{A}.scope\n"
SERVICE = "0::/system.slice/train.service\n"


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path)
    host.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nbroken line\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    return host


@pytest.fixture
def holders(host):
    return ProcessHolders(host.proc, passwd=host.passwd)


@pytest.mark.parametrize(
    ("cgroup", "holder"),
    [
        (DOCKER, Holder("container", A[:12])),
        (
            f"0::/kubepods.slice/kubepods-pod0f9e8d7c_1111_2222_3333_444455556666.slice/crio-{A}.scope\n",
            Holder("container", A[:12]),
        ),
        (
            "0::/kubepods/pod0f9e8d7c-1111-2222-3333-444455556666/kata_overhead\n",
            Holder("container", "pod-0f9e8d7c-1111-2222-3333-444455556666"),
        ),
        ("0::/lxc.payload.a-name-of-some-length\n", Holder("container", "a-name-of-some-length")),
        ("5:devices:/slurm/uid_1000/job_42/step_0\n0::/system.slice/slurmd.service\n", Holder("slurm", "42.0")),
        ("5:devices:/slurm/uid_1000/job_42\n", Holder("slurm", "42")),
        (SERVICE, Holder("systemd", "train.service")),
        ("0::/user.slice/user-0.slice/session-1.scope\n", Holder("user", "root")),
        ("0::/user.slice/user-77.slice/session-1.scope\n", Holder("user", "uid 77")),
        ("0::/\n", Holder("user", "alice")),
        ("", Holder("user", "alice")),
    ],
)
def test_a_process_is_held_by_what_its_cgroup_names_else_by_its_user(host, holders, cgroup, holder):
    host.process(7, cgroup)
    assert holders.holders_of([7]) == {7: holder}


def test_the_identity_keeps_what_the_name_leaves_out(host, holders):
    host.process(7, DOCKER, uid=1000, start=4711)
    identity = holders.identities_of([7])[7]
    assert (identity.cgroup.container_id, identity.user_id, identity.start_time_ticks) == (A, 1000, 4711)
    assert holders.identity_of(7) is identity
    assert holders.identity_of(8) is None


def test_a_user_without_an_entry_is_named_by_number(host, holders):
    host.process(7, uid=4711)
    assert holders.holders_of([7]) == {7: Holder("user", "uid 4711")}


def test_a_passwd_that_is_not_there_leaves_the_number(host):
    host.process(7)
    holders = ProcessHolders(host.proc, passwd=host.root / "etc/none")
    assert holders.holders_of([7]) == {7: Holder("user", "uid 1000")}


def test_a_user_added_later_gets_the_name(host, holders):
    host.process(7, uid=5)
    holders.holders_of([7])
    host.write("etc/passwd", "games:x:5:60::/usr/games:/usr/sbin/nologin\n")
    host.process(8, uid=5)
    assert holders.holders_of([8]) == {8: Holder("user", "games")}


def test_a_process_that_is_gone_has_no_entry_and_is_forgotten(host, holders):
    host.process(7, DOCKER)
    host.process(8, SERVICE)
    holders.holders_of([7, 8])
    host.end(7)
    assert holders.holders_of([7, 8]) == {8: Holder("systemd", "train.service")}
    assert holders.identity_of(7) is None


def test_a_pid_used_again_is_another_process(host, holders):
    host.process(7, DOCKER, start=100)
    host.process(8, DOCKER, start=100)
    for _ in range(3):
        holders.holders_of([7, 8])
    host.process(7, SERVICE, start=900)
    host.process(8, SERVICE, start=900)
    assert set(holders.holders_of([7, 8]).values()) == {Holder("systemd", "train.service")}


def test_a_known_process_is_not_read_again(host, holders):
    host.process(7, DOCKER)
    host.process(8, DOCKER)
    holders.holders_of([7, 8])
    for pid in (7, 8):
        for file in ("stat", "status"):
            host.write(f"proc/{pid}/{file}", "unreadable")
    for _ in range(4):
        assert set(holders.holders_of([7, 8])) == {7, 8}


def test_a_process_moved_to_another_cgroup_is_seen_within_as_many_sweeps_as_there_are_processes(host, holders):
    pids = [host.process(pid, DOCKER) for pid in (7, 8, 9)]
    holders.holders_of(pids)
    (host.proc / "8/cgroup").write_text(SERVICE)
    seen = [holders.holders_of(pids)[8] for _ in pids]
    assert Holder("systemd", "train.service") in seen


def test_a_pid_that_changes_hands_while_it_is_read_has_no_entry(host, holders):
    host.process(7, DOCKER, start=100)
    status = host.proc / "7/status"
    status.unlink()
    os.mkfifo(status)

    def change_hands():
        with status.open("w") as pipe:
            host.process(7, SERVICE, start=900)
            pipe.write("Name:\ta\nUid:\t1000\t1000\n")

    other = threading.Thread(target=change_hands)
    other.start()
    assert holders.holders_of([7]) == {}
    other.join()
    assert holders.holders_of([7]) == {7: Holder("systemd", "train.service")}


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_dead_process_has_no_entry(host, holders, state):
    host.process(7, DOCKER, state=state)
    assert holders.holders_of([7]) == {}


@pytest.mark.parametrize("stat", ["", "7", "7 (a", "7 (a) S 1 2", "7 (a) S " + "x " * 40])
def test_a_stat_that_is_not_understood_gives_no_entry(host, holders, stat):
    host.process(7, DOCKER)
    host.write("proc/7/stat", stat)
    assert holders.holders_of([7]) == {}


def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields(host, holders):
    host.process(7, DOCKER, comm="a) S 1 (b c", start=4711)
    assert holders.identities_of([7])[7].start_time_ticks == 4711


@pytest.mark.parametrize("name", sorted(SYSTEM_PROCESSES))
def test_the_driver_s_daemons_are_system_even_in_a_container(host, holders, name):
    host.process(7, DOCKER, comm=name[:15], exe=f"/usr/bin/{name}")
    assert holders.holders_of([7]) == {7: Holder("system", name)}


def test_a_daemon_whose_program_cannot_be_read_is_told_by_its_arguments_else_by_its_name(host, holders):
    host.process(7, comm="nvidia-cuda-mps", args=["nvidia-cuda-mps-control", "-d"])
    host.process(8, comm="nv-hostengine")
    assert holders.holders_of([7, 8]) == {
        7: Holder("system", "nvidia-cuda-mps-control"),
        8: Holder("system", "nv-hostengine"),
    }


def test_a_daemon_that_is_a_script_is_told_by_its_argument(host):
    holders = ProcessHolders(host.proc, passwd=host.passwd, system_processes=frozenset({"gpu-burnin"}))
    host.process(7, comm="gpu-burnin", exe="/usr/bin/python3.11", args=["python3", "/opt/gpu-burnin"])
    host.process(8, comm="nv-hostengine", exe="/usr/bin/nv-hostengine")
    assert holders.holders_of([7, 8]) == {7: Holder("system", "gpu-burnin"), 8: Holder("user", "alice")}


def test_a_program_upgraded_under_a_running_daemon_is_still_that_daemon(host, holders):
    host.process(7, comm="nv-hostengine", exe="/usr/bin/nv-hostengine (deleted)")
    assert holders.holders_of([7]) == {7: Holder("system", "nv-hostengine")}


def test_a_program_that_only_calls_itself_a_daemon_stays_its_holder_s(host, holders):
    host.process(7, DOCKER, comm="nv-hostengine", exe="/usr/bin/python3.11", args=["python3", "train.py"])
    assert holders.holders_of([7]) == {7: Holder("container", A[:12])}


def test_an_mps_client_is_its_own_holder_s(host, holders):
    host.process(7, DOCKER, comm="python3", exe="/usr/bin/python3.11")
    assert holders.holders_of([7]) == {7: Holder("container", A[:12])}


def test_no_process_to_be_seen_is_told_once_with_the_remedy(host, holders, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert holders.holders_of([41, 42]) == {}
    (line,) = caplog.messages
    assert "none of the 2 GPU processes" in line
    assert str(host.proc) in line
    assert "hostPID: true" in line


def test_nothing_asked_is_nothing_told(holders, caplog):
    assert holders.holders_of([]) == {}
    assert not caplog.messages


def test_this_very_process_is_resolved_by_the_kernel_s_own_files():
    holders = ProcessHolders()
    before = holders.identities_of([os.getpid()])[os.getpid()]
    assert before.user_id == os.getuid()
    assert 0 < before.start_time_ticks / os.sysconf("SC_CLK_TCK") <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert holders.identities_of([os.getpid()])[os.getpid()] is before
