import os
import socket

from collectors.clock import SystemClock
from collectors.listeners import SEARCH_EVERY_NS, PortListeners


class Clock:
    boot_id = "boot"
    now = 0

    def monotonic_ns(self):
        return self.now


def row(port, inode, state="0A"):
    return f"   0: 00000000:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"


def proc(folder, listeners, descriptors, table="tcp"):
    """``listeners``: (port, inode, state); ``descriptors``: {pid: [target]}."""
    (folder / "1/net").mkdir(parents=True, exist_ok=True)
    (folder / f"1/net/{table}").write_text("  sl  local_address ...\n" + "".join(row(*each) for each in listeners))
    for pid, links in descriptors.items():
        (folder / f"{pid}/fd").mkdir(parents=True, exist_ok=True)
        for number, link in enumerate(links):
            (folder / f"{pid}/fd/{number}").symlink_to(link)
    return folder


def test_the_process_that_holds_the_listening_socket_is_found(tmp_path):
    made = proc(tmp_path, [(8000, 77), (8001, 78)], {12: ["/dev/null", "socket:[78]"], 40: ["socket:[77]"]})
    assert PortListeners(Clock(), made).pid_of(8000) == 40


def test_a_connection_is_no_listener_and_the_other_family_counts_too(tmp_path):
    made = proc(tmp_path, [(8000, 77, "01")], {40: ["socket:[77]", "socket:[79]"]})
    assert PortListeners(Clock(), made).pid_of(8000) is None
    proc(tmp_path, [(8000, 79)], {}, table="tcp6")
    assert PortListeners(Clock(), made).pid_of(8000) == 40


def test_of_several_that_share_a_socket_the_oldest_is_named(tmp_path):
    made = proc(tmp_path, [(8000, 77)], {412: ["socket:[77]"], 97: ["socket:[77]"]})
    assert PortListeners(Clock(), made).pid_of(8000) == 97


def test_a_port_without_a_listener_is_searched_for_now_and_then_only(tmp_path):
    clock = Clock()
    listeners = PortListeners(clock, proc(tmp_path, [], {40: ["socket:[77]"]}))
    assert listeners.pid_of(8000) is None
    proc(tmp_path, [(8000, 77)], {})
    assert listeners.pid_of(8000) is None
    clock.now += SEARCH_EVERY_NS
    assert listeners.pid_of(8000) == 40


def test_one_that_ended_is_not_named_any_more(tmp_path):
    clock = Clock()
    listeners = PortListeners(clock, proc(tmp_path, [(8000, 77)], {40: ["socket:[77]"]}))
    assert listeners.pid_of(8000) == 40
    (tmp_path / "40/fd/0").unlink()
    clock.now += SEARCH_EVERY_NS
    assert listeners.pid_of(8000) is None


def test_a_table_that_is_garbage_names_nobody(tmp_path):
    made = proc(tmp_path, [], {40: ["socket:[77]"]})
    (made / "1/net/tcp").write_bytes(b"head\n\xff\xfe nonsense\n 0: zz:zz zz 0A a b c d e 77\n")
    assert PortListeners(Clock(), made).pid_of(8000) is None


def test_a_real_socket_of_this_process_is_found(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "1").mkdir()
        (tmp_path / "1/net").symlink_to("/proc/self/net")
        (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
        assert PortListeners(SystemClock(), tmp_path).pid_of(server.getsockname()[1]) == os.getpid()
