import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import build, machine
from tests.cluster.errors import ClusterUnavailable
from tests.cluster.network import SLOTS, Network
from tests.cluster.processes import Processes, tracking_hierarchy
from tests.conftest import CHECKOUT


@pytest.fixture
def missing_folder(tmp_path):
    return tmp_path / "made"


@contextlib.contextmanager
def claimed():
    network = machine.claim([], machine.Owner.this_process())
    try:
        yield network
    finally:
        machine.wipe(network)


def claim_and_die(folder):
    """Claims a slot and starts a process in it, from an interpreter that is killed; the process's pid."""
    script = f"""
import os, signal
from pathlib import Path
from tests.cluster import machine
from tests.cluster.processes import Processes
network = machine.claim([Path({str(folder)!r})], machine.Owner.this_process())
logs = machine.folder_of(network)
print(Processes(network.name, logs).start("sleeper", ["sleep", "infinity"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return int(done.stdout)


def test_what_a_killed_session_left_is_gone_with_the_next_claim(require_root, missing_folder):
    with claimed():  # a slot whose owner lives
        sleeper = claim_and_die(missing_folder)
        with claimed():
            assert not runs(sleeper)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_owner_whose_death_nobody_took_note_of_is_dead(require_root):
    child = subprocess.Popen(["sleep", "infinity"])
    owner = machine.Owner.of(child.pid)
    assert owner.is_alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.is_alive()
    child.wait()


def test_the_claim_of_a_living_owner_stands(require_root):
    with claimed() as first, claimed() as second:
        assert {first, second} <= set(machine.standing())
        assert first.everything != second.everything
        assert machine.folder_of(first) != machine.folder_of(second)


def test_a_wipe_leaves_nothing_and_touches_no_other_process(require_root, missing_folder):
    bystander = subprocess.Popen(["sleep", "infinity"])  # in no cgroup of ours
    try:
        network = machine.claim([missing_folder], machine.Owner.this_process())
        processes = Processes(network.name, machine.folder_of(network))
        processes.start("sleeper", ["sleep", "infinity"])
        machine.wipe(network)
        processes.reap()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert not machine.folder_of(network).exists()
    assert not (tracking_hierarchy() / network.name).exists()
    assert network not in machine.standing()


def test_a_wipe_of_nothing_is_no_error(require_root):
    free = next(n for n in map(Network, reversed(range(SLOTS))) if n not in machine.standing())
    machine.wipe(free)
    assert free not in machine.standing()


def test_every_slot_has_a_range_of_its_own_within_the_one_for_tests():
    prefixes = {Network(slot).everything for slot in range(SLOTS)}
    assert len(prefixes) == SLOTS
    assert all(prefix.startswith("198.18.") for prefix in prefixes)


def test_without_root_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterUnavailable, match="run the tests as root"):
        machine.require_machine()


def test_missing_programs_are_named_with_their_packages(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(ClusterUnavailable, match=r"apt-get install busybox-static containerd .*runc"):
        machine.require_machine()


def test_programs_that_are_not_built_are_told_with_the_command_that_builds_them(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ClusterUnavailable, match=f"not built: {build.BUILD_COMMAND}"):
        build.require_built()


def test_without_go_the_build_says_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterUnavailable, match=re.escape(build.GO_REMEDY)):
        build.build()


def test_a_changed_source_makes_its_programs_old(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = tmp_path / "programs"
    (sources / "deviceplugin").mkdir(parents=True)
    for name in ("go.mod", "go.sum", "deviceplugin/main.go"):
        (sources / name).write_text("old")
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setattr(build, "_run_go", pretend_to_build)
    folder = build.build()
    assert build.require_built() == folder
    (sources / "deviceplugin" / "main.go").write_text("new")
    with pytest.raises(ClusterUnavailable, match="not built"):
        build.require_built()


def pretend_to_build(_go, group, target):
    for program in group.programs:
        (Path(target) / program).touch()
