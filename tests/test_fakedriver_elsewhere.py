"""Another process reads the driver that this one steers, and a new one finds the same truth."""

import itertools
import json
import os
import subprocess
import sys
import time

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Segment

READER = """
import json, sys, time, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
for line in sys.stdin:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    energy = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    row = [before, energy, after, pynvml.nvmlDeviceGetPowerUsage(handle), pynvml.nvmlDeviceGetTemperature(handle, 0)]
    print(json.dumps(row), flush=True)
"""


RACER = """
import json, time, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
now, read = time.clock_gettime_ns, pynvml.nvmlDeviceGetTotalEnergyConsumption
print("ready", flush=True)
limit = time.monotonic() + 0.5
rows = []
while time.monotonic() < limit:
    rows.append((now(time.CLOCK_BOOTTIME), read(handle), now(time.CLOCK_BOOTTIME)))
print(json.dumps(rows))
"""


class Reader:
    """A process that reads when asked."""

    def __init__(self, driver):
        environment = {**os.environ, **driver.environment()}
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def read(self):
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def driver(tmp_path):
    with FakeDriver.create(tmp_path, [profiles.h100()]) as driver:
        yield driver


def test_a_killed_and_restarted_reader_sees_one_truth(driver):
    device = driver.device(0)
    device.script([Segment(20_000_000, power_mw=500_000), Segment(20_000_000, power_mw=90_000)], then="repeat")
    for _ in range(2):
        with Reader(driver) as reader:
            for _ in range(20):
                before, energy, after, _, _ = reader.read()
                assert device.true_energy_mj(before) <= energy <= device.true_energy_mj(after)


def test_what_is_set_here_is_read_there_at_once(driver):
    with Reader(driver) as reader:
        for power_mw in (100_000, 200_000, 300_000):
            driver.device(0).set(power_mw=power_mw, temperature_celsius=power_mw // 10_000)
            assert reader.read()[3:] == [power_mw, power_mw // 10_000]
    assert driver.calls()["nvmlDeviceGetPowerUsage"] == 3


def test_a_reader_beside_the_writer_sees_the_truth_and_no_counter_fall(driver):
    device = driver.device(0)
    environment = {**os.environ, **driver.environment()}
    command = [sys.executable, "-c", RACER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as racer:
        assert racer.stdout.readline() == "ready\n"
        limit = time.monotonic() + 0.5
        for power_mw in itertools.cycle((2_000_000_000, 0)):
            device.set(power_mw=power_mw)
            if time.monotonic() > limit:
                break
        rows = json.loads(racer.stdout.read())
    energies = [energy for _, energy, _ in rows]
    assert energies == sorted(energies)
    assert all(
        device.true_energy_mj(before) <= energy <= device.true_energy_mj(after) for before, energy, after in rows
    )


def test_without_the_library_path_there_is_no_driver(driver):
    environment = {**os.environ, **driver.environment(), "LD_LIBRARY_PATH": ""}
    code = "import pynvml\ntry:\n    pynvml.nvmlInit()\nexcept pynvml.NVMLError_LibraryNotFound:\n    print('none')\n"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if result.stdout != "none\n":
        pytest.skip("this machine has an NVIDIA driver of its own")


def test_a_missing_control_file_is_said(tmp_path, driver):
    environment = {**os.environ, **driver.environment(), "WATTLEDGER_FAKE_NVML": str(tmp_path / "none")}
    code = "import pynvml\npynvml.nvmlInit()"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert f"control file {tmp_path / 'none'}: No such file or directory" in result.stderr


def test_a_call_is_cheap(driver):
    with driver.load_into_pynvml() as pynvml:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        best = min(_microseconds(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) for _ in range(20))
        assert best < 10


def _microseconds(call, times=500):
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times * 1e6
