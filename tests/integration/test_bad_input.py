"""What goes wrong on a node, through the real command and the fake driver: said clearly, and nothing booked is lost."""

import resource
import socket
import time
from decimal import Decimal

import pytest

from agent.log_file import encode_line
from tests.fakedriver import profiles
from tests.fakedriver.driver import Process
from tests.integration.agent_process import NAMES, eventually, fetch, status
from tests.integration.processes import FakeHost, container

TIME, ENERGY = NAMES["time"][1], NAMES["energy"][1]
ACCOUNT_TIME = NAMES["time"][0]
UP = "wattledger_gpu_up"
NO_PERMISSION = 4
GPM_CONFIG = {"agent": {"interval_seconds": 0.3}}
"""GPM wants more than a tenth of a second between two samples; closer ones bring none."""

gcc = pytest.mark.tool("gcc")


def up(scrape, device):
    return scrape.value(UP, gpu_uuid=device.uuid)


def booked(scrape, device, account=None):
    if account is None:
        return scrape.value(TIME, gpu_uuid=device.uuid)
    return scrape.total(ACCOUNT_TIME, gpu_uuid=device.uuid, account=account)


def resting(device):
    """Draws nothing, so that what its counter says at any reading is known."""
    device.set(power_mw=0, sm_clock_mhz=1500)
    return device


# No driver


def test_up_without_a_driver_says_so_and_simulates(start):
    agent = start(command=("up",))
    page = agent.until("a simulated device", lambda scrape: scrape.find(UP))
    assert "NVIDIA driver: libnvidia-ml.so.1 not found" in agent.said
    assert "Simulating a machine instead; nothing shown is measured." in agent.said
    assert page.value("wattledger_simulated") == 1
    assert {s.labels["source"] for s in page.find("wattledger_gpu_info")} == {"simulated"}


@gcc
def test_the_agent_waits_for_a_driver_and_begins_once_it_is_there(start, make_driver, tmp_path):
    driver = make_driver(profiles.h100())
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    agent = start(environment={**driver.environment(), "LD_LIBRARY_PATH": str(libraries)})
    page = agent.until("a sweep", lambda scrape: scrape.value("wattledger_collector_up", collector="gpu") is not None)
    assert page.value("wattledger_collector_up", collector="gpu") == 0
    assert page.value("wattledger_simulated") == 0
    assert status(f"{agent.url}/healthz") == 200
    assert "NVIDIA driver" in agent.json("/v1/state")["message"]
    assert "NVIDIA driver" in agent.said
    (libraries / "libnvidia-ml.so.1").symlink_to(driver.library_path)
    page = agent.until_booked(driver.device(0).uuid)
    assert page.value("wattledger_collector_up", collector="gpu") == 1
    assert agent.json("/v1/state")["message"] is None


@gcc
def test_a_driver_that_is_not_loaded_yet_is_waited_for(start, make_driver):
    driver = make_driver(profiles.h100())
    driver.unload()
    agent = start(driver)
    agent.until("a sweep", lambda scrape: scrape.value("wattledger_collector_up", collector="gpu") == 0)
    driver.load()
    agent.until_booked(driver.device(0).uuid)


# Devices that do not answer


@gcc
def test_one_of_eight_gpus_is_lost_and_comes_back_while_seven_go_on(start, make_driver):
    driver = make_driver(*[profiles.h100()] * 8)
    lost = resting(driver.device(3))
    others = [device for device in driver.devices if device is not lost]
    agent = start(driver, config=GPM_CONFIG)
    before = agent.until_booked(lost.uuid, 0.3)
    lost.set(power_mw=400_000)
    lost.lose()
    away = agent.until(
        "the time of the lost GPU is unobserved",
        lambda scrape: up(scrape, lost) == 0 and booked(scrape, lost, "unobserved") > Decimal("0.5"),
    )
    assert [up(away, device) for device in others] == [1] * 7
    for device in others:
        assert {s for s in before.series if device.uuid in s} <= set(away.series)
        assert booked(away, device) > booked(before, device)
        assert booked(away, device, "unobserved") == 0
    assert away.find("wattledger_gpu_power_watts", gpu_uuid=lost.uuid) == []
    assert len(away.find(ACCOUNT_TIME, gpu_uuid=lost.uuid)) > len(before.find(ACCOUNT_TIME, gpu_uuid=lost.uuid))
    assert away.imbalance() is None
    assert f"{lost.uuid} does not answer" in agent.said
    lost.restore()
    lost.set(power_mw=0)
    moved = Decimal(lost.true_energy_mj() - 123_456_789) / 1000
    back = agent.until(
        "the GPU is back with all its energy",
        lambda scrape: up(scrape, lost) == 1 and scrape.value(ENERGY, gpu_uuid=lost.uuid) == moved - drawn_before(lost),
    )
    assert back.imbalance() is None
    assert f"{lost.uuid} answers again" in agent.said


def drawn_before(device):
    """Joules between the driver's creation and its rest: the device was not met yet."""
    script = device._pool.timelines[device._track("power_mw")]
    return Decimal(script.integral(script.starts_ns[1]) // 10**9) / 1000


@gcc
def test_a_device_whose_call_hangs_is_left_out_and_nobody_waits_for_it(start, make_driver):
    driver = make_driver(profiles.h100(), profiles.a100())
    hung, other = driver.devices
    agent = start(driver, config={"agent": {"call_timeout_seconds": 2}})
    agent.until_booked(hung.uuid, 0.2)
    hung.hang()
    away = agent.until("the device is quarantined", lambda scrape: up(scrape, hung) == 0)
    assert up(away, other) == 1
    began = time.monotonic()
    assert status(f"{agent.url}/healthz") == 200
    fetch(f"{agent.url}/metrics")
    assert time.monotonic() - began < 20
    later = agent.until("the other goes on", lambda s: booked(s, other) > booked(away, other) + Decimal("0.3"))
    assert booked(later, other, "unobserved") == 0
    assert "a driver call has not returned" in agent.json("/v1/state")["devices"][0]["health_message"]
    hung.release()
    back = agent.until("the device is back", lambda scrape: up(scrape, hung) == 1)
    assert booked(back, hung, "unobserved") > Decimal("0.3")
    assert back.imbalance() is None


@gcc
def test_an_agent_with_a_call_that_hangs_ends_in_order_all_the_same(start, make_driver):
    driver = make_driver(profiles.h100(), profiles.a100())
    agent = start(driver, config={"agent": {"call_timeout_seconds": 2}})
    agent.until_booked(driver.device(0).uuid)
    driver.device(0).hang()
    agent.until("the device is quarantined", lambda scrape: up(scrape, driver.device(0)) == 0)
    assert agent.terminate() == 0


@gcc
def test_a_device_that_may_not_be_read_costs_only_itself_and_is_named(start, make_driver):
    driver = make_driver(profiles.h100(), profiles.a100())
    driver.device(0).fail("nvmlDeviceGetUUID", NO_PERMISSION)
    agent = start(driver)
    agent.until_booked(driver.device(1).uuid)
    assert "GPU 0" in agent.json("/v1/state")["message"]
    assert "GPU 0" in agent.said


@gcc
def test_a_driver_reload_makes_no_counter_fall_and_loses_no_energy(start, make_driver):
    driver = make_driver(profiles.h100())
    device = resting(driver.device(0))
    agent = start(driver)
    before = agent.until_booked(device.uuid, 0.3)
    assert before.value(ENERGY, gpu_uuid=device.uuid) == 0
    driver.reload(version="581.42")
    device.set(power_mw=500_000)
    agent.until("it reads on", lambda scrape: (scrape.value(ENERGY, gpu_uuid=device.uuid) or 0) > 100)
    device.set(power_mw=0)
    drawn = Decimal(device.true_energy_mj()) / 1000
    after = agent.until(
        "what was drawn since the reload is booked", lambda s: s.value(ENERGY, gpu_uuid=device.uuid) == drawn
    )
    assert booked(after, device) > booked(before, device)
    assert after.imbalance() is None
    assert after.find("wattledger_gpu_info", gpu_uuid=device.uuid)[0].labels["driver"] == "581.42"


# Readings that cannot be true


@gcc
@pytest.mark.parametrize(
    ("check", "readings", "gauge", "kept"),
    [
        ("power_at_idle_clocks", {"power_mw": 650_000, "sm_clock_mhz": 210}, "wattledger_gpu_power_watts", 650),
        ("nvlink_rate", {"nvlink_rx_bytes_per_second": 50 * 18 * 26_562_000_000},
         "wattledger_gpu_nvlink_receive_bytes_per_second", 50 * 18 * 26_562_000_000),
    ],
)  # fmt: skip
def test_a_reading_that_cannot_be_true_is_kept_flagged_and_booked_as_unmeasured(
    start, make_driver, tmp_path, check, readings, gauge, kept
):
    driver = make_driver(profiles.h100())
    device, host = driver.device(0), FakeHost(tmp_path)
    device.set(utilization=0.5, sm_clock_mhz=1900, power_mw=300_000)
    device.processes([Process(pid=host.process(7, container(1)), share=0.5)])
    agent = start(driver, config={**host.config, **GPM_CONFIG})
    agent.until("it is active", lambda scrape: booked(scrape, device, "active") > 0)
    device.set(**readings)
    flagged = agent.until(
        "the reading is flagged",
        lambda s: s.value("wattledger_gpu_implausible", gpu_uuid=device.uuid, check=check) == 1,
    )
    later = agent.until(
        "its time is unmeasured",
        lambda s: booked(s, device, "unmeasured") > booked(flagged, device, "unmeasured") + Decimal("0.3"),
    )
    assert booked(later, device, "active") == booked(flagged, device, "active")
    assert booked(later, device, "idle") == booked(flagged, device, "idle")
    assert float(later.find(gauge, gpu_uuid=device.uuid)[0].value) == pytest.approx(kept, rel=0.01)
    assert later.imbalance() is None
    device.set(utilization=0.5, sm_clock_mhz=1900, power_mw=300_000, nvlink_rx_bytes_per_second=0)
    agent.until(
        "the flag is gone", lambda s: not s.value("wattledger_gpu_implausible", gpu_uuid=device.uuid, check=check)
    )
    agent.until("it is active again", lambda s: booked(s, device, "active") > booked(later, device, "active"))


# What is refused at the start: one line, status 2


def refused(agent):
    assert agent.wait() == 2
    lines = [line for line in agent.said.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, agent.said
    assert "Traceback" not in agent.said
    return lines[0]


@gcc
def test_measured_books_are_not_simulated_into_nor_the_other_way_round(start, make_driver):
    driver = make_driver(profiles.t4())
    agent = start(driver)
    agent.until_booked(driver.device(0).uuid)
    assert agent.terminate() == 0
    message = refused(start(command=("up", "--simulate"), data_dir=agent.data_dir))
    assert f"{agent.data_dir}: holds measured figures and simulated ones were about to be written into it" in message
    assert "--data-dir" in message


def test_simulated_books_are_not_measured_into(start):
    agent = start(command=("up", "--simulate"))
    agent.until("a sweep", lambda scrape: scrape.find(UP))
    assert agent.terminate() == 0
    assert "holds simulated figures" in refused(start(data_dir=agent.data_dir))


def test_a_port_that_is_taken_is_named_with_the_remedy(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = refused(start(listen=address))
    assert address in message
    assert "another process listens there; stop it, or choose another port with --listen HOST:PORT" in message


def test_a_data_directory_belongs_to_one_agent(start):
    first = start()
    assert first.url
    assert "another agent is at work there" in refused(start(data_dir=first.data_dir))


@pytest.mark.parametrize("setting", ["token_file", "tls_cert_file"])
def test_a_token_or_certificate_that_cannot_be_read_is_named(start, tmp_path, setting):
    server = {"token_file": str(tmp_path / "gone")}
    if setting == "tls_cert_file":
        server = {"tls_cert_file": str(tmp_path / "gone"), "tls_key_file": str(tmp_path / "gone-too")}
    message = refused(start(config={"server": server}))
    assert f"server.{setting} {tmp_path / 'gone'}: cannot be read (No such file or directory)" in message


def test_books_of_a_newer_version_are_refused_and_left_as_they_are(start, tmp_path):
    books = tmp_path / "books"
    books.mkdir()
    state = books / "state.json"
    state.write_bytes(encode_line({"version": 99, "secret": "of the future"}))
    before = state.read_bytes()
    message = refused(start(data_dir=books))
    assert f"{state}: written by a newer version (format 99" in message
    assert "install that version again" in message
    assert state.read_bytes() == before


# Disks


@gcc
@pytest.mark.parametrize("damage", ["cut", "torn", "zeroes"])
def test_a_log_with_a_bad_tail_is_read_up_to_there_and_said(start, make_driver, damage):
    driver = make_driver(profiles.h100())
    device = driver.device(0)
    agent = start(driver)
    before = agent.until_booked(device.uuid, 0.5)
    agent.kill()
    log = agent.data_dir / "state.log"
    whole = log.read_bytes()
    tails = {"cut": whole[:-7], "torn": whole + b'1234abcd {"n":', "zeroes": whole + bytes(4096)}
    log.write_bytes(tails[damage])
    again = start(driver, data_dir=agent.data_dir)
    after = again.until("it goes on", lambda s: (booked(s, device) or 0) > booked(before, device))
    assert "a torn tail of" in again.said
    assert booked(after, device, "unobserved") > 0
    assert after.imbalance() is None
    if damage != "cut":  # else the last sweep itself is lost, and its time unobserved
        accounts = [series for series in before.series if series.startswith(NAMES["time"])]
        assert [series for series in accounts if after.series[series] < before.series[series]] == []


@gcc
def test_on_a_full_disk_counters_stand_still_and_afterwards_nothing_is_missing(start, make_driver):
    driver = make_driver(profiles.h100())
    device = resting(driver.device(0))
    device.set(power_mw=200_000)
    agent = start(driver)
    agent.until_booked(device.uuid)
    log = agent.data_dir / "state.log"
    eventually("the log is long enough", lambda: log.stat().st_size > 8192)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    full = agent.until("saving fails", lambda s: (s.value("wattledger_save_failures_total") or 0) > 0)
    later = agent.until(
        "sweeps go on", lambda s: s.value("wattledger_sweeps_total") > full.value("wattledger_sweeps_total") + 5
    )
    assert booked(later, device) == booked(full, device)
    assert later.value(ENERGY, gpu_uuid=device.uuid) == full.value(ENERGY, gpu_uuid=device.uuid)
    assert status(f"{agent.url}/healthz") == 200
    assert "counters stand still until there is room, nothing already booked is lost" in agent.said
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    device.set(power_mw=0)
    after = agent.until("it saves again", lambda s: booked(s, device) > booked(full, device) + Decimal("0.5"))
    assert booked(after, device, "unobserved") == 0
    assert after.imbalance() is None
    assert agent.terminate() == 0
    restarted = start(driver, data_dir=agent.data_dir)
    final = restarted.until("its books are read", lambda s: (booked(s, device) or 0) >= booked(after, device))
    assert final.imbalance() is None


@gcc
def test_a_restart_brings_no_new_series_and_takes_none_away(start, make_driver, tmp_path):
    driver = make_driver(profiles.h100(), profiles.t4())
    config = {**(host := FakeHost(tmp_path)).config, **GPM_CONFIG}
    driver.device(0).processes([Process(pid=host.process(7, container(1)), share=0.5)])
    for _ in range(2):  # only the second has a stretch without an agent behind it
        agent = start(driver, config=config, data_dir=tmp_path / "books")
        before = agent.until(
            "all is read",
            lambda s: (s.value("wattledger_sweeps_total") or 0) > 3 and s.find("wattledger_gpu_sm_activity_ratio"),
        )
        agent.kill()
    again = start(driver, config=config, data_dir=tmp_path / "books")
    again.until("exactly the series of before", lambda s: set(s.series) == set(before.series))
    assert before.find("wattledger_account_gpu_seconds_total", account="unobserved") != []
